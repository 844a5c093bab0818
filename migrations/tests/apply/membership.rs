//! Admission, fences and lost copies, and what they do to transitions in the same command.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Admit, Applied, Command, Rejected};
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::{EndReason, Ending};
use migrations::version::CopyId;

/// The shape of H17: whoever may take the pending replica's copy away takes the transition back
/// in the same command, from every stage before the point of no return.
#[test]
fn h17_a_fence_or_loss_of_the_pending_replica_takes_the_transition_back() {
    let id = tablet(1);
    let cases = [
        (Stage::AllowWriteBothReadOld, Stage::CleanupTarget),
        (Stage::WriteBothReadOld, Stage::CleanupTarget),
        (Stage::Streaming, Stage::CleanupTarget),
        (Stage::WriteBothReadNew, Stage::WriteBothReadOldFallback),
        (Stage::WriteBothReadOldFallback, Stage::WriteBothReadOldFallback),
        (Stage::CleanupTarget, Stage::CleanupTarget),
        (Stage::RevertMigration, Stage::RevertMigration),
    ];
    for (stage, back) in cases {
        for is_fence in [true, false] {
            let mut cluster = Cluster::in_stage(stage);
            let late = cluster.forward_command(id);
            let outcome = if is_fence { cluster.fence(4) } else { cluster.mark_lost(4, id) };
            outcome.expect("it was admitted");
            assert_eq!(cluster.stage(id), Some(back), "{stage}");
            assert!(cluster.transition(id).is_pending_lost);
            assert!(cluster.advance(late).is_err(), "what was gathered before counts no more");
            cluster.admit(4).expect("again");
            // At its admission it is not given the copy, once the way back has come so far.
            cluster.forward_until(id, Stage::RevertMigration);
            assert_eq!(cluster.topology.record(id).expect("there").given(node(4)), None);
            cluster.forward_to_end(id);
            let finished = cluster.topology.state().finished.back().expect("kept");
            assert_eq!(finished.ending, Ending::Reverted, "{stage}");
            assert!(finished.reason.is_some(), "{stage}");
        }
    }
}

#[test]
fn after_the_point_of_no_return_a_fence_changes_no_stage() {
    let id = tablet(1);
    for stage in [Stage::UseNew, Stage::Cleanup, Stage::EndMigration] {
        let mut cluster = Cluster::in_stage(stage);
        cluster.fence(4).expect("admitted");
        assert_eq!(cluster.stage(id), Some(stage));
        cluster.forward_to_end(id);
        assert!(cluster.topology.tablet(id).expect("there").replicas.contains(node(4)));
    }
}

/// Nothing of the earlier process counts: each open session that it took part in is a fresh one.
#[test]
fn an_admission_begins_open_sessions_anew() {
    let id = tablet(1);
    let cases = [
        (Stage::WriteBothReadOld, Stage::WriteBothReadOld),
        (Stage::Streaming, Stage::WriteBothReadOld),
        (Stage::OpenRepair, Stage::OpenRepair),
        (Stage::Repair, Stage::OpenRepair),
    ];
    for (stage, anew) in cases {
        for n in [1, 2] {
            let mut cluster = Cluster::in_stage(stage);
            let before = cluster.transition(id).record.clone();
            let outcome = cluster.admit(n);
            assert!(Cluster::admitted_as(&outcome).is_some());
            let after = cluster.transition(id).record.clone();
            assert_eq!(after.stage, anew);
            assert_eq!(after.attempt, before.attempt + 1);
            assert!(after.session.is_some() && after.session != before.session);
            assert!(after.streams.is_empty());
            cluster.forward_to_end(id);
        }
        // A bystander's admission is nothing to the tablet.
        let mut cluster = Cluster::in_stage(stage);
        let before = cluster.transition(id).record.clone();
        cluster.admit(5).expect("it proves that its earlier process is gone");
        assert_eq!(cluster.transition(id).record, before);
    }
}

