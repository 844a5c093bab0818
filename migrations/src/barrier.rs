//! Who is asked by a barrier, and whether those who answered are enough. One answer for apply,
//! which checks it, and for the driver, which waits for it. INV-4.

use crate::command::Rejected;
use crate::evidence::{Acknowledgement, DropReport};
use crate::id::NodeId;
use crate::node::Node;
use crate::replica_set::{Replica, ReplicaSet};
use crate::rule::{Rule, is_undone};
use crate::stage::{BarrierWhen, SilentRule, Stage, Work};
use crate::tablet::Tablet;
use crate::topology::Topology;
use crate::version::CopyId;
use alloc::vec::Vec;

/// old ∪ new: every agent that can act on the tablet. Nobody else is asked, so that a dead node
/// that has nothing to do with a tablet never delays it.
pub fn asked(tablet: &Tablet) -> Vec<NodeId> {
    let next = tablet.transition.iter().flat_map(|transition| transition.record.next.nodes());
    let mut nodes: Vec<NodeId> = tablet.replicas.nodes().chain(next).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Whether `said` counts: for exactly this version, from the admitted incarnation.
pub(crate) fn counts(topology: &Topology, tablet: &Tablet, said: &Acknowledgement) -> bool {
    let admitted = topology.node(said.node).and_then(Node::admitted);
    said.version == tablet.version && admitted == Some(said.incarnation)
}

/// Checks that the barrier of the tablet's stage has returned: each node asked has acknowledged
/// or is fenced, and those who have not acknowledged contain no majority that the stage's rule
/// names. A stage without a barrier needs nothing.
pub fn check_acknowledged(
    topology: &Topology,
    tablet: &Tablet,
    acknowledged: &[Acknowledgement],
) -> Result<(), Rejected> {
    let Some(transition) = &tablet.transition else { return Ok(()) };
    let stage = transition.record.stage;
    if stage.barrier() == BarrierWhen::Never {
        return Ok(());
    }
    if stage == Stage::CleanupTarget && is_undone(Rule::BarrierBeforeTargetCleanup) {
        return Ok(());
    }
    let has_acknowledged = |node: NodeId| {
        acknowledged.iter().any(|said| said.node == node && counts(topology, tablet, said))
    };
    let asked = match is_undone(Rule::OnlyConcernedAsked) {
        false => asked(tablet),
        true => topology.state().nodes.keys().copied().collect(),
    };
    for node in asked {
        let is_out = topology.node(node).and_then(Node::admitted).is_none();
        if !is_out && !has_acknowledged(node) {
            return Err(Rejected::EvidenceMissing(node));
        }
    }
    let (old, new) =
        (transition.remaining(&tablet.replicas), transition.remaining(&transition.record.next));
    let is_silent = silent_majority(stage, &old, &new, |node| !has_acknowledged(node));
    if is_silent && !is_undone(Rule::NoSilentMajority) {
        return Err(Rejected::SilentMajority);
    }
    if stage == Stage::OpenRepair {
        let counted = acknowledged.iter().filter(|said| counts(topology, tablet, said));
        // A replica that has lost its copy has nothing to promise for; T does not count then.
        check_promised(counted.filter(|said| !topology.is_dead(tablet, said.node)))?;
    }
    Ok(())
}

/// In `open_repair` an acknowledgement without a promise would let a purge rest on nothing.
fn check_promised<'a>(
    mut counted: impl Iterator<Item = &'a Acknowledgement>,
) -> Result<(), Rejected> {
    match counted.find(|said| said.promised.is_none()) {
        Some(said) => Err(Rejected::EvidenceMissing(said.node)),
        None => Ok(()),
    }
}

/// Whether the silent contain a majority that a router with an older version could still use.
pub fn silent_majority(
    stage: Stage,
    old: &ReplicaSet,
    new: &ReplicaSet,
    is_silent: impl Fn(NodeId) -> bool,
) -> bool {
    let in_old = || old.has_majority(&is_silent);
    let in_new = || new.has_majority(&is_silent);
    match stage.silent_rule() {
        SilentRule::Old => in_old(),
        SilentRule::New => in_new(),
        SilentRule::Both => in_old() || in_new(),
        SilentRule::Neither => false,
    }
}

/// The copies that the stage's work drops: none in a stage that drops nothing.
pub fn to_drop(stage: Stage, old: &ReplicaSet, new: &ReplicaSet) -> Vec<Replica> {
    match stage.work() {
        Work::DropLeaving => old.minus(new).collect(),
        Work::DropPending => new.minus(old).collect(),
        Work::DropAll => old.iter().copied().chain(new.minus(old)).collect(),
        Work::None | Work::Stream => Vec::new(),
    }
}

/// Checks that what the stage drops is dropped, or on a node that is fenced: then its admission
/// pays the debt, since the full state will not give it the copy.
pub fn check_dropped(
    topology: &Topology,
    tablet: &Tablet,
    drops: &[DropReport],
) -> Result<(), Rejected> {
    let Some(transition) = &tablet.transition else { return Ok(()) };
    let record = &transition.record;
    for replica in to_drop(record.stage, &tablet.replicas, &record.next) {
        if !is_dropped(topology, tablet, replica.node, replica.copy, drops) {
            return Err(Rejected::EvidenceMissing(replica.node));
        }
    }
    Ok(())
}

fn is_dropped(
    topology: &Topology,
    tablet: &Tablet,
    node: NodeId,
    copy: CopyId,
    drops: &[DropReport],
) -> bool {
    let Some(admitted) = topology.node(node).and_then(Node::admitted) else { return true };
    drops.iter().any(|report| {
        let is_it = report.node == node && report.copy == copy;
        is_it && report.version == tablet.version && report.incarnation == admitted
    })
}
