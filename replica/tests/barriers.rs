//! A1, A8, C1, H6: what an agent obeys, opens, closes and waits for.

mod agent;

use agent::*;
use futures::poll;
use migrations::stage::Stage;
use palisade_replica::guard::Revoked;
use palisade_replica::holders::HeldUnder;
use palisade_replica::sessions::EnterError;
use palisade_replica::store::{Dropped, StepError};
use palisade_replica::tablets::{CopyState, DropError, Refused, Unlisted};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use uuid::Uuid;

#[tokio::test]
async fn a1_enter_is_refused_by_name_when_unknown_closing_and_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let unknown = session(99);
    assert_eq!(agent.enter(unknown).err(), Some(EnterError::SessionUnknown(unknown)));
    let elsewhere =
        agent.sessions.enter(palisade_replica::guard::FrozenGuard(session(1)), numbered(8));
    assert_eq!(elsewhere.err(), Some(EnterError::SessionUnknown(session(1))), "of another tablet");

    let guard = agent.enter(session(1)).expect("open");
    let token = guard.token();
    assert_eq!((guard.session(), guard.tablet(), guard.copy()), (session(1), tablet(), copy(5)));
    assert_eq!(guard.check(), Ok(()));
    agent.take_on(&Arc::new(moving(7, 5, Stage::Streaming, Some(1)))).await;
    assert_eq!(guard.check(), Ok(()), "a version that names it leaves it open");

    agent.take_on(&Arc::new(moving(8, 5, Stage::WriteBothReadOld, Some(2)))).await;
    assert!(token.is_cancelled());
    assert_eq!(guard.check(), Err(Revoked::SessionClosing));
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::SessionClosing(session(1))));
    let fresh = agent.enter(session(2)).expect("only the named one is open");
    drop(guard);
    agent.tablets.drain(tablet(), version(8)).await;
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::SessionUnknown(session(1))));
    assert_eq!(fresh.check(), Ok(()));
}

#[tokio::test]
async fn a1_a_drain_waits_for_the_last_guard_and_two_drains_return_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let (first, second) = (agent.enter(session(1)), agent.enter(session(1)));
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadNew, None))).await;
    let mut one = pin!(agent.tablets.drain(tablet(), version(7)));
    let mut other = pin!(agent.tablets.drain(tablet(), version(7)));
    assert!(poll!(&mut one).is_pending());
    assert!(poll!(&mut other).is_pending());
    drop(first.expect("open"));
    assert!(poll!(&mut one).is_pending(), "one guard still lives");
    let holders = agent.tablets.holders(tablet());
    assert_eq!(holders.iter().map(|holder| holder.guards).sum::<u64>(), 1);
    drop(second.expect("open"));
    assert!(poll!(&mut one).is_ready());
    assert!(poll!(&mut other).is_ready());
    assert_eq!(agent.tablets.holders(tablet()), []);
}

#[tokio::test]
async fn a1_a_session_opened_during_a_drain_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let old = agent.enter(session(1)).expect("open");
    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)))).await;
    let mut drain = pin!(agent.tablets.drain(tablet(), version(7)));
    assert!(poll!(&mut drain).is_pending());
    agent.take_on(&Arc::new(moving(8, 5, Stage::WriteBothReadOld, Some(3)))).await;
    let new = agent.enter(session(3)).expect("open");
    drop(old);
    assert!(poll!(&mut drain).is_ready());
    assert_eq!(new.check(), Ok(()));
}

#[tokio::test]
async fn a_barrier_that_is_repeated_reopens_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let record = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    agent.take_on(&record).await;
    drop(agent.enter(session(1)).expect("still open"));
    agent.tablets.close_and_drain_all().await;
    assert_eq!(agent.at(6).err(), Some(Refused::Awaiting));
    let taken = agent.take_on(&record).await;
    assert_eq!(taken.copy, CopyState::Here(copy(5)));
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::SessionClosing(session(1))));
    assert!(agent.at(6).is_ok(), "served again once its entry is worked off");
}

