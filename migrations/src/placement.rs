//! Where a new table's replicas go. A proposer's choice: apply checks it, so it may be improved
//! from build to build.

use crate::id::NodeId;
use crate::topology::Topology;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// There are too few nodes, or too few racks, for so many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} replicas of a tablet need {wanted} nodes in different racks; there are {found}")]
pub struct TooFewNodes {
    /// Replicas asked for.
    pub wanted: u32,
    /// Nodes that can each take one.
    pub found: u32,
}

/// Chooses nodes for each of `tablets` tablets: those that hold the fewest replicas, one a rack.
pub fn place(
    topology: &Topology,
    tablets: usize,
    replication_factor: u32,
) -> Result<Vec<Vec<NodeId>>, TooFewNodes> {
    place_except(topology, tablets, replication_factor, &BTreeSet::new())
}

/// The same where some nodes are to get nothing, for a reason that group0 doesn't know.
pub fn place_except(
    topology: &Topology,
    tablets: usize,
    replication_factor: u32,
    except: &BTreeSet<NodeId>,
) -> Result<Vec<Vec<NodeId>>, TooFewNodes> {
    let mut load = replicas_by_node(topology);
    load.retain(|node, _| !except.contains(node));
    let choose_one = |load: &mut BTreeMap<NodeId, usize>| {
        let mut by_load: Vec<(usize, NodeId)> = load.iter().map(|(id, n)| (*n, *id)).collect();
        by_load.sort_unstable();
        let mut racks = BTreeSet::new();
        let has_free_rack = |(_, id): &(usize, NodeId)| {
            let rack = topology.node(*id).map_or("", |node| node.location.rack.as_str());
            rack.is_empty() || racks.insert(rack)
        };
        let chosen = by_load.into_iter().filter(has_free_rack).map(|(_, id)| id);
        let chosen: Vec<NodeId> = chosen.take(replication_factor as usize).collect();
        for id in &chosen {
            *load.entry(*id).or_default() += 1;
        }
        match chosen.len() as u32 {
            found if found < replication_factor => {
                Err(TooFewNodes { wanted: replication_factor, found })
            }
            _ => Ok(chosen),
        }
    };
    (0..tablets).map(|_| choose_one(&mut load)).collect()
}

/// How many replicas each node that may get one holds or is to hold.
fn replicas_by_node(topology: &Topology) -> BTreeMap<NodeId, usize> {
    let nodes = topology.state().nodes.iter();
    let mut load: BTreeMap<NodeId, usize> = nodes
        .filter(|(_, node)| node.admitted().is_some() && node.drain.is_none())
        .map(|(id, _)| (*id, 0))
        .collect();
    for tablet in topology.state().tablets.values() {
        for node in crate::barrier::asked(tablet) {
            if let Some(count) = load.get_mut(&node) {
                *count += 1;
            }
        }
    }
    load
}
