//! Who is unfit: attached or not, it holds its lease and does not do what a barrier or a drop needs.
//! None of its renewals is answered from then on, whatever else it says, so that its lease runs
//! out and it is fenced: nothing holds a transition up but a majority that is gone. INV-14.
//!
//! A node is asked, behind its orders, whether they have come: one question at a time. All of it
//! is soft: a new leader counts from its own begin, which costs time and nothing else.

use super::{Driver, Effect, Gathered, Order, Unfit};
use crate::apply::check_forward;
use crate::barrier;
use crate::command::Rejected;
use crate::evidence::FailureReason;
use crate::id::{NodeId, TabletId};
use crate::lease::Instant;
use crate::node::Node;
use crate::record::StreamPair;
use crate::settings::Settings;
use crate::stage::{BarrierWhen, TransitionKind};
use crate::topology::Topology;
use crate::version::Incarnation;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Whether orders reach a node.
#[derive(Debug, Default)]
struct Reach {
    /// The process that is asked.
    incarnation: Option<Incarnation>,
    /// Since when orders stand for it of which it has not said that they came.
    silent_since: Option<Instant>,
    /// The question that is out.
    asked: Option<u64>,
    /// Orders have gone out behind that question, or with none out.
    is_owed_one: bool,
    /// Since when it has the full state; it does not attach before that is worked off.
    working_off_since: Option<Instant>,
}

/// What an unfit node has to wait for before it is admitted anew.
#[derive(Debug, Default, Clone, Copy)]
struct Past {
    times: u32,
    until: Instant,
}

/// All that is known of the fitness of nodes, since this leadership began.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    reach: BTreeMap<NodeId, Reach>,
    unfit: BTreeMap<(NodeId, Incarnation), (Unfit, Instant)>,
    past: BTreeMap<NodeId, Past>,
    /// Who is admitted, and since when as far as this leader has seen: nobody owes anything from
    /// before.
    admitted: BTreeMap<NodeId, (Incarnation, Instant)>,
    tickets: u64,
    looked: Option<Instant>,
    scanned: Option<Instant>,
}

/// Who is not so for this many times the patience has a past no more.
const FORGOTTEN_AFTER: u64 = 16;
/// The pause before an admission doubles this often at the most.
const DOUBLINGS: u32 = 5;

/// How long a node may owe an acknowledgement or a drop: until its drain is ended by force, and
/// one lease more. In nanoseconds.
fn patience(settings: &Settings) -> u64 {
    let millis = u64::from(settings.drain_deadline_ms) + u64::from(settings.lease.length_ms);
    millis * 1_000_000
}

fn after(at: Instant, ns: u64) -> Instant {
    Instant(at.0.saturating_add(ns))
}

impl Fitness {
    /// An order stands for a node that is not attached.
    pub(super) fn wanted(&mut self, node: NodeId, now: Instant) {
        let reach = self.reach.entry(node).or_default();
        reach.silent_since.get_or_insert(now);
    }

    /// An order has gone out to a node.
    pub(super) fn ordered(&mut self, node: NodeId) {
        self.reach.entry(node).or_default().is_owed_one = true;
    }

    /// A node is attached: it has heard what it was told until now.
    pub(super) fn attached(&mut self, node: NodeId) {
        self.reach.insert(node, Reach::default());
    }

    /// A node's attachment is gone, and what was asked over it.
    pub(super) fn detached(&mut self, node: NodeId) {
        if let Some(reach) = self.reach.get_mut(&node) {
            reach.asked = None;
        }
    }

    /// A node has the full state: from here on it owes to work it off, which takes its time.
    pub(super) fn has_full_state(&mut self, node: NodeId, now: Instant) {
        let reach = self.reach.entry(node).or_default();
        reach.working_off_since = Some(now);
        reach.silent_since.get_or_insert(now);
    }

    /// A node has what was sent before the question of this ticket.
    pub(super) fn received(&mut self, node: NodeId, ticket: u64) {
        if let Some(reach) = self.reach.get_mut(&node)
            && reach.asked == Some(ticket)
        {
            reach.asked = None;
            reach.silent_since = None;
        }
    }

    /// Asks each node whether the orders that went out since the last question have come.
    pub(super) fn ask(&mut self, now: Instant, out: &mut Vec<Effect>) {
        for (node, reach) in &mut self.reach {
            if reach.is_owed_one && reach.asked.is_none() {
                reach.is_owed_one = false;
                reach.silent_since.get_or_insert(now);
                self.tickets += 1;
                reach.asked = Some(self.tickets);
                out.push(Effect::Confirm { node: *node, ticket: self.tickets });
            }
        }
    }

    /// A node is unfit; the first reason counts.
    pub(super) fn unfit(&mut self, node: NodeId, of: Incarnation, why: Unfit, now: Instant) {
        self.unfit.entry((node, of)).or_insert((why, now));
    }

