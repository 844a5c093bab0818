//! INV-16: two coordinators that have applied the same entry have the same state.

use crate::world::World;

impl World {
    pub(super) fn inv_16_digest(&mut self, at: usize) {
        let coordinator = &self.coordinators[at];
        let is_current = coordinator.applied == self.group0.log.len();
        if is_current && coordinator.topology.state() != self.oracles.topology.state() {
            self.broken(16, || format!("c{at} has another state than the log says"));
        }
    }
}
