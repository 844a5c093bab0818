//! A cluster in one thread: its processes, the network between them, and what happens next.

use crate::agent::Agent;
use crate::agent::disk::Disk;
use crate::asker::Asker;
use crate::coordinator::Coordinator;
use crate::coordinator::group0::Group0;
use crate::coordinator::proposals::{Proposal, Then};
use crate::directories::Directories;
use crate::event::{Event, RouterWork};
use crate::faults::Cut;
use crate::invariants::{Broken, Oracles};
use crate::message::{Message, Packet, Place};
use crate::network::Network;
use crate::plan::{Fault, Options, Plan};
use crate::random::Random;
use crate::router::Router;
use crate::story::Staging;
use crate::time::{Clock, MILLI, Queue, SECOND, Time};
use migrations::command::{Bootstrap, Change, Command, CreateTable};
use migrations::id::{ClusterId, DirectoryId, NodeId, RequestId, RouterId, TabletId};
use migrations::placement::place;
use migrations::position::{Partitioning, PositionRange, ranges_between};
use migrations::record::TabletRecord;
use migrations::request::RequestStamp;
use migrations::settings::Settings;
use migrations::stage::TransitionKind;
use std::collections::BTreeSet;
use uuid::Uuid;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) queue: Queue<Event>,
    pub(crate) settings: Settings,
    pub(crate) network: Network,
    pub(crate) group0: Group0,
    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) routers: Vec<Router>,
    pub(crate) asker: Asker,
    pub(crate) directories: Directories,
    pub(crate) cuts: Vec<Cut>,
    /// Agents that are not expected back.
    pub(crate) gone: BTreeSet<usize>,
    pub(crate) has_faults: bool,
    pub(crate) has_workload: bool,
    pub(crate) oracles: Oracles,
    pub(crate) marks: BTreeSet<String>,
    pub(crate) broken: Option<Broken>,
    pub(crate) events: u64,
    /// What a directed run has arranged; nothing in all others.
    pub(crate) story: Staging,
    trace: Option<Vec<String>>,
}

/// How long all may take to end once faults have stopped.
pub(crate) const PATIENCE: Time = 120 * SECOND;
/// How often expensive properties are checked.
pub(crate) const CHECK: Time = 250 * MILLI;

impl World {
    pub(crate) fn new(seed: u64, options: &Options) -> World {
        let mut random = Random::of(seed);
        let plan = Plan::draw(&mut random.shape, options);
        World::of(random, plan, options.is_traced)
    }

    /// A world of this shape. Nothing of it has begun.
    pub(crate) fn of(mut random: Random, plan: Plan, is_traced: bool) -> World {
        let settings = Settings { attempts: 2, ..Settings::FAST };
        let is_wild = plan.faults.has(Fault::BreakDrift);
        let mut clock = || {
            let drift = if is_wild { 200_000 } else { 9_000 };
            let clocks = &mut random.clocks;
            Clock {
                offset: clocks.below(1_000) * SECOND,
                drift_ppm: clocks.below(2 * drift) as i64 - drift as i64,
                wall_off_ms: clocks.below(480) as i64 - 240,
            }
        };
        let coordinators = (0..plan.coordinators).map(|_| Coordinator::new(clock())).collect();
        let clocks: Vec<Clock> = (0..plan.agents).map(|_| clock()).collect();
        let routers: Vec<Clock> = (0..plan.routers).map(|_| clock()).collect();
        let mut agents = Vec::new();
        for (at, clock) in clocks.into_iter().enumerate() {
            let directory = DirectoryId::from_uuid(random.ids.uuid()).expect("not nil");
            let name = char::from(b'a' + at as u8).to_string();
            agents.push(Agent::new(name, clock, Disk::new(directory)));
        }
        let id = |random: &mut Random| RouterId::from_uuid(random.ids.uuid()).expect("not nil");
        let routers =
            routers.into_iter().map(|clock| Router::new(clock, id(&mut random))).collect();
        World {
            plan,
            random,
            queue: Queue::new(),
            settings,
            network: Network::default(),
            group0: Group0::default(),
            coordinators,
            agents,
            routers,
            asker: Asker::default(),
            directories: Directories::default(),
            cuts: Vec::new(),
            gone: BTreeSet::new(),
            has_faults: false,
            has_workload: true,
            oracles: Oracles::default(),
            marks: BTreeSet::new(),
            broken: None,
            events: 0,
            story: Staging::default(),
            trace: is_traced.then(Vec::new),
        }
    }

    /// Runs to the end: with faults, then without.
    pub(crate) fn run(&mut self) {
        self.set_up();
        let calm_at = self.queue.now + self.plan.span;
        self.queue.at(calm_at, Event::Calm);
        self.has_faults = true;
        for (delay, event) in
            [(200 * MILLI, Event::Fault), (100 * MILLI, Event::Ask), (CHECK, Event::Check)]
        {
            self.queue.after(delay, event);
        }
        for at in 0..self.routers.len() {
            self.queue.after(MILLI, Event::Router { at, what: RouterWork::Poll });
            self.queue.after(50 * MILLI, Event::Router { at, what: RouterWork::Begin });
        }
        while self.broken.is_none() {
            self.step();
            if !self.has_workload && self.is_over() {
                self.check_end();
                return;
            }
            if self.queue.now > calm_at + PATIENCE {
                self.check_ended();
                return;
            }
        }
    }

