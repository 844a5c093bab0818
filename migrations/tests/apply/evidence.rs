//! INV-4: a stage is left only with what its barrier, streams and drop orders had to bring.

use super::cluster::{Cluster, node, tablet};
use migrations::barrier::silent_majority;
use migrations::command::Rejected;
use migrations::evidence::Evidence;
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::stage::{BarrierWhen, Stage, TransitionKind, Work};
use migrations::version::{CopyId, Incarnation, TopologyVersion};

/// The stages of a migration, a repair and a drop, each with full evidence, then spoiled.
fn refused(stage: Stage, spoil: impl FnOnce(&mut Cluster, &mut Evidence)) -> Rejected {
    let mut cluster = Cluster::in_stage(stage);
    let mut advance = cluster.forward_command(tablet(1));
    spoil(&mut cluster, &mut advance.evidence);
    match cluster.advance(advance) {
        Err(why) => why,
        Ok(_) => panic!("{stage} was left with spoiled evidence"),
    }
}

fn with_barrier() -> impl Iterator<Item = Stage> {
    Stage::ALL.into_iter().filter(|stage| stage.barrier() != BarrierWhen::Never)
}

#[test]
fn an_acknowledgement_of_another_version_counts_for_nothing() {
    for stage in with_barrier() {
        for counter in [1, 1_000] {
            let why = refused(stage, |_, evidence| {
                evidence.acknowledged[0].version = TopologyVersion::from_parts(0, counter);
            });
            assert_eq!(why, Rejected::EvidenceMissing(node(1)), "{stage}");
        }
    }
}

#[test]
fn an_acknowledgement_of_another_incarnation_counts_for_nothing() {
    for stage in with_barrier() {
        let why = refused(stage, |_, evidence| {
            evidence.acknowledged[0].incarnation = Incarnation(TopologyVersion::from_parts(0, 900));
        });
        assert_eq!(why, Rejected::EvidenceMissing(node(1)), "{stage}");
    }
}

#[test]
fn a_node_that_has_not_spoken_is_missing() {
    for stage in with_barrier() {
        let why = refused(stage, |_, evidence| {
            evidence.acknowledged.remove(1);
        });
        assert_eq!(why, Rejected::EvidenceMissing(node(2)), "{stage}");
    }
}

/// H9: an admission is committed between the last acknowledgement and the command.
#[test]
fn h9_a_node_admitted_meanwhile_makes_the_command_fall() {
    for stage in with_barrier() {
        let why = refused(stage, |cluster, _| {
            cluster.admit(2).expect("it proves that its earlier process is gone");
        });
        match stage.has_session() {
            true => assert!(matches!(why, Rejected::Moved { .. }), "{stage}: {why}"),
            false => assert_eq!(why, Rejected::EvidenceMissing(node(2)), "{stage}"),
        }
    }
}

/// The same after a fence: while it was out nobody had to ask it; now somebody has to.
#[test]
fn h9_a_fenced_node_that_comes_back_is_asked() {
    let id = tablet(1);
    for stage in with_barrier() {
        let mut cluster = Cluster::in_stage(stage);
        cluster.fence(3).expect("admitted");
        let without = cluster.forward_command(id);
        assert_eq!(without.evidence.acknowledged.iter().filter(|a| a.node == node(3)).count(), 0);
        let mut other = cluster.clone();
        other.advance(without.clone()).expect("a fenced one is not waited for");
        cluster.admit(3).expect("fenced before");
        assert!(cluster.advance(without).is_err(), "{stage}");
    }
}

#[test]
fn a_report_of_another_session_pair_or_incarnation_is_none() {
    for stage in [Stage::Streaming, Stage::Repair] {
        type Spoil = fn(&mut Cluster, &mut Evidence);
        let spoils: [Spoil; 5] = [
            |cluster, evidence| evidence.streams[0].session = cluster.session(),
            |_, evidence| evidence.streams[0].pair.source = node(5),
            |_, evidence| {
                evidence.streams[0].source_incarnation = Incarnation(TopologyVersion::ZERO);
            },
            |_, evidence| {
                evidence.streams[0].receiver_incarnation = Incarnation(TopologyVersion::ZERO);
            },
            |_, evidence| {
                evidence.streams.remove(0);
            },
        ];
        for spoil in spoils {
            assert!(matches!(refused(stage, spoil), Rejected::EvidenceMissing(_)), "{stage}");
        }
        let why = refused(stage, |_, evidence| evidence.streams[0].stored.0 += 1);
        assert_eq!(why, Rejected::DigestMismatch, "{stage}");
    }
}

