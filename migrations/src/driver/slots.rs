//! How many streams run into and out of each node. An order that finds no place waits, and is
//! called when there is one for it: what an event costs doesn't grow with how many wait.

use crate::id::{NodeId, TabletId};
use crate::record::StreamPair;
use alloc::collections::{BTreeMap, BTreeSet};

/// The streams that were ordered and have not ended, and the tablets that wait for a place.
#[derive(Debug, Default)]
pub(super) struct Slots {
    running: BTreeMap<TabletId, BTreeSet<StreamPair>>,
    /// The same, by receiver.
    running_into: BTreeSet<(NodeId, TabletId, NodeId)>,
    /// How many run into each node.
    into: BTreeMap<NodeId, u32>,
    /// How many run out of each node.
    out_of: BTreeMap<NodeId, u32>,
    /// Who waits for a place for which stream.
    waiting: BTreeMap<StreamPair, BTreeSet<TabletId>>,
    /// The same streams, the receiver first.
    waiting_into: BTreeSet<(NodeId, NodeId)>,
    /// The same, by tablet.
    waiting_of: BTreeMap<TabletId, BTreeSet<StreamPair>>,
    /// Nodes at which a place may have become free since it was last looked at who waits.
    freed: BTreeSet<NodeId>,
}

fn minus_one(counts: &mut BTreeMap<NodeId, u32>, node: NodeId) {
    if let Some(count) = counts.get_mut(&node) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&node);
        }
    }
}

impl Slots {
    fn has_place(&self, pair: StreamPair, limit: u32) -> bool {
        let count = |counts: &BTreeMap<NodeId, u32>, node| counts.get(&node).copied().unwrap_or(0);
        count(&self.out_of, pair.source) < limit && count(&self.into, pair.receiver) < limit
    }

    /// Takes a place for a stream; if there is none, the tablet waits.
    pub(super) fn take(&mut self, tablet: TabletId, pair: StreamPair, limit: u32) -> bool {
        if self.running.get(&tablet).is_some_and(|pairs| pairs.contains(&pair)) {
            return true;
        }
        if !self.has_place(pair, limit) {
            self.wait(tablet, pair);
            return false;
        }
        self.wait_no_more(tablet, pair);
        self.running.entry(tablet).or_default().insert(pair);
        self.running_into.insert((pair.receiver, tablet, pair.source));
        *self.into.entry(pair.receiver).or_default() += 1;
        *self.out_of.entry(pair.source).or_default() += 1;
        true
    }

    /// A stream has ended.
    pub(super) fn release(&mut self, tablet: TabletId, pair: StreamPair) {
        let Some(pairs) = self.running.get_mut(&tablet) else { return };
        if !pairs.remove(&pair) {
            return;
        }
        if pairs.is_empty() {
            self.running.remove(&tablet);
        }
        self.running_into.remove(&(pair.receiver, tablet, pair.source));
        minus_one(&mut self.into, pair.receiver);
        minus_one(&mut self.out_of, pair.source);
        self.freed.extend([pair.source, pair.receiver]);
    }

    /// None of a tablet's streams runs or waits any more.
    pub(super) fn release_tablet(&mut self, tablet: TabletId) {
        for pair in self.running.get(&tablet).cloned().unwrap_or_default() {
            self.release(tablet, pair);
        }
        for pair in self.waiting_of.get(&tablet).cloned().unwrap_or_default() {
            self.wait_no_more(tablet, pair);
        }
    }

    /// No stream into a node runs any more.
    pub(super) fn release_receiver(&mut self, node: NodeId) {
        let from = self.running_into.range((node, TabletId::mint(0, 0), NodeId::mint(0, 0))..);
        let its: alloc::vec::Vec<_> =
            from.take_while(|(receiver, _, _)| *receiver == node).copied().collect();
        for (receiver, tablet, source) in its {
            self.release(tablet, StreamPair { source, receiver });
        }
    }

    fn wait(&mut self, tablet: TabletId, pair: StreamPair) {
        self.waiting.entry(pair).or_default().insert(tablet);
        self.waiting_into.insert((pair.receiver, pair.source));
        self.waiting_of.entry(tablet).or_default().insert(pair);
    }

    fn wait_no_more(&mut self, tablet: TabletId, pair: StreamPair) {
        if let Some(tablets) = self.waiting.get_mut(&pair) {
            tablets.remove(&tablet);
            if tablets.is_empty() {
                self.waiting.remove(&pair);
                self.waiting_into.remove(&(pair.receiver, pair.source));
            }
        }
        if let Some(pairs) = self.waiting_of.get_mut(&tablet) {
            pairs.remove(&pair);
            if pairs.is_empty() {
                self.waiting_of.remove(&tablet);
            }
        }
    }

    /// One that waits and has a place now; it waits no more for that stream. To be asked until
    /// it gives none.
    pub(super) fn next_waiting(&mut self, limit: u32) -> Option<TabletId> {
        while let Some(node) = self.freed.first().copied() {
            if let Some(pair) = self.pair_with_place(node, limit) {
                let tablet = self.waiting.get(&pair).and_then(BTreeSet::first).copied()?;
                self.wait_no_more(tablet, pair);
                return Some(tablet);
            }
            self.freed.remove(&node);
        }
        None
    }

    /// A stream from or to a node that somebody waits for, and that has a place.
    fn pair_with_place(&self, node: NodeId, limit: u32) -> Option<StreamPair> {
        let least = NodeId::mint(0, 0);
        let first = StreamPair { source: node, receiver: least };
        let out = self.waiting.range(first..).map(|(pair, _)| *pair);
        let out = out.take_while(|pair| pair.source == node);
        let into = self.waiting_into.range((node, least)..);
        let into = into.take_while(|(receiver, _)| *receiver == node);
        let into =
            into.map(|(receiver, source)| StreamPair { source: *source, receiver: *receiver });
        out.chain(into).find(|pair| self.has_place(*pair, limit))
    }
}
