//! Model B: a plan of transitions of one tablet, majorities, and the operations on one key.
//!
//! A router may go by any version that some node still serves. A node takes a version on at any
//! time from its making on, or never; a fence may come at any time, and its node goes on serving at
//! its floor. Acknowledgements are not messages: they are read off the floors, since nothing that
//! was acknowledged is taken back. Not here: guards of sessions and clocks, which are model A's.

pub mod bounds;
pub mod rule;
pub mod state;
mod fair;
mod group0;
mod node;
mod words;

use crate::search::{KnownToEnd, Told};
use bounds::Bounds;
use migrations::id::NodeId;
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::stage::Stage;
use migrations::version::{CopyId, TopologyVersion};
use rule::Rule;
use state::{NODES, State, members};
use stateright::{Model, Property};
use std::sync::Arc;

/// INV-1.
pub const INV_1: &str = "INV-1 stage and session agree";
/// INV-6.
pub const INV_6: &str = "INV-6 no acknowledged write is lost";
/// INV-7.
pub const INV_7: &str = "INV-7 nothing comes back after a delete";
/// INV-8.
pub const INV_8: &str = "INV-8 only replicas hold data";
/// INV-9.
pub const INV_9: &str = "INV-9 any majority holds each acknowledged write";
/// INV-14.
pub const INV_14: &str = "INV-14 without faults everything ends";

/// What an operation does to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    Put,
    /// A tombstone.
    Delete,
}

/// The ways out of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Its work is done.
    Forward,
    /// A new attempt.
    Retry,
    /// Cancelled.
    Cancel,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next transition of the plan begins.
    Start,
    /// The stage is left.
    Leave(Way),
    /// The drop order of `cleanup_target` is sent.
    Order,
    /// A node is fenced.
    Fence(usize),
    /// It is admitted anew.
    Admit(usize),
    /// A node loses its copy.
    Lose(usize),
    /// A node takes a version on.
    Record(usize, u8),
    /// A drop order of a version arrives at a node.
    Drop(usize, u8),
    /// A whole stream, from one node to another.
    Pull(usize, usize),
    /// A chunk is sent and stuck.
    Send(usize, usize),
    /// The stuck chunk arrives.
    Land,
    /// A node purges its tombstone.
    Purge(usize),
    /// An operation begins, by a version.
    Begin(usize, u8),
    /// It goes on under the version of now (only without [`Rule::OneVersion`]).
    GoOn(usize),
    /// Its request arrives at a node.
    Deliver(usize, usize),
    /// The node writes it.
    Write(usize, usize),
}

/// Model B within bounds, with all rules or without one.
#[derive(Debug, Clone)]
pub struct Stages {
    bounds: Bounds,
    without: Option<Rule>,
    /// For each set, the sets that are a majority of it: the core's rule, looked up.
    majorities: Arc<Vec<u32>>,
    known: Arc<KnownToEnd>,
}

impl Stages {
    /// The model within these bounds, without one rule if one is named.
    pub fn new(bounds: Bounds, without: Option<Rule>) -> Stages {
        let majorities = Arc::new((0..1 << NODES).map(majorities_of).collect());
        Stages { bounds, without, majorities, known: Arc::default() }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn has_majority(&self, set: u8, counted: u8) -> bool {
        self.majorities[usize::from(set)] & (1 << counted) != 0
    }

    fn kind(&self, timestamp: u8) -> Kind {
        self.bounds.operations[usize::from(timestamp) - 1]
    }

    fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut s = *before;
        let taken = match action {
            Action::Start => self.start(&mut s),
            Action::Leave(way) => self.leave(&mut s, way),
            Action::Order => self.order(&mut s),
            Action::Fence(node) => self.fence(&mut s, node),
            Action::Admit(node) => self.admit(&mut s, node),
            Action::Lose(node) => self.lose(&mut s, node),
            Action::Record(node, version) => self.record(&mut s, node, version),
            Action::Drop(node, version) => self.drop_copy(&mut s, node, version),
            Action::Pull(from, to) => self.pull(&mut s, from, to),
            Action::Send(from, to) => self.send(&mut s, from, to),
            Action::Land => self.land(&mut s),
            Action::Purge(node) => self.purge(&mut s, node),
            Action::Begin(index, version) => self.begin(&mut s, index, version),
            Action::GoOn(index) => self.go_on(&mut s, index),
            Action::Deliver(index, node) => self.deliver(&mut s, index, node),
            Action::Write(index, node) => self.write(&mut s, index, node),
        };
        s.forget();
        (taken && s != *before).then_some(s)
    }

