//! Whom a transition waits for: what apply would say is missing, node by node.

use super::{Driver, Gathered};
use crate::apply::check_forward;
use crate::barrier::{asked, to_drop};
use crate::clock::HybridTime;
use crate::command::Rejected;
use crate::evidence::{Acknowledgement, DropReport, Evidence, StreamReport};
use crate::id::{NodeId, TabletId};
use crate::node::Node;
use crate::row::RowSum;
use crate::topology::Topology;
use alloc::vec::Vec;

impl Driver {
    /// Whom a tablet's transition waits for, in order: nodes whose word is missing; and those that
    /// are fenced, where too many are.
    pub fn waiting_for(&self, topology: &Topology, id: TabletId) -> Vec<NodeId> {
        let nothing = Gathered::default();
        let gathered = self.gathered.get(&id).unwrap_or(&nothing);
        let mut missing = Vec::new();
        let mut evidence = gathered.evidence();
        // Whoever is missing is given for the next question, until nobody is.
        while let Err(Rejected::EvidenceMissing(node)) = check_forward(topology, id, &evidence) {
            if missing.contains(&node) {
                break;
            }
            missing.push(node);
            evidence = given(topology, id, evidence, node);
        }
        match check_forward(topology, id, &evidence) {
            Err(Rejected::SilentMajority) => missing.extend(fenced(topology, id)),
            Err(Rejected::ReceiverFenced(node)) => missing.push(node),
            _ => {}
        }
        missing
    }
}

/// The evidence with all that a node may have to say: to ask who else is missing.
fn given(topology: &Topology, id: TabletId, mut evidence: Evidence, node: NodeId) -> Evidence {
    let Some(tablet) = topology.tablet(id) else { return evidence };
    let Some(transition) = &tablet.transition else { return evidence };
    let admitted = |node| topology.node(node).and_then(Node::admitted);
    let Some(incarnation) = admitted(node) else { return evidence };
    let (version, record) = (tablet.version, &transition.record);
    let promised = Some(HybridTime::ZERO);
    evidence.acknowledged.push(Acknowledgement { node, incarnation, version, promised, at_ms: 0 });
    let dropped = to_drop(record.stage, &tablet.replicas, &record.next);
    for replica in dropped.into_iter().filter(|replica| replica.node == node) {
        evidence.drops.push(DropReport { node, incarnation, copy: replica.copy, version });
    }
    for pair in record.streams.iter().filter(|pair| pair.receiver == node) {
        let (Some(session), Some(source)) = (record.session, admitted(pair.source)) else {
            continue;
        };
        evidence.streams.push(StreamReport {
            session,
            pair: *pair,
            source_incarnation: source,
            receiver_incarnation: incarnation,
            rows: 0,
            bytes: 0,
            sent: RowSum::default(),
            stored: RowSum::default(),
        });
    }
    evidence
}

/// Those of old ∪ new that are fenced.
fn fenced(topology: &Topology, id: TabletId) -> Vec<NodeId> {
    let asked = topology.tablet(id).map(asked).unwrap_or_default();
    let is_out = |node: &NodeId| topology.node(*node).and_then(Node::admitted).is_none();
    asked.into_iter().filter(is_out).collect()
}
