//! INV-1: a tablet has at most one transition; its stage and session agree with the stage table.

use crate::world::World;
use migrations::apply::check_invariants;

impl World {
    pub(super) fn inv_01_state(&mut self) {
        if let Err(broken) = check_invariants(&self.oracles.topology) {
            self.broken(broken.number, || broken.to_string());
        }
    }
}
