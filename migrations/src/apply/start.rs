//! A transition begins, and is asked to end.

use super::Work;
use crate::command::{Applied, Missing, Outcome, PlacementRule, Rejected, Start};
use crate::id::{MigrationId, NodeId, TabletId};
use crate::problem::{Field, Problem};
use crate::replica_set::{Replica, ReplicaSet};
use crate::stage::TransitionKind;
use crate::switch::{Origin, TEXT_MAX};
use crate::tablet::{EndReason, Tablet, Transition};
use crate::topology::Topology;
use crate::version::{CopyId, TopologyVersion};
use alloc::boxed::Box;
use alloc::vec::Vec;

fn invalid(field: Field, problem: Problem) -> Rejected {
    Rejected::InvalidField { field, problem }
}

fn violation(rule: PlacementRule, node: NodeId) -> Rejected {
    Rejected::PlacementViolation { rule, node }
}

/// The fields of a start agree with its kind: whether it has a node that loses a replica, and one
/// that gets one.
fn check_shape(start: &Start) -> Result<(), Rejected> {
    let (has_from, has_to) = match start.kind {
        TransitionKind::Migrate | TransitionKind::Rebuild => (true, true),
        TransitionKind::AddReplica => (false, true),
        TransitionKind::RemoveReplica => (true, false),
        TransitionKind::Repair => (false, false),
        TransitionKind::Drop => return Err(invalid(Field::Kind, Problem::DropOfTablet)),
    };
    if start.from.is_some() != has_from {
        return Err(invalid(Field::From, Problem::DoesNotFitKind));
    }
    if start.to.is_some() != has_to {
        return Err(invalid(Field::To, Problem::DoesNotFitKind));
    }
    let is_repair = start.kind == TransitionKind::Repair;
    if start.session.is_some() != is_repair || start.proposed_promise.is_some() != is_repair {
        return Err(invalid(Field::Session, Problem::DoesNotFitKind));
    }
    Ok(())
}

fn check_leaving(topology: &Topology, tablet: &Tablet, start: &Start) -> Result<(), Rejected> {
    let Some(from) = start.from else { return Ok(()) };
    if !tablet.replicas.contains(from) {
        return Err(violation(PlacementRule::LeavingHoldsReplica, from));
    }
    if start.kind == TransitionKind::RemoveReplica && tablet.replicas.len() < 2 {
        return Err(violation(PlacementRule::KeepOneReplica, from));
    }
    if start.kind == TransitionKind::Rebuild && !topology.is_dead(tablet, from) {
        return Err(violation(PlacementRule::LeavingIsDead, from));
    }
    Ok(())
}

/// Whether a tablet may get a replica on a node, in the place of the one on `from` if there is one.
pub(crate) fn check_pending(
    topology: &Topology,
    tablet: &Tablet,
    from: Option<NodeId>,
    to: NodeId,
) -> Result<(), Rejected> {
    let node = topology.node(to).ok_or(Rejected::NotFound(Missing::Node(to)))?;
    if tablet.replicas.contains(to) {
        return Err(violation(PlacementRule::OneReplicaPerNode, to));
    }
    if node.is_fenced {
        return Err(Rejected::NodeFenced(to));
    }
    if node.drain.is_some() {
        return Err(Rejected::NodeDraining(to));
    }
    let rack = |id| topology.node(id).map(|node| node.location.rack.as_str());
    let mut staying = tablet.replicas.nodes().filter(|id| Some(*id) != from);
    let own = node.location.rack.as_str();
    if !own.is_empty() && staying.any(|id| rack(id) == Some(own)) {
        return Err(violation(PlacementRule::OneReplicaPerRack, to));
    }
    Ok(())
}

/// Whether a transition can begin.
pub(super) fn check(topology: &Topology, start: &Start) -> Result<(), Rejected> {
    check_shape(start)?;
    if start.note.len() > TEXT_MAX {
        return Err(invalid(Field::Note, Problem::TooLong));
    }
    let not_found = Rejected::NotFound(Missing::Tablet(start.tablet));
    let tablet = topology.tablet(start.tablet).ok_or(not_found)?;
    if let Some(transition) = &tablet.transition {
        return Err(Rejected::TabletBusy(transition.record.migration));
    }
    if topology.tablets_of(start.migration).next().is_some() {
        return Err(invalid(Field::Migration, Problem::InUse));
    }
    if let Some(session) = start.session.filter(|session| topology.has_session(*session)) {
        return Err(Rejected::SessionInUse(session));
    }
    check_leaving(topology, tablet, start)?;
    match start.to {
        Some(to) => check_pending(topology, tablet, start.from, to),
        None => Ok(()),
    }
}

/// The tablets of a migration that may still be cancelled.
pub(super) fn check_cancel(
    topology: &Topology,
    migration: MigrationId,
) -> Result<Vec<TabletId>, Rejected> {
    let tablets: Vec<TabletId> = topology.tablets_of(migration).collect();
    if tablets.is_empty() {
        return Err(Rejected::NotFound(Missing::Migration(migration)));
    }
    for tablet in &tablets {
        let stage = topology.transition(*tablet).map(|transition| transition.record.stage);
        if stage.is_some_and(|stage| stage.is_past_no_return()) {
            return Err(Rejected::PastPointOfNoReturn);
        }
    }
    Ok(tablets)
}

/// The set that a transition leads to. The copy of the one that is pending gets its number here.
fn next_set(tablet: &Tablet, start: &Start, at: TopologyVersion) -> Option<ReplicaSet> {
    let staying =
        start.from.map_or_else(|| tablet.replicas.clone(), |f| tablet.replicas.without(f));
    let next = match start.to {
        Some(node) => staying.with(Replica { node, copy: CopyId(at), lost: false })?,
        None => staying,
    };
    (!next.is_empty()).then_some(next)
}

impl Work<'_> {
    /// Begins a transition that `check` has agreed to.
    pub(super) fn start(&mut self, start: &Start, origin: Origin) -> Outcome {
        let tablet = self.topology.tablet(start.tablet);
        let next = tablet.and_then(|tablet| next_set(tablet, start, self.at));
        let next = next.ok_or(Rejected::InvariantBroken(1))?;
        let note = start.note.clone();
        let began = (origin, self.now_ms);
        let mut transition = Transition::begin(start.migration, start.kind, next, note, began);
        transition.record.session = start.session;
        transition.record.proposed_promise = start.proposed_promise;
        transition.note_stage(self.at, self.now_ms);
        self.touch(start.tablet, |tablet| tablet.transition = Some(Box::new(transition)));
        Ok(Applied::Migration(start.migration))
    }

    /// Marks a migration as cancelled. Where it goes back already, that only names its end.
    pub(super) fn cancel(&mut self, migration: MigrationId) -> Outcome {
        for tablet in check_cancel(self.topology, migration)? {
            self.touch(tablet, |tablet| {
                if let Some(transition) = &mut tablet.transition {
                    transition.is_cancelled = true;
                    transition.reason.get_or_insert(EndReason::Cancelled);
                }
            });
        }
        Ok(Applied::Done)
    }
}