#[test]
fn an_admission_without_a_fresh_session_is_refused() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let mut admit = cluster.admission(1);
    admit.fresh.clear();
    let outcome = cluster.apply(Command::Admit(Box::new(admit.clone())));
    assert_eq!(outcome, Err(Rejected::FreshSessionMissing(id)));
    let open = cluster.transition(id).record.session.expect("open");
    admit.fresh.insert(id, open);
    let outcome = cluster.apply(Command::Admit(Box::new(admit)));
    assert_eq!(outcome, Err(Rejected::SessionInUse(open)));
}

#[test]
fn two_tablets_do_not_share_a_fresh_session() {
    let mut cluster = Cluster::new(4, 3, 2);
    for id in [tablet(1), tablet(2)] {
        cluster.start(id, TransitionKind::Repair, [0, 0]).expect("at rest");
    }
    let mut admit = cluster.admission(1);
    let one = admit.fresh[&tablet(1)];
    admit.fresh.insert(tablet(2), one);
    let outcome = cluster.apply(Command::Admit(Box::new(admit)));
    assert_eq!(outcome, Err(Rejected::SessionInUse(one)));
}

/// H3: a copied directory, a second process, an older copy of the directory.
#[test]
fn h3_a_directory_that_is_not_the_newest_is_refused() {
    let refused = |spoil: &dyn Fn(&mut migrations::command::Admit)| {
        let mut cluster = Cluster::new(3, 3, 1);
        let mut admit = cluster.admission(2);
        spoil(&mut admit);
        cluster.apply(Command::Admit(Box::new(admit)))
    };
    assert_eq!(refused(&|a| a.known_incarnation = None), Err(Rejected::NodeMismatch));
    assert_eq!(
        refused(&|a| a.known_incarnation =
            Some(migrations::version::Incarnation(migrations::version::TopologyVersion::ZERO))),
        Err(Rejected::NodeMismatch)
    );
    let other = migrations::id::DirectoryId::from_uuid(uuid::Uuid::from_u128(5)).expect("not nil");
    assert_eq!(refused(&|a| a.directory = other), Err(Rejected::NodeMismatch));
    assert_eq!(refused(&|a| a.name = "other".into()), Err(Rejected::NodeMismatch));
    for spoil in [
        (|a| a.process.boot = "later".into()) as fn(&mut migrations::command::Admit),
        |a| a.process.lock_inode += 1,
        |a| a.process.lock_device += 1,
    ] {
        assert_eq!(refused(&spoil), Err(Rejected::NodeNotFenced(node(2))));
    }
}

#[test]
fn a_process_without_proof_is_admitted_after_the_fence() {
    let mut cluster = Cluster::new(3, 3, 1);
    let mut admit = cluster.admission(2);
    admit.process.boot = "later".into();
    let command = Command::Admit(Box::new(admit));
    assert_eq!(cluster.apply(command.clone()), Err(Rejected::NodeNotFenced(node(2))));
    cluster.fence(2).expect("admitted");
    cluster.apply(command).expect("fenced before");
    let found = cluster.topology.node(node(2)).expect("there");
    assert!(!found.is_fenced && found.is_repair_owed);
}

/// An answer to a request for admission is lost: the token in the directory shows it the newest.
#[test]
fn an_admission_whose_answer_was_lost_is_repeated_by_its_token() {
    let mut cluster = Cluster::new(3, 3, 1);
    let mut lost = cluster.admission(2);
    let known = lost.known_incarnation;
    let first = Cluster::admitted_as(&cluster.apply(Command::Admit(Box::new(lost.clone()))));
    let held = lost.token;
    lost = cluster.admission(2);
    lost.known_incarnation = known;
    let again = Command::Admit(Box::new(lost.clone()));
    assert_eq!(cluster.apply(again), Err(Rejected::NodeMismatch));
    lost.held_tokens.push(held);
    let second = Cluster::admitted_as(&cluster.apply(Command::Admit(Box::new(lost))));
    assert!(first.is_some() && second > first, "an incarnation is never the same twice");
}

