//! Nodes that are gone for good: removed, with what they held rebuilt elsewhere; and a majority of
//! a tablet's replicas, given up.

use crate::harness::steps::step;
use crate::harness::{Cluster, Shape, look_again, soon};
use crate::streams::{failures, set_rate};
use proto::admin::v1 as pb;
use proto::faults::v1::Step;
use proto::reasons::Reason;

async fn fill(cluster: &Cluster, rows: u32) {
    let router = cluster.router();
    for row in 0..rows {
        let key = row.to_be_bytes();
        soon("a put", router.put("orders", &key, b"value")).await.expect("stored");
    }
}

async fn check(cluster: &Cluster, rows: u32) {
    let router = cluster.router();
    for row in 0..rows {
        let key = row.to_be_bytes();
        let got = soon("a get", router.get("orders", &key)).await.expect("a majority answers");
        assert!(got.is_some(), "row {row} is lost");
    }
}

fn removal(name: &str) -> pb::RemoveNodeRequest {
    let (name, reason) = (name.to_owned(), "it burnt".to_owned());
    pb::RemoveNodeRequest { name, reason, ..Default::default() }
}

/// A node that is alive is not removed; a dead one is, once all that it held is rebuilt on the
/// others. Its process stays out if it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_removed_once_its_replicas_are_rebuilt() {
    let shape = Shape { agents: 4, balances: true, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    cluster.create_table("orders", 6).await;
    fill(&cluster, 60).await;
    let refused = cluster.admin().remove_node(removal("n1")).await.expect_err("it is alive");
    assert_eq!(refused.reason(), Some(Reason::PlacementViolation), "{refused}");
    cluster.kill("n1");
    cluster.fenced("n1").await;
    let trial = pb::RemoveNodeRequest { validate_only: true, ..removal("n1") };
    let tried = cluster.admin().remove_node(trial).await.expect("it could be").node;
    assert!(tried.is_some_and(|node| !node.leaving), "nothing was done");
    let answer = cluster.admin().remove_node(removal("n1")).await.expect("it is dead");
    assert!(answer.node.is_some_and(|node| node.leaving), "it goes once it holds nothing");
    let is_gone = |nodes: &[pb::Node]| nodes.iter().all(|node| node.name != "n1");
    cluster.nodes("n1 to be gone", is_gone).await;
    for tablet in cluster.admin().list_tablets("orders").await.expect("they are there") {
        assert_eq!(tablet.replicas.len(), 3, "{tablet:#?}");
        cluster.replicas_agree(&tablet).await;
    }
    check(&cluster, 60).await;
    let known = cluster.admin().list_migrations(false).await.expect("they are remembered");
    assert!(known.iter().any(|one| one.note == "remove" && one.by_balancer), "{known:#?}");
    cluster.restart("n1");
    cluster.said("n1", "the node was removed").await;
    let found = cluster.admin().list_orphans("").await.expect("all are asked");
    assert_eq!((found.orphans, found.unknown), (Vec::new(), Vec::new()));
}

/// Two of three replicas are gone for good: a rebuild is held, until what only they had is given
/// up. What the third has is served again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_majority_is_given_up_and_what_is_left_is_served() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster, 40).await;
    let repaired = cluster.repair(&tablet).await;
    assert_eq!(repaired.state(), pb::MigrationState::Done, "so that all three have all");
    let dead: Vec<String> = tablet.replicas[..2].iter().map(|one| one.node.clone()).collect();
    let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    let to = (1..=4).map(|number| format!("n{number}")).find(|node| !has(node));
    for name in &dead {
        cluster.kill(name);
    }
    for name in &dead {
        cluster.fenced(name).await;
    }
    let (from, to) = (dead[0].clone(), to.expect("one has no replica"));
    let request = pb::RebuildReplicaRequest { tablet: tablet.id, from, to, ..Default::default() };
    let begun = cluster.admin().rebuild_replica(request).await.expect("its node is dead");
    let id = begun.migration.expect("a migration").id;
    let accept = || pb::AcceptDataLossRequest {
        tablet: tablet.id,
        reason: "both burnt".to_owned(),
        dead: dead.clone(),
        ..Default::default()
    };
    let one = pb::AcceptDataLossRequest { dead: dead[1..].to_vec(), ..accept() };
    let refused = cluster.admin().accept_data_loss(one).await.expect_err("both are dead");
    assert_eq!(refused.reason(), Some(Reason::LossNotNamed), "{refused}");
    let accepted = cluster.admin().accept_data_loss(accept()).await.expect("two of three");
    let given_up = accepted.migration.expect("the one that runs").given_up;
    assert_eq!(given_up, dead);
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!(ended.given_up_reason, "both burnt");
    check(&cluster, 40).await;
    let refused = cluster.admin().accept_data_loss(accept()).await.expect_err("it is over");
    assert_eq!(refused.reason(), Some(Reason::NotInTransition), "{refused}");
    cluster.said("c1", "the loss of a tablet's data was accepted").await;
}

/// A node is told to cut its streams with another one: what runs to that one ends, and the move
/// ends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_between_two_nodes_is_cut() {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster, 20).await;
    let has: Vec<String> = tablet.replicas.iter().map(|one| one.node.clone()).collect();
    let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n)).expect("one is free");
    let admin = cluster.admin();
    let none = admin.kill_connection(&has[0], &free).await.expect("it is attached");
    assert_eq!(none, 0, "nothing runs yet");
    let record = step(&free, tablet.id, Step::Record);
    cluster.hold(&record).await;
    let id = cluster.migrate(&tablet, &has[0], &free).await;
    cluster.held(&record).await;
    let cut = admin.kill_connection(&has[0], &free).await.expect("it is attached");
    assert_eq!(cut, 1, "the stream that it serves");
    cluster.let_go(&record).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    check(&cluster, 20).await;
    let refused = admin.kill_connection(&has[0], "n9").await.expect_err("no such node");
    assert_eq!(refused.reason(), Some(Reason::NotFound), "{refused}");
}

/// The receiver is told to cut: the attempt has failed as when the peer goes, and not as if the node
/// were out; the next one is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_cuts_has_failed_as_a_connection_that_goes() {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..64u32 {
        router.put("orders", &key.to_be_bytes(), &[7; 32 << 10]).await.expect("a put");
    }
    let has: Vec<String> = tablet.replicas.iter().map(|one| one.node.clone()).collect();
    let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n)).expect("one is free");
    let admin = cluster.admin();
    // So slow that it runs until it is cut.
    set_rate(&cluster, 1_000).await;
    let id = cluster.migrate(&tablet, &has[0], &free).await;
    let cut = async {
        while admin.kill_connection(&free, &has[0]).await.expect("it is attached") == 0 {
            look_again().await;
        }
    };
    soon("a stream that is cut", cut).await;
    cluster.said(&free, "PEER_CLOSED: cut by order").await;
    set_rate(&cluster, 0).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!(failures(&ended), ["PEER_CLOSED"], "{ended:#?}");
    cluster.replicas_agree(&tablet).await;
}