    /// The cluster begins: bootstrap, all agents admitted, tables made.
    fn set_up(&mut self) {
        self.begin_cluster();
        self.make_tables();
    }

    /// Bootstrap, and all agents admitted.
    pub(crate) fn begin_cluster(&mut self) {
        self.queue.at(0, Event::Watch);
        while self.group0.leader.is_none() {
            self.step();
        }
        let cluster = ClusterId::from_uuid(self.random.ids.uuid()).expect("not nil");
        let settings = self.settings;
        self.propose_first(Command::Bootstrap(Bootstrap { cluster, settings }));
        for at in 0..self.agents.len() {
            self.queue.after(MILLI, Event::StartAgent(at));
        }
        while self.oracles.topology.state().nodes.len() < self.agents.len() {
            self.step();
        }
    }

    fn make_tables(&mut self) {
        let tablets = self.plan.tablets;
        let sizes: Vec<(u64, u64)> = match self.plan.has_second_table {
            true => vec![(tablets - 2, self.plan.replication), (2, 2.min(tablets))],
            false => vec![(tablets, self.plan.replication)],
        };
        for (number, (tablets, replication)) in sizes.into_iter().enumerate() {
            let first = b'A' + (number as u8) * 40;
            let bounds: Vec<Vec<u8>> = (1..tablets).map(|n| vec![first + n as u8]).collect();
            let replicas = place(&self.oracles.topology, tablets as usize, replication as u32);
            let placed = ranges_between(&bounds).into_iter().zip(replicas.unwrap_or_default());
            self.make_table(number, replication as u32, placed.collect());
        }
    }

    pub(crate) fn make_table(
        &mut self,
        number: usize,
        replication_factor: u32,
        tablets: Vec<(PositionRange, Vec<NodeId>)>,
    ) {
        let name = format!("table{number}");
        let partitioning = Partitioning::Range;
        let create = CreateTable { name, partitioning, replication_factor, tablets };
        let id = RequestId::from_uuid(Uuid::from_u128(number as u128 + 1)).expect("not nil");
        let stamp = RequestStamp { id, digest: 0, caller: "setup".into() };
        let change = Change::CreateTable(create);
        self.propose_first(Command::Change { stamp, change });
        while self.oracles.topology.state().tables.len() <= number {
            self.step();
        }
    }

    fn propose_first(&mut self, command: Command) {
        if let Some(at) = self.group0.leader {
            let life = self.coordinators[at].life;
            let then = Some(Then::Nothing);
            self.group0.pending.push(Proposal { by: at, life, command, then });
            self.group0_commits_soon(at);
        }
    }

    /// The next event.
    pub(crate) fn step(&mut self) {
        let Some(event) = self.queue.pop() else { return };
        let Some(event) = self.story.keep_back(event) else { return };
        self.events += 1;
        let now = self.queue.now;
        // Who stands still takes nothing in: it waits.
        let until = match &event {
            Event::Deliver(packet) => self.paused_until(packet.to),
            Event::Agent { at, .. } => self.agents[*at].paused_until,
            Event::Coordinator { at, .. } => self.coordinators[*at].paused_until,
            _ => 0,
        };
        if until > now {
            self.queue.at(until, event);
            return;
        }
        match event {
            Event::Deliver(packet) => self.deliver(packet),
            Event::Agent { at, process, work } => {
                let agent = &self.agents[at];
                if agent.process == process && agent.running.is_some() {
                    self.agent_work(at, work);
                }
            }
            Event::Coordinator { at, life, work } => {
                if self.coordinators[at].life == life && self.coordinators[at].is_up {
                    self.duty(at, work);
                }
            }
            Event::StartAgent(at) if self.story.is_dead(at) => {}
            Event::StartAgent(0) if self.gone.contains(&0) => {}
            Event::StartAgent(at) => self.start_agent(at),
            Event::NewDirectory { at, instead_of } => self.new_directory(at, instead_of),
            Event::CrashAgent(at) => self.crash_soon(at),
            Event::StartCoordinator(at) => self.start_coordinator(at),
            Event::Router { at, what } => self.router_work(at, what),
            Event::Ask => self.ask(),
            Event::Lift => self.lift(),
            Event::Watch => self.watch_leader(),
            Event::Fault => self.fault(),
            Event::Heal { number } => self.heal(number),
            Event::Check => {
                self.check_now();
                self.forget_broken();
                self.queue.after(CHECK, Event::Check);
            }
            Event::Calm => self.calm(),
        }
    }

    fn paused_until(&self, place: Place) -> Time {
        match place {
            Place::Agent(at) => self.agents[at].paused_until,
            Place::Coordinator(at) => self.coordinators[at].paused_until,
            Place::Router(_) => 0,
        }
    }

