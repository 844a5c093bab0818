//! A2, the accident that all of this prevents, on real processes; and its control.
//!
//! A chunk of a failed attempt is held on the receiver between receipt and `enter`. The move is
//! tried again and ends; a key of the chunk is deleted everywhere, the tablet is repaired, the
//! tombstone purged. Then the chunk is let go.

use crate::harness::{Cluster, soon};
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;

/// What came of letting the chunk go, and whether the deleted key is there afterwards on the node
/// that the chunk was held on.
struct Ending {
    released: faults::ReleaseResponse,
    rows_before: u64,
    rows_after: u64,
    key_is_back: bool,
}

async fn play(guard_check: bool) -> (Cluster, pb::Tablet, Ending) {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..100u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    let mut target = cluster.faults("n4");
    let check = faults::SetGuardCheckRequest { on: guard_check };
    target.set_guard_check(check).await.expect("set");
    let hold = faults::HoldNextChunkRequest { tablet: tablet.id };
    target.hold_next_chunk(hold).await.expect("wanted");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let await_held = faults::AwaitHeldRequest { tablet: tablet.id };
    let held = soon("a held chunk", target.await_held(await_held)).await.expect("held");
    let held = held.into_inner();
    // The attempt fails, and the next one ends the move, under a session of its own.
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert!(ended.attempt >= 2, "the first attempt was cut: {ended:#?}");
    let failed = ended.stages.iter().find(|stage| !stage.failure.is_empty());
    assert_eq!(failed.expect("one has failed").failure, "PEER_CLOSED");
    // All keys of the chunk are deleted everywhere, repaired, and the tombstones purged.
    assert!(!held.positions.is_empty());
    for position in &held.positions {
        // The position of a key is its hash and the key.
        router.delete("orders", &position[8..]).await.expect("a delete");
    }
    assert_eq!(cluster.repair(&tablet).await.state(), pb::MigrationState::Done);
    let number = migrations::id::TabletId::from_u64(tablet.id).expect("an id");
    let purged = cluster.admin().purge_tablet(number).await.expect("purged");
    assert!(purged.iter().all(|p| p.removed == held.positions.len() as u64), "{purged:?}");
    let on_target = |tablet: &pb::Tablet| {
        let digest = tablet.digests.iter().find(|digest| digest.node == "n4");
        digest.expect("it is a replica").rows
    };
    let rows_before = on_target(&cluster.digest(&tablet).await);
    let release = faults::ReleaseRequest { tablet: tablet.id };
    let released = target.release(release).await.expect("it was held").into_inner();
    let rows_after = on_target(&cluster.digest(&tablet).await);
    // A read of a majority that has the target in it finds the key: newest wins, and nobody
    // remembers the delete.
    let mut key_is_back = false;
    for _ in 0..20 {
        let read = router.get("orders", &held.positions[0][8..]).await.expect("a read");
        key_is_back |= read.is_some();
    }
    (cluster, tablet, Ending { released, rows_before, rows_after, key_is_back })
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a_chunk_of_a_failed_attempt_is_refused_and_no_key_comes_back() {
    let (cluster, tablet, ending) = play(true).await;
    assert_eq!(ending.released.refused, "SESSION_UNKNOWN");
    assert_eq!(ending.released.written, 0);
    assert_eq!(ending.rows_after, ending.rows_before);
    assert!(!ending.key_is_back);
    cluster.replicas_agree(&tablet).await;
    // Moving there again later works.
    let id = cluster.migrate(&tablet, "n4", "n1").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    cluster.replicas_agree(&tablet).await;
}

/// The control: with the guards' check off, the same chunk is written and the keys are back.
#[tokio::test(flavor = "multi_thread")]
async fn a2_control_without_the_guard_the_deleted_key_is_back() {
    let (_cluster, _tablet, ending) = play(false).await;
    assert_eq!(ending.released.refused, "");
    assert!(ending.released.written > 0);
    assert_eq!(ending.rows_after, ending.rows_before + ending.released.written);
    assert!(ending.key_is_back);
}