    fn within(&self, s: &State, action: Action) -> bool {
        match action {
            Action::Leave(Way::Retry) => s.retries < self.bounds.retries,
            Action::Leave(Way::Cancel) => s.cancels < self.bounds.cancels,
            Action::Fence(node) => {
                let takes_part = self.bounds.nodes & (1 << node) != 0;
                takes_part && s.fences < self.bounds.fences
            }
            Action::Lose(_) => s.losses < self.bounds.losses,
            Action::Send(..) => self.bounds.has_stuck_chunk,
            _ => true,
        }
    }

    fn actions_of_node(&self, s: &State, node: usize, into: &mut Vec<Action>) {
        into.extend([Action::Fence(node), Action::Admit(node), Action::Purge(node)]);
        into.extend([Action::Lose(node), Action::Record(node, s.version)]);
        for index in 0..self.bounds.operations.len() {
            let version = s.operations[index].version;
            if version != 0 {
                into.push(Action::Deliver(index, node));
                into.push(Action::Write(index, node));
                if version != s.version {
                    into.push(Action::Record(node, version));
                }
            }
        }
        let ordered = (1..=s.version).filter(|version| s.ordered & (1 << version) != 0);
        into.extend(ordered.map(|version| Action::Drop(node, version)));
        for from in members(s.sources[node]) {
            into.extend([Action::Pull(from, node), Action::Send(from, node)]);
        }
    }
}

/// The sets, as a mask over all sets, that are a majority of one.
fn majorities_of(set: u8) -> u32 {
    let id = |node: usize| NodeId::from_u64(node as u64 + 1);
    let copy = CopyId(TopologyVersion::from_parts(0, 1));
    let replica = |node| id(node).map(|node| Replica { node, copy, lost: false });
    let replicas = ReplicaSet::new(members(set).filter_map(replica).collect()).unwrap_or_default();
    let is_one = |counted: &u8| {
        replicas.has_majority(|node| members(*counted).any(|member| id(member) == Some(node)))
    };
    (0..1u8 << NODES).filter(is_one).map(|counted| 1 << counted).sum()
}

impl Model for Stages {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self.bounds.replicas)]
    }

    fn actions(&self, s: &State, into: &mut Vec<Action>) {
        into.push(Action::Start);
        into.extend([Way::Forward, Way::Retry, Way::Cancel].map(Action::Leave));
        into.extend([Action::Order, Action::Land]);
        let nodes = members(self.bounds.nodes);
        nodes.for_each(|node| self.actions_of_node(s, node, into));
        for index in 0..self.bounds.operations.len() {
            into.push(Action::GoOn(index));
            into.extend((1..=s.version).map(|version| Action::Begin(index, version)));
        }
    }

    fn next_state(&self, s: &State, action: Action) -> Option<State> {
        if self.within(s, action) { self.step(s, action) } else { None }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(INV_1, |_: &Stages, s: &State| {
                let map = s.map();
                map.stage.is_some_and(Stage::has_session) == (map.session != 0)
            }),
            Property::always(INV_6, |m: &Stages, s: &State| m.keeps(s, Kind::Put)),
            Property::always(INV_7, Stages::keeps_deleted),
            Property::always(INV_8, |_: &Stages, s: &State| {
                let map = s.map();
                let others = s.admitted & !map.old;
                map.stage.is_some() || members(others).all(|node| !s.nodes[node].has_copy)
            }),
            Property::always(INV_9, |m: &Stages, s: &State| {
                m.keeps(s, Kind::Put) && m.keeps(s, Kind::Delete)
            }),
            Property::always(INV_14, fair::ends),
        ];
        all.extend(self.sights());
        all
    }
}