/// The same when both requests travel in one entry: one version makes one incarnation of a node.
#[test]
fn two_admissions_of_a_node_in_one_entry_are_not_one_incarnation() {
    let mut cluster = Cluster::new(3, 3, 1);
    let first = cluster.admission(2);
    let mut second = cluster.admission(2);
    second.held_tokens.push(first.token);
    let outcomes =
        cluster.apply_all(vec![Command::Admit(Box::new(first)), Command::Admit(Box::new(second))]);
    let incarnations: Vec<_> = outcomes.iter().filter_map(Cluster::admitted_as).collect();
    assert!(incarnations.len() < 2 || incarnations[0] != incarnations[1], "{outcomes:?}");
}

#[test]
fn a_fence_is_of_one_incarnation() {
    let mut cluster = Cluster::new(3, 3, 1);
    let late = Command::Fence { node: node(2), incarnation: cluster.incarnation(2) };
    cluster.admit(2).expect("it proves that its earlier process is gone");
    assert_eq!(cluster.apply(late), Err(Rejected::NodeFenced(node(2))));
    assert!(!cluster.topology.node(node(2)).expect("there").is_fenced);
}

#[test]
fn a_loss_is_of_one_copy_said_by_its_admitted_holder() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let copy = CopyId(migrations::version::TopologyVersion::ZERO);
    let version = cluster.version(id);
    let incarnation = cluster.incarnation(4);
    let mark = |incarnation, copy| Command::MarkLost {
        node: node(4),
        incarnation,
        copies: vec![(id, copy)],
    };
    assert_eq!(cluster.apply(mark(incarnation, copy)), Ok(Applied::Done));
    assert_eq!(cluster.version(id), version, "another copy than the one it has");
    let held = cluster.topology.record(id).expect("there").pending().expect("pending").copy;
    let other = migrations::version::Incarnation(migrations::version::TopologyVersion::ZERO);
    assert_eq!(cluster.apply(mark(other, held)), Err(Rejected::NodeFenced(node(4))));
    cluster.apply(mark(incarnation, held)).expect("its own");
    assert_eq!(cluster.transition(id).reason, Some(EndReason::ReplicaLost(node(4))));
}

/// H18: a remaining replica of a removal dies in `write_both_read_new`.
#[test]
fn h18_no_step_into_a_set_without_a_live_majority() {
    let id = tablet(1);
    let mut cluster = Cluster::new(3, 3, 1);
    cluster.start(id, TransitionKind::RemoveReplica, [1, 0]).expect("at rest");
    cluster.forward_until(id, Stage::WriteBothReadNew);
    cluster.fence(2).expect("admitted");
    assert_eq!(cluster.forward(id), Err(Rejected::NoLiveMajority));
    cluster.back(id).expect("the way back");
    cluster.forward_to_end(id);
    assert_eq!(cluster.topology.tablet(id).expect("there").replicas.len(), 3);
}

/// Whoever is left out of the sources must contain no majority of old.
#[test]
fn sources_are_enough_or_there_are_none() {
    let id = tablet(1);
    for rf in 1..=5u64 {
        for dead in 0..rf {
            let mut cluster = Cluster::new(rf + 1, rf, 1);
            cluster.start(id, TransitionKind::Migrate, [1, rf + 1]).expect("at rest");
            cluster.forward_until(id, Stage::WriteBothReadOld);
            for n in 1..=dead {
                cluster.mark_lost(n, id).expect("admitted");
            }
            let outcome = cluster.forward(id);
            // With the leaving one alive, it alone is the source, whatever the others are.
            let left_out = dead;
            let is_refused_here = left_out * 2 > rf;
            let live_new = rf - dead.saturating_sub(1);
            let expected = if live_new * 2 <= rf {
                Err(Rejected::NoLiveMajority)
            } else if is_refused_here {
                Err(Rejected::NoSources)
            } else {
                Ok(Applied::Done)
            };
            assert_eq!(outcome, expected, "RF {rf}, {dead} lost");
            if outcome.is_ok() {
                let sources = cluster.transition(id).record.streams.len() as u64;
                assert_eq!(sources, if dead == 0 { 1 } else { rf - dead });
            }
        }
    }
}

