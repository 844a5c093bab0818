//! Balancing, its switch, and drains: moves that nobody asked for one by one.

use crate::harness::{Cluster, Shape, soon};
use client::ClientError;
use proto::admin::v1 as pb;
use proto::reasons::Reason;
use std::collections::BTreeMap;

async fn balancing(agents: u8) -> Cluster {
    Cluster::start_as(Shape { agents, balances: true, ..Shape::default() }).await
}

fn request() -> pb::DisableBalancingRequest {
    pb::DisableBalancingRequest { reason: "a test".to_owned(), ..Default::default() }
}

/// How many replicas each node holds, once no tablet is in transition and this holds of it.
async fn settled(
    cluster: &Cluster,
    what: &str,
    is_it: impl Fn(&BTreeMap<String, u32>) -> bool,
) -> BTreeMap<String, u32> {
    let admin = cluster.admin();
    let mut watch = admin.watch_migrations("", None);
    let settled = async {
        loop {
            let status = admin.status().await.expect("the coordinator serves");
            let nodes = status.nodes.into_iter().map(|node| (node.name, node.replica_count));
            let counts: BTreeMap<String, u32> = nodes.collect();
            if status.migration_count == 0 && is_it(&counts) {
                return counts;
            }
            // Woken by whatever changes next.
            watch.next().await.expect("the coordinator serves");
        }
    };
    soon(what, settled).await
}

fn spread(counts: &BTreeMap<String, u32>) -> u32 {
    counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0)
}

