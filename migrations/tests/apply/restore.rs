//! A restored state: of a new cluster and era, with nobody admitted and no old session open; and
//! who is taken for the node that it was. The shape of H2.

use super::cluster::{Cluster, node, tablet};
use super::driver::{Leader, proposals};
use migrations::command::{Command, Rejected};
use migrations::driver::Event;
use migrations::id::{ClusterId, RequestId, SessionId};
use migrations::lease::Instant;
use migrations::restore::{NotRestored, Restoration, new_era, restore, sessions_of, turned_back};
use migrations::stage::Stage;
use migrations::state::State;
use migrations::tablet::{EndReason, Ending};
use migrations::topology::Topology;
use migrations::version::{Incarnation, TopologyVersion};
use uuid::Uuid;

const ERA: u32 = 1_790_000_000;

fn request(n: u128) -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(n)).expect("not nil")
}

fn restoration(cluster: &mut Cluster, era: u32) -> Restoration {
    let open = sessions_of(cluster.topology.state());
    Restoration {
        cluster: ClusterId::from_uuid(cluster.draw()).expect("not nil"),
        era,
        horizon: request(0x5000),
        sessions: open.into_iter().map(|id| (id, cluster.session())).collect(),
        now_ms: 5,
    }
}

/// The cluster that a restore of its state makes.
fn restored(cluster: &mut Cluster, era: u32) -> Cluster {
    let restoration = restoration(cluster, era);
    let state = restore(cluster.topology.state().clone(), &restoration).expect("it is whole");
    let mut new = cluster.clone();
    new.topology = Topology::from_state(state).expect("its invariants hold");
    new
}

/// Nobody is admitted, everything is of the new era, and whatever has a session is at the
/// beginning of an attempt with another one.
#[test]
fn h2_nothing_of_the_old_cluster_goes_on_in_any_stage() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut old = Cluster::in_stage(stage);
        let before = old.transition(id).record.clone();
        let new = restored(&mut old, ERA);
        let state = new.topology.state();
        assert_ne!(state.cluster, old.topology.state().cluster);
        assert!(state.nodes.values().all(|node| node.admitted().is_none()), "{stage}");
        assert_eq!(new.version(id), TopologyVersion::from_parts(ERA, 1), "{stage}");
        let after = new.transition(id).record.clone();
        match before.session {
            None => assert_eq!((after.stage, after.session), (stage, None)),
            Some(session) => {
                assert_eq!(Some(after.stage), stage.retry_from(), "{stage}");
                assert!(after.session.is_some_and(|fresh| fresh != session), "{stage}");
                assert_eq!(after.attempt, before.attempt + 1, "{stage}");
                assert!(after.streams.is_empty(), "{stage}");
            }
        }
    }
}

/// Ids, incarnations and copies that are made after a restore were never made before it, however
/// often the same state is restored.
#[test]
fn h2_no_number_is_made_twice() {
    let mut old = Cluster::new(4, 3, 2);
    let mut numbers = std::collections::BTreeSet::new();
    for era in [ERA, ERA + 1] {
        let mut new = restored(&mut old, era);
        new.admit(5).expect("a new node");
        let (made, _) = new.topology.node_named("n5").expect("there");
        let incarnation = new.topology.node(made).expect("there").incarnation;
        assert!(numbers.insert((made.as_u64(), incarnation)), "{era}");
        assert_eq!(incarnation.0.era(), era);
    }
    old.admit(5).expect("a new node");
    assert!(numbers.insert((5, old.incarnation(5))), "the old cluster goes on for itself");
}

