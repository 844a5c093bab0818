//! Directed runs: a cluster of a chosen shape in which nothing goes wrong but what the story says,
//! and when. A story is told from outside, step by step: do something, run until something is so.
//!
//! - [`hold`]: what is kept back, let go, repeated or lost;
//! - `act`: what is done to processes, links, disks, clocks and leadership;
//! - `ask`: what routers and the operator ask for;
//! - `look`: what can be seen.
//!
//! All oracles look on, as in every run: a story in which an invariant breaks ends with it.
//! Agents are `a b c …`, coordinators `c0 c1 …`, routers `r0 r1 …`, tablets `A B …`: the first
//! letter of a key names its tablet.

mod act;
mod ask;
pub mod hold;
mod look;

pub use ask::{Asked, Op, cancel_of};
pub use hold::{Hold, Kind, Pattern};

use crate::event::{Event, RouterWork};
use crate::invariants::Broken;
use crate::message::Place;
use crate::plan::{Fault, Faults, Options, Plan};
use crate::random::Random;
use crate::time::{MILLI, SECOND, Time};
use crate::world::{CHECK, PATIENCE, World};
pub(crate) use hold::Staging;
use migrations::id::{NodeId, TabletId};
use migrations::position::ranges_between;

/// A shape to begin with: as few parts as the story has.
#[derive(Debug, Clone)]
pub struct Shape {
    tablets: Vec<&'static str>,
    agents: usize,
    coordinators: usize,
    seed: u64,
    drifts: Vec<(&'static str, i64)>,
    is_beyond_bound: bool,
    blind: Vec<u8>,
}

impl Shape {
    /// One tablet for each of these, on the agents that its letters name.
    pub fn of(tablets: &[&'static str]) -> Shape {
        Shape {
            tablets: tablets.to_vec(),
            agents: 4,
            coordinators: 3,
            seed: 1,
            drifts: Vec::new(),
            is_beyond_bound: false,
            blind: Vec::new(),
        }
    }

    /// So many agents; four, if nothing is said.
    pub fn agents(self, agents: usize) -> Shape {
        Shape { agents, ..self }
    }

    /// The seed of what is drawn all the same: delays, ids, which coordinator an agent dials.
    pub fn seed(self, seed: u64) -> Shape {
        Shape { seed, ..self }
    }

    /// A clock that runs so many parts per million too fast.
    pub fn drift(mut self, place: &'static str, ppm: i64) -> Shape {
        self.drifts.push((place, ppm));
        self
    }

    /// An oracle that looks away: for controls, where what a broken rule leads to is to be seen,
    /// and not only that it is broken.
    pub fn blind_to(mut self, invariant: u8) -> Shape {
        self.blind.push(invariant);
        self
    }

    /// Clocks may break their bound: INV-13 is not held to.
    pub fn beyond_the_drift_bound(self) -> Shape {
        Shape { is_beyond_bound: true, ..self }
    }
}

/// A story that did not go as it is told. Its `Debug` form is for people: what was not so, and
/// the last lines of what happened.
pub enum Untold {
    /// An invariant broke.
    Broken {
        /// Which, and how.
        broken: Broken,
        /// What happened before.
        trace: String,
    },
    /// Something did not come to be.
    Unmet {
        /// What.
        what: String,
        /// What happened instead.
        trace: String,
    },
}

/// What telling a story comes to.
pub type Told<T = ()> = Result<T, Untold>;

impl Untold {
    /// The number of the invariant that broke, if one did.
    pub fn invariant(&self) -> Option<u8> {
        match self {
            Untold::Broken { broken, .. } => Some(broken.invariant),
            Untold::Unmet { .. } => None,
        }
    }

    /// The same, with a word of which run it was.
    pub fn of(self, run: &str) -> Untold {
        match self {
            Untold::Broken { broken, trace } => {
                let what = format!("{run}: {}", broken.what);
                Untold::Broken { broken: Broken { what, ..broken }, trace }
            }
            Untold::Unmet { what, trace } => {
                Untold::Unmet { what: format!("{run}: {what}"), trace }
            }
        }
    }
}

impl std::fmt::Debug for Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, trace) = match self {
            Untold::Broken { broken, trace } => {
                (format!("INV-{} is broken: {}", broken.invariant, broken.what), trace)
            }
            Untold::Unmet { what, trace } => (format!("it never came to this: {what}"), trace),
        };
        write!(f, "{what}\n{trace}\n{what}")
    }
}

/// A directed run.
pub struct Story {
    world: World,
}

/// How long a story waits for what it says comes next.
const WAIT: Time = 40 * SECOND;
/// How much of the trace is shown of a story that went otherwise.
const SHOWN: usize = 120;

impl Story {
    /// A cluster of this shape: all agents attached, the tablets made, routers in the picture.
    pub fn begin(shape: &Shape) -> Told<Story> {
        let mut random = Random::of(shape.seed);
        let drawn = Plan::draw(&mut random.shape, &Options::default());
        let all = Fault::ALL.into_iter();
        let faults = all.fold(Faults::ALL, |left, fault| match fault {
            Fault::BreakDrift if shape.is_beyond_bound => left,
            _ => left.without(fault),
        });
        let plan = Plan {
            coordinators: shape.coordinators,
            agents: shape.agents,
            tablets: shape.tablets.len() as u64,
            routers: 2,
            has_second_table: false,
            has_left_out: false,
            faults,
            ..drawn
        };
        let mut world = World::of(random, plan, true);
        world.story.is_on = true;
        world.story.blind = shape.blind.clone();
        world.has_workload = false;
        let mut story = Story { world };
        story.set_clocks(shape);
        story.world.begin_cluster();
        story.make_tablets(shape)?;
        story.world.queue.after(CHECK, Event::Check);
        for at in 0..story.world.routers.len() {
            let what = RouterWork::Poll;
            story.world.queue.after(MILLI, Event::Router { at, what });
        }
        let tablets = shape.tablets.len();
        story.until("all are attached, and routers know all tablets", |story| {
            let knows = story.world.routers.iter().all(|router| router.knows() == tablets);
            knows && story.world.is_over()
        })?;
        Ok(story)
    }

