//! INV-10: commands that come late, twice, or from a leader that was deposed.

use super::cluster::{Cluster, tablet};
use migrations::command::{Command, Rejected};
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::{EndReason, Ending};

#[test]
fn a_command_that_comes_twice_takes_effect_once() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        let advance = cluster.forward_command(id);
        let outcomes = cluster.apply_all(vec![
            Command::Advance(Box::new(advance.clone())),
            Command::Advance(Box::new(advance.clone())),
        ]);
        assert!(outcomes[0].is_ok() && outcomes[1].is_err(), "{stage}");
        assert!(cluster.advance(advance).is_err(), "{stage}");
    }
}

/// F2: one leader drives a move, another fails the stage and closes the session, the first one
/// wins again: what it made before changes nothing, and the session is not opened again.
#[test]
fn f2_a_flap_does_not_reopen_a_session() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::WriteBothReadOld);
    let session = cluster.transition(id).record.session.expect("open");
    let from_before = cluster.forward_command(id);
    cluster.retry(id).expect("the other leader begins a new attempt");
    assert!(matches!(cluster.advance(from_before), Err(Rejected::Moved { .. })));
    assert!(!cluster.topology.has_session(session));
}

#[test]
fn each_field_that_a_command_expects_is_looked_at() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        let right = cluster.forward_command(id);
        let older = migrations::version::TopologyVersion::from_parts(0, 1);
        let other_stage = if stage == Stage::Streaming { Stage::Cleanup } else { Stage::Streaming };
        let mut wrong = vec![right.clone(); 5];
        wrong[0].expected.version = older;
        wrong[1].expected.migration = cluster.migration();
        wrong[2].expected.stage = other_stage;
        wrong[3].expected.session = match right.expected.session {
            Some(_) => None,
            None => Some(cluster.session()),
        };
        wrong[4].expected.attempt += 1;
        for advance in wrong {
            let outcome = cluster.advance(advance);
            assert!(matches!(outcome, Err(Rejected::Moved { .. })), "{stage}: {outcome:?}");
        }
        let mut elsewhere = right.clone();
        elsewhere.expected.tablet = tablet(99);
        let why = Rejected::NotInTransition(tablet(99));
        assert_eq!(cluster.advance(elsewhere), Err(why));
        cluster.advance(right).expect("nothing was changed by the others");
    }
}

#[test]
fn a_command_for_a_finished_transition_is_refused() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::EndMigration);
    let late = cluster.forward_command(id);
    cluster.forward(id).expect("its barrier has returned");
    assert_eq!(cluster.advance(late.clone()), Err(Rejected::NotInTransition(id)));
    cluster.start(id, TransitionKind::Migrate, [4, 1]).expect("at rest");
    assert!(matches!(cluster.advance(late), Err(Rejected::Moved { .. })));
}

#[test]
fn a_copy_number_is_kept_by_retries_and_never_given_again() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let pending = |cluster: &Cluster| cluster.topology.record(id).expect("there").pending();
    let first = pending(&cluster).expect("one is pending");
    cluster.retry(id).expect("a new attempt");
    assert_eq!(pending(&cluster), Some(first));
    cluster.back(id).expect("back");
    cluster.forward_to_end(id);
    let finished = cluster.topology.state().finished.back().expect("kept").clone();
    assert_eq!(finished.ending, Ending::Reverted);
    assert!(matches!(finished.reason, Some(EndReason::Failed(_))));
    cluster.start(id, TransitionKind::Migrate, [1, 4]).expect("at rest");
    let second = pending(&cluster).expect("one is pending");
    assert_eq!(second.node, first.node);
    assert!(second.copy > first.copy, "B2: a late drop order of the first never fits the second");
}
