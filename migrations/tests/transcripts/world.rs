//! Group0, its leader, the agents and the messages between them: in one thread, in order.

use crate::agent::{Agent, Chunk, Taken};
use migrations::apply::{apply, check_invariants};
use migrations::clock::HybridTime;
use migrations::command::{Admit, Bootstrap, Change, Command, CreateTable, Entry, Outcome};
use migrations::driver::{Driver, Effect, Event, Ordered};
use migrations::evidence::{DropReport, FailureReason};
use migrations::id::{
    AdmissionToken, ClusterId, DirectoryId, NodeId, RequestId, SessionId, TabletId,
};
use migrations::lease::Instant;
use migrations::node::{NodeLocation, ProcessProof};
use migrations::position::{Partitioning, ranges_between};
use migrations::record::{StreamPair, TabletRecord};
use migrations::replica_set::Replica;
use migrations::request::RequestStamp;
use migrations::settings::Settings;
use migrations::topology::Topology;
use migrations::version::Incarnation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// What is on its way.
pub(crate) enum Message {
    /// To group0: it will be applied.
    Propose(Command),
    /// From the leader to an agent.
    Order(Effect),
    /// From a source to a receiver.
    Chunk(Chunk),
    /// From an agent to the leader of this number.
    Report(u32, Event),
}

/// Where the next chunk of a stream is held at its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Between receipt and `enter`: it holds no guard.
    Outside,
    /// Between `enter` and the write: it holds a guard.
    Inside,
}

pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) agents: BTreeMap<NodeId, Agent>,
    pub(crate) messages: VecDeque<Message>,
    pub(crate) lines: Vec<String>,
    pub(crate) holds: BTreeMap<StreamPair, Hold>,
    pub(crate) held: Vec<Chunk>,
    /// Agents whose acknowledgements are held, and what is held of them.
    pub(crate) held_acknowledgements: BTreeMap<NodeId, Vec<Event>>,
    /// Agents whose next drop order, or report of one, is held; and what is held of them.
    pub(crate) hold_drop: BTreeMap<NodeId, bool>,
    pub(crate) held_drops: Vec<Message>,
    /// Agents that no order reaches, though their renewals are heard.
    pub(crate) deaf: BTreeSet<NodeId>,
    /// Agents whose disk refuses to drop anything.
    pub(crate) keeps_copies: BTreeSet<NodeId>,
    pub(crate) has_guards: bool,
    driver: Driver,
    leadership: u32,
    millis: u64,
    drawn: u128,
    session_names: Vec<SessionId>,
}

impl World {
    /// Agents with these names, and one table `t` of tablets on the first `rf` of them.
    pub(crate) fn new(names: &[&str], rf: usize, tablets: u8) -> World {
        let topology = Topology::default();
        let mut world = World {
            driver: Driver::new(&topology, Instant(0)),
            topology,
            agents: BTreeMap::new(),
            messages: VecDeque::new(),
            lines: Vec::new(),
            holds: BTreeMap::new(),
            held: Vec::new(),
            held_acknowledgements: BTreeMap::new(),
            hold_drop: BTreeMap::new(),
            held_drops: Vec::new(),
            deaf: BTreeSet::new(),
            keeps_copies: BTreeSet::new(),
            has_guards: true,
            leadership: 1,
            millis: 1_000,
            drawn: 0,
            session_names: Vec::new(),
        };
        let cluster = ClusterId::from_uuid(world.draw()).expect("not nil");
        let bootstrap = Bootstrap { cluster, settings: Settings::DEFAULT };
        world.commit(Command::Bootstrap(bootstrap)).expect("the first entry");
        for name in names {
            world.admit(name).expect("a new node");
        }
        let bounds: Vec<Vec<u8>> = (1..tablets).map(|n| vec![b'a' + n]).collect();
        let on: Vec<NodeId> = world.agents.keys().take(rf).copied().collect();
        let create = CreateTable {
            name: "t".into(),
            partitioning: Partitioning::Range,
            replication_factor: rf as u32,
            tablets: ranges_between(&bounds).into_iter().map(|r| (r, on.clone())).collect(),
        };
        world.change(Change::CreateTable(create)).expect("a new table");
        world.run_until(|_| false);
        world.lines.clear();
        world
    }

