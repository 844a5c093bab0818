//! The edges of the stage table: each that is in it is taken, each other one is refused.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Advance, Rejected};
use migrations::evidence::{Evidence, FailureReason};
use migrations::problem::{Field, Problem};
use migrations::stage::{SessionOnEdge, Stage, TransitionKind, WayBack, Writes, session_on_edge};
use migrations::tablet::{EndReason, Ending};

/// Whether the table has the edge; `None` is the end.
fn is_in_table(from: Stage, to: Option<Stage>) -> bool {
    match to {
        Some(to) => from.has_edge(to),
        None => from.on_success().is_none(),
    }
}

#[test]
fn every_edge_of_the_table_is_taken_and_every_other_refused() {
    let id = tablet(1);
    for from in Stage::ALL {
        let cluster = Cluster::in_stage(from);
        for to in Stage::ALL.into_iter().map(Some).chain([None]) {
            let mut cluster = cluster.clone();
            let opens = to.is_some_and(|to| session_on_edge(from, to) == SessionOnEdge::OpenFresh);
            let opened = opens.then(|| cluster.session());
            let evidence = cluster.evidence(id);
            let is_forward = from.on_success() == to;
            let reason = (!is_forward).then_some(EndReason::Cancelled);
            let expected = cluster.expected(id);
            let advance = Advance { expected, to, opened, evidence, reason, failure: None };
            let outcome = cluster.advance(advance);
            assert_eq!(outcome.is_ok(), is_in_table(from, to), "{from} to {to:?}: {outcome:?}");
            if let Err(why) = outcome {
                assert_eq!(why, Rejected::IllegalEdge { from, to });
            } else if let Some(to) = to {
                assert_eq!(cluster.stage(id), Some(to));
            }
        }
    }
}

#[test]
fn an_edge_brings_a_session_exactly_where_the_table_says_so() {
    let id = tablet(1);
    for from in Stage::ALL {
        let cluster = Cluster::in_stage(from);
        for to in Stage::ALL.into_iter().filter(|to| from.has_edge(*to)) {
            let mut cluster = cluster.clone();
            let opens = session_on_edge(from, to) == SessionOnEdge::OpenFresh;
            // The other way round than it has to be.
            let opened = (!opens).then(|| cluster.session());
            let (expected, evidence) = (cluster.expected(id), cluster.evidence(id));
            let reason = Some(EndReason::Cancelled).filter(|_| from.on_success() != Some(to));
            let advance =
                Advance { expected, to: Some(to), opened, evidence, reason, failure: None };
            let why = Rejected::IllegalEdge { from, to: Some(to) };
            assert_eq!(cluster.advance(advance), Err(why), "{from} to {to}");
        }
    }
}

#[test]
fn a_new_attempt_takes_no_session_that_is_open() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let open = cluster.transition(id).record.session.expect("open in streaming");
    let mut retry = cluster.retry_command(id);
    retry.opened = Some(open);
    assert_eq!(cluster.advance(retry), Err(Rejected::SessionInUse(open)));
    cluster.retry(id).expect("with a fresh one");
    assert_eq!(cluster.transition(id).record.attempt, 2);
    assert_ne!(cluster.transition(id).record.session, Some(open));
}

#[test]
fn the_session_is_kept_on_one_edge_and_cleared_on_all_that_lead_out() {
    let id = tablet(1);
    for stage in [Stage::WriteBothReadOld, Stage::OpenRepair] {
        let mut cluster = Cluster::in_stage(stage);
        let session = cluster.transition(id).record.session;
        assert!(session.is_some());
        cluster.forward(id).expect("an edge");
        assert_eq!(cluster.transition(id).record.session, session);
        cluster.forward(id).expect("an edge");
        assert_eq!(cluster.transition(id).record.session, None);
        assert!(!cluster.topology.has_session(session.expect("was open")));
    }
}

#[test]
fn a_way_back_needs_a_reason() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        // From `repair` both ways lead to `end_repair`; without a reason it is the way forward.
        if !matches!(stage.way_back(), WayBack::To(_)) || stage == Stage::Repair {
            continue;
        }
        let mut back = cluster.back_command(id);
        back.reason = None;
        let why = Rejected::InvalidField { field: Field::Reason, problem: Problem::Missing };
        assert_eq!(cluster.advance(back), Err(why), "{stage}");
    }
}

#[test]
fn a_reason_does_not_replace_evidence_on_the_way_forward() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        if stage == Stage::Repair {
            continue;
        }
        let mut forward = cluster.forward_command(id);
        forward.evidence = Evidence::default();
        forward.reason = Some(EndReason::Failed(FailureReason::DiskFull));
        assert!(cluster.advance(forward).is_err(), "{stage}");
        assert_eq!(cluster.stage(id), Some(stage));
    }
}

