//! The topology coordinator's decisions: events in, effects out. It holds nothing that matters:
//! a new leader builds it from the topology, and losing it costs time, not truth.
//!
//! Each event ends in a *look* at the tablets that it concerns: what is still missing before the
//! transition may go on, as apply would say it, and which orders can bring it. Orders may be
//! given twice; agents answer the second with what came of the first.

mod event;
mod fitness;
mod leases;
mod look;
mod slots;
mod waiting;

use crate::apply::expected;
use crate::command::{Advance, Command};
use crate::evidence::{Acknowledgement, DropReport, Evidence, FailureReason, StreamReport};
use crate::id::{NodeId, SessionId, TabletId};
use crate::lease::Instant;
use crate::node::Node;
use crate::record::StreamPair;
use crate::rule::{Rule, is_undone};
use crate::stage::WayBack;
use crate::topology::Topology;
use crate::version::{Incarnation, TopologyVersion};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
pub use event::{Effect, Event, Ordered, Unfit};
use fitness::Fitness;
use leases::Leases;
use slots::Slots;

/// What a node was told about a tablet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Barrier(NodeId),
    Pull(StreamPair),
    Drop(NodeId),
}

/// What has been gathered for one tablet at one version. Starts anew with each version: nothing
/// that was said of another one counts.
#[derive(Debug, Clone, Default)]
struct Gathered {
    version: TopologyVersion,
    /// Since when its acknowledgements are waited for.
    since: Instant,
    /// Since when its drops are.
    drops_since: Option<Instant>,
    acknowledged: BTreeMap<NodeId, Acknowledgement>,
    reports: BTreeMap<StreamPair, StreamReport>,
    drops: BTreeMap<NodeId, DropReport>,
    /// When each stream that is ordered was last heard of.
    streams_heard: BTreeMap<StreamPair, Instant>,
    told: BTreeSet<Order>,
    failure: Option<FailureReason>,
    /// Not before this is the attempt tried again, or a refused order repeated.
    not_before: Option<Instant>,
    is_proposed: bool,
}

impl Gathered {
    fn evidence(&self) -> Evidence {
        Evidence {
            acknowledged: self.acknowledged.values().copied().collect(),
            streams: self.reports.values().copied().collect(),
            drops: self.drops.values().copied().collect(),
        }
    }
}

/// How long the driver waits before it repeats what was refused or came to nothing.
const REPEAT_AFTER_NS: u64 = 200_000_000;

/// The driver. All soft state.
#[derive(Debug)]
pub struct Driver {
    gathered: BTreeMap<TabletId, Gathered>,
    /// The newest attachment of each node.
    attached: BTreeMap<NodeId, u64>,
    leases: Leases,
    fitness: Fitness,
    slots: Slots,
    /// Tablets to look at again at a given time.
    due: BTreeSet<(Instant, TabletId)>,
    now: Instant,
    looks: u64,
}

/// Draws a fresh session id. Randomness comes from outside.
pub type FreshSession<'a> = &'a mut dyn FnMut() -> SessionId;

impl Driver {
    /// The driver of a leadership that begins now. It assumes that every admitted agent may hold
    /// a lease from the leader before.
    pub fn new(topology: &Topology, now: Instant) -> Driver {
        let mut driver = Driver {
            gathered: BTreeMap::new(),
            attached: BTreeMap::new(),
            leases: Leases::default(),
            fitness: Fitness::default(),
            slots: Slots::default(),
            due: BTreeSet::new(),
            now,
            looks: 0,
        };
        driver.due.extend(topology.in_transition().map(|tablet| (now, tablet)));
        driver
    }