/// G6 and H20: every remaining replica merges in what the leaving one holds, a fenced one too.
#[test]
fn h20_a_removal_streams_to_all_that_remain_and_waits_for_the_fenced() {
    let id = tablet(1);
    let mut cluster = Cluster::new(5, 5, 1);
    cluster.start(id, TransitionKind::RemoveReplica, [1, 0]).expect("at rest");
    cluster.forward_until(id, Stage::WriteBothReadOld);
    let mut healthy = cluster.clone();
    healthy.forward(id).expect("all are there");
    let pairs: Vec<_> = healthy.transition(id).record.streams.clone();
    assert_eq!(pairs.len(), 4);
    assert!(pairs.iter().all(|pair| pair.source == node(1)));
    cluster.fence(5).expect("admitted");
    assert_eq!(cluster.forward(id), Err(Rejected::ReceiverFenced(node(5))));
    cluster.admit(5).expect("fenced before");
    cluster.forward(id).expect("all are there again");
    assert_eq!(cluster.transition(id).record.streams, pairs);
}

/// A directory is copied after its newest admission, goes on, and the copy is put back: it has the
/// incarnation and its token, and lower floors than those that a transition has gone on by.
#[test]
fn a_directory_whose_floors_have_fallen_is_refused() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::UseNew);
    let copied = cluster.version(id);
    cluster.forward_to_end(id);
    cluster.fence(4).expect("admitted");
    let known = cluster.topology.node(node(4)).expect("there");
    let acknowledged = known.acknowledged;
    assert!(acknowledged > copied, "the end of the migration");
    let mut asking = cluster.admission(4);
    let mut asks = |cluster: &mut Cluster, floor| {
        asking.highest_floor = Some(floor);
        cluster.apply(Command::Admit(Box::new(asking.clone())))
    };
    assert_eq!(asks(&mut cluster, copied), Err(Rejected::NodeMismatch));
    let admitted = asks(&mut cluster, acknowledged);
    assert!(Cluster::admitted_as(&admitted).is_some(), "{admitted:?}");
    let now = cluster.topology.node(node(4)).expect("there");
    assert_eq!(now.acknowledged, acknowledged, "what is known of a node outlives its processes");
}

/// Nobody who is admitted is left behind: the level rises once all of them can read it, and who
/// can't is not admitted from then on.
#[test]
fn the_feature_level_rises_with_the_last_node_and_older_builds_stay_out() {
    let mut cluster = Cluster::empty();
    let of_level = |cluster: &mut Cluster, n, feature_level| {
        let admit = Admit { feature_level, ..cluster.admission(n) };
        cluster.apply(Command::Admit(Box::new(admit)))
    };
    let level = |cluster: &Cluster| cluster.topology.state().feature_level;
    let first = level(&cluster);
    let next = first + 1;
    of_level(&mut cluster, 1, next).expect("admitted");
    of_level(&mut cluster, 2, first).expect("admitted");
    let raise = Command::Raise { level: next };
    assert_eq!(cluster.apply(raise.clone()), Err(Rejected::UpgradeRequired(next)));
    assert_eq!(level(&cluster), first);
    cluster.fence(2).expect("it was admitted");
    assert_eq!(cluster.apply(raise.clone()), Ok(Applied::Done), "who is out is not asked");
    assert_eq!(level(&cluster), next);
    let stays_out = of_level(&mut cluster, 2, first);
    assert_eq!(stays_out, Err(Rejected::UpgradeRequired(next)));
    of_level(&mut cluster, 2, next).expect("of the new build");
    assert_eq!(cluster.apply(Command::Raise { level: first }), Ok(Applied::Done));
    assert_eq!(level(&cluster), next, "it never falls");
    assert_eq!(cluster.apply(raise), Ok(Applied::Done));
}
