//! Which moves would level the nodes and empty those that are drained: a plan, as a value.
//!
//! A proposer's choice: apply checks each move (`Command::Balance`), so this may be improved from
//! build to build. Nothing is remembered between plans: a plan follows from the topology, the
//! limits and the time, the same each time it is made. It ends: each move to level takes one
//! replica from a node that holds at least two more, and nothing moves onto a drained node.

use crate::apply::{check_pending, disabled};
use crate::barrier::asked;
use crate::evidence::FailureReason;
use crate::id::{NodeId, TabletId};
use crate::replica_set::ReplicaSet;
use crate::room::Rooms;
use crate::stage::TransitionKind;
use crate::switch::BalanceScope;
use crate::tablet::{EndReason, Tablet};
use crate::topology::Topology;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

/// For this long a tablet whose move has failed, and the node that it did not reach, are passed
/// over: else the same move would be begun over and over. Milliseconds.
pub const PASS_OVER_MS: u64 = 60_000;

/// What a plan stays within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Moves of one plan.
    pub moves: usize,
    /// Transitions that take a replica to, and those that take one from, one node at a time: the
    /// running ones, whoever began them, and the planned ones.
    pub per_node: u32,
}

impl Limits {
    /// All that there is to do, at whatever time.
    pub const NONE: Limits = Limits { moves: usize::MAX, per_node: u32::MAX };
}

/// What a move is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The node that it takes a replica from is drained.
    Drain,
    /// That node is to go for good.
    Remove,
    /// That node holds at least two more than the one that it takes it to.
    Level,
}

/// One replica goes from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Of which tablet.
    pub tablet: TabletId,
    /// The node that loses its replica.
    pub from: NodeId,
    /// The node that gets one.
    pub to: NodeId,
    /// What for.
    pub why: Why,
    /// A migration; or a rebuild, of a replica that is dead.
    pub kind: TransitionKind,
}

/// Why no more is planned, although there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The cluster is paused.
    Paused,
    /// Balancing is disabled: everywhere, or where a drain would have to move something.
    Disabled(BalanceScope),
    /// As much as the limits allow is planned or runs.
    Limits,
    /// A majority of this tablet's replicas is dead, so that nothing of it can move: one of them is
    /// on a drained node.
    NoMajority(TabletId),
    /// A replica of this drained node can go nowhere: each other node is fenced, drained,
    /// switched off or passed over, or the tablet has a replica on it or in its rack.
    NoRoom(NodeId),
    /// This tablet is to lose its replica on a node, and is larger than the room of each node that
    /// could take it otherwise.
    TooLarge(TabletId, NodeId),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In order: drains first, then from the fullest node to the emptiest.
    pub moves: Vec<Move>,
    /// Why it is not more; `None` if that is all there is to do.
    pub held_by: Option<Held>,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Drain => "drain",
            Why::Remove => "remove",
            Why::Level => "level",
        })
    }
}

/// How many replicas each node holds once the running transitions have reached their aims.
pub fn loads(topology: &Topology) -> BTreeMap<NodeId, u32> {
    let mut loads: BTreeMap<NodeId, u32> =
        topology.state().nodes.keys().map(|id| (*id, 0)).collect();
    for tablet in topology.state().tablets.values() {
        let next = tablet.transition.as_ref().map(|transition| &transition.record);
        if next.is_some_and(|record| record.kind == TransitionKind::Drop) {
            continue;
        }
        let held = next.map_or(&tablet.replicas, |record| &record.next);
        for node in held.nodes() {
            *loads.entry(node).or_default() += 1;
        }
    }
    loads
}

/// Nodes that are to go and hold nothing any more: their records can go.
pub fn emptied(topology: &Topology) -> Vec<NodeId> {
    let nodes = topology.state().nodes.iter();
    let mut leaving: Vec<NodeId> =
        nodes.filter(|(_, node)| node.is_leaving).map(|(id, _)| *id).collect();
    if !leaving.is_empty() {
        let held: BTreeSet<NodeId> = topology.state().tablets.values().flat_map(asked).collect();
        leaving.retain(|node| !held.contains(node));
    }
    leaving
}

/// What the balancer would begin now.
pub fn plan(topology: &Topology, limits: Limits, now_ms: u64) -> Plan {
    plan_except(topology, limits, now_ms, &BTreeSet::new(), &Rooms::default())
}