    pub(crate) fn draw(&mut self) -> Uuid {
        self.drawn += 1;
        Uuid::from_u128(self.drawn)
    }

    pub(crate) fn session(&mut self) -> SessionId {
        SessionId::from_uuid(self.draw()).expect("not nil")
    }

    pub(crate) fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(crate) fn name(&self, node: NodeId) -> String {
        self.topology.node(node).map_or_else(|| node.to_string(), |node| node.name.clone())
    }

    /// s1, s2, … in the order in which they are first spoken of.
    pub(crate) fn session_name(&mut self, session: SessionId) -> String {
        let known = self.session_names.iter().position(|known| *known == session);
        let index = known.unwrap_or_else(|| {
            self.session_names.push(session);
            self.session_names.len() - 1
        });
        format!("s{}", index + 1)
    }

    /// A time above each that was given before.
    pub(crate) fn leadership(&self) -> u32 {
        self.leadership
    }

    pub(crate) fn tick_clock(&mut self) -> HybridTime {
        self.millis += 1;
        self.clock()
    }

    pub(crate) fn clock(&self) -> HybridTime {
        HybridTime::from_millis(self.millis)
    }

    pub(crate) fn now(&self) -> Instant {
        Instant(self.millis * 1_000_000)
    }

    pub(crate) fn change(&mut self, change: Change) -> Outcome {
        let id = RequestId::from_uuid(self.draw()).expect("not nil");
        let stamp = RequestStamp { id, digest: 1, caller: "operator".into() };
        self.commit(Command::Change { stamp, change })
    }

    /// Applies one command, tells of it, and lets the leader know.
    pub(crate) fn commit(&mut self, command: Command) -> Outcome {
        let before = self.stages();
        let finished = self.topology.state().finished.len();
        let entry = Entry { proposed_ms: self.millis, commands: vec![command] };
        let mut applied = apply(&mut self.topology, &entry);
        check_invariants(&self.topology).expect("INV");
        self.tell_stages(&before);
        self.tell_finished(finished);
        let committed = Event::Committed {
            touched: applied.touched,
            nodes: applied.nodes,
            is_for_all: applied.is_for_all,
        };
        self.lead(committed);
        applied.outcomes.remove(0)
    }

    /// The process of a node is admitted: a new node, or one that was there before.
    pub(crate) fn admit(&mut self, name: &str) -> Outcome {
        let known = self.topology.node_named(name).map(|(id, node)| (id, node.clone()));
        let open = known.as_ref().map(|(id, _)| self.topology.open_sessions_of(*id));
        let fresh = open.unwrap_or_default().into_iter().map(|id| (id, self.session())).collect();
        let token = AdmissionToken::from_uuid(self.draw()).expect("not nil");
        let directory = known.as_ref().map(|(_, node)| node.directory);
        let drawn = DirectoryId::from_uuid(self.draw()).expect("not nil");
        let admit = Admit {
            name: name.to_string(),
            directory: directory.unwrap_or(drawn),
            known_incarnation: known.map(|(_, node)| node.incarnation),
            held_tokens: Vec::new(),
            token,
            process: ProcessProof { boot: "b".into(), lock_device: 1, lock_inode: 1 },
            location: NodeLocation {
                data_address: String::new(),
                stream_address: String::new(),
                rack: String::new(),
            },
            feature_level: 1,
            fresh,
            lost: Vec::new(),
            highest_floor: None,
        };
        let outcome = self.commit(Command::Admit(Box::new(admit)));
        if outcome.is_ok() {
            let (id, node) = self.topology.node_named(name).expect("just admitted");
            let incarnation = node.incarnation;
            self.agents.entry(id).or_insert_with(|| Agent::new(id, incarnation));
            self.agent(id).restart(incarnation);
            self.full_state(id);
            self.lead(Event::Attached { node: id, attachment: 1 });
        }
        outcome
    }

    pub(crate) fn agent(&mut self, node: NodeId) -> &mut Agent {
        self.agents.get_mut(&node).expect("every node has its agent")
    }

