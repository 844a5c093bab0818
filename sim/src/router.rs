//! Routers: reads and writes of majorities by the core's `Operation`, under pictures of the
//! topology that may be old, with clocks that are off.

use crate::event::{Event, RouterWork};
use crate::message::{Answer, Message, Place, Record, Request, written};
use crate::plan::{Fault, Focus};
use crate::time::{Clock, MILLI, SECOND, Time};
use crate::world::World;
use migrations::clock::{HybridClock, HybridTime, Timestamp};
use migrations::id::{NodeId, RouterId, TabletId};
use migrations::position::Position;
use migrations::router::{Access, Operation, Refused, Step};
use migrations::row::{Merged, RowVersion, merge};
use migrations::rule::{Rule, is_undone};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) clock: Clock,
    hybrid: HybridClock,
    id: RouterId,
    picture: BTreeMap<TabletId, Record>,
    operations: BTreeMap<u64, Operating>,
    /// Attempts that run, and of which operation.
    attempts: BTreeMap<u64, u64>,
    next: u64,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    Read,
    Put(Vec<u8>),
    Delete,
}

#[derive(Debug)]
struct Operating {
    tablet: TabletId,
    position: Position,
    aim: Aim,
    until: Time,
    /// What was acknowledged when it began.
    acknowledged: Option<RowVersion>,
    machine: Option<Operation>,
    attempt: u64,
    row: Option<RowVersion>,
    found: Option<RowVersion>,
    /// Who has ever agreed, in whichever attempt.
    agreed: BTreeSet<NodeId>,
    /// An older record than the router's, that replicas go by which could not catch up.
    older: Option<Record>,
    behind: u32,
    pause: Time,
}

impl Router {
    pub(crate) fn new(clock: Clock, id: RouterId) -> Router {
        Router {
            clock,
            hybrid: HybridClock::default(),
            id,
            picture: BTreeMap::new(),
            operations: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next: 0,
        }
    }

    /// How many tablets it has in its picture.
    pub(crate) fn knows(&self) -> usize {
        self.picture.len()
    }

    fn learn(&mut self, record: &Record) {
        let known = self.picture.get(&record.tablet).map(|known| known.version);
        if known.is_none_or(|known| known < record.version) {
            self.picture.insert(record.tablet, Rc::clone(record));
        }
    }
}

/// How long an attempt may take, and an operation.
const ATTEMPT: Time = 700 * MILLI;
const OPERATION: Time = 4 * SECOND;
const FIRST_PAUSE: Time = 10 * MILLI;
const LONGEST_PAUSE: Time = 400 * MILLI;

impl World {
    fn router_after(&mut self, at: usize, delay: Time, what: RouterWork) {
        self.queue.after(delay, Event::Router { at, what });
    }

    pub(crate) fn router_work(&mut self, at: usize, what: RouterWork) {
        match what {
            RouterWork::Begin => self.begin_operation(at),
            RouterWork::Poll => self.poll(at),
            RouterWork::Again { operation } => self.try_again(at, operation),
            RouterWork::TimedOut { attempt } => {
                if let Some(operation) = self.routers[at].attempts.remove(&attempt) {
                    self.pause_and_try(at, operation);
                }
            }
            RouterWork::GiveUp { operation } => {
                let router = &mut self.routers[at];
                if router.operations.remove(&operation).is_some() {
                    router.attempts.retain(|_, of| *of != operation);
                }
            }
        }
    }

    fn poll(&mut self, at: usize) {
        let among = self.coordinators.len() as u64;
        let coordinator = self.random.network.below(among) as usize;
        self.send(Place::Router(at), Place::Coordinator(coordinator), None, Message::Watch);
        let is_stale = self.has(Fault::StaleRouter) && at == 0;
        let pause = if is_stale { 8_000 } else { self.random.network.between(150, 600) };
        self.router_after(at, pause * MILLI, RouterWork::Poll);
    }

    pub(crate) fn seen(&mut self, at: usize, records: &[Record]) {
        records.iter().for_each(|record| self.routers[at].learn(record));
    }

    /// It draws its id anew, and has heard of no clock but its own.
    pub(crate) fn restart_router(&mut self, at: usize) {
        let clock = self.routers[at].clock;
        let id = RouterId::from_uuid(self.random.ids.uuid()).expect("not nil");
        let next = self.routers[at].next;
        self.routers[at] = Router { next, ..Router::new(clock, id) };
        self.say(|_| format!("r{at} starts anew"));
        let among = self.coordinators.len() as u64;
        let to = Place::Coordinator(self.random.network.below(among) as usize);
        self.send(Place::Router(at), to, None, Message::Watch);
    }

