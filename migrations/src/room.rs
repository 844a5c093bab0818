//! Room on the nodes' disks as agents say it, and what of it the moves under way will take.
//!
//! A proposer's picture, as fresh as the last thing that each agent said: it keeps a move from
//! being begun that its target would have to refuse. Apply knows nothing of it, and a target
//! reserves for itself. Where nobody has said anything, nothing is refused.

use crate::id::{NodeId, TabletId};
use crate::stage::Stage;
use crate::tablet::Tablet;
use crate::topology::Topology;
use crate::version::CopyId;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

/// What the agents have said. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    nodes: BTreeMap<NodeId, NodeRoom>,
}

#[derive(Debug, Clone, Default)]
struct NodeRoom {
    /// Bytes of rows that it could still take; `None` if it doesn't say.
    bytes: Option<u64>,
    copies: Arc<BTreeMap<TabletId, CopySize>>,
}

/// How much one copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopySize {
    /// Which copy.
    pub copy: CopyId,
    /// Bytes of its rows.
    pub bytes: u64,
}

/// A node has too little room for a tablet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has room for {room} bytes of rows, of which moves under way to it will take {kept}; \
     the tablet has {needed}"
)]
pub struct TooLittleRoom {
    /// Bytes of rows that the tablet has.
    pub needed: u64,
    /// Bytes of rows that the node could take.
    pub room: u64,
    /// How many of these are for moves that are on their way there.
    pub kept: u64,
}

impl Rooms {
    /// What an agent says: how many bytes of rows it could still take, and the sizes of some of its
    /// copies. Of the others it holds what was said before.
    pub fn said(
        &mut self,
        node: NodeId,
        bytes: Option<u64>,
        copies: impl IntoIterator<Item = (TabletId, CopySize)>,
    ) {
        let known = self.nodes.entry(node).or_default();
        known.bytes = bytes;
        let mut copies = copies.into_iter().peekable();
        if copies.peek().is_some() {
            Arc::make_mut(&mut known.copies).extend(copies);
        }
    }

    /// Forgets nodes that are gone, and copies that group0 doesn't give any more.
    pub fn forget_gone(&mut self, topology: &Topology) {
        self.nodes.retain(|node, _| topology.node(*node).is_some());
        for (node, known) in &mut self.nodes {
            let is_there = |id: &TabletId| topology.tablet(*id).is_some_and(|it| holds(it, *node));
            if !known.copies.keys().all(is_there) {
                Arc::make_mut(&mut known.copies).retain(|id, _| is_there(id));
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Bytes of rows that a node could still take, by its own word.
    pub fn of(&self, node: NodeId) -> Option<u64> {
        self.nodes.get(&node)?.bytes
    }

    /// Bytes of rows in a copy on a node, by the word of its agent.
    pub fn copy(&self, node: NodeId, tablet: TabletId, copy: CopyId) -> Option<u64> {
        let said = self.nodes.get(&node)?.copies.get(&tablet)?;
        (said.copy == copy).then_some(said.bytes)
    }

    /// Bytes of rows that a tablet has: the most that one of its replicas holds. `None` if none of
    /// them has said anything.
    pub fn size(&self, id: TabletId, tablet: &Tablet) -> Option<u64> {
        let replicas = tablet.replicas.iter().filter(|replica| !replica.lost);
        replicas.filter_map(|replica| self.copy(replica.node, id, replica.copy)).max()
    }

    /// Bytes of rows that the moves under way will still bring to each node: what their tablets
    /// have and the copies there have not.
    pub fn kept(&self, topology: &Topology) -> BTreeMap<NodeId, u64> {
        let mut kept = BTreeMap::new();
        for id in topology.in_transition() {
            let Some(tablet) = topology.tablet(id) else { continue };
            let Some(transition) = &tablet.transition else { continue };
            if !is_to_come(transition.record.stage) {
                continue;
            }
            let size = self.size(id, tablet).unwrap_or_default();
            for pending in transition.record.next.minus(&tablet.replicas) {
                let has = self.copy(pending.node, id, pending.copy).unwrap_or_default();
                let more: &mut u64 = kept.entry(pending.node).or_default();
                *more = more.saturating_add(size.saturating_sub(has));
            }
        }
        kept
    }

    /// Whether a node has room for a tablet beside what is on its way there.
    pub fn check(
        &self,
        topology: &Topology,
        tablet: TabletId,
        node: NodeId,
    ) -> Result<(), TooLittleRoom> {
        let size = topology.tablet(tablet).and_then(|found| self.size(tablet, found));
        let (Some(needed), Some(room)) = (size, self.of(node)) else { return Ok(()) };
        let kept = self.kept(topology).get(&node).copied().unwrap_or_default();
        if needed > room.saturating_sub(kept) {
            return Err(TooLittleRoom { needed, room, kept });
        }
        Ok(())
    }
}

fn holds(tablet: &Tablet, node: NodeId) -> bool {
    let next = tablet.transition.as_ref().map(|transition| &transition.record.next);
    tablet.replicas.contains(node) || next.is_some_and(|next| next.contains(node))
}

/// Whether the pending replica's rows have yet to come.
fn is_to_come(stage: Stage) -> bool {
    matches!(stage, Stage::AllowWriteBothReadOld | Stage::WriteBothReadOld | Stage::Streaming)
}
