//! T is raised only when every replica, under one incarnation, has promised and has been there at
//! the end, and every ordered pair has reported.

use super::cluster::{Cluster, node, tablet};
use migrations::clock::HybridTime;
use migrations::command::Rejected;
use migrations::evidence::Acknowledgement;
use migrations::record::StreamPair;
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::Ending;

fn promise(cluster: &Cluster) -> HybridTime {
    cluster.topology.tablet(tablet(1)).expect("there").promise
}

fn ending(cluster: &Cluster) -> (Ending, bool) {
    let finished = cluster.topology.state().finished.back().expect("kept");
    (finished.ending, finished.reason.is_some())
}

#[test]
fn t_is_the_least_that_was_promised() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::OpenRepair);
    let mut advance = cluster.forward_command(id);
    advance.evidence.acknowledged[2].promised = Some(HybridTime(300));
    cluster.advance(advance).expect("all have promised");
    cluster.forward_to_end(id);
    assert_eq!(promise(&cluster), HybridTime(300));
    assert_eq!(ending(&cluster), (Ending::Done, false));
    // Neither does it fall when a later repair brings less.
    cluster.start(id, TransitionKind::Repair, [0, 0]).expect("at rest");
    let mut advance = cluster.forward_command(id);
    advance.evidence.acknowledged[0].promised = Some(HybridTime(10));
    cluster.advance(advance).expect("all have promised");
    cluster.forward_to_end(id);
    assert_eq!(promise(&cluster), HybridTime(300));
}

#[test]
fn an_acknowledgement_without_a_promise_opens_no_repair() {
    let mut cluster = Cluster::in_stage(Stage::OpenRepair);
    let mut advance = cluster.forward_command(tablet(1));
    advance.evidence.acknowledged[1].promised = None;
    assert_eq!(cluster.advance(advance), Err(Rejected::EvidenceMissing(node(2))));
}

/// One replica is out all along: the others exchange what differs, and T stays, and the end says
/// that it was not reached.
#[test]
fn a_repair_without_one_replica_raises_nothing_and_says_so() {
    for fenced_in in [Stage::OpenRepair, Stage::EndRepair] {
        let mut cluster = Cluster::in_stage(fenced_in);
        cluster.fence(3).expect("admitted");
        cluster.forward_to_end(tablet(1));
        assert_eq!(promise(&cluster), HybridTime::ZERO, "fenced in {fenced_in}");
        assert_eq!(ending(&cluster), (Ending::Reverted, true), "fenced in {fenced_in}");
    }
}

/// It was admitted anew between the two barriers: what it promised was another process's.
#[test]
fn a_promise_of_an_earlier_incarnation_does_not_count() {
    let mut cluster = Cluster::in_stage(Stage::EndRepair);
    cluster.admit(3).expect("it proves that its earlier process is gone");
    cluster.forward_to_end(tablet(1));
    assert_eq!(promise(&cluster), HybridTime::ZERO);
    assert_eq!(ending(&cluster), (Ending::Reverted, true));
}

/// Evidence holds more than was asked for: acknowledgements of a node that is out, with a promise
/// or of another version, and a report of a stream that the attempt does not have.
#[test]
fn what_does_not_count_as_evidence_does_not_raise_t() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::OpenRepair);
    let out = Acknowledgement {
        node: node(3),
        incarnation: cluster.incarnation(3),
        version: migrations::version::TopologyVersion::ZERO,
        promised: Some(HybridTime(400)),
        at_ms: 0,
    };
    cluster.fence(3).expect("admitted");
    for _ in 0..3 {
        let mut advance = cluster.forward_command(id);
        advance.evidence.acknowledged.push(out);
        if let Some(report) = advance.evidence.streams.first().copied() {
            for n in [1, 2] {
                for pair in [
                    StreamPair { source: node(3), receiver: node(n) },
                    StreamPair { source: node(n), receiver: node(3) },
                ] {
                    advance
                        .evidence
                        .streams
                        .push(migrations::evidence::StreamReport { pair, ..report });
                }
            }
        }
        cluster.advance(advance).expect("n1 and n2 have said all that is asked of them");
    }
    assert!(cluster.topology.transition(id).is_none());
    assert_eq!(promise(&cluster), HybridTime::ZERO, "n3 has promised nothing that counts");
}

#[test]
fn a_new_attempt_forgets_what_was_promised_before() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Repair);
    cluster.retry(id).expect("a new attempt");
    assert!(cluster.transition(id).promised.is_empty());
    assert!(!cluster.transition(id).is_fully_exchanged);
    cluster.forward_to_end(id);
    assert_eq!(promise(&cluster), HybridTime(400));
}

#[test]
fn repair_asks_for_each_ordered_pair() {
    for rf in 1..=5usize {
        let mut cluster = Cluster::new(rf as u64, rf as u64, 1);
        cluster.start(tablet(1), TransitionKind::Repair, [0, 0]).expect("at rest");
        cluster.forward(tablet(1)).expect("all are there");
        assert!(cluster.streams(tablet(1)));
        assert_eq!(cluster.transition(tablet(1)).record.streams.len(), rf * (rf - 1));
        cluster.forward_to_end(tablet(1));
        assert_eq!(promise(&cluster), HybridTime(400), "RF {rf}");
    }
}

/// A replica that has lost its copy has nothing to promise for: it acknowledges without a promise,
/// the others go on, and T stays.
#[test]
fn a_lost_replica_does_not_hold_a_repair_up() {
    let mut cluster = Cluster::in_stage(Stage::OpenRepair);
    cluster.mark_lost(3, tablet(1)).expect("admitted");
    let mut advance = cluster.forward_command(tablet(1));
    for said in &mut advance.evidence.acknowledged {
        said.promised = said.promised.filter(|_| said.node != node(3));
    }
    cluster.advance(advance).expect("the live ones have promised");
    cluster.forward_to_end(tablet(1));
    assert_eq!(promise(&cluster), HybridTime::ZERO);
    assert_eq!(ending(&cluster), (Ending::Reverted, true));
}
