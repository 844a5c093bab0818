//! INV-13: within the drift bound a fence is committed only after the lease of that incarnation has
//! run out at the agent, or its process is gone.

use crate::plan::Fault;
use crate::world::World;
use migrations::command::Command;
use migrations::topology::Topology;

impl World {
    /// Nor does an answer that comes after the fence give the lease again.
    pub(crate) fn inv_13_held(&mut self, at: usize) {
        let Some((node, own)) = self.process(at).and_then(|process| process.admitted) else {
            return;
        };
        let known = self.oracles.topology.node(node);
        let is_in = known.and_then(|node| node.admitted()) == Some(own);
        if is_in || self.plan.faults.has(Fault::BreakDrift) || !self.is_lease_held(at) {
            return;
        }
        let name = self.agents[at].name.clone();
        self.broken(13, || format!("{name} holds a lease again, after it was fenced"));
    }

    pub(super) fn inv_13_fence(&mut self, before: &Topology, command: &Command) {
        let Command::Fence { node, incarnation } = command else { return };
        let was = before.node(*node).and_then(|node| node.admitted());
        if self.plan.faults.has(Fault::BreakDrift) || was != Some(*incarnation) {
            return;
        }
        let Some(at) = self.agent_of(*node) else { return };
        let is_its = self.agents[at].incarnation() == Some(*incarnation);
        if is_its && self.is_lease_held(at) {
            let name = self.agents[at].name.clone();
            self.broken(13, || format!("{name} is fenced while it holds its lease"));
        }
    }
}
