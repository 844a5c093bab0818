//! Drains that are forced, wherever they are begun; and a node that finds itself unfit, because a
//! guard can't be ended or the disk doesn't take a floor. Data is served meanwhile.
#![cfg(feature = "faults")]

mod agent;

use agent::*;
use futures::FutureExt;
use migrations::settings::Settings;
use migrations::stage::Stage;
use palisade_replica::faults::{DiskFault, DiskFaults};
use palisade_replica::sessions::EnterError;
use palisade_replica::store::{StepError, StoreOptions};
use palisade_replica::tablets::{DropError, Unlisted};
use proto::reasons::Reason;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// So short that a test can wait for it, and longer than what happens between two of its lines.
const SHORT: Settings = Settings { drain_deadline_ms: 50, ..Settings::FAST };

/// A task that holds a guard of version 6, and of session 1, until it is told to drop it.
fn hold(agent: &Agent) -> oneshot::Receiver<()> {
    let (version, work) = (agent.at(6).expect("current"), agent.enter(session(1)).expect("open"));
    let (gone, is_gone) = oneshot::channel();
    tokio::spawn(async move {
        tokio::join!(version.forced().cancelled_owned(), work.forced().cancelled_owned());
        drop((version, work));
        gone.send(()).expect("the test waits");
    });
    is_gone
}

async fn impatient(path: &Path) -> Agent {
    let agent = receiving(path).await;
    agent.tablets.set_settings(SHORT);
    agent
}

#[tokio::test]
async fn a_drain_is_forced_in_a_barrier() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = impatient(dir.path()).await;
    let gone = hold(&agent);
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadNew, None))).await;
    agent.tablets.drain(tablet(), version(7)).await;
    assert_eq!(gone.now_or_never(), Some(Ok(())), "and not before");
    assert_eq!(agent.tablets.fitness().unfit(), None);
}

#[tokio::test]
async fn a_drain_is_forced_in_a_drop_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = impatient(dir.path()).await;
    let gone = hold(&agent);
    let record = Arc::new(moving(7, 5, Stage::CleanupTarget, None));
    let dropped = agent.tablets.drop_copy(&record, copy(5), node(OWN)).await;
    assert_eq!(dropped, Ok(()));
    assert_eq!(gone.now_or_never(), Some(Ok(())), "and not before");
}

#[tokio::test]
async fn a_drain_is_forced_in_a_full_state_and_in_an_admission() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = impatient(dir.path()).await;
    let gone = hold(&agent);
    let done = agent.tablets.full_state(version(9), &[], node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("it is worked off").dropped, [(tablet(), copy(5))]);
    assert_eq!(gone.now_or_never(), Some(Ok(())), "and not before");

    let other = tempfile::tempdir().expect("a directory");
    let agent = impatient(other.path()).await;
    let gone = hold(&agent);
    agent.tablets.close_and_drain_all().await;
    assert_eq!(gone.now_or_never(), Some(Ok(())), "and not before");
}

/// What an attachment's end stops is begun again with the next one: the deadline counts from when
/// the guards' gate was closed, else a flapping attachment would put it off for ever.
#[tokio::test]
async fn a_drain_that_is_begun_anew_does_not_begin_to_wait_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let guard = agent.at(6).expect("current");
    agent.take_on(&Arc::new(moving(7, 5, Stage::Streaming, Some(1)))).await;
    let deadline = Duration::from_secs(1);
    agent.tablets.set_settings(Settings { drain_deadline_ms: 1_000, ..Settings::FAST });
    let drain = || agent.tablets.drain(tablet(), version(7));
    // The attachment that it was part of ends here.
    tokio::time::timeout(deadline, drain()).await.expect_err("a guard is held");
    let (again, forced) = (tokio::time::Instant::now(), guard.forced());
    tokio::select! {
        () = drain() => panic!("a guard is held"),
        () = forced.cancelled() => {}
    }
    assert!(again.elapsed() < deadline * 9 / 10, "it had the whole deadline again");
}

#[tokio::test]
async fn a_guard_that_can_not_be_ended_makes_the_node_unfit_and_data_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = impatient(dir.path()).await;
    let wedged = agent.enter(session(1)).expect("open");
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)))).await;
    let mut drain = pin!(agent.tablets.drain(tablet(), version(7)));
    let mut changes = agent.tablets.fitness().changes();
    tokio::select! {
        () = &mut drain => panic!("nothing is acknowledged before it is over"),
        unfit = changes.wait_for(Option::is_some) => drop(unfit.expect("it lives")),
    }
    let unfit = agent.tablets.fitness().unfit().expect("it is");
    assert_eq!(unfit.reason, Reason::SessionClosing, "{unfit}");
    assert!(!agent.lease.is_held(), "given up");
    assert_eq!(agent.enter(session(2)).err(), Some(EnterError::NodeFenced));
    assert!(agent.at(7).is_ok(), "data goes on");
    agent.tablets.probe().await.expect_err("the guard is still there");
    drop(wedged);
    drain.await;
    agent.tablets.probe().await.expect("nothing is in its way any more");
    assert_eq!(agent.tablets.fitness().unfit(), None);
    assert!(!agent.lease.is_held(), "the lease comes back with an admission only");
}

async fn on_a_bad_disk(path: &Path) -> (Agent, Arc<DiskFaults>) {
    let faults = Arc::new(DiskFaults::default());
    let options = StoreOptions { faults: Arc::clone(&faults), ..StoreOptions::default() };
    let agent = Agent::with(path, options);
    agent.take_on(&Arc::new(moving(5, 5, Stage::AllowWriteBothReadOld, None))).await;
    (agent, faults)
}

