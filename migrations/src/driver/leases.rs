//! The leader's side of leases: who has to be fenced. INV-13.

use super::Effect;
use crate::command::Command;
use crate::id::NodeId;
use crate::lease::Instant;
use crate::node::Node;
use crate::rule::{Rule, is_undone};
use crate::topology::Topology;
use crate::version::Incarnation;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// When the newest renewal of each incarnation came in, since this leadership began.
#[derive(Debug, Default)]
pub(super) struct Leases {
    renewed: BTreeMap<NodeId, (Incarnation, Instant)>,
    /// A fence of it was decided on. It stays so for this leadership, since a fence whose
    /// proposal seems to have failed may be applied yet.
    doomed: BTreeSet<(NodeId, Incarnation)>,
    /// A fence of it is being proposed.
    proposing: BTreeSet<NodeId>,
    /// When it was last looked.
    looked: Option<Instant>,
}

impl Leases {
    pub(super) fn renewed(&mut self, node: NodeId, incarnation: Incarnation, at: Instant) {
        // Renewals are handled in any order: one that comes late shortens nothing.
        let known = self.renewed.entry(node).or_insert((incarnation, at));
        *known = (*known).max((incarnation, at));
    }

    pub(super) fn fence_ended(&mut self, node: NodeId) {
        self.proposing.remove(&node);
    }

    pub(super) fn may_renew(&self, node: NodeId, incarnation: Incarnation) -> bool {
        !self.doomed.contains(&(node, incarnation))
    }

    /// Proposes a fence for each admitted incarnation whose lease has surely run out.
    ///
    /// One that this leader has not heard of may hold a lease from the leader before: it is
    /// counted from now, which is after this leadership began, and after its admission.
    pub(super) fn expire(&mut self, topology: &Topology, now: Instant, out: &mut Vec<Effect>) {
        let terms = topology.state().settings.lease;
        // This process was not there for a while: renewals that came meanwhile wait to be heard,
        // so nobody is counted as silent for that time.
        let was_away = self.looked.is_some_and(|looked| now > terms.half_after(looked));
        self.looked = Some(now);
        if was_away {
            self.renewed.values_mut().for_each(|(_, at)| *at = now);
        }
        self.renewed.retain(|id, _| topology.node(*id).is_some());
        self.doomed.retain(|(id, of)| topology.node(*id).and_then(Node::admitted) == Some(*of));
        for (id, node) in &topology.state().nodes {
            let Some(incarnation) = node.admitted() else { continue };
            let known = self.renewed.entry(*id).or_insert((incarnation, now));
            if known.0 != incarnation {
                *known = (incarnation, now);
            }
            let since = known.1;
            let deadline = match is_undone(Rule::WaitsOutTheDrift) {
                true => terms.agent_deadline(since),
                false => terms.leader_deadline(since),
            };
            if now > deadline {
                self.doomed.insert((*id, incarnation));
            }
            if self.doomed.contains(&(*id, incarnation)) && self.proposing.insert(*id) {
                out.push(Effect::Propose(Command::Fence { node: *id, incarnation }));
            }
        }
    }
}
