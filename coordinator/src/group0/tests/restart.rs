//! What was acknowledged is there after any stop.

use std::fs;

use tempfile::tempdir;
use tokio::runtime::Builder;

use super::super::OpenError;
use super::*;

/// The process is gone from one moment to the next: nothing was shut down.
#[test]
fn what_was_acknowledged_survives_an_abrupt_end() {
    let dir = tempdir().expect("a directory");
    let runtime = || Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let first = runtime().expect("a runtime");
    first.block_on(async {
        let group0 = leader(options(dir.path())).await;
        propose(&group0, 0..200).await;
        drop(group0);
    });
    drop(first);
    runtime().expect("a runtime").block_on(async {
        let group0 = leader(options(dir.path())).await;
        assert_eq!(journal(&group0), entries(0..200));
        propose(&group0, 200..201).await;
        group0.shutdown().await.expect("it stops");
    });
}

/// The last handle gone, Raft ends, and the directory is free once nothing can write to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_member_gives_its_directory_free() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    propose(&group0, 0..3).await;
    drop(group0);
    let reopened = async {
        loop {
            match Group0::open(options(dir.path()), Journal::default()).await {
                Ok(group0) => return group0,
                Err(OpenError::AlreadyRunning { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    let group0 = timeout(PATIENCE, reopened).await.expect("in time");
    leadership(&group0).await;
    assert_eq!(journal(&group0), entries(0..3));
    group0.shutdown().await.expect("it stops");
}

/// A copy of the files, made while the process runs, holds what it had acknowledged by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_hold_what_was_acknowledged() {
    let (dir, image) = (tempdir().expect("a directory"), tempdir().expect("a directory"));
    let running = leader(options(dir.path())).await;
    propose(&running, 0..50).await;
    copy(dir.path(), image.path());

    let restarted = leader(options(image.path())).await;
    assert_eq!(journal(&restarted), entries(0..50));
    restarted.shutdown().await.expect("it stops");
    running.shutdown().await.expect("it stops");
}

/// A leader that is started again leads in a term of its own, under a number of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_another_leadership() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    let before = leadership(&group0).await;
    group0.shutdown().await.expect("it stops");
    assert_eq!(*group0.leadership().borrow(), None);

    let group0 = leader(options(dir.path())).await;
    let after = leadership(&group0).await;
    assert!(after.term > before.term, "{after:?} after {before:?}");
    assert_ne!(after.number, before.number);
    group0.shutdown().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_stands_for_the_entries_it_purged() {
    let dir = tempdir().expect("a directory");
    let small = Options { snapshot_every: 20, keep: 5, ..options(dir.path()) };
    let group0 = leader(small.clone()).await;
    propose(&group0, 0..100).await;
    group0
        .inner
        .raft
        .wait(Some(PATIENCE))
        .metrics(|m| m.purged.is_some_and(|id| id.index() >= 70), "purged")
        .await
        .expect("it is purged");
    group0.shutdown().await.expect("it stops");

    let kept = fs::read_dir(dir.path().join("snapshots")).expect("listed").count();
    assert_eq!(kept, 2, "the newest and the one before it");

    let group0 = Group0::open(small, Journal::default()).await.expect("it opens");
    leadership(&group0).await;
    assert_eq!(group0.metrics().voters, [1], "the snapshot has the membership");
    assert_eq!(journal(&group0), entries(0..100));
    assert!(group0.metrics().purged >= Some(70));
    propose(&group0, 100..101).await;
    group0.shutdown().await.expect("it stops");
}

/// Files of the log are closed, freed and replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_many_files_is_replayed() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    for number in 0..12_u8 {
        group0.propose(vec![number; 1 << 20], soon()).await.expect("it is applied");
    }
    group0.shutdown().await.expect("it stops");
    let files = fs::read_dir(dir.path().join("log")).expect("listed").count();
    assert!(files >= 4, "{files} files, the lock among them");

    let group0 = leader(options(dir.path())).await;
    assert_eq!(group0.read(|journal| journal.0.len()), 12);
    assert_eq!(group0.read(|journal| journal.0[11].clone()), vec![11; 1 << 20]);
    group0.shutdown().await.expect("it stops");
}