#[test]
fn the_era_is_above_the_saved_one_and_not_before_its_time() {
    let mut state = State::default();
    let era = |state: &State, seconds: u64, asked| new_era(state, seconds * 1_000, asked);
    assert_eq!(era(&state, 1_790_000_000, None), Ok(1_790_000_000));
    state.version = TopologyVersion::from_parts(1_800_000_000, 9);
    assert_eq!(era(&state, 1_790_000_000, None), Ok(1_800_000_001));
    assert_eq!(era(&state, 0, Some(1_900_000_000)), Ok(1_900_000_000));
    let (asked, least) = (1_800_000_000, 1_800_000_001);
    assert_eq!(era(&state, 0, Some(asked)), Err(NotRestored::EraTooLow { asked, least }));
    // Above the saved one, and of a time that is over: another restore may have had it.
    let (asked, least) = (1_800_000_002, 1_900_000_000);
    let before = era(&state, 1_900_000_000, Some(asked));
    assert_eq!(before, Err(NotRestored::EraTooLow { asked, least }));
    assert_eq!(era(&state, 1_900_000_000, Some(least)), Ok(least));
    state.version = TopologyVersion::from_parts(u32::MAX, 9);
    assert_eq!(era(&state, 0, None), Err(NotRestored::NoEraLeft(u32::MAX)));
}

#[test]
fn what_is_not_fit_is_not_restored() {
    let mut old = Cluster::in_stage(Stage::Streaming);
    let state = old.topology.state().clone();
    let fit = restoration(&mut old, ERA);
    let refused = |change: &dyn Fn(&mut Restoration, &mut State)| {
        let (mut restoration, mut state) = (fit.clone(), state.clone());
        change(&mut restoration, &mut state);
        restore(state, &restoration).expect_err("it is not fit")
    };
    let low = refused(&|restoration, _| restoration.era = 0);
    assert_eq!(low, NotRestored::EraTooLow { asked: 0, least: 1 });
    assert_eq!(refused(&|_, state| state.cluster = None), NotRestored::NoCluster);
    let same = refused(&|restoration, state| {
        restoration.cluster = state.cluster.expect("it has one");
    });
    assert_eq!(same, NotRestored::SameCluster);
    let missing = NotRestored::SessionMissing(tablet(1));
    assert_eq!(refused(&|restoration, _| restoration.sessions.clear()), missing);
    let open: SessionId = old.transition(tablet(1)).record.session.expect("open");
    let reused = refused(&|restoration, _| {
        restoration.sessions.insert(tablet(1), open);
    });
    assert_eq!(reused, missing, "an old session never opens again");
    let broken = refused(&|_, state| {
        let tablet = state.tablets.get_mut(&tablet(1)).expect("there");
        tablet.version = TopologyVersion::from_parts(0, u64::MAX);
    });
    assert!(matches!(broken, NotRestored::Broken(_)), "{broken}");
}

/// A request that took effect before the restore, and after what was saved, is not done again.
#[test]
fn requests_from_before_the_restore_are_not_done_again() {
    use migrations::command::Change;
    let mut old = Cluster::new(4, 3, 1);
    let remembered = old.stamp();
    let change = Change::Pause { reason: "a switch is replaced".into() };
    let paused = Command::Change { stamp: remembered.clone(), change: change.clone() };
    let outcome = old.apply(paused.clone());
    let mut new = restored(&mut old, ERA);
    assert_eq!(new.apply(paused), outcome, "it was saved with the state");
    let forgotten = migrations::request::RequestStamp { id: request(0x4fff), ..remembered.clone() };
    let again = Command::Change { stamp: forgotten, change: change.clone() };
    assert_eq!(new.apply(again), Err(Rejected::RequestIdExpired));
    let later = migrations::request::RequestStamp { id: request(0x5001), ..remembered };
    assert!(new.apply(Command::Change { stamp: later, change }).is_ok());
}