#[tokio::test]
async fn a8_after_a_restart_the_floor_stands_and_the_session_stays_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let older = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    let newer = Arc::new(moving(7, 5, Stage::WriteBothReadOld, Some(2)));
    let agent = receiving(dir.path()).await;
    agent.take_on(&newer).await;
    drop(agent); // Between close and drain.

    let agent = Agent::open(dir.path());
    assert_eq!(agent.tablets.record(tablet()).as_ref(), Some(&newer));
    assert!(agent.at(7).is_ok(), "data is served at the durable floor");
    let refused = agent.tablets.take_on(&older, node(OWN)).await;
    assert!(matches!(refused, Err(StepError::Stale(stale)) if stale.floor == version(7)));
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::SessionUnknown(session(1))));
    // The process that had session 2 open is gone: here it counts as closed.
    agent.take_on(&newer).await;
    assert_eq!(agent.enter(session(2)).err(), Some(EnterError::SessionClosing(session(2))));
    agent.take_on(&Arc::new(moving(8, 5, Stage::WriteBothReadOld, Some(3)))).await;
    assert!(agent.enter(session(3)).is_ok());
}

#[tokio::test]
async fn c1_a_read_of_the_version_before_holds_the_barrier_up_and_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let mut read = agent.at(6).expect("the version is current");
    let work = read.describe("get", Some(node(9)));
    work.progressed(17);
    agent.take_on(&Arc::new(moving(7, 5, Stage::Streaming, Some(1)))).await;
    assert!(!read.is_current());
    let of_new = agent.at(7).expect("the version is current");
    assert!(
        matches!(agent.at(6), Err(Refused::Stale(Some(record))) if record.version == version(7))
    );
    assert!(
        matches!(agent.at(8), Err(Refused::Ahead(Some(record))) if record.version == version(7))
    );

    let mut drain = pin!(agent.tablets.drain(tablet(), version(7)));
    assert!(poll!(&mut drain).is_pending());
    let holders = agent.tablets.holders(tablet());
    let [holder] = holders.as_slice() else { panic!("one holder: {holders:?}") };
    assert_eq!(holder.under, HeldUnder::Version(version(6)));
    assert_eq!((holder.operation, holder.peer, holder.bytes), (Some("get"), Some(node(9)), 17));
    assert_eq!(agent.store.get(&read, b"k"), Ok(None), "it is finished, not cut off");
    drop(read);
    assert!(poll!(&mut drain).is_ready(), "the guard of the new version isn't waited for");
    drop(of_new);
}

#[tokio::test]
async fn h6_a_late_barrier_is_refused_by_the_floor_that_outlived_the_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let late = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    let back = Arc::new(moving(7, 5, Stage::CleanupTarget, None));
    agent.tablets.drop_copy(&back, copy(5), node(OWN)).await.expect("not given any more");
    agent.tablets.drop_copy(&back, copy(5), node(OWN)).await.expect("it may be repeated");
    assert_eq!(agent.store.copies(), []);
    let refused = agent.tablets.take_on(&late, node(OWN)).await;
    assert!(matches!(refused, Err(StepError::Stale(stale)) if stale.floor == version(7)));
    drop(agent);
    let agent = Agent::open(dir.path());
    let refused = agent.tablets.take_on(&late, node(OWN)).await;
    assert!(matches!(refused, Err(StepError::Stale(stale)) if stale.floor == version(7)));
    assert!(agent.enter(session(1)).is_err());
}

#[tokio::test]
async fn a_drop_order_is_obeyed_only_where_the_copy_is_not_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let given = Arc::new(moving(7, 5, Stage::WriteBothReadNew, None));
    let refused = agent.tablets.drop_copy(&given, copy(5), node(OWN)).await;
    assert_eq!(refused, Err(DropError::Given(copy(5))));
    let late = Arc::new(moving(6, 5, Stage::CleanupTarget, None));
    let refused = agent.tablets.drop_copy(&late, copy(5), node(OWN)).await;
    assert!(matches!(refused, Err(DropError::Stale(_))));
    assert_eq!(agent.store.copies(), [(tablet(), copy(5))]);
}

#[tokio::test]
async fn a_copy_that_is_first_heard_of_at_a_later_version_is_new() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    let other = [Arc::new(settled(3, None))];
    let done = agent.tablets.full_state(version(4), &other, node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").taken[0].copy, CopyState::None);
    let overtaking = Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)));
    assert_eq!(agent.take_on(&overtaking).await.copy, CopyState::Here(copy(5)));
    let overtaken = Arc::new(moving(5, 5, Stage::AllowWriteBothReadOld, None));
    let refused = agent.tablets.take_on(&overtaken, node(OWN)).await;
    assert!(matches!(refused, Err(StepError::Stale(_))));
    assert!(agent.enter(session(1)).is_ok() && agent.at(6).is_ok());

    // Made while this agent was detached: a full state is the first that it hears of it.
    let mut missed = settled(9, Some(8));
    missed.tablet = numbered(8);
    let listed = [overtaking, Arc::new(missed)];
    let done = agent.tablets.full_state(version(10), &listed, node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").taken.len(), 2);
    assert_eq!(agent.tablets.lost(), []);
    assert!(agent.tablets.version_guard(numbered(8), version(9)).is_ok());
}