    /// Takes an event and says what to do. The topology is the one that holds now.
    pub fn handle(
        &mut self,
        topology: &Topology,
        event: Event,
        fresh: FreshSession<'_>,
        out: &mut Vec<Effect>,
    ) {
        match event {
            Event::Committed { touched, nodes, is_for_all } => {
                let mut concerned = touched;
                if is_for_all {
                    concerned.extend(topology.in_transition());
                }
                concerned.extend(nodes.into_iter().flat_map(|id| topology.in_transition_on(id)));
                self.committed(topology, &concerned, fresh, out);
            }
            Event::Attached { node, attachment } => {
                self.attached.insert(node, attachment);
                self.fitness.attached(node);
                self.forget_orders_of(topology, node);
                for tablet in topology.in_transition_on(node) {
                    self.look(topology, tablet, fresh, out);
                }
                self.look_at_waiting(topology, fresh, out);
            }
            Event::Detached { node, attachment } => {
                if self.attached.get(&node) == Some(&attachment) {
                    self.attached.remove(&node);
                    self.fitness.detached(node);
                    self.forget_orders_of(topology, node);
                    self.look_at_waiting(topology, fresh, out);
                }
            }
            Event::Renewed { node, incarnation, at } => self.leases.renewed(node, incarnation, at),
            Event::HasFullState { node } => self.fitness.has_full_state(node, self.now),
            Event::Received { node, ticket } => self.fitness.received(node, ticket),
            Event::Unfit { node, incarnation, why } => {
                self.fitness.unfit(node, incarnation, why, self.now);
            }
            Event::FenceEnded { node } => self.leases.fence_ended(node),
            Event::Tick(now) => self.tick(topology, now, fresh, out),
            Event::Acknowledged { tablet, said } => {
                if is_admitted(topology, said.node, said.incarnation)
                    && self.gathering(topology, tablet, said.version)
                {
                    let gathered = self.gathered.entry(tablet).or_default();
                    gathered.acknowledged.insert(said.node, said);
                    self.look(topology, tablet, fresh, out);
                }
            }
            Event::Streamed { tablet, report } => {
                self.streamed(topology, tablet, report);
                self.look(topology, tablet, fresh, out);
                self.look_at_waiting(topology, fresh, out);
            }
            Event::StreamGoesOn { tablet, pair } => {
                let gathered = self.gathered.get_mut(&tablet);
                let heard = gathered.and_then(|gathered| gathered.streams_heard.get_mut(&pair));
                if let Some(heard) = heard {
                    *heard = self.now;
                }
            }
            Event::StreamFailed { tablet, session, pair, reason } => {
                self.stream_failed(topology, tablet, session, pair, reason);
                self.look(topology, tablet, fresh, out);
                self.look_at_waiting(topology, fresh, out);
            }
            Event::Dropped { tablet, report } => {
                if is_admitted(topology, report.node, report.incarnation)
                    && is_ordered(topology, tablet, &report)
                    && self.gathering(topology, tablet, report.version)
                {
                    let gathered = self.gathered.entry(tablet).or_default();
                    gathered.drops.insert(report.node, report);
                    self.look(topology, tablet, fresh, out);
                }
            }
            Event::Refused { tablet, version, node, incarnation, order, reason } => {
                if is_admitted(topology, node, incarnation)
                    && self.gathering(topology, tablet, version)
                {
                    self.refused(topology, tablet, (node, incarnation), order, reason);
                }
            }
            Event::ProposalEnded { tablet, version } => {
                if self.gathering(topology, tablet, version) {
                    self.gathered.entry(tablet).or_default().is_proposed = false;
                    self.look_later(tablet, REPEAT_AFTER_NS);
                }
            }
        }
        self.fitness.ask(self.now, out);
    }

    /// Whether a renewal of this incarnation may be answered: not once it is unfit, or a fence of
    /// it was decided.
    pub fn may_renew(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let is_fit = self.unfit(node, incarnation).is_none() || is_undone(Rule::UnfitNotRenewed);
        self.leases.may_renew(node, incarnation) && is_fit
    }

    /// Whether a process of this node that is not the admitted one may be admitted now. One that
    /// was unfit more than once in short time waits: each admission begins sessions anew.
    pub fn may_admit(&self, node: NodeId) -> bool {
        self.fitness.admissible_at(node) <= self.now
    }

    /// Why, and since when, this incarnation of a node is unfit, if it is and is not fenced yet.
    pub fn unfit(&self, node: NodeId, incarnation: Incarnation) -> Option<(Unfit, Instant)> {
        self.fitness.why_unfit(node, incarnation)
    }

    /// All that are unfit and not fenced yet, why and since when.
    pub fn all_unfit(&self) -> impl Iterator<Item = (NodeId, Incarnation, Unfit, Instant)> {
        self.fitness.all_unfit()
    }