    fn begin_operation(&mut self, at: usize) {
        let pause = self.random.workload.between(10, 90) * MILLI;
        if self.has_workload {
            self.router_after(at, pause, RouterWork::Begin);
        }
        if self.random.workload.chance(20) {
            self.restart_router(at);
            return;
        }
        let tablets: Vec<TabletId> = self.routers[at].picture.keys().copied().collect();
        // What was purged just now is what a slow clock could bring back.
        let may_be_hot = self.plan.focus == Focus::Purges && self.random.workload.chance(500);
        let hot = self.oracles.last_purged.clone().filter(|_| may_be_hot);
        let tablet = hot.as_ref().map(|(tablet, _)| *tablet);
        let Some(tablet) = tablet.or_else(|| self.random.workload.pick(&tablets)) else { return };
        let Some(record) = self.routers[at].picture.get(&tablet) else { return };
        let mut position = record.range.start.clone();
        if let (true, Some([end, ..])) = (position.is_empty(), record.range.end.as_deref()) {
            // Of another table's first tablet, too: positions are told apart by their first byte.
            position.push(end - 1);
        }
        let key = self.random.workload.below(self.plan.keys_per_tablet) as u8;
        position.extend([b'k', b'0' + key]);
        let position = hot.map_or(position, |(_, position)| position);
        let number = self.routers[at].next + 1;
        let aim = match self.random.workload.below(10) {
            0..=4 => Aim::Put(format!("{at}.{number}").into_bytes()),
            5 | 6 => Aim::Delete,
            _ => Aim::Read,
        };
        self.operate(at, tablet, position, aim);
    }

    /// Begins an operation; the number that tells it apart from the router's others.
    pub(crate) fn operate(
        &mut self,
        at: usize,
        tablet: TabletId,
        position: Position,
        aim: Aim,
    ) -> u64 {
        self.routers[at].next += 1;
        let number = self.routers[at].next;
        let acknowledged = self.oracles.acknowledged.get(&position).cloned();
        let operating = Operating {
            tablet,
            position,
            aim,
            until: self.queue.now + OPERATION,
            acknowledged,
            machine: None,
            attempt: 0,
            row: None,
            found: None,
            agreed: BTreeSet::new(),
            older: None,
            behind: 0,
            pause: FIRST_PAUSE,
        };
        self.routers[at].operations.insert(number, operating);
        self.router_after(at, OPERATION, RouterWork::GiveUp { operation: number });
        self.try_again(at, number);
        number
    }

    /// An attempt: the version is read anew, then the timestamp is drawn.
    fn try_again(&mut self, at: usize, number: u64) {
        let now = self.queue.now;
        let router = &mut self.routers[at];
        let Some(operating) = router.operations.get_mut(&number) else { return };
        if now >= operating.until {
            return;
        }
        let offered = operating.older.take();
        let Some(record) = offered.or_else(|| router.picture.get(&operating.tablet).cloned())
        else {
            return;
        };
        let is_read = operating.aim == Aim::Read;
        let access = if is_read { Access::Read } else { Access::Write };
        let Some(mut machine) = Operation::begin(&record, access) else {
            router.operations.remove(&number);
            return;
        };
        if is_undone(Rule::OneVersionPerOperation) {
            for node in &operating.agreed {
                let _ = machine.agreed(*node);
            }
        }
        router.next += 1;
        let attempt = router.next;
        let wall = router.clock.wall_ms(now);
        let time = router.hybrid.now(wall);
        let timestamp = Timestamp { time, router: router.id };
        let value = match &operating.aim {
            Aim::Read => None,
            Aim::Put(value) => Some(Some(value.clone())),
            Aim::Delete => Some(None),
        };
        let drawn = value.map(|value| RowVersion { timestamp, value });
        let kept = operating.row.take().filter(|_| is_undone(Rule::FreshTimestamp));
        operating.row = kept.or(drawn);
        operating.found = None;
        operating.attempt = attempt;
        let targets = machine.targets();
        operating.machine = Some(machine);
        let request = Request {
            router: at,
            attempt,
            tablet: record.tablet,
            version: record.version,
            clock: router.hybrid.reading(wall),
            position: operating.position.clone(),
            write: operating.row.clone(),
        };
        router.attempts.insert(attempt, number);
        if let Some(row) = &request.write {
            self.oracles.issued(&request.position, row);
        }
        let request = Rc::new(request);
        for node in targets {
            if let Some(agent) = self.agent_of(node) {
                let message = Message::Request(Rc::clone(&request));
                self.send(Place::Router(at), Place::Agent(agent), None, message);
            }
        }
        self.router_after(at, ATTEMPT, RouterWork::TimedOut { attempt });
    }

