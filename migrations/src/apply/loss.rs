//! A tablet has lost a majority for good, and somebody gives up what only the dead replicas hold.
//!
//! The rules on majorities keep two promises that hold no longer for such a tablet: that what was
//! acknowledged is on one of those that are left, and that no router with an older version finds a
//! majority among those that are silent. Nobody but people can say that this is to be borne. So
//! the dead are named in the transition, their copies are lost from then on, and the rules are
//! asked of the rest; for this transition, and not for the next.

use super::{Work, start};
use crate::command::{Applied, Missing, Outcome, Rejected, Start};
use crate::id::{NodeId, TabletId};
use crate::problem::{Field, Problem};
use crate::replica_set::ReplicaSet;
use crate::stage::TransitionKind;
use crate::switch::Origin;
use crate::tablet::{AcceptedLoss, Tablet};
use crate::topology::Topology;
use alloc::string::String;
use alloc::vec::Vec;

/// Whether what is dead of a tablet can be given up: a majority of a set is dead, and all that is
/// dead is named. More may have died since the caller looked; what he has not seen he has not
/// accepted.
pub(super) fn check_accept(
    topology: &Topology,
    id: TabletId,
    start: Option<&Start>,
    named: &[NodeId],
    note: &str,
) -> Result<(), Rejected> {
    super::balance::check_reason(note)?;
    let not_found = Rejected::NotFound(Missing::Tablet(id));
    let tablet = topology.tablet(id).ok_or(not_found)?;
    let kind = tablet.transition.as_ref().map(|transition| transition.record.kind);
    match (start, kind) {
        (Some(start), _) => {
            let invalid =
                |field| Rejected::InvalidField { field, problem: Problem::DoesNotFitKind };
            if start.tablet != id {
                return Err(invalid(Field::Migration));
            }
            if !matches!(start.kind, TransitionKind::Rebuild | TransitionKind::RemoveReplica) {
                return Err(invalid(Field::Kind));
            }
            start::check(topology, start)?;
        }
        // A drop asks for no majority.
        (None, None | Some(TransitionKind::Drop)) => return Err(Rejected::NotInTransition(id)),
        (None, Some(_)) => {}
    }
    let has_lost = |set: &ReplicaSet| set.has_majority(|node| topology.is_dead(tablet, node));
    let next = tablet.transition.as_ref().map(|transition| &transition.record.next);
    if !has_lost(&tablet.replicas) && !next.is_some_and(has_lost) {
        return Err(Rejected::NothingLost(id));
    }
    match dead(topology, tablet).into_iter().find(|node| !named.contains(node)) {
        Some(node) => Err(Rejected::LossNotNamed(node)),
        None => Ok(()),
    }
}

fn dead(topology: &Topology, tablet: &Tablet) -> Vec<NodeId> {
    let asked = crate::barrier::asked(tablet).into_iter();
    asked.filter(|node| topology.is_dead(tablet, *node)).collect()
}

impl Work<'_> {
    /// Gives up what `check_accept` has agreed to.
    pub(super) fn accept_loss(
        &mut self,
        id: TabletId,
        start: Option<&Start>,
        note: &str,
    ) -> Outcome {
        if let Some(start) = start {
            self.start(start, Origin::Request)?;
        }
        let Some(tablet) = self.topology.tablet(id) else {
            return Err(Rejected::InvariantBroken(1));
        };
        let Some(transition) = &tablet.transition else { return Err(Rejected::InvariantBroken(1)) };
        let migration = transition.record.migration;
        let mut nodes = dead(self.topology, tablet);
        nodes.extend(transition.accepted_loss.iter().flat_map(|before| before.nodes.iter()));
        nodes.sort_unstable();
        nodes.dedup();
        let loss = AcceptedLoss { nodes, note: String::from(note), at_ms: self.now_ms };
        self.touch(id, |tablet| {
            tablet.replicas.mark_all_lost(&loss.nodes);
            if let Some(transition) = &mut tablet.transition {
                transition.record.next.mark_all_lost(&loss.nodes);
                transition.accepted_loss = Some(loss);
            }
        });
        Ok(Applied::Migration(migration))
    }
}