async fn drain(cluster: &Cluster, node: &str) {
    let name = node.to_owned();
    let request = pb::DrainNodeRequest { name, reason: "retired".to_owned(), ..Default::default() };
    let drained = cluster.admin().drain_node(request).await.expect("it is known").node;
    assert!(drained.expect("the node").draining);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_is_emptied_and_filled_again_afterwards() {
    let cluster = balancing(4).await;
    let tablets = cluster.create_table("t", 8).await;
    let router = cluster.router();
    for row in 0..200_u32 {
        let key = format!("k{row}").into_bytes();
        soon("a put", router.put("t", &key, &row.to_be_bytes())).await.expect("stored");
    }
    drain(&cluster, "n2").await;
    let counts = settled(&cluster, "n2 to be empty", |counts| counts["n2"] == 0).await;
    assert_eq!(counts.values().sum::<u32>(), 24, "no replica is lost: {counts:?}");
    // Nothing goes there, whoever asks.
    let held = cluster.admin().list_tablets("t").await.expect("its tablets").remove(0);
    let from = held.replicas[0].node.clone();
    let to_drained =
        pb::MigrateRequest { tablet: held.id, from, to: "n2".to_owned(), ..Default::default() };
    let refused = cluster.admin().migrate(to_drained).await.expect_err("it is drained");
    let ClientError::Refused(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.reason, Reason::NodeDraining);
    let request = pb::UndrainNodeRequest { name: "n2".to_owned(), ..Default::default() };
    cluster.admin().undrain_node(request).await.expect("it is known");
    settled(&cluster, "the nodes to be level", |counts| spread(counts) <= 1).await;
    let moved = cluster.admin().list_migrations(false).await.expect("the migrations");
    assert!(moved.iter().all(|migration| migration.by_balancer), "{moved:#?}");
    for row in 0..200_u32 {
        let key = format!("k{row}").into_bytes();
        let found = soon("a get", router.get("t", &key)).await.expect("readable");
        let found = found.expect("it has a value").value;
        assert_eq!(found, row.to_be_bytes(), "k{row}");
    }
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_move_begins_after_balancing_was_disabled() {
    let cluster = balancing(4).await;
    cluster.create_table("t", 4).await;
    let admin = cluster.admin();
    let disabled = admin.disable_balancing(request()).await.expect("disabled");
    assert_eq!(disabled.running, Vec::<String>::new(), "nothing was to be done");
    assert_eq!(disabled.switch.expect("a switch").reason, "a test");
    drain(&cluster, "n1").await;
    let status = admin.balance_status().await.expect("a status");
    assert_eq!(status.held_by, "balancing is disabled");
    // Another table is made meanwhile, which the balancer would have seen.
    cluster.create_table("u", 1).await;
    let plan = admin.plan_balance().await.expect("a plan");
    assert_eq!((plan.moves.len(), plan.held_by.as_str()), (0, "balancing is disabled"));
    let enable = pb::EnableBalancingRequest::default();
    admin.enable_balancing(enable).await.expect("enabled");
    settled(&cluster, "n1 to be empty", |counts| counts["n1"] == 0).await;
    // All that was moved was begun after the switch was taken back.
    let moved = admin.list_migrations(false).await.expect("the migrations");
    assert!(!moved.is_empty());
    assert!(moved.iter().all(|migration| migration.by_balancer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_of_one_node_or_table_leaves_the_others_alone() {
    let cluster = balancing(4).await;
    let admin = cluster.admin();
    let (kept, moved) = (cluster.create_table("kept", 2).await, cluster.create_table("moved", 2));
    let moved = moved.await;
    let scope = Some(pb::BalanceScope { table: "kept".to_owned(), node: String::new() });
    let disable = pb::DisableBalancingRequest { scope: scope.clone(), ..request() };
    admin.disable_balancing(disable).await.expect("disabled");
    let holds = |tablets: &[pb::Tablet]| {
        let replicas = tablets.iter().flat_map(|tablet| &tablet.replicas);
        u32::try_from(replicas.filter(|replica| replica.node == "n1").count()).expect("few")
    };
    drain(&cluster, "n1").await;
    let of_kept = holds(&kept);
    settled(&cluster, "what may leave n1 to have left", |counts| counts["n1"] == of_kept).await;
    assert_eq!(holds(&admin.list_tablets("kept").await.expect("its tablets")), of_kept);
    assert_eq!(holds(&admin.list_tablets("moved").await.expect("its tablets")), 0);
    assert!(moved.len() == 2 && of_kept > 0, "the placement made it worth a test");
    let both = pb::BalanceScope { table: "kept".to_owned(), node: "n1".to_owned() };
    let refused =
        admin.disable_balancing(pb::DisableBalancingRequest { scope: Some(both), ..request() });
    let ClientError::Refused(refused) = refused.await.expect_err("one of them") else {
        panic!("it should have been refused")
    };
    assert_eq!(refused.reason, Reason::InvalidField);
    let enable = pb::EnableBalancingRequest { scope, ..Default::default() };
    admin.enable_balancing(enable).await.expect("enabled");
    settled(&cluster, "n1 to be empty", |counts| counts["n1"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_cluster_begins_no_further_stage_until_it_is_resumed() {
    let cluster = Cluster::start(4).await;
    let admin = cluster.admin();
    let tablet = cluster.create_table("t", 1).await.remove(0);
    let pause = pb::PauseRequest { reason: "a look".to_owned(), ..Default::default() };
    let paused = admin.pause(pause).await.expect("paused").pause.expect("it holds");
    assert_eq!(paused.reason, "a look");
    let on: Vec<&str> = tablet.replicas.iter().map(|replica| replica.node.as_str()).collect();
    let free = ["n1", "n2", "n3", "n4"].into_iter().find(|node| !on.contains(node));
    let id = cluster.migrate(&tablet, on[0], free.expect("one of four")).await;
    // A table that is made and dropped goes through barriers of its own: they are not held.
    cluster.create_table("u", 1).await;
    let drop = pb::DropTableRequest { name: "u".to_owned(), ..Default::default() };
    let dropped = admin.drop_table(drop).await.expect("it is known").migration;
    assert_eq!(cluster.ended(&dropped).await.state(), pb::MigrationState::Done);
    let status = admin.status().await.expect("the coordinator serves");
    assert_eq!(status.pause.expect("it holds").reason, "a look");
    let counter =
        |version: Option<proto::types::v1::TopologyVersion>| version.expect("a version").counter;
    let before = counter(status.version);
    admin.resume(pb::ResumeRequest::default()).await.expect("resumed");
    let moved = cluster.ended(&id).await;
    assert_eq!(moved.state(), pb::MigrationState::Done, "{moved:#?}");
    let later = moved.stages.iter().skip(1).all(|stage| counter(stage.version) > before);
    assert!(later && moved.stages.len() > 5, "{moved:#?}");
}