#[tokio::test]
async fn h12_a_disk_that_takes_no_floor_makes_the_node_unfit_until_it_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let (agent, faults) = on_a_bad_disk(dir.path()).await;
    faults.set(DiskFault::Full, true);
    let next = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    let failed = agent.tablets.take_on(&next, node(OWN)).await;
    assert!(matches!(failed, Err(StepError::Store(_))), "{failed:?}");
    let unfit = agent.tablets.fitness().unfit().expect("it is");
    assert_eq!(unfit.reason, Reason::DiskFull, "{unfit}");
    assert!(!agent.lease.is_held());
    assert!(agent.at(5).is_ok(), "data goes on at the floor that there is");
    agent.tablets.probe().await.expect_err("it is still full");
    faults.set(DiskFault::Full, false);
    agent.tablets.probe().await.expect("there is room again");
    agent.take_on(&next).await;
}

#[tokio::test]
async fn h12_a_sync_that_fails_makes_the_node_unfit_for_as_long_as_the_process_lasts() {
    let dir = tempfile::tempdir().expect("a directory");
    let (agent, faults) = on_a_bad_disk(dir.path()).await;
    faults.set(DiskFault::Syncs, true);
    let next = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    let failed = agent.tablets.take_on(&next, node(OWN)).await;
    assert!(matches!(failed, Err(StepError::Store(_))), "{failed:?}");
    let unfit = agent.tablets.fitness().unfit().expect("it is");
    assert_eq!(unfit.reason, Reason::DiskError, "{unfit}");
    // A later success would say nothing of what the failed one has lost.
    faults.set(DiskFault::Syncs, false);
    agent.tablets.probe().await.expect_err("only a new process can tell");
}

#[tokio::test]
async fn h12_a_copy_that_can_not_be_dropped_makes_the_node_unfit() {
    let dir = tempfile::tempdir().expect("a directory");
    let (agent, faults) = on_a_bad_disk(dir.path()).await;
    faults.set(DiskFault::Drops, true);
    let record = Arc::new(moving(6, 5, Stage::CleanupTarget, None));
    let failed = agent.tablets.drop_copy(&record, copy(5), node(OWN)).await;
    assert!(matches!(failed, Err(DropError::Store(_))), "{failed:?}");
    let unfit = agent.tablets.fitness().unfit().expect("it is");
    assert_eq!(unfit.reason, Reason::DiskError, "{unfit}");
    // The order comes again: the copy is still there, and nobody says that it has gone.
    let again = agent.tablets.drop_copy(&record, copy(5), node(OWN)).await;
    assert!(matches!(again, Err(DropError::Store(_))), "{again:?}");
    faults.set(DiskFault::Drops, false);
    agent.tablets.drop_copy(&record, copy(5), node(OWN)).await.expect("it can be dropped now");
    agent.tablets.probe().await.expect("nothing is wrong any more");
}

/// Two versions have guards: the older one's deadline ends, and that is no word on those who have
/// only just been asked to leave.
#[tokio::test]
async fn a_drain_forces_each_version_at_its_own_deadline() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let deadline = Duration::from_secs(1);
    agent.tablets.set_settings(Settings { drain_deadline_ms: 1_000, ..Settings::FAST });
    let old = agent.at(6).expect("current");
    agent.take_on(&Arc::new(moving(7, 5, Stage::Streaming, Some(1)))).await;
    let drain = |at| agent.tablets.drain(tablet(), version(at));
    tokio::time::timeout(deadline / 2, drain(7)).await.expect_err("a guard is held");
    let (fresh, closed) = (agent.at(7).expect("current"), tokio::time::Instant::now());
    agent.take_on(&Arc::new(moving(8, 5, Stage::Streaming, Some(1)))).await;
    let mut drain = pin!(drain(8));
    for forced in [old.forced(), fresh.forced()] {
        tokio::select! {
            () = &mut drain => panic!("guards are held"),
            () = forced.cancelled() => {}
        }
    }
    assert!(closed.elapsed() >= deadline, "it was forced with the older one");
    drop((old, fresh));
    drain.await;
}

/// The attachment that a drop was ordered over ends while the disk is at it. Nobody waits for the
/// drop any more; that it has failed is found out all the same, and the copy is there for the next
/// order.
#[test]
fn a_drop_that_fails_when_nobody_waits_for_it_is_found_out() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    // Only copies are dropped in the one blocking thread, which is taken until the test gives way.
    let runtime = { runtime }.worker_threads(1).max_blocking_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (agent, faults) = on_a_bad_disk(dir.path()).await;
        // Longer than a sync may take.
        agent.tablets.set_settings(Settings { drain_deadline_ms: 2_000, ..SHORT });
        faults.set(DiskFault::Drops, true);
        let (give_way, until) = oneshot::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || until.blocking_recv());
        let record = Arc::new(moving(6, 5, Stage::CleanupTarget, None));
        let mut changes = agent.tablets.fitness().changes();
        {
            let mut dropping = pin!(agent.tablets.drop_copy(&record, copy(5), node(OWN)));
            tokio::select! {
                dropped = &mut dropping => panic!("the disk has not begun: {dropped:?}"),
                unfit = changes.wait_for(Option::is_some) => drop(unfit.expect("it lives")),
            }
        }
        agent.tablets.probe().await.expect("a floor can be written");
        assert_eq!(agent.tablets.fitness().unfit(), None);
        give_way.send(()).expect("it waits");
        busy.await.expect("no panic").expect("it was told");
        let found = changes.wait_for(Option::is_some);
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        let unfit = found.expect("it is found out").expect("it lives").clone();
        assert!(unfit.is_some_and(|unfit| unfit.reason == Reason::DiskError));
        let again = agent.tablets.drop_copy(&record, copy(5), node(OWN)).await;
        assert!(matches!(again, Err(DropError::Store(_))), "{again:?}");
    });
}