/// The same where some nodes are to get nothing, for a reason that group0 doesn't know, and the
/// others no more than they have room for. What they hold may go elsewhere.
pub fn plan_except(
    topology: &Topology,
    limits: Limits,
    now_ms: u64,
    except: &BTreeSet<NodeId>,
    rooms: &Rooms,
) -> Plan {
    if topology.state().pause.is_some() {
        return Plan { moves: Vec::new(), held_by: Some(Held::Paused) };
    }
    let switches = &topology.state().balancing;
    let everywhere = switches.get(&BalanceScope::Cluster);
    if everywhere.is_some_and(|switch| switch.is_in_force(now_ms)) {
        let held_by = Some(Held::Disabled(BalanceScope::Cluster));
        return Plan { moves: Vec::new(), held_by };
    }
    let mut planner = Planner::new(topology, limits, now_ms, except, rooms);
    planner.empty_drained();
    planner.level();
    let (limits, other) = (planner.is_limited.then_some(Held::Limits), planner.held);
    let other = other.or(planner.too_large);
    Plan { moves: planner.moves, held_by: limits.or(other) }
}

/// A plan in the making. What is counted is kept as numbers: a move costs what it changes.
struct Planner<'a> {
    topology: &'a Topology,
    limits: Limits,
    now_ms: u64,
    rooms: &'a Rooms,
    /// Bytes of rows that a node can take beside what runs and is planned, where that is known.
    room: BTreeMap<NodeId, u64>,
    loads: BTreeMap<NodeId, u32>,
    /// Nodes among which is levelled.
    givers: Vec<NodeId>,
    /// Those of them that may get replicas, the emptiest first.
    open: BTreeSet<(u32, NodeId)>,
    /// Tablets at rest, by each node that holds one of their replicas.
    at_rest: BTreeMap<NodeId, BTreeSet<TabletId>>,
    /// Moves to a node, running and planned.
    into: BTreeMap<NodeId, u32>,
    /// Moves from a node, running and planned.
    out_of: BTreeMap<NodeId, u32>,
    moves: Vec<Move>,
    is_limited: bool,
    held: Option<Held>,
    /// What a pass of levelling has found to be larger than any room.
    too_large: Option<Held>,
}

/// What came of the search for a node that can take a replica.
enum Found {
    Node(NodeId),
    /// One could, but for the limits.
    Limited,
    /// One could, but for its room.
    TooLarge,
    Nowhere,
}

