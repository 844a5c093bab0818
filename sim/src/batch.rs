//! Many seeds, and what is said of one that fails.

use crate::plan::{Fault, Faults, Options};
use crate::{Broken, Outcome, run};
use std::collections::BTreeMap;

/// A seed that broke something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// With what it was run.
    pub options: Options,
    /// What it broke.
    pub broken: Broken,
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Batch {
    /// Seeds that were run.
    pub seeds: u64,
    /// How many of them reached each mark.
    pub marks: BTreeMap<String, u64>,
    /// Those that broke something.
    pub failures: Vec<Failure>,
    /// Events of all runs.
    pub events: u64,
    /// Migrations that ended.
    pub migrations: u64,
    /// Writes that were acknowledged, and reads that were answered.
    pub operations: (u64, u64),
}

/// Rare states that a batch of a thousand seeds has to reach; one that does not tests less than it
/// says. Edges back and edges that need a fault are among them.
pub const MARKS: [&str; 80] = [
    "a cancel is asked for",
    "a chunk is held between its receipt and its guard",
    "a coordinator starts from a snapshot",
    "a copy is damaged",
    "a copy is marked as lost",
    "a deposed leader proposes",
    "a directory is copied",
    "a drain is forced",
    "a follower is sent a snapshot",
    "a full state leaves a tablet out",
    "a late chunk is refused",
    "a lease runs out",
    "a machine comes in again, empty",
    "a node is fenced",
    "a process crashes just after its word",
    "a process is admitted",
    "a process waits until its predecessor is fenced",
    "a renewal is not answered, since leadership is not confirmed",
    "a request id comes a second time",
    "a second process asks for admission",
    "a source refuses a call",
    "a store leaves a row out",
    "a stream is resumed",
    "a successor commits what a deposed leader has proposed",
    "a table is dropped",
    "a task stands still between two steps of a barrier",
    "an admission is proposed anew",
    "an agent catches up with a router",
    "an agent hears that it is fenced",
    "an old directory is put back",
    "an old directory is refused",
    "an order for a call that is on record is answered with its state",
    "an order is refused",
    "nobody knows what became of a proposal",
    "one is dead and one is deaf for ever",
    "the balancer empties a drained node",
    "the balancer levels",
    "tombstones are purged",
    "edge allow_write_both_read_old -> cleanup_target",
    "edge open_repair -> end_repair",
    "edge repair -> open_repair",
    "edge streaming -> cleanup_target",
    "edge streaming -> write_both_read_old",
    "edge write_both_read_new -> write_both_read_old_fallback",
    "edge write_both_read_old -> cleanup_target",
    "edge write_both_read_old_fallback -> cleanup_target",
    "a source crashes in allow_write_both_read_old",
    "a target crashes in allow_write_both_read_old",
    "the leader crashes in allow_write_both_read_old",
    "a source crashes in write_both_read_old",
    "a target crashes in write_both_read_old",
    "the leader crashes in write_both_read_old",
    "a source crashes in streaming",
    "a target crashes in streaming",
    "the leader crashes in streaming",
    "a source crashes in write_both_read_new",
    "a target crashes in write_both_read_new",
    "the leader crashes in write_both_read_new",
    "a source crashes in write_both_read_old_fallback",
    "a target crashes in write_both_read_old_fallback",
    "the leader crashes in write_both_read_old_fallback",
    "a source crashes in use_new",
    "a target crashes in use_new",
    "the leader crashes in use_new",
    "a source crashes in cleanup",
    "a target crashes in cleanup",
    "the leader crashes in cleanup",
    "a source crashes in end_migration",
    "a target crashes in end_migration",
    "the leader crashes in end_migration",
    "a source crashes in cleanup_target",
    "a target crashes in cleanup_target",
    "the leader crashes in cleanup_target",
    "a source crashes in revert_migration",
    "a target crashes in revert_migration",
    "the leader crashes in revert_migration",
    "the leader crashes in open_repair",
    "the leader crashes in repair",
    "the leader crashes in end_repair",
    "a source crashes in repair",
];

impl Batch {
    /// Takes in what a seed came to.
    pub fn add(&mut self, seed: u64, options: &Options, outcome: &Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.migrations += outcome.migrations as u64;
        self.operations.0 += outcome.operations.0;
        self.operations.1 += outcome.operations.1;
        for mark in &outcome.marks {
            *self.marks.entry(mark.clone()).or_default() += 1;
        }
        if let Some(broken) = outcome.broken.clone() {
            self.failures.push(Failure { seed, options: *options, broken });
        }
    }

    /// What another batch came to, too.
    pub fn join(&mut self, other: Batch) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.migrations += other.migrations;
        self.operations.0 += other.operations.0;
        self.operations.1 += other.operations.1;
        for (mark, count) in other.marks {
            *self.marks.entry(mark).or_default() += count;
        }
        self.failures.extend(other.failures);
    }

    /// The marks that no seed has reached.
    pub fn unreached(&self) -> Vec<&'static str> {
        MARKS.into_iter().filter(|mark| !self.marks.contains_key(*mark)).collect()
    }
}

/// Runs seeds.
pub fn seeds(seeds: impl Iterator<Item = u64>, options: &Options) -> Batch {
    let mut batch = Batch::default();
    for seed in seeds {
        batch.add(seed, options, &run(seed, options));
    }
    batch
}

/// Takes faults away from a failure for as long as it fails in the same way, then time.
pub fn shrink(failure: &Failure) -> Failure {
    let mut smallest = failure.clone();
    let try_with = |smallest: &mut Failure, options: Options| {
        let outcome = run(failure.seed, &options);
        let broken = outcome.broken.filter(|b| b.invariant == failure.broken.invariant);
        if let Some(broken) = broken {
            *smallest = Failure { seed: failure.seed, options, broken };
        }
    };
    for fault in Fault::ALL {
        let allowed: Faults = smallest.options.allowed.without(fault);
        let options = Options { allowed, ..smallest.options };
        try_with(&mut smallest, options);
    }
    for span_per_mille in [500, 250, 125] {
        let options = Options { span_per_mille, ..smallest.options };
        try_with(&mut smallest, options);
    }
    smallest
}

impl Failure {
    /// The line that repeats it.
    pub fn repeat(&self) -> String {
        let (seed, flags) = (self.seed, self.options.flags());
        format!("cargo run --release -p palisade-sim -- --seed {seed:#x} --trace{flags}")
    }
}

/// Whether a seed runs alike a second time, to the byte of its trace.
pub fn is_repeated(seed: u64, options: &Options) -> bool {
    let options = Options { is_traced: true, ..*options };
    run(seed, &options) == run(seed, &options)
}