    /// Everything that concerns an agent; what it has besides goes.
    fn full_state(&mut self, node: NodeId) {
        let listed = self.topology.records_of(node);
        for record in &listed {
            self.take(node, record);
        }
        let held: Vec<TabletId> = self.agent(node).copies.keys().copied().collect();
        for id in held {
            // What is not listed is absent: it belongs to others, or to nobody.
            if listed.iter().all(|record| record.tablet != id) {
                self.agent(node).records.remove(&id);
            }
            self.drop_copy(node, id);
        }
    }

    fn drop_copy(&mut self, node: NodeId, id: TabletId) {
        if self.agent(node).drop_unless_given(id) {
            let line = format!("{}: drops its copy of t{id}", self.name(node));
            self.say(line);
        }
    }

    /// Steps 1 to 3 of a barrier on an agent; whether it was not stale.
    pub(crate) fn take(&mut self, node: NodeId, record: &TabletRecord) -> bool {
        let clock = self.clock();
        let taken: Taken = match self.agent(node).take(record, clock) {
            Ok(taken) => taken,
            Err(stale) => {
                let line = format!("{}: refuses t{}: {stale}", self.name(node), record.tablet);
                self.say(line);
                return false;
            }
        };
        let name = self.name(node);
        for session in taken.closed {
            let session = self.session_name(session);
            self.say(format!("{name}: closes {session}"));
        }
        if let Some(session) = taken.opened {
            let session = self.session_name(session);
            self.say(format!("{name}: opens {session}"));
        }
        true
    }

    /// Gives an event to the leader and puts what it orders on its way.
    fn lead(&mut self, event: Event) {
        let mut out = Vec::new();
        let drawn = &mut self.drawn;
        let mut fresh = || {
            *drawn += 1;
            SessionId::from_uuid(Uuid::from_u128(*drawn)).expect("not nil")
        };
        self.driver.handle(&self.topology, event, &mut fresh, &mut out);
        for effect in out {
            self.messages.push_back(match effect {
                Effect::Propose(command) => Message::Propose(command),
                order => Message::Order(order),
            });
        }
    }

    /// Another coordinator leads: it knows the topology and nothing else.
    pub(crate) fn elect(&mut self) {
        self.leadership += 1;
        self.driver = Driver::new(&self.topology, self.now());
        let up: Vec<NodeId> = self.agents.values().filter(|a| a.is_up).map(|a| a.node).collect();
        for node in up {
            self.lead(Event::Attached { node, attachment: 1 });
        }
    }

    pub(crate) fn detach(&mut self, node: NodeId) {
        self.agent(node).is_up = false;
        self.lead(Event::Detached { node, attachment: 1 });
    }

    /// An agent says something to the leader that it is attached to.
    pub(crate) fn report(&mut self, node: NodeId, event: Event) {
        let is_acknowledgement = matches!(event, Event::Acknowledged { .. });
        match self.held_acknowledgements.get_mut(&node) {
            Some(held) if is_acknowledgement => held.push(event),
            _ => self.messages.push_back(Message::Report(self.leadership, event)),
        }
    }

    /// Lets time pass: who is up renews its lease. Whether the leader had something to do.
    pub(crate) fn pass(&mut self, millis: u64) -> bool {
        self.millis += millis;
        let at = self.now();
        let up: Vec<(NodeId, Incarnation)> =
            self.agents.values().filter(|a| a.is_up).map(|a| (a.node, a.incarnation)).collect();
        for (node, incarnation) in up {
            if self.driver.may_renew(node, incarnation) {
                self.lead(Event::Renewed { node, incarnation, at });
            }
        }
        self.lead(Event::Tick(at));
        !self.messages.is_empty()
    }

    /// Until `is_there`, or nothing happens any more for as long as a lease and more.
    pub(crate) fn run_until(&mut self, is_there: impl Fn(&World) -> bool) {
        let mut idle_millis = 0;
        while !is_there(self) && idle_millis < 10_000 {
            match self.messages.pop_front() {
                Some(message) => self.deliver(message),
                None if self.pass(100) => idle_millis = 0,
                None => idle_millis += 100,
            }
        }
    }

    /// Goes on for this long, whatever happens.
    pub(crate) fn wait(&mut self, seconds: u64) {
        let end = self.millis + seconds * 1_000;
        while self.millis < end {
            self.step();
        }
    }

