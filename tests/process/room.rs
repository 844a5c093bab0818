//! B4: room on the target, looked at before anything is begun.

use crate::harness::{Cluster, Shape, look_again, soon};
use client::ClientError;
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::reasons::Reason;
use proto::status::Refusal;

/// Rows of a table, and bytes of each.
const ROWS: u32 = 50;
const ROW_BYTES: usize = 2_000;
/// A table holds more than that, and less than twice as much.
const TABLE_BYTES: u64 = 100_000;
/// Room on a disk for one such table, with what the store takes beside it, and not for two.
const FOR_ONE: u64 = 200_000;
/// Room for none.
const FOR_NONE: u64 = 100_000;

/// Looks again and again whether it is so: an agent says it with its next renewal.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let looking = async {
        while !is_so().await {
            look_again().await;
        }
    };
    soon(what, looking).await;
}

/// A table of one tablet, with rows, whose size the leader knows.
async fn table(cluster: &Cluster, name: &str, replicas: u32) -> pb::Tablet {
    let tablet = cluster.create_table_of(name, 1, replicas).await.remove(0);
    let router = cluster.router();
    for key in 0..ROWS {
        router.put(name, &key.to_be_bytes(), &[7; ROW_BYTES]).await.expect("a put");
    }
    until("the tablet's size", || async {
        let found = cluster.admin().list_tablets(name).await.expect("its tablets").remove(0);
        let large = |replica: &pb::TabletReplica| replica.bytes.is_some_and(|n| n > TABLE_BYTES);
        found.replicas.iter().all(large)
    })
    .await;
    tablet
}

/// A node's disk has so much room from now on, and the leader knows, or is not to know.
async fn set_room(cluster: &Cluster, node: &str, bytes: Option<u64>, untold: bool) {
    let request = faults::SetRoomRequest { bytes, untold };
    cluster.faults(node).set_room(request).await.expect("set");
    until("the room of a node", || async {
        let said = cluster.admin().node(node).await.expect("it is known").room_bytes;
        match (untold, bytes) {
            (true, _) => said.is_none(),
            (false, Some(bytes)) => said.is_some_and(|said| said <= bytes),
            (false, None) => said.is_some_and(|said| said > FOR_ONE),
        }
    })
    .await;
}

fn request(tablet: &pb::Tablet, to: &str) -> pb::MigrateRequest {
    let (from, to) = (tablet.replicas[0].node.clone(), to.to_owned());
    pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() }
}

fn refusal(refused: ClientError) -> Refusal {
    let ClientError::Refused(refusal) = refused else { panic!("{refused}") };
    *refusal
}

