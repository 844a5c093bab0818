//! F1 and F2: leadership is lost while a move is asked for, and comes back to who had it.

use crate::harness::{Cluster, Loss, Shape, soon};
use crate::signals;
use client::new_request_id;
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use proto::types::v1::Stage;
use std::collections::BTreeSet;
use tonic::Status;

/// How long it takes to look again where nothing tells of a change.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(10);

async fn of_three() -> Cluster {
    let profile = "standard";
    let shape = Shape { coordinators: 3, has_proxies: true, profile, ..Shape::default() };
    Cluster::start_as(shape).await
}

pub(crate) fn others(names: &[String], leader: &str) -> Vec<String> {
    names.iter().filter(|name| *name != leader).cloned().collect()
}

/// Waits until the log of a coordinator is longer than this.
async fn logged(cluster: &Cluster, name: &str, before: u64) {
    let longer = async {
        loop {
            let samples = signals::samples(cluster.agent(name)).await;
            if signals::value(&samples, "palisade_log_last_index") > before as f64 {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    soon(&format!("an entry at {name}"), longer).await;
}

async fn log_of(cluster: &Cluster, name: &str) -> u64 {
    let samples = signals::samples(cluster.agent(name)).await;
    signals::value(&samples, "palisade_log_last_index") as u64
}

pub(crate) fn one_move(tablet: &pb::Tablet) -> pb::MigrateRequest {
    pb::MigrateRequest {
        request_id: new_request_id().to_string(),
        tablet: tablet.id,
        from: "n1".into(),
        to: "n4".into(),
        ..Default::default()
    }
}

/// What the first try was told; the same request through the client library, again and again; and
/// what there is of it: one migration, which ends.
async fn once(cluster: &Cluster, asked: pb::MigrateRequest, first: Result<String, Status>) {
    let mut ids = BTreeSet::new();
    match first {
        // The late OK.
        Ok(id) => drop(ids.insert(id)),
        Err(status) => {
            assert_eq!(outcome_of(&status), ChangeOutcome::Unknown, "{status}");
            let reason = Refusal::from_status(&status).map(|refusal| refusal.reason);
            let unknown = [Some(Reason::LeadershipLost), Some(Reason::CommitTimeout)];
            assert!(unknown.contains(&reason), "{status}");
        }
    }
    for _ in 0..3 {
        let done = cluster.admin().migrate(asked.clone()).await.expect("the same request");
        ids.insert(done.migration.expect("a migration").id);
    }
    assert_eq!(ids.len(), 1, "one request is one migration: {ids:?}");
    let id = ids.pop_first().expect("one");
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    // When all is over too.
    let again = cluster.admin().migrate(asked).await.expect("the same request");
    assert_eq!(again.migration.expect("a migration").id, id);
    let all = cluster.admin().list_migrations(false).await.expect("all that is remembered");
    assert_eq!(all.len(), 1, "{all:#?}");
}

/// F1: a leader loses its leadership while a move is being committed. Its successor commits it, or
/// overwrites it: who asked is told that nobody knows, and asking again under the same id makes one
/// migration, with the sessions of one.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_move_whose_leader_is_lost_is_one_migration() {
    for is_heard in [true, false] {
        let cluster = of_three().await;
        let tablet = cluster.create_table("orders", 1).await.remove(0);
        let names = cluster.coordinators();
        let old = cluster.leader(&names).await;
        let others = others(&names, &old);
        let asked = one_move(&tablet);
        let request = asked.clone();
        let mut migrations = MigrationServiceClient::new(cluster.admin_channel(&old));
        let at = if is_heard { &others[0] } else { &old };
        let before = log_of(&cluster, at).await;
        // Heard: the others have the entry, and their answers are lost.
        cluster.links().isolate(&old, if is_heard { Loss::ToIt } else { Loss::Both });
        let proposed = tokio::spawn(async move { migrations.migrate(request).await });
        logged(&cluster, at, before).await;
        cluster.links().isolate(&old, Loss::Both);
        cluster.leader(&others).await;
        cluster.links().heal();
        let first = soon("the first answer", proposed).await.expect("no panic");
        let id = first.map(|done| done.into_inner().migration.expect("a migration").id);
        once(&cluster, asked, id).await;
    }
}

/// F2: a leader drives a move, and has its session open; it is cut off; its successor ends the move;
/// the first one leads again. What it had in hand comes to nothing: the move stays ended, and the
/// next one has an id, an attempt and a session of its own.
#[tokio::test(flavor = "multi_thread")]
async fn f2_a_leader_that_comes_back_does_not_go_on_with_what_it_had_in_hand() {
    let cluster = of_three().await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..100u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    let names = cluster.coordinators();
    let first = cluster.leader(&names).await;
    // No attempt comes to its end.
    cluster.silence("n4", "stream_next", true).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.reached(&id, Stage::Streaming).await;
    for other in others(&names, &first) {
        cluster.links().part(&first, &other);
    }
    cluster.leader(&others(&names, &first)).await;
    let cancel = pb::CancelMigrationRequest { id: id.clone(), ..Default::default() };
    match cluster.admin().cancel_migration(cancel).await {
        Ok(_) => {}
        // Out of tries by then.
        Err(error) => assert_eq!(error.reason(), Some(Reason::NotInTransition), "{error}"),
    }
    let ended = cluster.ended(&id).await;
    let over = [pb::MigrationState::Cancelled, pb::MigrationState::Reverted];
    assert!(over.contains(&ended.state()), "{ended:#?}");
    cluster.silence("n4", "stream_next", false).await;
    cluster.links().heal();
    let again = async {
        while cluster.leader(&names).await != first {
            let request = pb::TransferLeaderRequest { to: first.clone(), ..Default::default() };
            // It may not have caught up yet; it is asked again.
            let _ = cluster.admin().transfer_leader(request).await;
        }
    };
    soon("the first one to lead again", again).await;
    let still = cluster.admin().migration(&id).await.expect("it is remembered");
    assert_eq!(still.state(), ended.state(), "{still:#?}");
    assert!(cluster.admin().list_migrations(true).await.expect("a list").is_empty());
    let moved = cluster.moved(&tablet, "n1", "n4").await;
    assert_ne!(moved.id, id);
    cluster.replicas_agree(&tablet).await;
}
