//! The operator and the balancer: they move tablets all the time, in every run.

use crate::coordinator::proposals::Then;
use crate::event::Event;
use crate::message::Order;
use crate::plan::Focus;
use crate::time::{MILLI, SECOND};
use crate::world::World;
use migrations::clock::HybridTime;
use migrations::command::{Change, Command, Outcome, Start};
use migrations::id::{MigrationId, NodeId, RequestId, SessionId, TabletId};
use migrations::request::RequestStamp;
use migrations::stage::TransitionKind;
use migrations::tablet::Tablet;
use migrations::topology::Topology;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A request on its way.
#[derive(Debug, Clone)]
struct Asked {
    stamp: RequestStamp,
    change: Change,
    tries: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Asker {
    asked: BTreeMap<u64, Asked>,
    next: u64,
    /// Requests that have an outcome; some of them come once more, late.
    settled: Vec<Asked>,
}

/// Most transitions that are begun beside each other.
const AT_ONCE: usize = 6;

impl World {
    pub(crate) fn ask(&mut self) {
        let longest = if self.plan.focus == Focus::Purges { 120 } else { 500 };
        let pause = self.random.workload.between(40, longest) * MILLI;
        if !self.has_workload {
            return;
        }
        self.queue.after(pause, Event::Ask);
        self.repeat_late();
        let leaders =
            (0..self.coordinators.len()).filter(|c| self.coordinators[*c].leading.is_some());
        let leaders: Vec<usize> = leaders.collect();
        let Some(at) = self.random.workload.pick(&leaders) else { return };
        if self.random.workload.chance(if self.plan.focus == Focus::Purges { 450 } else { 150 }) {
            self.order_purge(at);
            return;
        }
        if self.plan.has_switches {
            self.balance(at);
        }
        let Some(change) = self.flip(at).or_else(|| self.choose(at)) else { return };
        self.ask_of(at, change);
    }

    /// Asks a coordinator for a change, under an id of its own; the number that tells it apart.
    pub(crate) fn ask_of(&mut self, at: usize, change: Change) -> u64 {
        let stamp = RequestStamp { id: self.request_id(), digest: 1, caller: "operator".into() };
        self.asker.next += 1;
        let number = self.asker.next;
        self.asker.asked.insert(number, Asked { stamp, change, tries: 0 });
        self.submit(at, number);
        number
    }

    /// The request that was settled last comes once more, under the id that it had; the number
    /// that tells this time apart.
    pub(crate) fn ask_once_more(&mut self, at: usize) -> Option<u64> {
        let asked = Asked { tries: 5, ..self.asker.settled.last()?.clone() };
        self.asker.next += 1;
        let number = self.asker.next;
        self.asker.asked.insert(number, asked);
        self.submit(at, number);
        Some(number)
    }

    /// A UUIDv7 of the virtual time.
    fn request_id(&mut self) -> RequestId {
        let drawn = self.random.ids.uuid().as_u128();
        let time = u128::from(self.queue.now / MILLI) << 80;
        RequestId::from_uuid(Uuid::from_u128(time | (drawn >> 48) | 1)).expect("not nil")
    }

    fn submit(&mut self, at: usize, number: u64) {
        let Some(asked) = self.asker.asked.get(&number) else { return };
        let (stamp, change) = (asked.stamp.clone(), asked.change.clone());
        self.propose(at, Command::Change { stamp, change }, Then::Asker { number });
    }

    /// What came of a request; where nobody knows, it is made again under the same id.
    pub(crate) fn asked(&mut self, number: u64, outcome: Option<Outcome>) {
        self.story.answered(number, outcome.as_ref());
        let Some(asked) = self.asker.asked.get_mut(&number) else { return };
        asked.tries += 1;
        if outcome.is_some() || asked.tries > 5 {
            if let Some(asked) = self.asker.asked.remove(&number) {
                self.asker.settled.push(asked);
            }
            return;
        }
        let leaders =
            (0..self.coordinators.len()).filter(|c| self.coordinators[*c].leading.is_some());
        let leaders: Vec<usize> = leaders.collect();
        self.mark("a request is made again under its id");
        if let Some(at) = self.random.workload.pick(&leaders) {
            self.submit(at, number);
        }
    }

    fn repeat_late(&mut self) {
        if self.asker.settled.is_empty() || !self.random.workload.chance(50) {
            return;
        }
        let at = self.random.workload.below(self.asker.settled.len() as u64) as usize;
        let asked = Asked { tries: 5, ..self.asker.settled[at].clone() };
        let leaders =
            (0..self.coordinators.len()).filter(|c| self.coordinators[*c].leading.is_some());
        let leaders: Vec<usize> = leaders.collect();
        if let Some(at) = self.random.workload.pick(&leaders) {
            self.asker.next += 1;
            let number = self.asker.next;
            self.asker.asked.insert(number, asked);
            self.submit(at, number);
        }
    }