    /// How often a tablet was looked at so far: what the work of the driver grows with.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Whether a node's agent is attached.
    pub fn is_attached(&self, node: NodeId) -> bool {
        self.attached.contains_key(&node)
    }

    fn committed(
        &mut self,
        topology: &Topology,
        concerned: &BTreeSet<TabletId>,
        fresh: FreshSession<'_>,
        out: &mut Vec<Effect>,
    ) {
        for tablet in concerned {
            if topology.transition(*tablet).is_none() {
                self.gathered.remove(tablet);
                self.slots.release_tablet(*tablet);
                self.announce(topology, *tablet, out);
            }
            self.look(topology, *tablet, fresh, out);
        }
        self.look_at_waiting(topology, fresh, out);
    }

    /// Tells those who hold a tablet that is in no transition any more. Nobody waits for them:
    /// who misses it catches up when a router comes with the newer version.
    fn announce(&self, topology: &Topology, tablet: TabletId, out: &mut Vec<Effect>) {
        let Some(record) = topology.record(tablet) else { return };
        for node in record.both() {
            if self.attached.contains_key(&node) {
                out.push(Effect::Barrier { node, record: record.clone() });
            }
        }
    }

    fn tick(
        &mut self,
        topology: &Topology,
        now: Instant,
        fresh: FreshSession<'_>,
        out: &mut Vec<Effect>,
    ) {
        self.now = self.now.max(now);
        while let Some((at, tablet)) = self.due.first().copied() {
            if at > self.now {
                break;
            }
            self.due.remove(&(at, tablet));
            self.look(topology, tablet, fresh, out);
        }
        self.judge_fitness(topology);
        self.leases.expire(topology, self.now, out);
    }

    /// A node could not do what it was told. It is told again, or the transition goes back.
    fn refused(
        &mut self,
        topology: &Topology,
        tablet: TabletId,
        (node, incarnation): (NodeId, Incarnation),
        order: Ordered,
        reason: Option<FailureReason>,
    ) {
        // One of the two is wrong about what is given, and no other try tells which: the drop is
        // not repeated, and the bound of a drop does the rest.
        if reason.is_none() && order == Ordered::Drop {
            return;
        }
        // For the others it is no reason to give up.
        let reason = reason.unwrap_or(FailureReason::StaleVersion);
        let gathered = self.gathered.entry(tablet).or_default();
        gathered.told.retain(|order| !order.is_to(node));
        // Where there is no way back the order is repeated until it is obeyed.
        if !reason.is_retryable() && can_turn_back(topology, tablet) {
            gathered.failure.get_or_insert(reason);
        }
        // Its copy goes all the same once it is fenced: its admission pays the debt.
        if !reason.is_retryable() && order == Ordered::Drop {
            let why = Unfit::CannotDrop(tablet, reason);
            self.fitness.unfit(node, incarnation, why, self.now);
        }
        self.look_later(tablet, REPEAT_AFTER_NS);
    }

    fn streamed(&mut self, topology: &Topology, id: TabletId, report: StreamReport) {
        let Some(transition) = topology.transition(id) else { return };
        // A report of an older attempt, or of an incarnation that is out, says nothing.
        if !crate::streams::is_current(topology, transition, &report) {
            return;
        }
        self.slots.release(id, report.pair);
        let gathered = self.gathered.entry(id).or_default();
        if report.sent == report.stored {
            gathered.reports.insert(report.pair, report);
        } else {
            self.fail(topology, id, FailureReason::DigestMismatch);
        }
    }

    /// Notes why the attempt has failed: the first reason counts. It is tried again after a pause.
    fn fail(&mut self, topology: &Topology, id: TabletId, reason: FailureReason) {
        let failures = topology.transition(id).map_or(0, |transition| transition.failures);
        let pause = backoff(topology, failures);
        let gathered = self.gathered.entry(id).or_default();
        if gathered.failure.is_none() {
            gathered.failure = Some(reason);
            gathered.not_before = Some(Instant(self.now.0.saturating_add(pause)));
            self.look_later(id, pause);
        }
    }