    pub(super) fn why_unfit(&self, node: NodeId, of: Incarnation) -> Option<(Unfit, Instant)> {
        self.unfit.get(&(node, of)).copied()
    }

    pub(super) fn all_unfit(&self) -> impl Iterator<Item = (NodeId, Incarnation, Unfit, Instant)> {
        self.unfit.iter().map(|((node, of), (why, since))| (*node, *of, *why, *since))
    }

    pub(super) fn admissible_at(&self, node: NodeId) -> Instant {
        self.past.get(&node).map_or(Instant(0), |past| past.until)
    }

    /// Those that are fenced now are unfit no more. They may come back at once the first time, and
    /// after a pause that doubles when it happens again soon.
    fn settle(&mut self, topology: &Topology, now: Instant) {
        let base = patience(&topology.state().settings);
        let is_in = |(node, of): &(NodeId, Incarnation)| {
            topology.node(*node).and_then(Node::admitted) == Some(*of)
        };
        let settled: Vec<NodeId> =
            self.unfit.keys().filter(|key| !is_in(key)).map(|(node, _)| *node).collect();
        self.unfit.retain(|key, _| is_in(key));
        for node in settled {
            let past = self.past.entry(node).or_default();
            if now > after(past.until, base.saturating_mul(FORGOTTEN_AFTER)) {
                past.times = 0;
            }
            let pause = match past.times {
                0 => 0,
                times => base << (times - 1).min(DOUBLINGS),
            };
            *past = Past { times: past.times + 1, until: after(now, pause) };
        }
        self.past.retain(|_, past| now <= after(past.until, base.saturating_mul(FORGOTTEN_AFTER)));
    }

    /// Sees who is admitted now.
    fn see_admitted(&mut self, topology: &Topology, now: Instant) {
        let nodes = &topology.state().nodes;
        self.admitted.retain(|id, _| nodes.contains_key(id));
        for (id, node) in nodes {
            match (node.admitted(), self.admitted.get(id)) {
                (Some(incarnation), Some((known, _))) if *known == incarnation => {}
                (Some(incarnation), _) => {
                    self.admitted.insert(*id, (incarnation, now));
                }
                (None, _) => {
                    self.admitted.remove(id);
                }
            }
        }
    }

    /// From when on a node owes what has been waited for since then.
    fn owes_since(&self, node: NodeId, since: Instant) -> Instant {
        self.admitted.get(&node).map_or(since, |(_, admitted)| since.max(*admitted))
    }

    /// Those who hold a lease, and of whose orders none has come for the length of one. It counts
    /// half a lease more: what they have said may wait here to be heard.
    fn unreached(&mut self, topology: &Topology, now: Instant) -> Vec<(NodeId, Incarnation)> {
        let terms = topology.state().settings.lease;
        let patience = patience(&topology.state().settings);
        let mut found = Vec::new();
        for (node, reach) in &mut self.reach {
            let Some(since) = reach.silent_since else { continue };
            let admitted = topology.node(*node).and_then(Node::admitted);
            if admitted.is_none() || reach.incarnation != admitted {
                // Counted from when there is a process that could hear.
                reach.incarnation = admitted;
                reach.silent_since = Some(now);
                continue;
            }
            let is_late = now > terms.half_after(terms.leader_deadline(since));
            // What it delays is found out by its tablets first; this is for what none waits for.
            let is_working_off =
                reach.working_off_since.is_some_and(|since| now <= after(since, 2 * patience));
            if let Some(incarnation) = admitted.filter(|_| is_late && !is_working_off) {
                found.push((*node, incarnation));
            }
        }
        found
    }

    /// This process was not there for a while: what was said meanwhile waits to be heard.
    fn was_away(&mut self, topology: &Topology, now: Instant) -> bool {
        let terms = topology.state().settings.lease;
        let was_away = self.looked.is_some_and(|looked| now > terms.half_after(looked));
        self.looked = Some(now);
        if was_away {
            let counting = self.reach.values_mut().filter_map(|reach| reach.silent_since.as_mut());
            counting.for_each(|since| *since = now);
        }
        was_away
    }

    /// Whether it is time to look through what all tablets wait for: a few times in a lease.
    fn is_scan_due(&mut self, topology: &Topology, now: Instant) -> bool {
        let quarter = u64::from(topology.state().settings.lease.length_ms) * 1_000_000 / 4;
        let is_due = self.scanned.is_none_or(|scanned| now >= after(scanned, quarter));
        if is_due {
            self.scanned = Some(now);
        }
        is_due
    }
}

impl Driver {
    /// Whether it is over how long anybody is waited for.
    pub(super) fn has_waited(&self, topology: &Topology, since: Instant) -> bool {
        self.now > after(since, patience(&topology.state().settings))
    }

