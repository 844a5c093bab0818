//! What nodes and routers do: take versions on, stream, drop, purge, write.

use super::rule::Rule;
use super::state::{Chunk, State, members};
use super::{Kind, Stages};
use migrations::stage::Stage;

impl Stages {
    /// Steps 1 to 3 of a barrier, or a node that catches up for a request.
    pub(super) fn record(&self, s: &mut State, node: usize, version: u8) -> bool {
        let is_known = s.maps[usize::from(version)].old != 0;
        if !s.is_admitted(node) || version <= s.nodes[node].floor || !is_known {
            return false;
        }
        self.take_on(s, node, version);
        true
    }

    pub(super) fn take_on(&self, s: &mut State, node: usize, version: u8) {
        let map = s.maps[usize::from(version)];
        let promise = if map.stage == Some(Stage::OpenRepair) { s.proposed } else { s.t };
        let it = &mut s.nodes[node];
        it.floor = version;
        it.has_copy |= map.given() & (1 << node) != 0;
        it.promise = it.promise.max(promise);
    }

    /// A drop order arrives, however late: the node takes its version on, and obeys only if the
    /// copy isn't given at exactly that version.
    pub(super) fn drop_copy(&self, s: &mut State, node: usize, version: u8) -> bool {
        let map = s.maps[usize::from(version)];
        let named = match map.stage {
            Some(Stage::CleanupTarget) => map.pending(),
            _ => map.leaving(),
        };
        let was_sent = s.ordered & (1 << version) != 0 && named & (1 << node) != 0;
        if !was_sent || !s.nodes[node].has_copy {
            return false;
        }
        let obeys_blindly =
            !self.holds(Rule::DropAtItsVersion) || !self.holds(Rule::DropAfterUseNew);
        if !obeys_blindly {
            if !s.is_admitted(node) || s.nodes[node].floor > version {
                return false;
            }
            self.take_on(s, node, version);
        }
        s.drop_rows(node);
        true
    }

    /// A whole stream, source to receiver, under a session that is open on both.
    pub(super) fn pull(&self, s: &mut State, from: usize, to: usize) -> bool {
        let session = s.map().session;
        let is_source = s.lost & (1 << from) == 0 || !self.holds(Rule::LostIsNoSource);
        if s.sources[to] & (1 << from) == 0 || !is_source || !is_open(s, from, to, session) {
            return false;
        }
        s.complete[to] |= 1 << from;
        s.nodes[to].cell = s.nodes[to].cell.max(s.nodes[from].cell);
        true
    }

    /// A chunk of a stream is sent, and stuck.
    pub(super) fn send(&self, s: &mut State, from: usize, to: usize) -> bool {
        let session = s.map().session;
        let may = s.sources[to] & (1 << from) != 0 && is_open(s, from, to, session);
        let cell = s.nodes[from].cell;
        if !may || s.was_stuck || cell == 0 {
            return false;
        }
        s.was_stuck = true;
        s.stuck = Some(Chunk { session, to: to as u8, cell });
        true
    }

    /// The stuck chunk is written, if its session is open still.
    pub(super) fn land(&self, s: &mut State) -> bool {
        let Some(chunk) = s.stuck else { return false };
        let to = usize::from(chunk.to);
        let is_open = s.map_of(to).session == chunk.session && s.is_admitted(to);
        if !s.nodes[to].has_copy || !is_open && self.holds(Rule::SessionOfChunk) {
            return false;
        }
        s.nodes[to].cell = s.nodes[to].cell.max(chunk.cell);
        s.stuck = None;
        true
    }

    /// A node purges its tombstone.
    pub(super) fn purge(&self, s: &mut State, node: usize) -> bool {
        let it = s.nodes[node];
        let is_tombstone = it.cell != 0 && self.kind(it.cell) == Kind::Delete;
        let is_quiet = s.map().stage.is_none() && it.floor == s.version && s.is_admitted(node);
        let may = match self.holds(Rule::PurgeOutside) {
            true => is_quiet && it.cell <= s.t,
            false => it.cell <= it.promise,
        };
        if !is_tombstone || !may {
            return false;
        }
        s.purged = s.purged.max(it.cell);
        s.nodes[node].cell = 0;
        true
    }

    /// A router draws a timestamp and begins, by a version that it has read at some time.
    pub(super) fn begin(&self, s: &mut State, index: usize, version: u8) -> bool {
        let is_next = usize::from(s.newest()) == index || self.bounds.slow_clocks;
        let is_new = is_next && s.operations[index].version == 0;
        let is_served = self.bounds.old_maps && s.nodes.iter().any(|node| node.floor == version);
        let is_of_use = version == s.version || is_served;
        if !is_new || !is_of_use || s.maps[usize::from(version)].old == 0 {
            return false;
        }
        s.operations[index].version = version;
        true
    }

    /// Without [`Rule::OneVersion`]: the router goes on under the version of now.
    pub(super) fn go_on(&self, s: &mut State, index: usize) -> bool {
        let operation = &mut s.operations[index];
        let is_under_way = operation.version != 0 && !operation.is_acknowledged;
        if self.holds(Rule::OneVersion) || !is_under_way || operation.entered != 0 {
            return false;
        }
        operation.version = s.version;
        self.count(s, index);
        true
    }

    /// A request arrives at a node that goes by its version, and enters.
    pub(super) fn deliver(&self, s: &mut State, index: usize, node: usize) -> bool {
        let operation = s.operations[index];
        let timestamp = index as u8 + 1;
        let (one, other) = s.maps[usize::from(operation.version)].write_sets();
        let it = s.nodes[node];
        let is_target = (one | other) & (1 << node) != 0;
        let is_new = (operation.entered | operation.written) & (1 << node) == 0;
        let above =
            it.cell < timestamp && (it.promise < timestamp || !self.holds(Rule::PromiseKept));
        let serves = self.serves(s, node, operation.version);
        if operation.version == 0 || !is_target || !is_new || !serves || !above {
            return false;
        }
        s.operations[index].entered |= 1 << node;
        if self.bounds.guards { true } else { self.write(s, index, node) }
    }

    /// It is written, and the router told.
    pub(super) fn write(&self, s: &mut State, index: usize, node: usize) -> bool {
        let bit = 1 << node;
        let timestamp = index as u8 + 1;
        if s.operations[index].entered & bit == 0 {
            return false;
        }
        s.operations[index].entered &= !bit;
        // A node that has no copy would make one: that it never has to is for the floor to see to.
        if s.nodes[node].cell < timestamp {
            s.nodes[node].cell = timestamp;
            s.nodes[node].has_copy = true;
            s.operations[index].written |= bit;
            self.count(s, index);
        }
        true
    }

    /// The router answers its caller as soon as it may.
    fn count(&self, s: &mut State, index: usize) {
        let operation = s.operations[index];
        let (one, mut other) = s.maps[usize::from(operation.version)].write_sets();
        if !self.holds(Rule::MajorityOfEach) {
            other = one;
        }
        let done = self.has_majority(one, operation.written)
            && self.has_majority(other, operation.written);
        s.operations[index].is_acknowledged |= done;
    }

    /// Whether a node answers requests of a version.
    pub(super) fn serves(&self, s: &State, node: usize, version: u8) -> bool {
        let floor = s.nodes[node].floor;
        floor == version || floor > version && !self.holds(Rule::FloorRefuses)
    }
}

fn is_open(s: &State, from: usize, to: usize, session: u8) -> bool {
    let both = (1 << from) | (1 << to);
    let mut ends = members(both);
    session != 0 && both & !s.admitted == 0 && ends.all(|node| s.map_of(node).session == session)
}