    fn stream_failed(
        &mut self,
        topology: &Topology,
        id: TabletId,
        session: SessionId,
        pair: StreamPair,
        reason: FailureReason,
    ) {
        let Some(transition) = topology.transition(id) else { return };
        if transition.record.session != Some(session) || !transition.record.streams.contains(&pair)
        {
            return;
        }
        self.slots.release(id, pair);
        self.fail(topology, id, reason);
    }

    /// Makes sure that what is gathered for a tablet is of its version; whether `version` is.
    fn gathering(&mut self, topology: &Topology, id: TabletId, version: TopologyVersion) -> bool {
        let Some(tablet) = topology.tablet(id) else { return false };
        if tablet.transition.is_none() || tablet.version != version {
            return false;
        }
        self.renew(id, version);
        true
    }

    fn renew(&mut self, id: TabletId, version: TopologyVersion) {
        let since = self.now;
        let gathered = self.gathered.entry(id).or_default();
        if gathered.version != version {
            *gathered = Gathered { version, since, ..Gathered::default() };
            self.slots.release_tablet(id);
        }
    }

    fn forget_orders_of(&mut self, topology: &Topology, node: NodeId) {
        for tablet in topology.in_transition_on(node) {
            if let Some(gathered) = self.gathered.get_mut(&tablet) {
                gathered.told.retain(|order| !order.is_to(node));
            }
        }
        self.slots.release_receiver(node);
    }

    fn look_later(&mut self, tablet: TabletId, after_ns: u64) {
        self.due.insert((Instant(self.now.0.saturating_add(after_ns)), tablet));
    }

    /// Looks at those that wait for a place among the streams of a node, as many as there is a
    /// place for now.
    fn look_at_waiting(
        &mut self,
        topology: &Topology,
        fresh: FreshSession<'_>,
        out: &mut Vec<Effect>,
    ) {
        let limit = topology.state().settings.streams_per_node;
        while let Some(tablet) = self.slots.next_waiting(limit) {
            self.look(topology, tablet, fresh, out);
        }
    }

    fn propose(&mut self, topology: &Topology, advance: Advance, out: &mut Vec<Effect>) {
        let id = advance.expected.tablet;
        debug_assert_eq!(
            topology.tablet(id).and_then(|tablet| expected(id, tablet)),
            Some(advance.expected)
        );
        if let Some(gathered) = self.gathered.get_mut(&id) {
            gathered.is_proposed = true;
        }
        out.push(Effect::Propose(Command::Advance(alloc::boxed::Box::new(advance))));
    }
}

impl Order {
    fn is_to(self, node: NodeId) -> bool {
        match self {
            Order::Barrier(to) | Order::Drop(to) => to == node,
            Order::Pull(pair) => pair.receiver == node,
        }
    }
}

/// Whether the stage of a tablet's transition has a way back.
fn can_turn_back(topology: &Topology, id: TabletId) -> bool {
    let stage = topology.transition(id).map(|transition| transition.record.stage);
    stage.is_some_and(|stage| matches!(stage.way_back(), WayBack::To(_)))
}

/// What a process says that is not the admitted one must not take the place of what that one has
/// said: the admitted one is not asked again.
fn is_admitted(topology: &Topology, node: NodeId, incarnation: Incarnation) -> bool {
    topology.node(node).and_then(Node::admitted) == Some(incarnation)
}

/// Whether a drop report is of a copy that the stage drops.
fn is_ordered(topology: &Topology, id: TabletId, report: &DropReport) -> bool {
    let Some(tablet) = topology.tablet(id) else { return false };
    let Some(transition) = &tablet.transition else { return false };
    let record = &transition.record;
    let dropped = crate::barrier::to_drop(record.stage, &tablet.replicas, &record.next);
    dropped.iter().any(|replica| replica.node == report.node && replica.copy == report.copy)
}

/// The pause before the next attempt, after one that has failed and so many before it. In
/// nanoseconds; it doubles, up to a bound.
fn backoff(topology: &Topology, failures: u32) -> u64 {
    let settings = &topology.state().settings;
    let doubled = u64::from(settings.backoff_ms) << failures.min(16);
    doubled.min(u64::from(settings.backoff_max_ms)) * 1_000_000
}