/// The nodes without a replica of a tablet.
fn free<'a>(tablet: &pb::Tablet, nodes: &[&'a str]) -> Vec<&'a str> {
    let holds = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    nodes.iter().copied().filter(|node| !holds(node)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_target_without_room_for_the_tablet_is_refused_before_anything_is_done() {
    let cluster = Cluster::start(5).await;
    let tablet = table(&cluster, "orders", 3).await;
    let free = free(&tablet, &["n1", "n2", "n3", "n4", "n5"]);
    set_room(&cluster, free[0], Some(FOR_NONE), false).await;
    let before = cluster.admin().status().await.expect("it serves").version;
    let request = request(&tablet, free[0]);
    let trial = pb::MigrateRequest { validate_only: true, ..request.clone() };
    for request in [trial, request.clone()] {
        let refused = refusal(cluster.admin().migrate(request).await.expect_err("no room"));
        assert_eq!(refused.reason, Reason::NodeFull, "{refused:?}");
        for part in ["orders/", free[0], "palisade node list"] {
            assert!(refused.message.contains(part), "{part:?} is not in: {}", refused.message);
        }
        let number = |name| refused.get(name).and_then(|n| n.parse::<u64>().ok()).expect("one");
        assert!(number("needed_bytes") > TABLE_BYTES && number("room_bytes") < FOR_NONE);
        assert_eq!(number("kept_bytes"), 0);
    }
    let (tablet_id, to) = (tablet.id, free[0].to_owned());
    let add = pb::AddReplicaRequest { tablet: tablet_id, to, ..Default::default() };
    let refused = refusal(cluster.admin().add_replica(add).await.expect_err("no room"));
    assert_eq!(refused.reason, Reason::NodeFull);
    let after = cluster.admin().status().await.expect("it serves").version;
    assert_eq!(after, before, "nothing was proposed");
    assert!(cluster.admin().list_migrations(false).await.expect("all").is_empty());
    // Another one takes it; and this one, with room again.
    let moved = cluster.moved(&tablet, &request.from, free[1]).await;
    assert_eq!(moved.state(), pb::MigrationState::Done, "{moved:#?}");
    set_room(&cluster, free[0], None, false).await;
    let moved = cluster.moved(&tablet, free[1], free[0]).await;
    assert_eq!(moved.state(), pb::MigrationState::Done, "{moved:#?}");
    cluster.replicas_agree(&tablet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_two_moves_that_fit_one_by_one_and_not_together() {
    let cluster = Cluster::start(3).await;
    let (one, two) = (table(&cluster, "one", 1).await, table(&cluster, "two", 1).await);
    let held = [one.replicas[0].node.as_str(), two.replicas[0].node.as_str()];
    let to = ["n1", "n2", "n3"].into_iter().find(|node| !held.contains(node)).expect("a third");
    set_room(&cluster, to, Some(FOR_ONE), false).await;
    let admin = cluster.admin();
    // So that the first is under way for as long as is looked at it.
    let pause = pb::PauseRequest { reason: "a test".to_owned(), ..Default::default() };
    admin.pause(pause).await.expect("paused");
    for tablet in [&one, &two] {
        let trial = pb::MigrateRequest { validate_only: true, ..request(tablet, to) };
        admin.migrate(trial).await.expect("each would fit");
    }
    let first = admin.migrate(request(&one, to)).await.expect("there is room").migration;
    let first = first.expect("a migration").id;
    let refused = refusal(admin.migrate(request(&two, to)).await.expect_err("it is kept"));
    assert_eq!(refused.reason, Reason::NodeFull, "{refused:?}");
    let kept = admin.node(to).await.expect("it is known").room_kept_bytes;
    assert!(kept > TABLE_BYTES, "{kept}");
    assert_eq!(refused.get("kept_bytes"), Some(kept.to_string().as_str()));
    // What is called off keeps nothing.
    let cancel = pb::CancelMigrationRequest { id: first.clone(), ..Default::default() };
    admin.cancel_migration(cancel).await.expect("it can still turn back");
    assert_eq!(cluster.ended(&first).await.state(), pb::MigrationState::Cancelled);
    admin.resume(pb::ResumeRequest::default()).await.expect("it goes on");
    let moved = cluster.moved(&two, &two.replicas[0].node, to).await;
    assert_eq!(moved.state(), pb::MigrationState::Done, "{moved:#?}");
}

/// What comes of it where the leader doesn't know: the move begins, and its receiver refuses.
#[tokio::test(flavor = "multi_thread")]
async fn b4_control_without_the_look_at_room_a_move_begins_and_comes_back() {
    let cluster = Cluster::start(4).await;
    let tablet = table(&cluster, "orders", 3).await;
    let to = free(&tablet, &["n1", "n2", "n3", "n4"])[0];
    set_room(&cluster, to, Some(FOR_NONE), true).await;
    let id = cluster.migrate(&tablet, &tablet.replicas[0].node, to).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert_eq!(ended.reason, "NODE_FULL");
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_drain_waits_for_room_and_says_so() {
    let cluster = Cluster::start_as(Shape { agents: 4, balances: true, ..Shape::default() }).await;
    let tablet = table(&cluster, "orders", 3).await;
    let to = free(&tablet, &["n1", "n2", "n3", "n4"])[0];
    set_room(&cluster, to, Some(FOR_NONE), false).await;
    let drained = tablet.replicas[0].node.clone();
    let drain = pb::DrainNodeRequest { name: drained.clone(), ..Default::default() };
    let admin = cluster.admin();
    admin.drain_node(drain).await.expect("it is known");
    let plan = admin.plan_balance().await.expect("a plan");
    assert!(plan.moves.is_empty(), "{plan:#?}");
    for part in ["orders/", drained.as_str(), "has room for its"] {
        assert!(plan.held_by.contains(part), "{part:?} is not in: {}", plan.held_by);
    }
    assert!(admin.list_migrations(false).await.expect("all").is_empty());
    set_room(&cluster, to, None, false).await;
    until("the drained node to be empty", || async {
        admin.node(&drained).await.expect("it is known").replica_count == 0
    })
    .await;
    let moved = admin.list_migrations(false).await.expect("all");
    assert!(moved.iter().all(|one| one.state() == pb::MigrationState::Done), "{moved:#?}");
}