    /// Delivers the next message, or lets some time pass.
    pub(crate) fn step(&mut self) {
        match self.messages.pop_front() {
            Some(message) => self.deliver(message),
            None => {
                self.pass(100);
            }
        }
    }

    /// Whether a message is the one drop order, or report of one, that is to come late.
    fn is_to_be_held(&mut self, message: &Message) -> bool {
        let (node, is_report) = match message {
            Message::Order(Effect::Drop { replica, .. }) => (replica.node, false),
            Message::Report(_, Event::Dropped { report, .. }) => (report.node, true),
            _ => return false,
        };
        let is_it = self.hold_drop.get(&node) == Some(&is_report);
        is_it && self.hold_drop.remove(&node).is_some()
    }

    pub(crate) fn deliver(&mut self, message: Message) {
        if self.is_to_be_held(&message) {
            self.held_drops.push(message);
            return;
        }
        match message {
            Message::Propose(command) => self.decide(command),
            Message::Order(order) => self.obey(order),
            Message::Chunk(chunk) => self.receive(chunk),
            Message::Report(leadership, event) if leadership == self.leadership => {
                self.lead(event);
            }
            Message::Report(..) => {}
        }
    }

    fn decide(&mut self, command: Command) {
        let ended = match &command {
            Command::Advance(advance) => {
                let expected = advance.expected;
                Some(Event::ProposalEnded { tablet: expected.tablet, version: expected.version })
            }
            Command::Fence { node, .. } => {
                let line = format!("{} is fenced", self.name(*node));
                self.say(line);
                Some(Event::FenceEnded { node: *node })
            }
            _ => None,
        };
        if let Err(why) = self.commit(command) {
            self.say(format!("group0 refuses: {why}"));
        }
        if let Some(ended) = ended {
            self.lead(ended);
        }
    }

    fn obey(&mut self, order: Effect) {
        let (Effect::Barrier { node, .. }
        | Effect::Confirm { node, .. }
        | Effect::Pull { pair: StreamPair { receiver: node, .. }, .. }
        | Effect::Drop { replica: Replica { node, .. }, .. }) = order
        else {
            return;
        };
        if !self.agents.get(&node).is_some_and(|agent| agent.is_up) || self.deaf.contains(&node) {
            return;
        }
        match order {
            Effect::Barrier { node, record } => {
                if self.take(node, &record) {
                    self.acknowledge(node, record.tablet);
                }
            }
            Effect::Pull { pair, record } => self.pull(pair, &record),
            Effect::Drop { replica, record } => self.obey_drop(replica, &record),
            Effect::Confirm { node, ticket } => {
                self.report(node, Event::Received { node, ticket });
            }
            Effect::Propose(_) => {}
        }
    }

    /// Steps 4 and 5: at once, or when the last guard is given back.
    pub(crate) fn acknowledge(&mut self, node: NodeId, id: TabletId) {
        let name = self.name(node);
        if let Some(session) = self.agent(node).holders(id).first().copied() {
            let session = self.session_name(session);
            self.say(format!("{name}: t{id} waits for a guard of {session}"));
            return;
        }
        if let Some(said) = self.agent(node).acknowledgement(id) {
            self.report(node, Event::Acknowledged { tablet: id, said });
        }
    }

    fn obey_drop(&mut self, replica: Replica, record: &TabletRecord) {
        let (node, id) = (replica.node, record.tablet);
        // At exactly this version, or not at all.
        if !self.take(node, record) || record.given(node) == Some(replica.copy) {
            return;
        }
        if self.keeps_copies.contains(&node) {
            let (order, reason) = (Ordered::Drop, FailureReason::DiskError);
            let line = format!("{}: can't drop its copy of t{id}: {reason}", self.name(node));
            // It is told again and again, until it is fenced.
            if self.lines.last() != Some(&line) {
                self.say(line);
            }
            let (tablet, version) = (id, record.version);
            let incarnation = self.agent(node).incarnation;
            let refused =
                Event::Refused { tablet, version, node, incarnation, order, reason: Some(reason) };
            self.report(node, refused);
            return;
        }
        self.drop_copy(node, id);
        let agent = self.agent(node);
        let report = DropReport {
            node,
            incarnation: agent.incarnation,
            copy: replica.copy,
            version: record.version,
        };
        self.report(node, Event::Dropped { tablet: id, report });
    }
}