impl<'a> Planner<'a> {
    fn new(
        topology: &'a Topology,
        limits: Limits,
        now_ms: u64,
        except: &BTreeSet<NodeId>,
        rooms: &'a Rooms,
    ) -> Planner<'a> {
        let loads = loads(topology);
        let (tablets_passed, nodes_passed) = passed_over(topology, now_ms);
        let takes_part = |id: &NodeId| {
            let node = topology.node(*id);
            let switch = topology.state().balancing.get(&BalanceScope::Node(*id));
            node.is_some_and(|node| node.admitted().is_some() && node.drain.is_none())
                && !switch.is_some_and(|switch| switch.is_in_force(now_ms))
        };
        let givers: Vec<NodeId> = loads.keys().copied().filter(takes_part).collect();
        let open = givers.iter().filter(|id| !nodes_passed.contains(id) && !except.contains(id));
        let open = open.filter_map(|id| Some((*loads.get(id)?, *id)));
        let kept = rooms.kept(topology);
        let room = givers.iter().filter_map(|id| {
            let kept = kept.get(id).copied().unwrap_or_default();
            Some((*id, rooms.of(*id)?.saturating_sub(kept)))
        });
        let mut planner = Planner {
            topology,
            limits,
            now_ms,
            rooms,
            room: room.collect(),
            open: open.collect(),
            givers,
            loads,
            at_rest: BTreeMap::new(),
            into: BTreeMap::new(),
            out_of: BTreeMap::new(),
            moves: Vec::new(),
            is_limited: false,
            held: None,
            too_large: None,
        };
        for (id, tablet) in &topology.state().tablets {
            planner.count(*id, tablet, tablets_passed.contains(id));
        }
        planner
    }

    fn count(&mut self, id: TabletId, tablet: &Tablet, is_passed_over: bool) {
        match &tablet.transition {
            // It stands still until they are back or given up, and takes no place meanwhile: what
            // could go on would wait behind it.
            Some(_) if has_dead_majority(self.topology, tablet) => {}
            Some(transition) => {
                let next = &transition.record.next;
                for pending in next.minus(&tablet.replicas) {
                    *self.into.entry(pending.node).or_default() += 1;
                }
                for leaving in tablet.replicas.minus(next) {
                    *self.out_of.entry(leaving.node).or_default() += 1;
                }
            }
            None if is_passed_over => {}
            None => {
                for node in tablet.replicas.nodes() {
                    self.at_rest.entry(node).or_default().insert(id);
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.moves.len() >= self.limits.moves
    }

    fn has_place(&self, running: &BTreeMap<NodeId, u32>, node: NodeId) -> bool {
        running.get(&node).copied().unwrap_or_default() < self.limits.per_node
    }

    /// All replicas off the nodes that are drained.
    fn empty_drained(&mut self) {
        let nodes = self.topology.state().nodes.iter();
        let drained: Vec<NodeId> =
            nodes.filter(|(_, node)| node.drain.is_some()).map(|(id, _)| *id).collect();
        for from in drained {
            for id in self.at_rest.get(&from).cloned().unwrap_or_default() {
                let Some(tablet) = self.topology.tablet(id) else { continue };
                if let Some(scope) = disabled(self.topology, tablet.table, [from], self.now_ms) {
                    self.held.get_or_insert(Held::Disabled(scope));
                    continue;
                }
                if has_dead_majority(self.topology, tablet) {
                    self.held.get_or_insert(Held::NoMajority(id));
                    continue;
                }
                let is_leaving = self.topology.node(from).is_some_and(|node| node.is_leaving);
                let why = if is_leaving { Why::Remove } else { Why::Drain };
                let kind = match self.topology.is_dead(tablet, from) {
                    true => TransitionKind::Rebuild,
                    false => TransitionKind::Migrate,
                };
                match self.find(id, tablet, from, u32::MAX) {
                    Found::Node(to) => self.note(Move { tablet: id, from, to, why, kind }),
                    Found::Limited => self.is_limited = true,
                    Found::TooLarge => {
                        self.held.get_or_insert(Held::TooLarge(id, from));
                    }
                    Found::Nowhere => {
                        self.held.get_or_insert(Held::NoRoom(from));
                    }
                }
            }
        }
    }

    /// From the fullest to the emptiest, until no move takes from one that holds two more. A move
    /// may make room for another one from a node that had nowhere to put it: hence the passes.
    fn level(&mut self) {
        let mut before = usize::MAX;
        while before != self.moves.len() && !(self.is_full() && self.is_limited) {
            before = self.moves.len();
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.too_large = None;
        let load = |id: &NodeId| self.loads.get(id).copied().unwrap_or_default();
        let mut fullest: BTreeSet<(u32, NodeId)> =
            self.givers.iter().map(|id| (load(id), *id)).collect();
        while let Some((load, from)) = fullest.pop_last() {
            let emptiest = self.open.first().map_or(load, |(load, _)| *load);
            if load < emptiest.saturating_add(2) {
                break;
            }
            let Some(step) = self.step_from(from, load) else { continue };
            self.note(step);
            fullest.insert((load - 1, from));
            let grown = self.loads.get(&step.to).copied().unwrap_or_default();
            if fullest.remove(&(grown.saturating_sub(1), step.to)) {
                fullest.insert((grown, step.to));
            }
        }
    }

    /// One replica from this node to the emptiest that can take one.
    fn step_from(&mut self, from: NodeId, load: u32) -> Option<Move> {
        for id in self.at_rest.get(&from).into_iter().flatten().copied() {
            let Some(tablet) = self.topology.tablet(id) else { continue };
            if disabled(self.topology, tablet.table, [], self.now_ms).is_some()
                || has_dead_majority(self.topology, tablet)
            {
                continue;
            }
            match self.find(id, tablet, from, load.saturating_sub(2)) {
                Found::Node(to) => {
                    let (why, kind) = (Why::Level, TransitionKind::Migrate);
                    return Some(Move { tablet: id, from, to, why, kind });
                }
                Found::Limited => {
                    self.is_limited = true;
                    // Where the limit is not one node's among several, no other tablet can go
                    // either.
                    let mut open = self.open.iter().take_while(|(has, _)| has + 2 <= load);
                    let is_open = open.any(|(_, to)| self.has_place(&self.into, *to));
                    if self.is_full() || !self.has_place(&self.out_of, from) || !is_open {
                        return None;
                    }
                }
                Found::TooLarge => {
                    self.too_large.get_or_insert(Held::TooLarge(id, from));
                }
                Found::Nowhere => {}
            }
        }
        None
    }

    /// The emptiest node that can take a tablet's replica and holds no more than `load_max`.
    fn find(&self, id: TabletId, tablet: &Tablet, from: NodeId, load_max: u32) -> Found {
        let is_held = self.is_full() || !self.has_place(&self.out_of, from);
        let size = self.rooms.size(id, tablet).unwrap_or_default();
        let mut found = Found::Nowhere;
        for (load, to) in &self.open {
            if *load > load_max {
                break;
            }
            if check_pending(self.topology, tablet, Some(from), *to).is_err() {
                continue;
            }
            if self.room.get(to).is_some_and(|room| size > *room) {
                if matches!(found, Found::Nowhere) {
                    found = Found::TooLarge;
                }
                continue;
            }
            if !is_held && self.has_place(&self.into, *to) {
                return Found::Node(*to);
            }
            found = Found::Limited;
        }
        found
    }

    /// Takes a move into the plan: it counts as made for what follows.
    fn note(&mut self, step: Move) {
        let Move { tablet, from, to, .. } = step;
        for (node, is_more) in [(from, false), (to, true)] {
            let load = self.loads.entry(node).or_default();
            let before = *load;
            *load = if is_more { before.saturating_add(1) } else { before.saturating_sub(1) };
            if self.open.remove(&(before, node)) {
                self.open.insert((*load, node));
            }
        }
        *self.into.entry(to).or_default() += 1;
        *self.out_of.entry(from).or_default() += 1;
        let found = self.topology.tablet(tablet);
        if let (Some(room), Some(found)) = (self.room.get_mut(&to), found) {
            let size = self.rooms.size(tablet, found).unwrap_or_default();
            *room = room.saturating_sub(size);
        }
        // In transition from then on.
        let replicas = found.map(|tablet| &tablet.replicas);
        for node in replicas.into_iter().flat_map(|replicas| replicas.nodes()) {
            if let Some(at_rest) = self.at_rest.get_mut(&node) {
                at_rest.remove(&tablet);
            }
        }
        self.moves.push(step);
    }
}

/// Whether the rule on majorities holds whatever is or would be begun of a tablet.
fn has_dead_majority(topology: &Topology, tablet: &Tablet) -> bool {
    let is_dead = |set: &ReplicaSet| set.has_majority(|node| topology.is_dead(tablet, node));
    let next = tablet.transition.as_ref().map(|transition| &transition.record.next);
    is_dead(&tablet.replicas) || next.is_some_and(is_dead)
}

/// Tablets of which a move has gone back a short time ago, and the nodes that those did not reach, by
/// what may be a fault of theirs.
fn passed_over(topology: &Topology, now_ms: u64) -> (BTreeSet<TabletId>, BTreeSet<NodeId>) {
    let (mut tablets, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for over in &topology.state().finished {
        let is_new = now_ms < over.ended_ms.saturating_add(PASS_OVER_MS);
        let Some(reason) =
            over.reason.filter(|reason| is_new && *reason != EndReason::TableDropped)
        else {
            continue;
        };
        // Whatever took it back, somebody's wish included, would do so again.
        tablets.insert(over.tablet);
        let is_of_target = match reason {
            EndReason::Cancelled => false,
            // Its own or a source's: whoever's it is says so with each renewal, and is passed over
            // for that.
            EndReason::Failed(failure) => {
                !matches!(failure, FailureReason::DiskError | FailureReason::DiskFull)
            }
            _ => true,
        };
        if is_of_target {
            nodes.extend(over.next.minus(&over.replicas).map(|pending| pending.node));
        }
    }
    (tablets, nodes)
}