    fn order_purge(&mut self, at: usize) {
        let topology = &self.coordinators[at].topology;
        let purgeable =
            topology.state().tablets.iter().filter(|(_, tablet)| {
                tablet.transition.is_none() && tablet.promise > HybridTime::ZERO
            });
        // The newest T first: what was promised just now is what a slow clock is still behind of.
        let newest = purgeable.clone().max_by_key(|(_, tablet)| tablet.promise);
        let newest = newest.map(|(id, _)| *id).filter(|_| self.random.workload.chance(600));
        let purgeable: Vec<TabletId> = purgeable.map(|(id, _)| *id).collect();
        let Some(id) = newest.or_else(|| self.random.workload.pick(&purgeable)) else { return };
        let Some(tablet) = self.coordinators[at].topology.tablet(id) else { return };
        let (version, promise) = (tablet.version, tablet.promise);
        let nodes: Vec<NodeId> = tablet.replicas.nodes().collect();
        for node in nodes {
            self.order(at, node, Order::Purge { tablet: id, version, promise });
        }
        let is_focus = self.plan.focus == Focus::Purges;
        if self.random.workload.chance(if is_focus { 600 } else { 300 }) {
            // Whoever starts anew has heard of no clock: the slowest one is the most behind of T.
            let routers = 0..self.routers.len();
            let slowest = routers.min_by_key(|at| self.routers[*at].clock.wall_off_ms);
            let router = self.random.workload.below(self.routers.len() as u64) as usize;
            self.restart_router(slowest.filter(|_| is_focus).unwrap_or(router));
        }
    }

    fn choose(&mut self, at: usize) -> Option<Change> {
        let topology = self.coordinators[at].topology.clone();
        let state = topology.state();
        let running: Vec<TabletId> = topology.in_transition().collect();
        let dice = self.random.workload.below(1_000);
        if dice < 60 {
            let tablet = self.random.workload.pick(&running)?;
            let migration = topology.transition(tablet)?.record.migration;
            self.mark("a cancel is asked for");
            return Some(Change::Cancel { migration });
        }
        if dice < 64 && self.queue.now > 5 * SECOND && state.tables.len() > 1 {
            let table = state.tables.keys().next_back().copied()?;
            let migration = MigrationId::from_uuid(self.random.ids.uuid())?;
            self.mark("a table is dropped");
            return Some(Change::DropTable { table, migration });
        }
        if running.len() >= AT_ONCE {
            return None;
        }
        let at_rest = state.tablets.iter().filter(|(_, tablet)| tablet.transition.is_none());
        let at_rest: Vec<TabletId> = at_rest.map(|(id, _)| *id).collect();
        let tablet = self.random.workload.pick(&at_rest)?;
        self.start(&topology, tablet)
    }

    fn start(&mut self, topology: &Topology, id: TabletId) -> Option<Change> {
        let tablet = topology.tablet(id)?;
        let workload = &mut self.random.workload;
        let here: Vec<NodeId> = tablet.replicas.nodes().collect();
        let dead: Vec<NodeId> =
            here.iter().copied().filter(|node| topology.is_dead(tablet, *node)).collect();
        let others: Vec<NodeId> = topology
            .state()
            .nodes
            .iter()
            .filter(|(id, node)| node.admitted().is_some() && !tablet.replicas.contains(**id))
            .map(|(id, _)| *id)
            .collect();
        let to = workload.pick(&others);
        let from = workload.pick(&here);
        use TransitionKind::{AddReplica, Migrate, Rebuild, RemoveReplica, Repair};
        let focus = if workload.chance(600) { self.plan.focus } else { Focus::Even };
        let kind = match (dead.is_empty(), workload.below(10)) {
            _ if focus == Focus::Purges => Repair,
            (_, 0..=4) if focus == Focus::Sizes && here.len() > 1 => RemoveReplica,
            _ if focus == Focus::Sizes && here.len() < 5 => AddReplica,
            (false, 0..=5) => Rebuild,
            (_, 0..=5) => Migrate,
            (_, 6 | 7) => Repair,
            (_, 8) if here.len() < 5 => AddReplica,
            (_, 9) if here.len() > 1 => RemoveReplica,
            _ => Migrate,
        };
        let (from, to) = match kind {
            Rebuild => (workload.pick(&dead), Some(to?)),
            Migrate => (from, Some(to?)),
            AddReplica => (None, Some(to?)),
            RemoveReplica => (from, None),
            _ => (None, None),
        };
        if !self.keeps_enough(tablet, from) {
            return None;
        }
        let wall = self.coordinators[0].clock.wall_ms(self.queue.now);
        let is_repair = kind == Repair;
        let session = SessionId::from_uuid(self.random.ids.uuid()).filter(|_| is_repair);
        let proposed_promise = is_repair.then(|| HybridTime::from_millis(wall));
        let migration = MigrationId::from_uuid(self.random.ids.uuid())?;
        let note = String::new();
        let start =
            Start { migration, tablet: id, kind, from, to, session, proposed_promise, note };
        Some(Change::Start(start))
    }

    /// Whether the set that stays has no majority of lost copies: more than that can't be asked.
    fn keeps_enough(&self, tablet: &Tablet, from: Option<NodeId>) -> bool {
        let staying = tablet.replicas.iter().filter(|replica| Some(replica.node) != from);
        let lost = staying.clone().filter(|replica| replica.lost).count();
        let len = staying.count();
        lost * 2 < len || lost == 0
    }
}
