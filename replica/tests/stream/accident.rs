//! A2 between two agents: a chunk is held on the receiver between receipt and `enter`, the call
//! is cut, the move is tried again and done, its key is deleted, repaired and purged, the chunk is
//! let go. It must not bring the key back.
#![cfg(feature = "faults")]

use crate::agents::*;
use migrations::clock::HybridTime;
use migrations::evidence::FailureReason;
use migrations::record::TabletRecord;
use migrations::stage::Stage;
use palisade_replica::faults::Released;
use palisade_replica::stream::StreamEvent;
use std::path::Path;
use std::sync::Arc;

const ROWS: u32 = 1_000;

/// The receiver at version 13, with the chunk of session 1 held and all its keys purged; and one
/// of those keys.
async fn up_to_the_release(theirs: &Path, ours: &Path) -> (Agent, Vec<u8>) {
    let rows = rows(ROWS);
    let source = source(theirs, &rows).await;
    let mut receiver = receiver(ours).await;
    let (address, _) = source.serve().await;
    receiver.puller.hold_point().hold_next_chunk(tablet());
    receiver.puller.pull(order_of_session_1(&address)).await;
    assert_eq!(receiver.failed().await.reason, FailureReason::PeerClosed, "the call is cut");
    let held = receiver.puller.hold_point().held(tablet()).await;
    assert_eq!(held.session, session(1));
    let key = held.positions.first().expect("rows").clone();

    for agent in [&source, &receiver] {
        agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
        let drain = agent.tablets.drain(tablet(), version(8));
        tokio::time::timeout(PATIENCE, drain).await.expect("what is held holds no guard");
    }
    receiver.take_on(&moving(9, Stage::Streaming, Some(2))).await;
    receiver.puller.pull(order(moving(9, Stage::Streaming, Some(2)), &address)).await;
    assert!(matches!(receiver.ended().await, StreamEvent::Complete { .. }));
    receiver.take_on(&settled(12, &NEW)).await;
    let deletes: Vec<_> = rows.iter().map(|(key, _)| (key.clone(), row(5, None))).collect();
    receiver.put_all(12, &deletes);
    let mut repaired = TabletRecord::clone(&settled(13, &NEW));
    repaired.promise = HybridTime(6);
    receiver.take_on(&Arc::new(repaired)).await;
    let drain = receiver.tablets.drain(tablet(), version(13));
    tokio::time::timeout(PATIENCE, drain).await.expect("nobody is at work");
    let guard = receiver.tablets.version_guard(tablet(), version(13)).expect("current");
    let purged = receiver.store.purge(&guard, HybridTime(6), None).expect("permitted");
    assert_eq!(purged.removed, u64::from(ROWS));
    drop(guard);
    (receiver, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_the_stuck_chunk_is_refused_and_no_key_comes_back() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (receiver, _) = up_to_the_release(theirs.path(), ours.path()).await;
    let released = receiver.puller.hold_point().release(tablet()).await;
    assert_eq!(released, Some(Released::Refused(FailureReason::SessionUnknown)));
    assert_eq!(receiver.holds(13).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_control_without_the_guard_check_keys_are_back() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (receiver, key) = up_to_the_release(theirs.path(), ours.path()).await;
    receiver.sessions.set_guard_check(false);
    let released = receiver.puller.hold_point().release(tablet()).await;
    assert!(matches!(released, Some(Released::Written { rows }) if rows > 0), "{released:?}");
    let guard = receiver.tablets.version_guard(tablet(), version(13)).expect("current");
    let row = receiver.store.get(&guard, &key).expect("it reads");
    assert!(row.is_some_and(|row| row.value.is_some()), "back from the dead");
}