#[test]
fn a_repair_that_runs_out_of_tries_or_is_cancelled_ends_without_reports() {
    let id = tablet(1);
    for stage in [Stage::OpenRepair, Stage::Repair] {
        for is_cancelled in [false, true] {
            let mut cluster = Cluster::in_stage(stage);
            if is_cancelled {
                cluster.cancel(id).expect("before its end");
            }
            cluster.back(id).expect("the table has this way back");
            assert_eq!(cluster.stage(id), Some(Stage::EndRepair), "{stage}");
            cluster.forward(id).expect("its barrier has returned");
            let finished = cluster.topology.state().finished.back().expect("kept");
            let ending = if is_cancelled { Ending::Cancelled } else { Ending::Reverted };
            assert_eq!(finished.ending, ending);
            assert!(finished.reason.is_some());
            assert_eq!(cluster.topology.tablet(id).expect("there").promise.0, 0);
        }
    }
}

#[test]
fn every_kind_ends_with_the_set_it_was_started_for() {
    use TransitionKind::{AddReplica, Migrate, Rebuild, RemoveReplica, Repair};
    let id = tablet(1);
    let cases: [(TransitionKind, &[u64]); 5] = [
        (Migrate, &[2, 3, 4]),
        (AddReplica, &[1, 2, 3, 4]),
        (RemoveReplica, &[2, 3]),
        (Rebuild, &[2, 3, 4]),
        (Repair, &[1, 2, 3]),
    ];
    for (kind, wanted) in cases {
        let mut cluster = Cluster::new(5, 3, 1);
        if kind == Rebuild {
            cluster.fence(1).expect("admitted");
        }
        cluster.start(id, kind, [1, 4]).expect("at rest");
        cluster.forward_to_end(id);
        let found = cluster.topology.tablet(id).expect("there");
        let nodes: Vec<_> = found.replicas.nodes().collect();
        assert_eq!(nodes, wanted.iter().map(|n| node(*n)).collect::<Vec<_>>(), "{kind}");
        let finished = cluster.topology.state().finished.back().expect("kept");
        assert_eq!((finished.ending, finished.reason), (Ending::Done, None), "{kind}");
    }
}

/// What INV-9 stands on: whoever goes by the version before a step and whoever goes by the one
/// after it still meet, since either reads or writes are where they were.
#[test]
fn reads_and_writes_never_flip_in_the_same_step() {
    for from in Stage::ALL.into_iter().filter(|from| *from != Stage::Drop) {
        for to in Stage::ALL.into_iter().filter(|to| from.has_edge(*to)) {
            let reads_flip = from.reads() != to.reads();
            let writes_flip = from.writes() != to.writes();
            assert!(!(reads_flip && writes_flip), "{from} to {to}");
        }
        // At rest both sets are one: the last stage must write no other than it reads.
        assert!(from.on_success().is_some() || from.writes() != Writes::Both, "{from}");
    }
}

/// B7 and H16: up to `use_new` a cancel stops every way forward; from it on it comes too late.
#[test]
fn b7_cancel_in_each_stage() {
    let id = tablet(1);
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        let outcome = cluster.cancel(id);
        if stage.is_past_no_return() {
            assert_eq!(outcome, Err(Rejected::PastPointOfNoReturn), "{stage}");
            continue;
        }
        outcome.expect("before the point of no return");
        if matches!(stage.way_back(), WayBack::To(_)) {
            assert_eq!(cluster.forward(id), Err(Rejected::Ending), "{stage}");
            cluster.back(id).expect("the way back");
        }
        cluster.forward_to_end(id);
        let finished = cluster.topology.state().finished.back().expect("kept");
        assert_eq!(finished.ending, Ending::Cancelled, "{stage}");
        assert!(cluster.topology.tablet(id).expect("there").replicas.contains(node(1)));
    }
}

/// H16: the command that leads into `use_new` was made before the cancel, and comes after it.
#[test]
fn h16_a_cancel_just_before_use_new_wins() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::WriteBothReadNew);
    let use_new = cluster.forward_command(id);
    cluster.cancel(id).expect("not past it yet");
    assert!(matches!(cluster.advance(use_new), Err(Rejected::Moved { .. })));
    assert_eq!(cluster.forward(id), Err(Rejected::Ending));
    // In one entry too: the order within it decides.
    let mut cluster = Cluster::in_stage(Stage::WriteBothReadNew);
    let use_new = cluster.forward_command(id);
    let migration = cluster.transition(id).record.migration;
    let stamp = cluster.stamp();
    let change = migrations::command::Change::Cancel { migration };
    let cancel = migrations::command::Command::Change { stamp, change };
    let advance = migrations::command::Command::Advance(Box::new(use_new));
    let outcomes = cluster.apply_all(vec![cancel, advance]);
    assert!(outcomes[0].is_ok() && outcomes[1].is_err());
    assert_eq!(cluster.stage(id), Some(Stage::WriteBothReadNew));
}
