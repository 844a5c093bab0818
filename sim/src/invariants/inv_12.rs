//! INV-12: no two processes of one node have acknowledgements, reports or renewals accepted at one
//! time: an incarnation is one process'.

use crate::world::World;
use migrations::id::NodeId;
use migrations::version::Incarnation;

impl World {
    pub(super) fn inv_12_one_process(&mut self, at: usize, admitted: (NodeId, Incarnation)) {
        let process = (at, self.agents[at].process);
        let known = *self.oracles.processes.entry(admitted).or_insert(process);
        if known != process {
            let name = self.agents[at].name.clone();
            let incarnation = admitted.1;
            self.broken(12, || format!("{name}: two processes under incarnation {incarnation}"));
        }
    }
}
