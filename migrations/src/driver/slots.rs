//! How many streams run into and out of each node. An order that finds no place waits.

use crate::id::{NodeId, TabletId};
use crate::record::StreamPair;
use alloc::collections::BTreeSet;

/// The streams that were ordered and have not ended.
#[derive(Debug, Default)]
pub(super) struct Slots {
    running: BTreeSet<(TabletId, StreamPair)>,
    waiting: BTreeSet<TabletId>,
}

impl Slots {
    /// Takes a place for a stream; if there is none, the tablet waits.
    pub(super) fn take(&mut self, tablet: TabletId, pair: StreamPair, limit: u32) -> bool {
        if self.running.contains(&(tablet, pair)) {
            return true;
        }
        let count = |is_its: &dyn Fn(NodeId, NodeId) -> bool| {
            self.running.iter().filter(|(_, p)| is_its(p.source, p.receiver)).count()
        };
        let out = count(&|source, _| source == pair.source);
        let into = count(&|_, receiver| receiver == pair.receiver);
        if out.max(into) >= limit as usize {
            self.waiting.insert(tablet);
            return false;
        }
        self.running.insert((tablet, pair));
        true
    }

    pub(super) fn release(&mut self, tablet: TabletId, pair: StreamPair) {
        self.running.remove(&(tablet, pair));
    }

    pub(super) fn release_tablet(&mut self, tablet: TabletId) {
        self.running.retain(|(of, _)| *of != tablet);
    }

    pub(super) fn release_receiver(&mut self, node: NodeId) {
        self.running.retain(|(_, pair)| pair.receiver != node);
    }

    /// Those that wait, if there may be a place now.
    pub(super) fn take_waiting(&mut self) -> BTreeSet<TabletId> {
        core::mem::take(&mut self.waiting)
    }
}