#[tokio::test]
async fn a_copy_that_was_dropped_here_is_never_made_anew_though_its_own_floor_is_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    agent.take_on(&Arc::new(settled(5, Some(5)))).await;
    let done = agent.tablets.full_state(version(7), &[], node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").dropped, [(tablet(), copy(5))]);
    drop(agent);
    let agent = Agent::open(dir.path());
    let taken = agent.take_on(&Arc::new(settled(9, Some(5)))).await;
    assert_eq!(taken.copy, CopyState::Lost(copy(5)), "it was here, and was dropped");
    assert_eq!(agent.tablets.lost(), [(tablet(), copy(5))]);
    let again = Arc::new(settled(10, Some(10)));
    assert_eq!(agent.take_on(&again).await.copy, CopyState::Here(copy(10)), "a later one is new");
}

/// What happens to an agent's row store while no process has it.
fn harm(path: &Path, harm: impl FnOnce(&sled::Db, &[u8])) {
    let rows = sled::Config::new().path(path.join("rows")).segment_size(2 << 20).open();
    let rows = rows.expect("the store is closed");
    let name = rows.tree_names().into_iter().find(|name| name.starts_with(b"t/"));
    harm(&rows, &name.expect("one copy"));
    rows.flush().expect("the disk works");
}

fn drop_tree(rows: &sled::Db, name: &[u8]) {
    assert!(rows.drop_tree(name).expect("the disk works"));
}

fn spoil_record(rows: &sled::Db, name: &[u8]) {
    let copy = rows.open_tree(name).expect("it is there");
    assert!(copy.insert(b"mrecord", b"spoilt").expect("the disk works").is_some());
}

#[tokio::test]
async fn a_copy_that_is_gone_or_damaged_is_lost_at_its_first_version_and_at_later_ones() {
    for harmed in [drop_tree, spoil_record] {
        for later in [5, 6, 9] {
            let dir = tempfile::tempdir().expect("a directory");
            let agent = Agent::open(dir.path());
            let first = agent.take_on(&Arc::new(settled(5, Some(5)))).await;
            assert_eq!(first.copy, CopyState::Here(copy(5)));
            drop(agent);
            harm(dir.path(), harmed);

            let agent = Agent::open(dir.path());
            assert!(agent.at(5).is_err(), "nothing is answered before it is reported");
            let taken = agent.take_on(&Arc::new(settled(later, Some(5)))).await;
            assert_eq!(taken.copy, CopyState::Lost(copy(5)), "writes may have been acknowledged");
            assert!(matches!(agent.at(later), Err(Refused::Lost(_))));
        }
    }
}

#[tokio::test]
async fn a_copy_whose_mark_a_crash_kept_from_the_disk_is_marked_when_it_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    agent.take_on(&Arc::new(settled(5, Some(5)))).await;
    drop(agent);
    harm(dir.path(), |rows, _| {
        let floors = rows.open_tree("floors").expect("it is there");
        let mark = floors.remove(tablet().as_u64().to_be_bytes()).expect("the disk works");
        assert!(mark.is_some());
    });
    drop(Agent::open(dir.path()));
    harm(dir.path(), drop_tree);
    let agent = Agent::open(dir.path());
    let taken = agent.take_on(&Arc::new(settled(6, Some(5)))).await;
    assert_eq!(taken.copy, CopyState::Lost(copy(5)));
}

