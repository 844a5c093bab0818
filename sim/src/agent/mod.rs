//! An agent: its machine with disk and clock, and the process that may run on it. What it decides
//! is `migrations::agent`'s; here are its locks, syncs, guards and waits.

pub(crate) mod attachment;
pub(crate) mod chunk;
pub(crate) mod data;
pub(crate) mod disk;
pub(crate) mod full_state;
pub(crate) mod jobs;
pub(crate) mod pull;
pub(crate) mod serve;
pub(crate) mod tablets;
pub(crate) mod work;

use crate::message::{Conn, Place, Request};
use crate::time::{Clock, Time};
use crate::world::World;
use attachment::Attachment;
use disk::Disk;
use jobs::Job;
use migrations::clock::{HybridClock, HybridTime};
use migrations::id::{AdmissionToken, NodeId, SessionId, TabletId};
use migrations::lease::{HeldLease, Instant};
use migrations::version::Incarnation;
use pull::Pull;
use serve::Serve;
use std::collections::BTreeMap;
use std::rc::Rc;
use tablets::Tablet;
use work::AfterSync;

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    /// Drawn by the machine at each boot.
    pub(crate) boot: u64,
    /// How many processes there have been.
    pub(crate) process: u64,
    pub(crate) running: Option<Process>,
    pub(crate) paused_until: Time,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) tablets: BTreeMap<TabletId, Tablet>,
    pub(crate) next: u64,
    pub(crate) lease: HeldLease,
    pub(crate) is_given_up: bool,
    pub(crate) was_held: bool,
    pub(crate) hybrid: HybridClock,
    pub(crate) admitted: Option<(NodeId, Incarnation)>,
    pub(crate) asking: Option<AdmissionToken>,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) next_coordinator: usize,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) pulls: BTreeMap<(SessionId, NodeId), Pull>,
    pub(crate) calls: BTreeMap<Conn, (SessionId, NodeId)>,
    pub(crate) serves: BTreeMap<Conn, Serve>,
    /// What goes on once so many writes are durable.
    pub(crate) waiting: Vec<(u64, AfterSync)>,
    /// Requests of a newer version, until when they wait for it.
    pub(crate) ahead: Vec<(Time, Rc<Request>)>,
}

impl Process {
    fn new(tablets: BTreeMap<TabletId, Tablet>, next: u64, next_coordinator: usize) -> Process {
        Process {
            tablets,
            next,
            lease: HeldLease::default(),
            is_given_up: false,
            was_held: false,
            hybrid: HybridClock::default(),
            admitted: None,
            asking: None,
            attachment: None,
            next_coordinator,
            jobs: BTreeMap::new(),
            pulls: BTreeMap::new(),
            calls: BTreeMap::new(),
            serves: BTreeMap::new(),
            waiting: Vec::new(),
            ahead: Vec::new(),
        }
    }

    pub(crate) fn is_lease_held(&self, now: Instant) -> bool {
        !self.is_given_up && self.lease.is_held(now)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Agent {
    pub(crate) fn new(name: String, clock: Clock, disk: Disk) -> Agent {
        Agent { name, clock, disk, boot: 1, process: 0, running: None, paused_until: 0 }
    }

    pub(crate) fn own(&self) -> Option<NodeId> {
        self.disk.node.map(|(node, _)| node)
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.running.as_ref()?.admitted.map(|(_, incarnation)| incarnation)
    }
}

impl World {
    /// A process starts on an agent's machine. It serves at its durable floors.
    pub(crate) fn start_agent(&mut self, at: usize) {
        if self.agents[at].running.is_some() {
            return;
        }
        let own = self.agents[at].own();
        let agent = &mut self.agents[at];
        agent.process += 1;
        let mut next = agent.process * 1_000_000_000;
        let tablets = Tablet::found(&agent.disk.live, own, &mut next);
        let coordinator = self.random.network.below(self.coordinators.len() as u64) as usize;
        self.agents[at].running = Some(Process::new(tablets, next, coordinator));
        self.say(|world| format!("{} starts", world.agents[at].name));
        self.check_started(at);
        self.agent_after(at, 0, work::Work::Attach);
        self.agent_after(at, self.expiry_interval(), work::Work::Expiry);
    }

    /// The process is gone, at once. What it had written and not synced may be, too.
    pub(crate) fn kill_agent(&mut self, at: usize) {
        if self.agents[at].running.take().is_none() {
            return;
        }
        self.say(|world| format!("{} is killed", world.agents[at].name));
        self.close_all(Place::Agent(at));
        self.agents[at].disk.crash(&mut self.random.disk);
        self.agents[at].paused_until = 0;
    }

    pub(crate) fn process(&self, at: usize) -> Option<&Process> {
        self.agents[at].running.as_ref()
    }

    pub(crate) fn process_mut(&mut self, at: usize) -> Option<&mut Process> {
        self.agents[at].running.as_mut()
    }

    pub(crate) fn is_lease_held(&self, at: usize) -> bool {
        let now = self.agents[at].clock.instant(self.queue.now);
        self.process(at).is_some_and(|process| process.is_lease_held(now))
    }

    pub(crate) fn agent_wall(&self, at: usize) -> u64 {
        self.agents[at].clock.wall_ms(self.queue.now)
    }

    pub(crate) fn agent_reading(&self, at: usize) -> HybridTime {
        let wall = self.agent_wall(at);
        self.process(at).map_or(HybridTime::ZERO, |process| process.hybrid.reading(wall))
    }

    /// The agent of a node.
    pub(crate) fn agent_of(&self, node: NodeId) -> Option<usize> {
        self.agents.iter().position(|agent| agent.own() == Some(node))
    }
}