#[test]
fn a_drop_report_names_node_copy_version_and_incarnation() {
    let drops = Stage::ALL.into_iter().filter(|stage| {
        matches!(stage.work(), Work::DropLeaving | Work::DropPending | Work::DropAll)
    });
    for stage in drops {
        type Spoil = fn(&mut Evidence);
        let spoils: [Spoil; 4] = [
            |evidence| evidence.drops[0].copy = CopyId(TopologyVersion::ZERO),
            |evidence| evidence.drops[0].version = TopologyVersion::ZERO,
            |evidence| evidence.drops[0].incarnation = Incarnation(TopologyVersion::ZERO),
            |evidence| evidence.drops.clear(),
        ];
        for spoil in spoils {
            let why = refused(stage, |_, evidence| spoil(evidence));
            assert!(matches!(why, Rejected::EvidenceMissing(_)), "{stage}: {why}");
        }
    }
}

/// A fenced node's debt is paid at its admission: it is not waited for, but then it is asked.
#[test]
fn a_fenced_nodes_drop_is_not_waited_for() {
    for (stage, n) in [(Stage::Cleanup, 1), (Stage::CleanupTarget, 4), (Stage::Drop, 2)] {
        let mut cluster = Cluster::in_stage(stage);
        cluster.fence(n).expect("admitted");
        cluster.forward(tablet(1)).expect("its debt is paid at its admission");
        let mut cluster = Cluster::in_stage(stage);
        cluster.fence(n).expect("admitted");
        cluster.admit(n).expect("fenced before");
        let mut advance = cluster.forward_command(tablet(1));
        advance.evidence.drops.retain(|drop| drop.node != node(n));
        assert_eq!(cluster.advance(advance), Err(Rejected::EvidenceMissing(node(n))));
        let given = cluster.topology.record(tablet(1)).expect("there").given(node(n));
        assert_eq!(given, None, "its full state does not give it the copy");
    }
}

/// What the rule on the silent ones says, counted here anew, for each set size and each stage.
#[test]
fn the_silent_contain_no_majority_of_the_sets_that_the_stage_names() {
    use Stage::*;
    let names_old = [
        AllowWriteBothReadOld,
        WriteBothReadOld,
        CleanupTarget,
        RevertMigration,
        OpenRepair,
        EndRepair,
        WriteBothReadNew,
        WriteBothReadOldFallback,
    ];
    let names_new = [WriteBothReadNew, WriteBothReadOldFallback, UseNew, EndMigration];
    let set = |nodes: std::ops::RangeInclusive<u64>| {
        let copy = CopyId(TopologyVersion::ZERO);
        let replicas = nodes.map(|n| Replica { node: node(n), copy, lost: false });
        ReplicaSet::new(replicas.collect()).expect("distinct")
    };
    for rf in 1..=5 {
        let (old, new) = (set(1..=rf), set(2..=rf + 1));
        for silent in 0u64..1 << (rf + 1) {
            let count = |from: u64, to: u64| (from..=to).filter(|n| silent >> (n - 1) & 1 == 1);
            let in_old = count(1, rf).count() * 2 > rf as usize;
            let in_new = count(2, rf + 1).count() * 2 > rf as usize;
            for stage in Stage::ALL {
                let wanted =
                    in_old && names_old.contains(&stage) || in_new && names_new.contains(&stage);
                let is_silent = |id: migrations::id::NodeId| silent >> (id.as_u64() - 1) & 1 == 1;
                let found = silent_majority(stage, &old, &new, is_silent);
                assert_eq!(found, wanted, "RF {rf}, {stage}, silent {silent:b}");
            }
        }
    }
}

/// The same through `apply`: with fences on a majority of old the transition is held, and goes
/// on as soon as enough of them are back.
#[test]
fn a_silent_majority_holds_a_transition_until_enough_are_back() {
    let id = tablet(1);
    for rf in 1..=5u64 {
        let mut cluster = Cluster::new(rf + 1, rf, 1);
        cluster.start(id, TransitionKind::Migrate, [1, rf + 1]).expect("at rest");
        let majority = rf / 2 + 1;
        for n in 1..=majority {
            assert_eq!(cluster.clone().forward(id).err(), None, "RF {rf}, {} fenced", n - 1);
            cluster.fence(n).expect("admitted");
        }
        let why = cluster.forward(id).expect_err("held");
        let is_held = matches!(why, Rejected::SilentMajority | Rejected::NoLiveMajority);
        assert!(is_held, "RF {rf}: {why}");
        cluster.admit(majority).expect("fenced before");
        assert_eq!(cluster.forward(id).err(), None, "RF {rf}");
    }
}
