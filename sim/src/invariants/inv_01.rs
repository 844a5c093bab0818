//! INV-1: a tablet has at most one transition; its stage and session agree with the stage table.

use crate::world::World;
use migrations::apply::check_invariants;
use migrations::id::TabletId;

impl World {
    pub(super) fn inv_01_state(&mut self) {
        if let Err(broken) = check_invariants(&self.oracles.topology) {
            self.broken(broken.number, || broken.to_string());
        }
        self.inv_01_pending();
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
