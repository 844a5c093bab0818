//! INV-4: a stage that needs a barrier is left only when each node asked has acknowledged exactly
//! that version under its admitted incarnation, or is fenced, and the rule on the silent ones
//! holds. Checked against what the agents have truly said, not against what the command says.

use crate::world::World;
use migrations::barrier::{asked, silent_majority};
use migrations::command::Command;
use migrations::id::NodeId;
use migrations::stage::BarrierWhen;
use migrations::topology::Topology;

impl World {
    pub(super) fn inv_04_evidence(&mut self, before: &Topology, command: &Command) {
        let Command::Advance(advance) = command else { return };
        let id = advance.expected.tablet;
        let Some(tablet) = before.tablet(id) else { return };
        let Some(transition) = &tablet.transition else { return };
        let stage = transition.record.stage;
        let is_back = advance.reason.is_some();
        let is_forward = stage.on_success() == advance.to && !is_back;
        if stage.barrier() == BarrierWhen::Never || !is_forward {
            return;
        }
        let has_said = |node: NodeId| {
            let admitted = before.node(node).and_then(|node| node.admitted());
            let key = admitted.map(|incarnation| (id, tablet.version, node, incarnation));
            key.is_some_and(|key| self.oracles.said.contains(&key))
        };
        let is_out = |node: NodeId| before.node(node).and_then(|n| n.admitted()).is_none();
        let missing = asked(tablet).into_iter().find(|node| !has_said(*node) && !is_out(*node));
        let next = &transition.record.next;
        let is_silent = silent_majority(stage, &tablet.replicas, next, |node| !has_said(node));
        if let Some(node) = missing {
            self.broken(4, || format!("t{id} leaves {stage}; {node} has not acknowledged it"));
        } else if is_silent {
            self.broken(4, || format!("t{id} leaves {stage}; a majority is silent"));
        }
    }
}
