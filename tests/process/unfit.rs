//! H12: an agent that renews its lease and does not do what a transition needs holds nothing up.

use crate::harness::steps::{acknowledge, step};
use crate::harness::{Cluster, soon};
use crate::workload::Workload;
use proto::admin::v1 as pb;
use proto::agent::v1 as agent;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::faults::v1::{DiskFault, SetDiskFaultRequest, Step};
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1::Stage;

/// How a node renews its lease and does not do what a move needs.
#[derive(Debug, Clone, Copy)]
enum Wedged {
    /// The handler of a bystander's orders never acknowledges.
    Acknowledge,
    /// The handler of the leaving replica's orders never drops its copy.
    Drop,
    /// A bystander's disk takes nothing, floors neither.
    Full,
    /// The leaving replica's disk fails to drop.
    Drops,
}

impl Wedged {
    /// What the disk does.
    fn fault(self) -> Option<DiskFault> {
        match self {
            Wedged::Acknowledge | Wedged::Drop => None,
            Wedged::Full => Some(DiskFault::Full),
            Wedged::Drops => Some(DiskFault::Drops),
        }
    }
}

/// Has the disk do it, if it is the disk; or work again.
async fn set(cluster: &Cluster, node: &str, wedged: Wedged, on: bool) {
    let Some(fault) = wedged.fault() else { return };
    let request = SetDiskFaultRequest { fault: fault.into(), on };
    cluster.faults(node).set_disk_fault(request).await.expect("set");
}

/// Whatever it is, the node is unfit, and fenced; its data goes on being served; the move ends, and
/// the node is admitted anew once it can do again what it has to, if need be as another process.
#[tokio::test(flavor = "multi_thread")]
async fn h12_an_agent_that_renews_and_does_nothing_is_fenced_and_the_move_ends() {
    let mut cluster = Cluster::start(4).await;
    let tablets = cluster.create_table("orders", 4).await;
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 3, 40);
    soon("writes", writing.proceed(100)).await;
    // A disk that was full is no target for a while: it comes last.
    let all = [Wedged::Acknowledge, Wedged::Drop, Wedged::Drops, Wedged::Full];
    for (tablet, wedged) in tablets.iter().zip(all) {
        let (from, stays) = (&tablet.replicas[0].node, &tablet.replicas[1].node);
        let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
        let to = (1..=4).map(|number| format!("n{number}")).find(|node| !has(node));
        let node = match wedged {
            Wedged::Drop | Wedged::Drops => from,
            Wedged::Acknowledge | Wedged::Full => stays,
        };
        let at = match wedged {
            Wedged::Drop => Some(step(node, tablet.id, Step::Drop)),
            Wedged::Acknowledge => Some(acknowledge(node, tablet.id, Stage::WriteBothReadNew)),
            Wedged::Full | Wedged::Drops => None,
        };
        if let Some(at) = &at {
            cluster.hold(at).await;
        }
        set(&cluster, node, wedged, true).await;
        let id = cluster.migrate(tablet, from, &to.expect("one has no replica")).await;
        if let Some(at) = &at {
            cluster.held(at).await;
        }
        cluster
            .nodes("the wedged one to be fenced", |nodes| {
                let is_it = |found: &pb::Node| found.name == *node;
                nodes.iter().any(|found| is_it(found) && found.state() == pb::NodeState::Fenced)
            })
            .await;
        let ended = cluster.ended(&id).await;
        // A disk that is full says so in the barrier, and the move goes back.
        let expected = match wedged {
            Wedged::Full => pb::MigrationState::Reverted,
            _ => pb::MigrationState::Done,
        };
        assert_eq!(ended.state(), expected, "{wedged:?}: {ended:#?}");
        match wedged {
            // A write of the workload may have met it: a sync that has failed is not trusted again.
            Wedged::Full => cluster.kill_and_restart(node),
            _ => set(&cluster, node, wedged, false).await,
        }
        cluster.admitted(4).await;
    }
    cluster.said("c1", "unfit: its lease is left to run out").await;
    soon("writes", writing.proceed(100)).await;
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// An agent whose word that it is unfit was for a leader that leads no more, or was cut off: its
/// renewals say it too, and are not counted. Its fence comes, and after it an admission.
#[tokio::test(flavor = "multi_thread")]
async fn renewals_of_an_unfit_agent_are_not_counted_whoever_has_heard_of_it() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin();
    let before = admin.node("n1").await.expect("it is known");
    let cluster_id = admin.status().await.expect("its state").cluster_id;
    let cluster_id = uuid::Uuid::parse_str(&cluster_id).expect("a UUID");
    let unfit =
        agent::Unfit { reason: Reason::DiskError.name().to_owned(), detail: "said so".to_owned() };
    let renewal = agent::RenewLeaseRequest {
        cluster_id: bytes::Bytes::copy_from_slice(cluster_id.as_bytes()),
        node_id: before.id,
        incarnation: before.incarnation,
        unfit: Some(unfit),
        ..Default::default()
    };
    let mut agents = AgentServiceClient::new(cluster.agents_channel("c1"));
    let refused = agents.renew_lease(renewal).await.expect_err("it is to run out");
    let reason = Refusal::from_status(&refused).map(|refusal| refusal.reason);
    assert_eq!(reason, Some(Reason::NodeNotReady), "{refused}");
    // The agent itself goes on renewing, which doesn't bring it back.
    cluster
        .nodes("a new incarnation", |nodes| {
            nodes.iter().any(|node| {
                node.incarnation != before.incarnation && node.state() == pb::NodeState::Admitted
            })
        })
        .await;
}
