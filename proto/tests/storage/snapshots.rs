//! States there and back.

use super::cluster::eventful;
use super::examples::{outcomes, stamp, tablet};
use migrations::command::{Command, Rejected};
use migrations::evidence::FailureReason;
use migrations::problem::Field;
use migrations::state::State;
use migrations::switch::Origin;
use migrations::tablet::{EndReason, Ending, Transition};
use migrations::topology::Topology;
use proto::storage::{decode_snapshot, encode_snapshot};

#[test]
fn an_empty_state_comes_back() {
    let state = State::default();
    assert_eq!(decode_snapshot(&encode_snapshot(&state)), Ok(state));
}

#[test]
fn every_outcome_comes_back() {
    let mut state = State::default();
    for (n, outcome) in (1..).zip(outcomes()) {
        state.requests.remember(&stamp(n, "operator"), outcome);
    }
    assert_eq!(state.requests.remembered().len(), outcomes().len());
    assert_eq!(decode_snapshot(&encode_snapshot(&state)), Ok(state));
}

#[test]
fn an_eventful_state_comes_back() {
    let cluster = eventful();
    let state = cluster.topology.state();
    assert_is_eventful(state);
    assert_eq!(decode_snapshot(&encode_snapshot(state)).as_ref(), Ok(state));
}

/// Else the test above would show less than it says.
fn assert_is_eventful(state: &State) {
    let mut transitions = state.tablets.values().filter_map(|tablet| tablet.transition.as_deref());
    let all: Vec<&Transition> = transitions.by_ref().collect();
    assert!(all.iter().any(|t| t.is_pending_lost));
    assert!(all.iter().any(|t| t.is_fully_exchanged && t.promised.len() == 3));
    let failed = Some(EndReason::Failed(FailureReason::DiskFull));
    assert!(all.iter().any(|t| t.reason == failed));
    assert!(all.iter().any(|t| t.record.attempt == 2 && t.record.session.is_some()));
    assert!(all.iter().any(|t| !t.record.streams.is_empty()));
    let mut stages = all.iter().flat_map(|t| &t.stages);
    assert!(stages.clone().any(|stage| !stage.streams.is_empty()));
    assert!(stages.any(|stage| stage.failure == Some(FailureReason::PeerClosed)));
    for ending in [Ending::Done, Ending::Cancelled] {
        assert!(state.finished.iter().any(|finished| finished.ending == ending));
    }
    let lost = |id| state.tablets[&tablet(id)].replicas.iter().any(|replica| replica.lost);
    assert!(lost(1));
    assert!(state.tablets.values().any(|tablet| tablet.promise.0 == 400));
    assert!(state.tables.values().any(|table| table.is_dropping));
    assert!(state.nodes.values().any(|node| node.is_repair_owed));
    assert!(state.nodes.values().any(|node| node.is_fenced));
    assert!(state.nodes.values().any(|node| node.is_leaving));
    assert!(all.iter().any(|t| t.accepted_loss.is_some()));
    assert!(state.finished.iter().any(|finished| finished.accepted_loss.is_some()));
    assert!(state.requests.horizon().is_some());
    assert!(!state.requests.caller_horizons().is_empty());
    assert_eq!(state.balancing.len(), 3);
    assert!(state.pause.is_some());
    assert!(state.nodes.values().any(|node| node.drain.is_some()));
    assert!(all.iter().any(|t| t.origin == Origin::Balancer));
    assert!(state.finished.iter().any(|finished| finished.origin == Origin::Balancer));
    let refused = |why: fn(&Rejected) -> bool| {
        state.requests.remembered().values().any(|kept| kept.outcome.as_ref().is_err_and(why))
    };
    assert!(refused(|why| matches!(why, Rejected::InvalidField { field: Field::Name, .. })));
    assert!(refused(|why| matches!(why, Rejected::TabletBusy(_))));
}

/// What is derived from the state must come back too: the next commands do the same.
#[test]
fn a_restored_cluster_goes_on_as_the_other_one() {
    let mut cluster = eventful();
    let state = decode_snapshot(&encode_snapshot(cluster.topology.state())).expect("just written");
    let mut restored = eventful();
    restored.topology = Topology::from_state(state).expect("its invariants hold");
    for cluster in [&mut cluster, &mut restored] {
        let change = migrations::command::Change::Cancel {
            migration: cluster.topology.transition(tablet(5)).expect("runs").record.migration,
        };
        // Pushes out the least of the operator's own, which is derived from what is remembered.
        let stamp = stamp(0xffff, "operator");
        cluster.apply(Command::Change { stamp, change }).expect("not too late");
        cluster.forward_until(tablet(4), None);
    }
    assert_eq!(restored.topology.state(), cluster.topology.state());
}