impl Stages {
    /// What is seen in some state, where the bounds give cause for it.
    fn sights(&self) -> Vec<Property<Stages>> {
        let mut all = vec![
            Property::sometimes("the plan is done", |m: &Stages, s: &State| {
                usize::from(s.begun) == m.bounds.plan.len() && s.map().stage.is_none()
            }),
            Property::sometimes("all is acknowledged", |m: &Stages, s: &State| {
                s.operations[..m.bounds.operations.len()].iter().all(|op| op.is_acknowledged)
            }),
            Property::sometimes("acknowledged by an old version", |_: &Stages, s: &State| {
                s.operations.iter().any(|op| op.is_acknowledged && op.version + 1 < s.version)
            }),
        ];
        if self.bounds.fences > 0 {
            all.push(Property::sometimes("a fenced node serves", |_: &Stages, s: &State| {
                let written = s.operations.iter().fold(0, |all, op| all | op.written);
                written & !s.admitted != 0
            }));
            all.push(Property::sometimes("a barrier stands beside it", |m: &Stages, s: &State| {
                let map = s.map();
                map.both() & !s.admitted != 0 && map.stage.is_some() && m.has_acknowledged(s)
            }));
        }
        if self.bounds.cancels > 0 {
            all.push(Property::sometimes("a way back ends", |_: &Stages, s: &State| {
                s.cancels > 0 && s.map().stage.is_none()
            }));
        }
        if self.bounds.operations.contains(&Kind::Delete) {
            all.push(Property::sometimes("a tombstone is purged", |_: &Stages, s: &State| {
                s.purged > 0
            }));
        }
        if self.bounds.has_stuck_chunk {
            all.push(Property::sometimes(
                "a chunk is stuck beyond its attempt",
                |_: &Stages, s: &State| {
                    s.stuck.is_some_and(|chunk| chunk.session < s.map().session)
                },
            ));
        }
        all
    }

    /// Whether no majority that a router could find, at any version, misses an acknowledged write
    /// of this kind.
    fn keeps(&self, s: &State, kind: Kind) -> bool {
        self.acknowledged(s, kind)
            .all(|timestamp| !self.some_majority_is_below(s, timestamp, s.purged >= timestamp))
    }

    fn keeps_deleted(&self, s: &State) -> bool {
        let mut deletes = self.acknowledged(s, Kind::Delete);
        deletes.all(|timestamp| !self.some_majority_is_below(s, timestamp, true))
    }

    fn acknowledged(&self, s: &State, kind: Kind) -> impl Iterator<Item = u8> {
        let operations = s.operations;
        let count = self.bounds.operations.len() as u8;
        let of_kind = move |timestamp: &u8| self.kind(*timestamp) == kind;
        (1..=count)
            .filter(of_kind)
            .filter(move |timestamp| operations[usize::from(*timestamp) - 1].is_acknowledged)
    }

    /// Whether a read may find only what is older than a timestamp. Finding nothing at all is
    /// well, if it `may_be_gone`.
    fn some_majority_is_below(&self, s: &State, timestamp: u8, may_be_gone: bool) -> bool {
        (1..=s.version).filter(|version| s.maps[usize::from(*version)].old != 0).any(|version| {
            let set = s.maps[usize::from(version)].read_set();
            let is_current = |node: usize| version == s.version && s.is_admitted(node);
            let answers = |node: usize| {
                let catches_up = s.nodes[node].floor < version && is_current(node);
                catches_up || self.serves(s, node, version)
            };
            // What is lost is answered by nobody.
            let below = |node: &usize| {
                let is_lost = s.lost & (1 << *node) != 0;
                s.nodes[*node].cell < timestamp && answers(*node) && !is_lost
            };
            let old: u8 = members(set).filter(below).map(|node| 1 << node).sum();
            let something = members(old).any(|node| s.nodes[node].cell != 0);
            self.has_majority(set, old) && (something || !may_be_gone)
        })
    }
}

impl Told for Stages {
    fn tell(&self, before: &State, action: &Action) -> String {
        words::tell(before, *action)
    }
}