    pub(crate) fn answered(
        &mut self,
        at: usize,
        attempt: u64,
        node: NodeId,
        clock: HybridTime,
        answer: Answer,
    ) {
        let now = self.queue.now;
        let bound = u64::from(self.settings.skew_bound_ms);
        let router = &mut self.routers[at];
        let wall = router.clock.wall_ms(now);
        // A clock too far ahead is that agent's trouble, and is not taken on.
        let _ = router.hybrid.observe(clock, wall, bound);
        let Some(number) = router.attempts.get(&attempt).copied() else { return };
        let Some(operating) = router.operations.get_mut(&number) else { return };
        let Some(machine) = operating.machine.as_mut().filter(|_| operating.attempt == attempt)
        else {
            return;
        };
        let version = machine.version();
        if !matches!(answer, Answer::Refused(..)) {
            operating.agreed.insert(node);
        }
        let step = match answer {
            Answer::Written => machine.agreed(node),
            Answer::Row(row) => {
                if let Some(row) = row
                    && merge(operating.found.as_ref(), &row) == Merged::Stored
                {
                    operating.found = Some(row);
                }
                machine.agreed(node)
            }
            Answer::Refused(why, record) => {
                let step = machine.refused(node, why);
                if let Some(record) = record {
                    let known = operating.older.as_ref().map(|older| older.version);
                    if record.version > version {
                        router.learn(&record);
                    } else if why == Refused::VersionAhead
                        && known.is_none_or(|known| known < record.version)
                    {
                        operating.older = Some(record);
                    }
                }
                step
            }
        };
        self.take_step(at, number, attempt, step);
    }

    fn take_step(&mut self, at: usize, number: u64, attempt: u64, step: Step) {
        let now = self.queue.now;
        let bound = u64::from(self.settings.skew_bound_ms);
        if step == Step::Wait {
            return;
        }
        let router = &mut self.routers[at];
        router.attempts.remove(&attempt);
        let wall = router.clock.wall_ms(now);
        match step {
            Step::Wait => {}
            Step::Done => self.done(at, number),
            Step::Refresh(version) => {
                let Some(operating) = router.operations.get_mut(&number) else { return };
                let known = router.picture.get(&operating.tablet).map(|record| record.version);
                if known.is_some_and(|known| known > version) {
                    operating.older = None;
                    self.try_again(at, number);
                } else {
                    self.pause_and_try(at, number);
                }
            }
            Step::GoAbove(time) => {
                let taken = router.hybrid.observe(time, wall, bound);
                let Some(operating) = router.operations.get_mut(&number) else { return };
                operating.behind += 1;
                match (taken, operating.behind) {
                    (Ok(()), 1) => self.try_again(at, number),
                    _ => self.pause_and_try(at, number),
                }
            }
            Step::WaitUntil(_) | Step::OutOfReach => self.pause_and_try(at, number),
        }
    }

    fn pause_and_try(&mut self, at: usize, number: u64) {
        let Some(operating) = self.routers[at].operations.get_mut(&number) else { return };
        let pause = operating.pause;
        operating.pause = (pause * 2).min(LONGEST_PAUSE);
        let pause = pause / 2 + self.random.workload.below(pause);
        self.router_after(at, pause, RouterWork::Again { operation: number });
    }

    /// A majority of each set has agreed.
    fn done(&mut self, at: usize, number: u64) {
        let Some(operating) = self.routers[at].operations.remove(&number) else { return };
        let Operating { tablet, position, row, found, acknowledged, agreed, .. } = operating;
        self.story.operated(at, number, row.as_ref().or(found.as_ref()));
        if agreed.iter().any(|node| self.is_word_of_old(*node)) {
            self.mark("an old directory has a say in an operation");
            return;
        }
        match row {
            Some(row) => {
                self.say(|_| format!("r{at}: acknowledged: {}", written(&position, &row)));
                self.oracles.writes += 1;
                self.oracles.acknowledge(&position, tablet, row);
            }
            None => {
                self.oracles.reads += 1;
                self.check_read(at, tablet, &position, acknowledged.as_ref(), found.as_ref());
            }
        }
    }
}
