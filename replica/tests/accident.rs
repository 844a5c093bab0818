//! A2 on one agent: a chunk is held between receipt and `enter`; the move is tried again and done;
//! its key is deleted, repaired, purged; the chunk is let go. It must not bring the key back.

mod agent;

use agent::*;
use migrations::clock::HybridTime;
use migrations::row::RowVersion;
use migrations::stage::Stage;
use palisade_replica::sessions::EnterError;
use std::path::Path;
use std::sync::Arc;

const KEY: &[u8] = b"k";

fn chunk() -> [(Vec<u8>, RowVersion); 1] {
    [(KEY.to_vec(), row(3, Some(b"v")))]
}

/// Everything up to the moment at which the chunk of session 1 is let go, at version 12.
async fn up_to_the_release(path: &Path) -> Agent {
    let agent = receiving(path).await;
    // The chunk is received under session 1, and held before it enters. The attempt fails.
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)))).await;
    agent.tablets.drain(tablet(), version(7)).await;
    let second = agent.enter(session(2)).expect("the second attempt's");
    agent.pull(&second, 2, &chunk()).expect("the second attempt brings the row");
    drop(second);
    agent.take_on(&Arc::new(settled(10, Some(5)))).await;
    let delete = agent.at(10).expect("current");
    agent.store.put(&delete, KEY, &row(5, None)).expect("newer");
    drop(delete);
    let mut repaired = settled(12, Some(5));
    repaired.promise = HybridTime(6);
    agent.take_on(&Arc::new(repaired)).await;
    agent.tablets.drain(tablet(), version(12)).await;
    let purge = agent.at(12).expect("current");
    let purged = agent.store.purge(&purge, HybridTime(6), None).expect("permitted");
    assert_eq!(purged.removed, 1);
    agent
}

#[tokio::test]
async fn a2_the_stuck_chunk_is_refused_and_the_key_stays_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = up_to_the_release(dir.path()).await;
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::SessionUnknown(session(1))));
    let read = agent.at(12).expect("current");
    assert_eq!(agent.store.get(&read, KEY), Ok(None));
}

#[cfg(feature = "faults")]
#[tokio::test]
async fn a2_control_without_the_guard_check_the_key_is_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = up_to_the_release(dir.path()).await;
    agent.sessions.set_guard_check(false);
    let guard = agent.enter(session(1)).expect("the check is off");
    agent.chunk(&guard, 1, &Default::default(), &chunk()).expect("and the store's too");
    let read = agent.at(12).expect("current");
    assert_eq!(agent.store.get(&read, KEY), Ok(Some(row(3, Some(b"v")))), "back from the dead");
}