    /// A removal that waits for one of those that remain goes back when that is over.
    pub(super) fn look_when_overdue(&mut self, topology: &Topology, id: TabletId) {
        let kind = topology.transition(id).map(|transition| transition.record.kind);
        let gathered = self.gathered.get(&id);
        let removal = gathered.filter(|_| kind == Some(TransitionKind::RemoveReplica));
        let Some(gathered) = removal else { return };
        let until = after(gathered.since, patience(&topology.state().settings) + 1);
        let is_waiting = matches!(
            check_forward(topology, id, &gathered.evidence()),
            Err(Rejected::ReceiverFenced(_))
        );
        if is_waiting {
            self.due.insert((until, id));
        }
    }

    /// Finds those who are unfit now.
    pub(super) fn judge_fitness(&mut self, topology: &Topology) {
        let now = self.now;
        if self.fitness.was_away(topology, now) {
            for gathered in self.gathered.values_mut() {
                gathered.since = now;
                gathered.drops_since = gathered.drops_since.map(|_| now);
                gathered.streams_heard.values_mut().for_each(|heard| *heard = now);
            }
        }
        self.fitness.settle(topology, now);
        self.fitness.see_admitted(topology, now);
        for (node, incarnation) in self.fitness.unreached(topology, now) {
            self.fitness.unfit(node, incarnation, Unfit::Unreachable, now);
        }
        if !self.fitness.is_scan_due(topology, now) {
            return;
        }
        let patience = patience(&topology.state().settings);
        let mut found = Vec::new();
        for (id, gathered) in &self.gathered {
            if now > after(gathered.since, patience) {
                let is_late =
                    |node, since| now > after(self.fitness.owes_since(node, since), patience);
                found.extend(overdue(topology, *id, gathered, is_late));
            }
        }
        for (node, incarnation, why) in found {
            self.fitness.unfit(node, incarnation, why, now);
        }
        self.judge_streams(topology);
    }

    /// An ordered stream that nothing is heard of, neither that it goes on nor how it has ended, has
    /// failed after as long as an acknowledgement is waited for. Its ends find out much sooner
    /// when it stands still: this is for a receiver that has lost it, and does all else.
    fn judge_streams(&mut self, topology: &Topology) {
        let (now, patience) = (self.now, patience(&topology.state().settings));
        let is_paused = topology.state().pause.is_some();
        let mut lost = Vec::new();
        for (id, gathered) in &mut self.gathered {
            if is_paused {
                // They stand still by order, and owe nothing meanwhile.
                gathered.streams_heard.values_mut().for_each(|heard| *heard = now);
            }
            // Ordered at its receiver's attachment of now: what a receiver says of a stream is not
            // heard while it has none, nor before it has been told again.
            let is_late = |(pair, heard): (&StreamPair, &Instant)| {
                now > after(*heard, patience)
                    && !gathered.reports.contains_key(pair)
                    && gathered.told.contains(&Order::Pull(*pair))
            };
            if gathered.streams_heard.iter().any(is_late) {
                lost.push(*id);
            }
        }
        for id in lost {
            self.fail(topology, id, FailureReason::StreamStalled);
        }
    }
}

/// Who owes an acknowledgement or a drop for longer than is waited for.
fn overdue(
    topology: &Topology,
    id: TabletId,
    gathered: &Gathered,
    is_late: impl Fn(NodeId, Instant) -> bool,
) -> Vec<(NodeId, Incarnation, Unfit)> {
    let Some(tablet) = topology.tablet(id) else { return Vec::new() };
    let Some(transition) = &tablet.transition else { return Vec::new() };
    if tablet.version != gathered.version {
        return Vec::new();
    }
    let admitted = |node: NodeId| topology.node(node).and_then(Node::admitted);
    let mut found = Vec::new();
    let stage = transition.record.stage;
    if stage.barrier() != BarrierWhen::Never {
        for node in barrier::asked(tablet) {
            let said = gathered.acknowledged.get(&node);
            let has_said = said.is_some_and(|said| barrier::counts(topology, tablet, said));
            let owes = !has_said && is_late(node, gathered.since);
            if let Some(incarnation) = admitted(node).filter(|_| owes) {
                found.push((node, incarnation, Unfit::Silent(id)));
            }
        }
    }
    if let Some(since) = gathered.drops_since {
        for replica in barrier::to_drop(stage, &tablet.replicas, &transition.record.next) {
            let node = replica.node;
            let has_dropped = gathered
                .drops
                .get(&node)
                .is_some_and(|said| Some(said.incarnation) == admitted(node));
            let owes = !has_dropped && is_late(node, since);
            if let Some(incarnation) = admitted(node).filter(|_| owes) {
                found.push((node, incarnation, Unfit::KeepsCopy(id)));
            }
        }
    }
    found
}