    fn set_clocks(&mut self, shape: &Shape) {
        for at in 0..self.world.agents.len() {
            self.world.agents[at].clock.drift_ppm = 0;
            self.world.agents[at].clock.wall_off_ms = 0;
        }
        for coordinator in &mut self.world.coordinators {
            (coordinator.clock.drift_ppm, coordinator.clock.wall_off_ms) = (0, 0);
        }
        for router in &mut self.world.routers {
            (router.clock.drift_ppm, router.clock.wall_off_ms) = (0, 0);
        }
        for (name, ppm) in &shape.drifts {
            match self.place(name) {
                Place::Agent(at) => self.world.agents[at].clock.drift_ppm = *ppm,
                Place::Coordinator(at) => self.world.coordinators[at].clock.drift_ppm = *ppm,
                Place::Router(at) => self.world.routers[at].clock.drift_ppm = *ppm,
            }
        }
    }

    fn make_tablets(&mut self, shape: &Shape) -> Told {
        let bounds: Vec<Vec<u8>> = (1..shape.tablets.len()).map(|n| vec![b'A' + n as u8]).collect();
        let mut placed: Vec<Vec<NodeId>> = Vec::new();
        for names in &shape.tablets {
            let nodes = names.chars().map(|name| self.node(&name.to_string()));
            placed.push(nodes.collect::<Told<_>>()?);
        }
        let replication = placed.first().map_or(0, Vec::len) as u32;
        let tablets = ranges_between(&bounds).into_iter().zip(placed);
        // A table's tablets have as many replicas each: with other counts, tables of their own.
        self.world.make_table(0, replication, tablets.collect());
        Ok(())
    }

    /// Runs until something is so; fails after 40 seconds, or when an invariant breaks.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Story) -> bool) -> Told {
        let limit = self.world.queue.now + WAIT;
        loop {
            self.check()?;
            if is_so(self) {
                return Ok(());
            }
            if self.world.queue.now > limit {
                return Err(self.unmet(what));
            }
            self.world.step();
        }
    }

    /// Lets time pass, in milliseconds.
    pub fn pass(&mut self, ms: u64) -> Told {
        let until = self.world.queue.now + ms * MILLI;
        while self.world.queue.now < until {
            self.world.step();
            self.check()?;
        }
        Ok(())
    }

    /// Must be so, now.
    pub fn must(&self, what: &str, is_so: bool) -> Told {
        if is_so { Ok(()) } else { Err(self.unmet(what)) }
    }

    /// What was not so, with what happened.
    pub fn unmet(&self, what: &str) -> Untold {
        Untold::Unmet { what: what.to_owned(), trace: self.shown() }
    }

    fn check(&self) -> Told {
        match &self.world.broken {
            Some(broken) => Err(Untold::Broken { broken: broken.clone(), trace: self.shown() }),
            None => Ok(()),
        }
    }

    fn shown(&self) -> String {
        let trace = self.world.trace();
        trace[trace.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Nothing is wrong any more but what is for ever: all must end, and all invariants hold.
    pub fn end(mut self) -> Told<Story> {
        self.calm();
        let limit = self.world.queue.now + PATIENCE;
        while !self.world.is_over() {
            self.world.step();
            self.check()?;
            if self.world.queue.now > limit {
                self.world.check_ended();
            }
        }
        // What was released arrives, and what it leads to ends, too.
        self.pass(3_000)?;
        self.until("all has ended for good", |story| story.world.is_over())?;
        self.world.check_end();
        self.check()?;
        Ok(self)
    }

    /// The place of this name. A name that nobody has is the last agent's.
    pub(crate) fn place(&self, name: &str) -> Place {
        let mut letters = name.chars();
        match (letters.next(), letters.as_str().parse::<usize>()) {
            (Some('c'), Ok(number)) => Place::Coordinator(number % self.world.coordinators.len()),
            (Some('r'), Ok(number)) => Place::Router(number % self.world.routers.len()),
            _ => Place::Agent(self.agent(name)),
        }
    }

    pub(crate) fn agent(&self, name: &str) -> usize {
        let found = self.world.agents.iter().position(|agent| agent.name == name);
        found.unwrap_or(self.world.agents.len() - 1)
    }

    pub(crate) fn node(&self, name: &str) -> Told<NodeId> {
        let found = self.world.oracles.topology.node_named(name).map(|(id, _)| id);
        found.ok_or_else(|| self.unmet(&format!("{name} is a node")))
    }

    /// The tablet of this letter; that of the last letter, if there is none.
    pub(crate) fn tablet(&self, letter: char) -> TabletId {
        let position = letter.to_string().into_bytes();
        let tablets = &self.world.oracles.topology.state().tablets;
        let found = tablets.iter().find(|(_, tablet)| tablet.range.contains(&position));
        found.map_or_else(|| TabletId::from_u64(u64::MAX).expect("not zero"), |(id, _)| *id)
    }
}
