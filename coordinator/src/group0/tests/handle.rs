//! What the handle promises.

use std::fs;

use tempfile::tempdir;

use super::super::{BootstrapError, FatalReason, OpenError, ProposeError, ReadError, Role};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_opened_once_at_a_time() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    let second = Group0::open(options(dir.path()), Journal::default()).await.err();
    assert!(matches!(second, Some(OpenError::AlreadyRunning { .. })), "{second:?}");
    group0.shutdown().await.expect("it stops");
    let third = Group0::open(options(dir.path()), Journal::default()).await.expect("it opens");
    third.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_newer_layout_and_another_member_are_refused() {
    let dir = tempdir().expect("a directory");
    let group0 = Group0::open(options(dir.path()), Journal::default()).await.expect("it opens");
    group0.shutdown().await.expect("it stops");

    let other = Options { raft_id: Some(7), ..options(dir.path()) };
    match Group0::open(other, Journal::default()).await.err() {
        Some(OpenError::OtherRaftId { found: 1, asked: 7, .. }) => {}
        other => panic!("{other:?}"),
    }
    let other = Options { member: member("c2", "127.0.0.1:7401"), ..options(dir.path()) };
    match Group0::open(other, Journal::default()).await.err() {
        Some(OpenError::OtherName { found, asked, .. }) => {
            assert_eq!((&*found, &*asked), ("c1", "c2"));
        }
        other => panic!("{other:?}"),
    }
    let format = dir.path().join("format");
    fs::write(&format, "layout = 2\nraft_id = 1\n").expect("written");
    match Group0::open(options(dir.path()), Journal::default()).await.err() {
        Some(refused @ OpenError::FormatTooNew { .. }) => {
            let text = refused.to_string();
            assert!(text.contains("layout 2") && text.contains("layout 1"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    fs::write(&format, "layout = ").expect("written");
    let refused = Group0::open(options(dir.path()), Journal::default()).await.err();
    assert!(matches!(refused, Some(OpenError::FormatDamaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let dir = tempdir().expect("a directory");
    let hasty = Options { heartbeat: Duration::from_millis(100), ..options(dir.path()) };
    let refused = Group0::open(hasty, Journal::default()).await.err();
    assert!(matches!(refused, Some(OpenError::Options(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_no_group_answers_nothing() {
    let dir = tempdir().expect("a directory");
    let group0 = Group0::open(options(dir.path()), Journal::default()).await.expect("it opens");
    assert!(!group0.is_initialized().await.expect("it runs"));
    assert_eq!(group0.metrics().role, Role::Learner);
    assert_eq!(group0.propose(entry(0), soon()).await, Err(ProposeError::NoLeader));
    assert_eq!(group0.confirm_leadership().await, Err(ReadError::NoLeader));
    let others = BTreeMap::from([(2, Member::default())]);
    let refused = group0.bootstrap(others).await;
    assert_eq!(refused, Err(BootstrapError::NotAMember { raft_id: 1 }));
    group0.shutdown().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstrap_is_idempotent() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    propose(&group0, 0..1).await;
    assert!(group0.is_initialized().await.expect("it runs"));
    let members = BTreeMap::from([(1, member("c1", "elsewhere:1"))]);
    group0.bootstrap(members).await.expect("nothing is done");
    assert_eq!(group0.metrics().voters, [1]);
    propose(&group0, 1..2).await;
    group0.shutdown().await.expect("it stops");
}

/// Two of three voters can't be reached: nobody leads, and nothing is promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_leads() {
    let dir = tempdir().expect("a directory");
    let group0 = Group0::open(options(dir.path()), Journal::default()).await.expect("it opens");
    // Nobody listens on port 1.
    let members = (1..=3).map(|id| (id, member("c", "127.0.0.1:1"))).collect();
    group0.bootstrap(members).await.expect("it begins");
    assert_eq!(group0.propose(entry(0), soon()).await, Err(ProposeError::NoLeader));
    assert_eq!(*group0.leadership().borrow(), None);
    group0.shutdown().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_what_was_acknowledged_before_it() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    let tasks: Vec<_> = (0..64_usize)
        .map(|number| {
            let group0 = group0.clone();
            tokio::spawn(async move {
                group0.propose(entry(number), soon()).await.expect("it is applied");
                let seen = group0.linearizable_read(|journal| journal.0.contains(&entry(number)));
                assert!(seen.await.expect("it leads"));
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no assertion failed");
    }
    let status = group0.metrics();
    assert_eq!((status.role, status.leader), (Role::Leader, Some(1)));
    let mut applied = group0.applied();
    applied.wait_for(|index| *index >= Some(64)).await.expect("it lives");
    group0.shutdown().await.expect("it stops");
}

/// A caller that hangs up doesn't take its proposal with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_outlives_its_caller() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    {
        let mut caller = std::pin::pin!(group0.propose(entry(0), soon()));
        // Polled once, then dropped.
        assert!(futures::poll!(caller.as_mut()).is_pending());
    }
    let mut applied = group0.applied();
    let arrived = applied.wait_for(|_| !journal(&group0).is_empty());
    timeout(PATIENCE, arrived).await.expect("in time").expect("it lives");
    assert_eq!(journal(&group0), entries(0..1));
    group0.shutdown().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_says_that_nothing_was_applied() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    assert_eq!(group0.propose(entry(0), Instant::now()).await, Err(ProposeError::TooLate));
    let large = group0.propose(vec![0; (16 << 20) + 1], soon()).await;
    assert!(matches!(large, Err(ProposeError::TooLarge { .. })), "{large:?}");
    group0.shutdown().await.expect("it stops");
    let late = group0.propose(entry(0), soon()).await;
    assert_eq!(late, Err(ProposeError::ShuttingDown));
    assert_eq!(group0.confirm_leadership().await, Err(ReadError::ShuttingDown));
    assert_eq!(journal(&group0), entries(0..0));
    assert!(
        ![ProposeError::TooLate, ProposeError::ShuttingDown, ProposeError::NoLeader]
            .iter()
            .any(ProposeError::outcome_unknown)
    );
    assert!(ProposeError::CommitTimeout.outcome_unknown());
}

/// An entry of a newer build stops this one before it applies it, at every start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_an_entry_of_a_newer_build_stops_this_one() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    propose(&group0, 0..3).await;
    let fatal = group0.fatal();
    let answer = group0.propose(NEWER.to_vec(), soon()).await;
    let reason = timeout(PATIENCE, fatal).await.expect("in time");
    assert!(matches!(reason, FatalReason::FormatTooNew(_)), "{reason:?}");
    assert_eq!(answer, Err(ProposeError::Fatal(reason.clone())));
    assert_eq!(group0.confirm_leadership().await, Err(ReadError::Fatal(reason)));
    assert_eq!(journal(&group0), entries(0..3));
    group0.shutdown().await.expect("it stops");

    // It is committed, so it stops a start too, or the leadership that would apply it.
    match Group0::open(options(dir.path()), Journal::default()).await {
        Err(OpenError::FormatTooNew { .. }) => {}
        Err(other) => panic!("{other:?}"),
        Ok(group0) => {
            let reason = timeout(PATIENCE, group0.fatal()).await.expect("in time");
            assert!(matches!(reason, FatalReason::FormatTooNew(_)), "{reason:?}");
            assert_eq!(*group0.leadership().borrow(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_state_machine_ends_the_process_by_name() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    let answer = group0.propose(PANIC.to_vec(), soon()).await;
    assert!(matches!(answer, Err(ProposeError::Fatal(FatalReason::Panicked(_)))), "{answer:?}");
    let reason = timeout(PATIENCE, group0.fatal()).await.expect("in time");
    assert!(matches!(reason, FatalReason::Panicked(_)), "{reason:?}");
}

/// The log can't be written any more: nothing is acknowledged, and the process has to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_log_surfaces() {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    propose(&group0, 0..1).await;
    group0.inner.files.log.close().expect("closed");
    let answer = group0.propose(entry(1), soon()).await;
    assert!(matches!(answer, Err(ProposeError::Fatal(FatalReason::Storage(_)))), "{answer:?}");
    let reason = timeout(PATIENCE, group0.fatal()).await.expect("in time");
    assert!(matches!(reason, FatalReason::Storage(_)), "{reason:?}");
    assert_eq!(journal(&group0), entries(0..1));
    let mut leadership = group0.leadership();
    let ended = leadership.wait_for(Option::is_none);
    timeout(PATIENCE, ended).await.expect("in time").expect("it lives");
}
