//! INV-1: a tablet has at most one transition; its stage and session agree with the stage table.

use crate::world::World;
use migrations::apply::check_invariants;
use migrations::id::TabletId;
use migrations::record::TabletRecord;

impl World {
    pub(super) fn inv_01_state(&mut self) {
        if let Err(broken) = check_invariants(&self.oracles.topology) {
            self.broken(broken.number, || broken.to_string());
        }
        self.inv_01_pending();
    }

    /// A session belongs to one attempt: an edge into a stage that opens one brings a fresh one.
    pub(super) fn inv_01_session(&mut self, record: &TabletRecord, was: Option<&TabletRecord>) {
        let attempt = |record: &TabletRecord| record.transition.as_ref().map(|t| t.attempt);
        let Some(was) = was else { return };
        let is_another = attempt(record).is_some() && attempt(record) != attempt(was);
        if is_another && record.session().is_some() && record.session() == was.session() {
            let (tablet, attempt) = (record.tablet, attempt(record).unwrap_or_default());
            self.broken(1, || format!("t{tablet}: attempt {attempt} has the session before it"));
        }
    }

    /// Fencing or losing the pending replica takes a transition back in the same command.
    fn inv_01_pending(&mut self) {
        let topology = &self.oracles.topology;
        let is_ignored = |id: &TabletId| {
            let Some(record) = topology.record(*id) else { return false };
            let (Some(stage), Some(pending)) = (record.stage(), record.pending()) else {
                return false;
            };
            let is_out = topology.node(pending.node).and_then(|node| node.admitted()).is_none();
            let is_forward = !stage.is_going_back() && !stage.is_past_no_return();
            is_forward && (is_out || pending.lost)
        };
        let ignored = topology.in_transition().find(is_ignored);
        if let Some(id) = ignored {
            self.broken(1, || format!("t{id} goes on without its pending replica"));
        }
    }
}
