//! A whole cluster in one thread, in virtual time: group0 as an ideal log, coordinators, agents,
//! routers and a balancer that never rests, with faults. They run the core that the binaries run:
//! `apply`, the driver, the agent's decisions, the ends of a pull, leases, gates, a router's
//! operation. What the binaries do around it — tasks, sockets, files — is modelled here.
//!
//! One seed is one run, to the byte; a story (`story`) is one in which nothing is drawn that
//! matters, and everything is told to happen. Oracles in `invariants`, one file an invariant.

mod agent;
mod asker;
pub mod batch;
mod coordinator;
mod directories;
mod event;
mod faults;
mod invariants;
mod message;
mod network;
pub mod plan;
mod random;
mod router;
pub mod story;
mod switches;
mod time;
mod world;

pub use invariants::Broken;
use plan::Options;
use std::collections::BTreeSet;
use world::World;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first invariant that did not hold.
    pub broken: Option<Broken>,
    /// Rare states that were reached.
    pub marks: BTreeSet<String>,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
    /// How many events there were.
    pub events: u64,
    /// Entries of group0's log.
    pub entries: usize,
    /// Migrations that have ended.
    pub migrations: usize,
    /// Writes that were acknowledged, and reads that were answered.
    pub operations: (u64, u64),
    /// The classes of faults that it had.
    pub faults: plan::Faults,
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = World::new(seed, options);
    world.run();
    Outcome {
        broken: world.broken.clone(),
        trace: world.take_trace(),
        events: world.events,
        entries: world.group0.log.len(),
        migrations: world.oracles.topology.state().finished.len(),
        operations: (world.oracles.writes, world.oracles.reads),
        faults: world.plan.faults,
        marks: world.marks,
    }
}