/// Whoever comes over is the node that it was, with all that it learned since; an old copy of its
/// directory is not. From its admission on it is known by that alone.
#[test]
fn nodes_are_known_again_once() {
    let mut old = Cluster::new(4, 3, 1);
    let saved = old.clone();
    let first = old.incarnation(2);
    old.fence(2).expect("admitted");
    old.admit(2).expect("again");
    let learned = old.incarnation(2);
    assert!(learned > first);

    let mut new = restored(&mut saved.clone(), ERA);
    let mut stale = new.admission(2);
    stale.known_incarnation = Some(Incarnation(TopologyVersion::from_parts(0, 1)));
    assert_eq!(new.apply(Command::Admit(Box::new(stale))), Err(Rejected::NodeMismatch));
    let mut other = new.admission(2);
    other.known_incarnation = Some(Incarnation(TopologyVersion::from_parts(ERA, 40)));
    let twin = Command::Admit(Box::new(other));
    assert_eq!(new.apply(twin), Err(Rejected::NodeMismatch), "of another cluster of this era");
    let mut over = new.admission(2);
    over.known_incarnation = Some(learned);
    let over = Command::Admit(Box::new(over));
    assert!(new.apply(over.clone()).is_ok(), "what it learned after the state was saved");
    assert_eq!(new.incarnation(2).0.era(), ERA);
    assert!(new.topology.node(node(2)).expect("there").is_repair_owed);
    assert_eq!(new.apply(over), Err(Rejected::NodeMismatch), "a copy of its directory");
}

/// A node that came in after the state was saved is a new one; to the cluster itself it would be
/// one that was removed.
#[test]
fn a_node_that_the_state_does_not_know_is_new() {
    let mut old = Cluster::new(4, 3, 1);
    let mut new = restored(&mut old, ERA);
    let mut unknown = new.admission(9);
    unknown.known_incarnation = Some(Incarnation(TopologyVersion::from_parts(0, 7)));
    let command = Command::Admit(Box::new(unknown));
    assert_eq!(old.apply(command.clone()), Err(Rejected::NodeRemoved));
    assert!(new.apply(command).is_ok());
}

/// The new leader finds nobody admitted. What can still turn back does so; nothing else is decided
/// before its nodes have come over, and then everything ends.
#[test]
fn a_restored_migration_that_can_turn_back_does() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut old = Cluster::in_stage(stage);
        let mut new = restored(&mut old, ERA);
        let mut leader = Leader::new(&new);
        let effects = leader.handle(&new, Event::Tick(Instant(1_000_000_000)));
        let back = match stage {
            Stage::AllowWriteBothReadOld | Stage::WriteBothReadOld | Stage::Streaming => {
                Some(Stage::CleanupTarget)
            }
            Stage::WriteBothReadNew => Some(Stage::WriteBothReadOldFallback),
            _ => None,
        };
        assert_eq!(turned_back(old.topology.state()), usize::from(back.is_some()), "{stage}");
        let after = match stage {
            // Nodes that are out owe their drops, and are not waited for.
            Stage::Cleanup => Some(Stage::EndMigration),
            Stage::Drop => None,
            _ => back.or(new.stage(id)),
        };
        let is_moved = after != new.stage(id);
        let proposed = proposals(&effects);
        assert_eq!(proposed.len(), usize::from(is_moved), "{stage}: {proposed:?}");
        for command in proposed {
            new.apply(command.clone()).expect("an edge of the table");
        }
        assert_eq!(new.stage(id), after, "{stage}");
        for n in [5, 3, 4, 2, 1] {
            new.admit(n).expect("it comes over");
        }
        new.forward_to_end(id);
        if back.is_some() {
            let over = new.topology.state().finished.back().expect("it ended");
            let reason = Some(EndReason::NoLiveMajority);
            assert_eq!((over.ending, over.reason), (Ending::Reverted, reason), "{stage}");
        }
    }
}

/// A restored transition ends, once its nodes have come over.
#[test]
fn every_restored_transition_can_end() {
    for stage in Stage::ALL {
        let mut old = Cluster::in_stage(stage);
        let mut new = restored(&mut old, ERA);
        for n in 1..=5 {
            new.admit(n).expect("it comes over");
        }
        new.forward_to_end(tablet(1));
    }
}