#[tokio::test]
async fn a_full_state_ends_what_it_does_not_list_up_to_its_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let mut other = settled(8, Some(8));
    other.tablet = numbered(8);
    let other = Arc::new(other);
    agent.take_on(&other).await;
    let done = agent.tablets.full_state(version(7), &[], node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").dropped, [(tablet(), copy(5))]);
    assert_eq!(agent.store.copies(), [(numbered(8), copy(8))], "its floor is above the state's");
    assert!(agent.enter(session(1)).is_err());
    drop(agent);

    let agent = Agent::open(dir.path());
    for stale in [moving(5, 5, Stage::AllowWriteBothReadOld, None), settled(6, Some(6))] {
        let refused = agent.tablets.take_on(&Arc::new(stale), node(OWN)).await;
        assert!(matches!(refused, Err(StepError::Stale(_))), "the state's version is its floor");
    }
    let done = agent.tablets.full_state(version(9), &[other], node(OWN), Unlisted::SetAside).await;
    assert_eq!(done.expect("the disk works").taken.len(), 1);
    let done = agent.tablets.full_state(version(10), &[], node(OWN), Unlisted::SetAside).await;
    assert_eq!(done.expect("the disk works").set_aside, [(numbered(8), copy(8))]);
    assert!(agent.tablets.version_guard(numbered(8), version(8)).is_err(), "nothing is served");
    drop(agent);

    // It is nobody's from then on: no later full state drops it, and nothing takes it for a copy.
    let agent = Agent::open(dir.path());
    let done = agent.tablets.full_state(version(11), &[], node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").dropped, []);
    assert_eq!(agent.store.copies(), []);
    assert_eq!(agent.store.aside(), [(numbered(8), copy(8))]);
    assert_eq!(agent.store.highest_floor(), version(11));
    let (request, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(agent.store.drop_aside(numbered(8), copy(9), request), Ok(Dropped::NotThere));
    assert_eq!(agent.store.drop_aside(numbered(8), copy(8), request), Ok(Dropped::Done));
    let another = agent.store.drop_aside(numbered(9), copy(9), request);
    assert_eq!(another, Ok(Dropped::AnotherBefore), "one request, one copy");
    assert_eq!(
        agent.store.drop_aside(numbered(8), copy(8), request),
        Ok(Dropped::Done),
        "done before"
    );
    assert_eq!(
        agent.store.drop_aside(numbered(8), copy(8), other),
        Ok(Dropped::NotThere),
        "it is gone"
    );
    assert_eq!(agent.store.aside(), []);
    let durable = agent.store.durable();
    durable.wait().await.expect("the disk works");
    drop(agent);
    let agent = Agent::open(dir.path());
    assert_eq!(
        agent.store.drop_aside(numbered(8), copy(8), request),
        Ok(Dropped::Done),
        "once and for all"
    );
    assert_eq!(agent.store.aside(), []);
}

#[tokio::test]
async fn a_replica_promises_the_lesser_of_t_and_its_clock_and_never_less_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    agent.take_on(&Arc::new(settled(1, Some(1)))).await;
    let far = agent.take_on(&Arc::new(repairing(2, Stage::OpenRepair, Some(1), u64::MAX))).await;
    assert!(far.promise <= agent.clock.now() && far.promise.0 > 0, "bounded by its clock");
    let less = agent.take_on(&Arc::new(repairing(3, Stage::OpenRepair, Some(2), 5))).await;
    assert_eq!(less.promise, far.promise);
    drop(agent);
    let agent = Agent::open(dir.path());
    let after = agent.take_on(&Arc::new(settled(4, Some(1)))).await;
    assert_eq!(after.promise, far.promise);
    let guard = agent.at(4).expect("current");
    let behind = agent.store.put(&guard, b"k", &row(far.promise.0, Some(b"v")));
    assert!(matches!(behind, Err(palisade_replica::store::DataError::TimestampBehind(_))));
    assert!(agent.store.put(&guard, b"k", &row(far.promise.0 + 1, Some(b"v"))).is_ok());
}

#[tokio::test]
async fn a_lease_that_runs_out_fires_guards_and_admits_none_and_may_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = receiving(dir.path()).await;
    let guard = agent.enter(session(1)).expect("open");
    let token = guard.token();
    agent.lease.give_up();
    agent.sessions.fire_all();
    assert!(token.is_cancelled() && guard.token().is_cancelled());
    assert_eq!(guard.check(), Err(Revoked::LeaseExpired));
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::NodeFenced));
    assert!(agent.at(6).is_ok(), "data requests go on");
    agent.lease.take_up();
    assert_eq!(agent.enter(session(1)).err(), Some(EnterError::LeaseExpired));
    agent.lease.renewed(TERMS, palisade_replica::lease::now());
    let again = agent.enter(session(1)).expect("the session was not closed");
    assert_eq!((again.check(), again.token().is_cancelled()), (Ok(()), false));
    assert_eq!(guard.check(), Err(Revoked::LeaseExpired), "an old guard stays fired");
}

#[tokio::test]
async fn many_tablets_are_taken_on_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Agent::open(dir.path());
    let records: Vec<_> = (10..110)
        .map(|id| {
            let mut record = settled(3, Some(3));
            record.tablet = numbered(id);
            Arc::new(record)
        })
        .collect();
    let done = agent.tablets.full_state(version(3), &records, node(OWN), Unlisted::Drop).await;
    assert_eq!(done.expect("the disk works").taken.len(), 100);
    drop(agent);
    let agent = Agent::open(dir.path());
    assert_eq!(agent.tablets.records().len(), 100);
}
