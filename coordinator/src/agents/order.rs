//! Effects of the driver as messages to agents.

use super::Agents;
use crate::limits::RECORDS_PER_MESSAGE;
use migrations::driver::Effect;
use migrations::id::NodeId;
use migrations::record::TabletRecord;
use migrations::settings::Settings;
use migrations::topology::Topology;
use migrations::version::CopyId;
use proto::agent::v1::{
    Barrier, Confirm, Drop, NodeName, Pull, SettingsChanged, attach_response::Order,
};
use proto::types::v1 as types;
use std::collections::BTreeMap;

/// What every agent is told, whatever tablets it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Everywhere {
    pub(super) settings: Settings,
    /// Streams stand still.
    pub(super) is_paused: bool,
    /// Names are given once, with ids that are never used again: the newest tells which there are.
    newest_node: Option<NodeId>,
}

impl Everywhere {
    pub(crate) fn of(topology: &Topology) -> Everywhere {
        let state = topology.state();
        let newest_node = state.nodes.keys().next_back().copied();
        Everywhere { settings: state.settings, is_paused: state.pause.is_some(), newest_node }
    }

    /// As an order, with the names of all nodes.
    pub(crate) fn order(self, topology: &Topology) -> Order {
        let settings = Some((&self.settings).into());
        let nodes = names(topology);
        Order::SettingsChanged(SettingsChanged { settings, paused: self.is_paused, nodes })
    }
}

/// The names of all nodes.
pub(super) fn names(topology: &Topology) -> Vec<NodeName> {
    let nodes = topology.state().nodes.iter();
    nodes.map(|(id, node)| NodeName { node: id.as_u64(), name: node.name.clone() }).collect()
}

/// The records that one round of the driver has for each node.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    barriers: BTreeMap<NodeId, Vec<types::TabletRecord>>,
    others: Vec<(NodeId, Order)>,
    /// After all of these.
    confirms: Vec<(NodeId, Order)>,
}

impl Orders {
    /// Takes an order in; anything else comes back.
    pub(crate) fn take(&mut self, effect: Effect, topology: &Topology) -> Option<Effect> {
        match effect {
            Effect::Barrier { node, record } => {
                self.barriers.entry(node).or_default().push((&record).into());
            }
            Effect::Pull { pair, record } => {
                // A source that is not admitted any more is no source; the driver will see it.
                let source = topology.node(pair.source)?;
                let pull = Pull {
                    record: Some((&record).into()),
                    source: pair.source.as_u64(),
                    source_address: source.location.stream_address.clone(),
                    source_incarnation: Some(source.incarnation.0.into()),
                };
                self.others.push((pair.receiver, Order::Pull(pull)));
            }
            Effect::Drop { replica, record } => {
                self.others.push((replica.node, drop_order(&record, replica.copy)));
            }
            Effect::Confirm { node, ticket } => {
                self.confirms.push((node, Order::Confirm(Confirm { ticket })));
            }
            Effect::Propose(command) => return Some(Effect::Propose(command)),
        }
        None
    }

    /// Sends all of them: barriers first, many tablets in one message.
    pub(crate) fn send(self, agents: &Agents) {
        for (node, records) in self.barriers {
            for records in records.chunks(RECORDS_PER_MESSAGE) {
                agents.send(node, Order::Barrier(Barrier { records: records.to_vec() }));
            }
        }
        for (node, order) in self.others.into_iter().chain(self.confirms) {
            agents.send(node, order);
        }
    }
}

fn drop_order(record: &TabletRecord, copy: CopyId) -> Order {
    Order::Drop(Drop { record: Some(record.into()), copy: Some(copy.0.into()) })
}
