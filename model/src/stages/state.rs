//! The state of model B: one tablet's transition, its nodes, and the operations on one key.
//! Sets of nodes are bit masks; a timestamp is the number of the operation that drew it.

use migrations::stage::{Reads, Stage, Writes};

/// The nodes of the model.
pub const NODES: usize = 5;
/// The versions that plans and faults may reach, and the schedule without faults after them.
pub const VERSIONS: usize = 40;
/// The most operations on the key.
pub const OPERATIONS: usize = 3;

/// What a version of the tablet says, to routers and agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Map {
    /// The stage; `None` outside a transition.
    pub stage: Option<Stage>,
    /// The old replicas; 0: nobody can use this version any more.
    pub old: u8,
    /// The new ones.
    pub new: u8,
    /// The session that it names; 0: none.
    pub session: u8,
}

/// A node. It obeys no version but its floor's, and serves no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Node {
    /// Its floor for the tablet.
    pub floor: u8,
    /// Whether it has a copy.
    pub has_copy: bool,
    /// The timestamp of what the copy holds for the key; 0: nothing.
    pub cell: u8,
    /// It takes no router's write at or below this.
    pub promise: u8,
}

/// A put or a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Operation {
    /// The version that its router goes by; 0: not begun.
    pub version: u8,
    /// Nodes that have let it in, and not yet written it.
    pub entered: u8,
    /// Nodes that have written it, and said so.
    pub written: u8,
    /// Whether its caller has been answered.
    pub is_acknowledged: bool,
}

/// A chunk on its way: read at its source, not yet written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The session that it was sent under.
    pub session: u8,
    /// Its receiver.
    pub to: u8,
    /// What it holds.
    pub cell: u8,
}

/// One state of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The tablet's version.
    pub version: u8,
    /// What each version says, as far as anybody can still use it.
    pub maps: [Map; VERSIONS],
    /// How many transitions of the plan have begun.
    pub begun: u8,
    /// The session last drawn.
    pub drawn: u8,
    /// A cancel, or the fence of the pending replica, has marked the transition.
    pub is_marked: bool,
    /// Admitted nodes.
    pub admitted: u8,
    /// Nodes whose copy group0 has marked as lost.
    pub lost: u8,
    /// Who streams to each node, once the work has begun.
    pub sources: [u8; NODES],
    /// Whose stream to each node is complete.
    pub complete: [u8; NODES],
    /// Versions whose drop order was sent: it may arrive at any time from then on.
    pub ordered: u64,
    /// T: the timestamp up to which tombstones may be purged.
    pub t: u8,
    /// The T that the running repair has proposed.
    pub proposed: u8,
    /// Every replica has taken part in the running repair without a break.
    pub is_whole: bool,
    /// The nodes.
    pub nodes: [Node; NODES],
    /// The operations on the key, by timestamp from 1.
    pub operations: [Operation; OPERATIONS],
    /// A chunk that is stuck on its way.
    pub stuck: Option<Chunk>,
    /// Whether a chunk was ever stuck.
    pub was_stuck: bool,
    /// The greatest timestamp of a purged tombstone.
    pub purged: u8,
    /// Losses so far.
    pub losses: u8,
    /// Fences so far.
    pub fences: u8,
    /// Retries so far.
    pub retries: u8,
    /// Cancels so far.
    pub cancels: u8,
}

/// The nodes of a set, in order.
pub fn members(set: u8) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |node| set & (1 << node) != 0)
}

impl Map {
    /// Both sets.
    pub fn both(&self) -> u8 {
        self.old | self.new
    }

    /// In new, not in old.
    pub fn pending(&self) -> u8 {
        self.new & !self.old
    }

    /// In old, not in new.
    pub fn leaving(&self) -> u8 {
        self.old & !self.new
    }

    /// The sets that a write needs a majority of, each by itself; the second may be the first.
    pub fn write_sets(&self) -> (u8, u8) {
        match self.stage.map_or(Writes::Old, Stage::writes) {
            Writes::Old | Writes::None => (self.old, self.old),
            Writes::Both => (self.old, self.new),
            Writes::New => (self.new, self.new),
        }
    }

    /// The set that a read needs a majority of.
    pub fn read_set(&self) -> u8 {
        match self.stage.map_or(Reads::Old, Stage::reads) {
            Reads::Old | Reads::None => self.old,
            Reads::New => self.new,
        }
    }

    /// The nodes to which a copy is given.
    pub fn given(&self) -> u8 {
        match self.stage {
            Some(Stage::Cleanup | Stage::EndMigration) => self.new,
            Some(Stage::CleanupTarget | Stage::RevertMigration) => self.old,
            Some(Stage::Drop) => 0,
            _ => self.both(),
        }
    }
}

impl State {
    /// The replicas hold the tablet and nothing has happened.
    pub fn first(replicas: u8) -> State {
        let mut maps = [Map::default(); VERSIONS];
        maps[1] = Map { stage: None, old: replicas, new: replicas, session: 0 };
        let node = |node: usize| Node {
            floor: 1,
            has_copy: replicas & (1 << node) != 0,
            ..Node::default()
        };
        State {
            version: 1,
            maps,
            begun: 0,
            drawn: 0,
            is_marked: false,
            admitted: (1 << NODES) - 1,
            lost: 0,
            sources: [0; NODES],
            complete: [0; NODES],
            ordered: 0,
            t: 0,
            proposed: 0,
            is_whole: false,
            nodes: std::array::from_fn(node),
            operations: [Operation::default(); OPERATIONS],
            stuck: None,
            was_stuck: false,
            purged: 0,
            losses: 0,
            fences: 0,
            retries: 0,
            cancels: 0,
        }
    }

    /// What the tablet's version says.
    pub fn map(&self) -> Map {
        self.maps[usize::from(self.version)]
    }

    /// What a node goes by.
    pub fn map_of(&self, node: usize) -> Map {
        self.maps[usize::from(self.nodes[node].floor)]
    }

    /// Whether a node is admitted.
    pub fn is_admitted(&self, node: usize) -> bool {
        self.admitted & (1 << node) != 0
    }

    /// The greatest timestamp that was drawn.
    pub fn newest(&self) -> u8 {
        let drawn = self.operations.iter().rposition(|operation| operation.version != 0);
        drawn.map_or(0, |index| index as u8 + 1)
    }

    /// Those that are not dead for the rules of the table.
    pub fn live(&self) -> u8 {
        self.admitted & !self.lost
    }

    /// The copy on a node goes.
    pub fn drop_rows(&mut self, node: usize) {
        self.nodes[node].has_copy = false;
        self.nodes[node].cell = 0;
        self.lost &= !(1 << node);
    }

    /// Forgets what nobody can use any more, so that states that differ by it are one.
    pub fn forget(&mut self) {
        for version in 1..self.version {
            let is_floor = self.nodes.iter().any(|node| node.floor == version);
            let is_used = self.operations.iter().any(|operation| operation.version == version);
            let is_ordered = self.ordered & (1 << version) != 0;
            if !is_floor && !is_used && !is_ordered {
                self.maps[usize::from(version)] = Map::default();
            }
        }
    }
}
