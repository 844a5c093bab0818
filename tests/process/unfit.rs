//! H12: an agent that renews its lease and does not do what a transition needs holds nothing up.

use crate::harness::steps::{acknowledge, step};
use crate::harness::{Cluster, soon};
use crate::workload::Workload;
use proto::admin::v1 as pb;
use proto::faults::v1::Step;
use proto::types::v1::Stage;

/// The handler of a bystander's orders is wedged while its renewals flow; and the leaving
/// replica never drops its copy. Each is unfit, and fenced; its data goes on being served; the
/// move ends as done, and the node is admitted anew.
#[tokio::test(flavor = "multi_thread")]
async fn h12_an_agent_that_renews_and_does_nothing_is_fenced_and_the_move_ends() {
    let mut cluster = Cluster::start(4).await;
    let tablets = cluster.create_table("orders", 2).await;
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 3, 40);
    soon("writes", writing.proceed(100)).await;
    for (tablet, is_drop) in tablets.iter().zip([false, true]) {
        let (from, stays) = (&tablet.replicas[0].node, &tablet.replicas[1].node);
        let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
        let to = (1..=4).map(|number| format!("n{number}")).find(|node| !has(node));
        let (at, wedged) = match is_drop {
            true => (step(from, tablet.id, Step::Drop), from),
            false => (acknowledge(stays, tablet.id, Stage::WriteBothReadNew), stays),
        };
        cluster.hold(&at).await;
        let id = cluster.migrate(tablet, from, &to.expect("one has no replica")).await;
        cluster.held(&at).await;
        cluster
            .nodes("the wedged one to be fenced", |nodes| {
                let is_it = |node: &pb::Node| node.name == *wedged;
                nodes.iter().any(|node| is_it(node) && node.state() == pb::NodeState::Fenced)
            })
            .await;
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
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