    pub(crate) fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, conn, message } = packet;
        match to {
            Place::Agent(at) if self.agents[at].running.is_some() => {
                self.deliver_to_agent(at, from, conn, message);
                self.do_jobs(at);
            }
            Place::Coordinator(at) if self.coordinators[at].is_up => {
                self.deliver_to_coordinator(at, from, conn, message);
            }
            Place::Router(at) => match message {
                Message::Picture { records } => self.seen(at, &records),
                Message::Answer { attempt, node, clock, answer } => {
                    self.answered(at, attempt, node, clock, answer);
                }
                _ => {}
            },
            // Nobody is there: who has called hears of it.
            Place::Agent(_) | Place::Coordinator(_) => {
                if let Some(conn) = conn {
                    self.close(conn, to);
                }
            }
        }
    }

    fn deliver_to_agent(&mut self, at: usize, from: Place, conn: Option<u64>, message: Message) {
        match (message, conn) {
            (Message::Renewed { incarnation, sent }, _) => self.renewed(at, incarnation, sent),
            (Message::RenewalRefused { incarnation }, _) => self.renewal_refused(at, incarnation),
            (Message::Request(request), _) => self.request(at, &request),
            (Message::Begin(begin), Some(conn)) => self.serve(at, from, conn, &begin),
            (message, Some(conn)) => {
                let Some(process) = self.process(at) else { return };
                if process.calls.contains_key(&conn) {
                    self.called(at, conn, message);
                } else if process.serves.contains_key(&conn) {
                    self.served(at, conn, &message);
                } else {
                    self.attached(at, conn, message);
                }
            }
            _ => {}
        }
    }

    fn deliver_to_coordinator(
        &mut self,
        at: usize,
        from: Place,
        conn: Option<u64>,
        message: Message,
    ) {
        match (message, conn, from) {
            (Message::Renew { node, incarnation, sent }, _, Place::Agent(agent)) => {
                self.renewal(at, agent, (node, incarnation), sent);
            }
            (Message::Watch, _, Place::Router(_)) => {
                let records = self.picture(at);
                self.send(Place::Coordinator(at), from, None, Message::Picture { records });
            }
            (message, Some(conn), Place::Agent(agent)) => {
                self.heard_of_agent(at, agent, conn, message);
            }
            (Message::Broken, Some(conn), _) => {
                self.heard_of_agent(at, 0, conn, Message::Broken);
            }
            _ => {}
        }
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn say(&mut self, line: impl FnOnce(&World) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            let now = self.queue.now;
            let line = format!("{:>4}.{:06} {line}", now / SECOND, now % SECOND / 1_000);
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    /// What was told so far.
    pub(crate) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// A rare state was reached.
    pub(crate) fn mark(&mut self, what: &str) {
        if !self.marks.contains(what) {
            self.marks.insert(what.to_owned());
        }
    }

    /// A rare state in each stage of a transition that is concerned.
    pub(crate) fn mark_stages(&mut self, what: &str, is_concerned: impl Fn(&TabletRecord) -> bool) {
        let topology = &self.oracles.topology;
        let records = topology.in_transition().filter_map(|id| topology.record(id));
        let stages = records.filter(is_concerned).filter_map(|record| record.stage());
        let marks: Vec<String> = stages.map(|stage| format!("{what} in {stage}")).collect();
        marks.iter().for_each(|mark| self.mark(mark));
    }

    pub(crate) fn name(&self, place: Place) -> String {
        match place {
            Place::Agent(at) => self.agents[at].name.clone(),
            Place::Coordinator(at) => format!("c{at}"),
            Place::Router(at) => format!("r{at}"),
        }
    }

    /// Whether all that can end has ended.
    pub(crate) fn is_over(&self) -> bool {
        let Some(leader) = self.group0.leader else { return false };
        let Some(leading) = &self.coordinators[leader].leading else { return false };
        let topology = &self.oracles.topology;
        let is_idle = topology.in_transition().all(|id| self.is_held_by_majority(id));
        let is_back = |(at, agent): (usize, &Agent)| {
            self.gone.contains(&at)
                || agent.running.as_ref().is_some_and(|process| {
                    let is_ready = process.attachment.as_ref().is_some_and(|a| a.is_ready);
                    is_ready && process.jobs.is_empty() && process.waiting.is_empty()
                })
        };
        is_idle
            && topology.state().pause.is_none()
            && leading.by_node.len() + self.gone.len() >= self.agents.len()
            && self.agents.iter().enumerate().all(is_back)
            && self.coordinators.iter().all(|c| c.applied == self.group0.log.len())
    }

    /// Whether the rule on majorities holds a transition: too many of a set are gone for good.
    pub(crate) fn is_held_by_majority(&self, id: TabletId) -> bool {
        let Some(record) = self.oracles.topology.record(id) else { return false };
        // A node without a machine is gone, too: that has come in again as another one.
        let is_gone = |node| self.agent_of(node).is_none_or(|at| self.gone.contains(&at));
        let is_removal = record.transition.as_ref().is_some_and(|transition| {
            let is_removal = transition.kind == TransitionKind::RemoveReplica;
            is_removal && record.next().nodes().any(is_gone)
        });
        let held =
            [&record.replicas, record.next()].into_iter().any(|set| set.has_majority(is_gone));
        held || is_removal
    }
}
