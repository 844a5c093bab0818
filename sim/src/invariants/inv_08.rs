//! INV-8: outside a transition only the tablet's replicas hold its data; a node that isn't admitted,
//! or hasn't worked off its full state, may still hold more, which nobody reads.

use crate::world::World;

impl World {
    pub(super) fn inv_08_only_given(&mut self, at: usize) {
        let Some(process) = self.process(at) else { return };
        let Some((node, incarnation)) = process.admitted else { return };
        let is_ready = process.attachment.as_ref().is_some_and(|a| a.is_ready);
        let topology = &self.oracles.topology;
        let admitted = topology.node(node).and_then(|node| node.admitted());
        if !is_ready || admitted != Some(incarnation) {
            return;
        }
        let copies = self.agents[at].disk.live.tablets.iter();
        let mut copies = copies.flat_map(|(id, entry)| entry.copies.keys().map(|c| (*id, *c)));
        let held = copies.find(|(id, copy)| match topology.record(*id) {
            // Taken on while the full state was worked off: a newer one decides.
            Some(record) if record.transition.is_some() => false,
            Some(record) => {
                let replica = record.replicas.on(node);
                let floor = self.agents[at].disk.live.floor(*id).version();
                // Its newest full state was read at its admission or later, and spoke of this.
                let known = floor.max(incarnation.0);
                replica.is_none_or(|replica| replica.copy != *copy) && known >= record.version
            }
            None => false,
        });
        if let Some((id, copy)) = held {
            let name = self.agents[at].name.clone();
            self.broken(8, || {
                format!("{name} holds copy {copy} of t{id}, which is not given to it")
            });
        }
    }
}
