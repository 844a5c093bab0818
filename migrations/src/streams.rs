//! Which streams an attempt needs, and whether what they report is enough to go on.

use crate::command::Rejected;
use crate::evidence::{FailureReason, StreamReport};
use crate::id::NodeId;
use crate::node::Node;
use crate::record::StreamPair;
use crate::replica_set::ReplicaSet;
use crate::rule::{Rule, is_undone};
use crate::stage::TransitionKind;
use crate::tablet::{Tablet, Transition};
use crate::topology::Topology;
use alloc::vec::Vec;

/// Each ordered pair of replicas.
pub fn all_pairs(replicas: &ReplicaSet) -> impl Iterator<Item = StreamPair> {
    let pairs = replicas
        .nodes()
        .flat_map(|source| replicas.nodes().map(move |receiver| StreamPair { source, receiver }));
    pairs.filter(|pair| pair.source != pair.receiver)
}

/// The streams of an attempt that begins now. Sources and receivers are what they are when the
/// command that enters the stage is applied.
///
/// Refused where those left out of the sources contain a majority of old: then an acknowledged
/// write may be on none of them. For a removal every remaining replica takes part, also one that
/// is fenced (it is waited for): a write that a bare majority acknowledged would shrink away.
pub fn choose(
    topology: &Topology,
    tablet: &Tablet,
    transition: &Transition,
) -> Result<Vec<StreamPair>, Rejected> {
    let old = &tablet.replicas;
    let next = &transition.record.next;
    let is_live = |node: NodeId| !topology.is_dead(tablet, node);
    let leaving = old.minus(next).map(|replica| replica.node).next();
    let receivers = receivers(topology, tablet, transition)?;
    let sources: Vec<NodeId> = match (transition.record.kind, leaving) {
        (TransitionKind::Migrate | TransitionKind::RemoveReplica, Some(leaving))
            if is_live(leaving) =>
        {
            alloc::vec![leaving]
        }
        // A drop has no streams; the others merge from all that live.
        _ => old.nodes().filter(|node| is_live(*node)).collect(),
    };
    let from_leaving = leaving.is_some_and(|leaving| sources == [leaving]);
    let is_repair = transition.record.kind == TransitionKind::Repair;
    let is_removal = transition.record.kind == TransitionKind::RemoveReplica;
    let remaining = transition.remaining(old);
    if !from_leaving && !is_repair && remaining.has_majority(|node| !sources.contains(&node)) {
        return Err(Rejected::NoSources);
    }
    if is_removal && is_undone(Rule::RemovalMerges) {
        return Ok(Vec::new());
    }
    let one = if is_undone(Rule::AllSurvivorsAreSources) { 1 } else { sources.len() };
    let sources = &sources[..one.min(sources.len())];
    let pairs = receivers.iter().flat_map(|receiver| {
        sources.iter().map(|source| StreamPair { source: *source, receiver: *receiver })
    });
    Ok(pairs.filter(|pair| pair.source != pair.receiver).collect())
}

fn receivers(
    topology: &Topology,
    tablet: &Tablet,
    transition: &Transition,
) -> Result<Vec<NodeId>, Rejected> {
    let old = &tablet.replicas;
    let next = &transition.record.next;
    match transition.record.kind {
        TransitionKind::Migrate | TransitionKind::AddReplica | TransitionKind::Rebuild => {
            Ok(next.minus(old).map(|replica| replica.node).collect())
        }
        TransitionKind::RemoveReplica => {
            let remaining = next.iter().filter(|replica| !replica.lost);
            let remaining: Vec<NodeId> = remaining.map(|replica| replica.node).collect();
            let is_out = |node: &&NodeId| topology.node(**node).and_then(Node::admitted).is_none();
            match remaining.iter().find(is_out) {
                Some(fenced) => Err(Rejected::ReceiverFenced(*fenced)),
                None => Ok(remaining),
            }
        }
        TransitionKind::Repair => {
            Ok(old.nodes().filter(|node| !topology.is_dead(tablet, *node)).collect())
        }
        TransitionKind::Drop => Ok(Vec::new()),
    }
}

/// Checks that every stream that the transition names has reported, under its session and both
/// admitted incarnations, and that both sums agree.
pub fn check_reports(
    topology: &Topology,
    transition: &Transition,
    reports: &[StreamReport],
) -> Result<(), Rejected> {
    for pair in &transition.record.streams {
        let report = reports
            .iter()
            .find(|report| report.pair == *pair && is_current(topology, transition, report));
        let report = report.ok_or(Rejected::EvidenceMissing(pair.receiver))?;
        if report.sent != report.stored {
            return Err(Rejected::DigestMismatch);
        }
    }
    Ok(())
}

/// Whether a report is of the running attempt and of both admitted incarnations.
pub fn is_current(topology: &Topology, transition: &Transition, report: &StreamReport) -> bool {
    let admitted = |node| topology.node(node).and_then(Node::admitted);
    transition.record.session == Some(report.session)
        && transition.record.streams.contains(&report.pair)
        && admitted(report.pair.source) == Some(report.source_incarnation)
        && admitted(report.pair.receiver) == Some(report.receiver_incarnation)
}

/// Whether a source or a receiver of the running attempt is dead: the attempt can't be completed,
/// and a new one chooses anew.
pub(crate) fn has_dead_end(topology: &Topology, tablet: &Tablet, transition: &Transition) -> bool {
    let mut ends = transition.record.streams.iter().flat_map(|pair| [pair.source, pair.receiver]);
    ends.any(|node| topology.is_dead(tablet, node))
}

/// Whether a failed attempt uses up one of the tries. A death that group0 knows of does not: it says
/// nothing of the work, and the next attempt does without who died, or he has come back.
pub(crate) fn costs_a_try(
    topology: &Topology,
    tablet: &Tablet,
    transition: &Transition,
    failure: FailureReason,
) -> bool {
    failure != FailureReason::NodeFenced || !has_dead_end(topology, tablet, transition)
}
