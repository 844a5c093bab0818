//! The metrics of a coordinator. `docs/OPERATIONS.md` says what each is for; a test keeps that
//! table and this file equal.
//!
//! Counted where things happen; what is a state and no event is computed at each scrape. No label
//! has a value without a bound, and every series is there from the start.

use crate::agents::Agents;
use crate::group0::{Group0, Role};
use crate::machine::Machine;
use crate::observed::Observed;
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::Ending;
use process::exposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Bounds of durations on one machine or between two, in seconds.
const SHORT: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];
/// Bounds of durations of stages and migrations, in seconds.
const LONG: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];
/// Bounds of batches, in commands.
const BATCH: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1_024.0];

/// What became of a proposal, as far as its submitter knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Applied,
    Rejected,
    NotApplied,
    Unknown,
}

impl Outcome {
    const ALL: [Outcome; 4] =
        [Outcome::Applied, Outcome::Rejected, Outcome::NotApplied, Outcome::Unknown];

    const fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Rejected => "rejected",
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        }
    }
}

/// What a proposal was for, where that is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Fence,
    Admission,
    Other,
}

/// How a request for a renewal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    /// The incarnation is fenced, or is being fenced.
    Refused,
    /// Nothing is known: no leader, no quorum.
    Failed,
}

impl Renewal {
    const ALL: [Renewal; 3] = [Renewal::Renewed, Renewal::Refused, Renewal::Failed];

    const fn name(self) -> &'static str {
        match self {
            Renewal::Renewed => "renewed",
            Renewal::Refused => "refused",
            Renewal::Failed => "failed",
        }
    }
}

const fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::Reverted => "reverted",
        Ending::Cancelled => "cancelled",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKindAndResult {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHeldUnder {
    under: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn long() -> Histogram {
    Histogram::new(LONG)
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    proposals: Family<ByOutcome, Counter>,
    proposal_seconds: Histogram,
    entry_commands: Histogram,
    fences: Family<ByOutcome, Counter>,
    admissions: Family<ByOutcome, Counter>,
    renewals: Family<ByResult, Counter>,
    barrier_messages: Counter,
    barrier_records: Counter,
    barrier_seconds: Histogram,
    migrations: Family<ByKindAndResult, Counter>,
    stage_seconds: Histograms<ByStage>,
    migration_seconds: Histograms<ByKind>,
    states: States,
}

/// What is computed at each scrape.
#[derive(Debug, Default)]
struct States {
    leader: Gauge,
    term: Gauge,
    last_log: Gauge,
    committed: Gauge,
    applied: Gauge,
    snapshot: Gauge,
    purged: Gauge,
    attached: Gauge,
    in_flight: Family<ByStage, Gauge>,
    waiting: Gauge,
    holders: Family<ByHeldUnder, Gauge>,
    watches: Gauge,
    differing: Gauge,
    clocks_apart: Gauge<f64, AtomicU64>,
    unfit: Gauge,
    disk_trouble: Gauge,
}

impl Metrics {
    /// All of them at 0.
    pub(crate) fn new() -> Metrics {
        let metrics = Metrics {
            proposals: Family::default(),
            proposal_seconds: Histogram::new(SHORT),
            entry_commands: Histogram::new(BATCH),
            fences: Family::default(),
            admissions: Family::default(),
            renewals: Family::default(),
            barrier_messages: Counter::default(),
            barrier_records: Counter::default(),
            barrier_seconds: Histogram::new(SHORT),
            migrations: Family::default(),
            stage_seconds: Family::new_with_constructor(long),
            migration_seconds: Family::new_with_constructor(long),
            states: States::default(),
        };
        metrics.create_all();
        metrics
    }

    /// Makes the series of all values that labels can have.
    fn create_all(&self) {
        for outcome in Outcome::ALL.map(Outcome::name) {
            for counter in [&self.proposals, &self.fences, &self.admissions] {
                drop(counter.get_or_create(&ByOutcome { outcome }));
            }
        }
        for result in Renewal::ALL.map(Renewal::name) {
            drop(self.renewals.get_or_create(&ByResult { result }));
        }
        for kind in TransitionKind::ALL.map(TransitionKind::name) {
            drop(self.migration_seconds.get_or_create(&ByKind { kind }));
            for ending in [Ending::Done, Ending::Reverted, Ending::Cancelled] {
                let result = ending_name(ending);
                drop(self.migrations.get_or_create(&ByKindAndResult { kind, result }));
            }
        }
        for stage in Stage::ALL.map(Stage::name) {
            drop(self.stage_seconds.get_or_create(&ByStage { stage }));
            drop(self.states.in_flight.get_or_create(&ByStage { stage }));
        }
        for under in ["session", "version"] {
            drop(self.states.holders.get_or_create(&ByHeldUnder { under }));
        }
    }

    /// All of them under their names.
    pub(crate) fn registry(&self) -> Registry {
        let mut all = exposition::registry(env!("CARGO_PKG_VERSION"));
        self.states.register(&mut all);
        all.register("proposals", "Commands by what became of them", self.proposals.clone());
        let help = "From the submission of a command to its outcome";
        all.register_with_unit("proposal", help, Unit::Seconds, self.proposal_seconds.clone());
        let help = "Commands in one proposed entry of the log";
        let unit = Unit::Other("commands".to_owned());
        all.register_with_unit("entry", help, unit, self.entry_commands.clone());
        all.register("fences", "Fences by outcome", self.fences.clone());
        let help = "Admissions of agents' processes by outcome";
        all.register("admissions", help, self.admissions.clone());
        let help = "Requests to renew a lease by result";
        all.register("lease_renewals", help, self.renewals.clone());
        let help = "Messages with barriers that were sent to agents";
        all.register("barrier_messages", help, self.barrier_messages.clone());
        let help = "Tablets' records in those messages";
        all.register("barrier_records", help, self.barrier_records.clone());
        let help = "From a version's commit to a node's acknowledgement of it";
        all.register_with_unit("barrier_wait", help, Unit::Seconds, self.barrier_seconds.clone());
        let help = "Migrations that have ended, by kind and result";
        all.register("migrations", help, self.migrations.clone());
        let help = "How long migrations were in a stage";
        all.register_with_unit("migration_stage", help, Unit::Seconds, self.stage_seconds.clone());
        let help = "How long migrations took, by kind";
        all.register_with_unit("migration", help, Unit::Seconds, self.migration_seconds.clone());
        all
    }

    /// A command has an outcome, or is known to have none.
    pub(crate) fn proposed(&self, purpose: Purpose, outcome: Outcome, took: Duration) {
        let label = ByOutcome { outcome: outcome.name() };
        self.proposals.get_or_create(&label).inc();
        self.proposal_seconds.observe(took.as_secs_f64());
        match purpose {
            Purpose::Fence => drop(self.fences.get_or_create(&label).inc()),
            Purpose::Admission => drop(self.admissions.get_or_create(&label).inc()),
            Purpose::Other => {}
        }
    }

    /// An entry of so many commands is proposed.
    pub(crate) fn entry(&self, commands: usize) {
        self.entry_commands.observe(commands as f64);
    }

    /// A request to renew a lease was answered.
    pub(crate) fn renewal(&self, renewal: Renewal) {
        self.renewals.get_or_create(&ByResult { result: renewal.name() }).inc();
    }

    /// A message with so many tablets' records goes to an agent.
    pub(crate) fn barrier_sent(&self, records: usize) {
        self.barrier_messages.inc();
        self.barrier_records.inc_by(records as u64);
    }

    /// A node has acknowledged a version so long after its commit.
    pub(crate) fn barrier_acknowledged(&self, after: Duration) {
        self.barrier_seconds.observe(after.as_secs_f64());
    }

    /// A stage was left.
    pub(crate) fn stage_left(&self, stage: Stage, after: Duration) {
        let label = ByStage { stage: stage.name() };
        self.stage_seconds.get_or_create(&label).observe(after.as_secs_f64());
    }

    /// A migration has ended, so long after it began.
    pub(crate) fn migration_ended(&self, kind: TransitionKind, ending: Ending, after: Duration) {
        let (kind, result) = (kind.name(), ending_name(ending));
        self.migrations.get_or_create(&ByKindAndResult { kind, result }).inc();
        self.migration_seconds.get_or_create(&ByKind { kind }).observe(after.as_secs_f64());
    }

    /// Brings what is computed up to date.
    pub(crate) fn look(
        &self,
        group0: &Group0<Machine>,
        agents: &Agents,
        observed: &Observed,
        watches: usize,
    ) {
        let states = &self.states;
        let status = group0.metrics();
        let index = |index: Option<u64>| i64::try_from(index.unwrap_or(0)).unwrap_or(i64::MAX);
        states.leader.set(i64::from(status.role == Role::Leader));
        states.term.set(index(Some(status.term)));
        states.last_log.set(index(status.last_log));
        states.committed.set(index(status.committed));
        states.applied.set(index(status.applied));
        states.snapshot.set(index(status.snapshot));
        states.purged.set(index(status.purged));
        states.attached.set(count(agents.attached().len()));
        states.watches.set(count(watches));
        let members = group0.members();
        let differs = members.iter().filter(|member| member.state_differs_at.is_some());
        states.differing.set(count(differs.count()));
        let ahead_ms = members.iter().filter_map(|member| member.clock_ahead_ms);
        let apart_ms = ahead_ms.map(i64::unsigned_abs).max().unwrap_or_default();
        states.clocks_apart.set(Duration::from_millis(apart_ms).as_secs_f64());
        let mut in_flight: BTreeMap<Stage, usize> =
            Stage::ALL.iter().map(|stage| (*stage, 0)).collect();
        group0.read(|machine| {
            let topology = &machine.topology;
            for transition in topology.in_transition().filter_map(|id| topology.transition(id)) {
                *in_flight.entry(transition.record.stage).or_default() += 1;
            }
        });
        for (stage, tablets) in in_flight {
            let label = ByStage { stage: stage.name() };
            states.in_flight.get_or_create(&label).set(count(tablets));
        }
        states.unfit.set(count(observed.unfit_count()));
        states.disk_trouble.set(count(observed.with_disk_trouble().len()));
        let waits = observed.summary();
        states.waiting.set(count(waits.tablets));
        for (under, holders) in [("session", waits.sessions), ("version", waits.versions)] {
            states.holders.get_or_create(&ByHeldUnder { under }).set(count(holders));
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl States {
    fn register(&self, all: &mut Registry) {
        let gauges = [
            ("leader", "Whether this coordinator leads group0, as far as it knows", &self.leader),
            ("term", "The Raft term", &self.term),
            ("log_last_index", "The last entry in the log", &self.last_log),
            ("log_committed_index", "The last entry known to be committed", &self.committed),
            ("log_applied_index", "The last entry applied here", &self.applied),
            ("log_snapshot_index", "The last entry in the newest snapshot", &self.snapshot),
            ("log_purged_index", "The last entry taken off the log's beginning", &self.purged),
            ("agents_attached", "Agents attached to this coordinator", &self.attached),
            ("barrier_waiting_tablets", "Tablets that wait for a node's word", &self.waiting),
            ("watches_open", "Watches that are open", &self.watches),
            ("states_differing", "Members with another state than the leader", &self.differing),
            ("nodes_unfit", "Nodes whose leases are left to run out, at the leader", &self.unfit),
            (
                "nodes_disk_trouble",
                "Nodes whose disks take no more rows, at the leader",
                &self.disk_trouble,
            ),
        ];
        for (name, help, gauge) in gauges {
            all.register(name, help, gauge.clone());
        }
        let help = "By how much the clock of a member is from the leader's, of the furthest";
        all.register("clocks_apart_seconds", help, self.clocks_apart.clone());
        let help = "Tablets in transition, by stage";
        all.register("migrations_in_flight", help, self.in_flight.clone());
        let help = "Pieces of work that hold barriers up, as agents last said, by their guards";
        all.register("barrier_holders", help, self.holders.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::Signals;

    const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

    #[test]
    fn every_metric_keeps_the_rules_is_there_from_the_start_and_is_documented() {
        let metrics = Metrics::new();
        let signals = Signals::new(metrics.registry(), || (), || Ok(()), Vec::new());
        let text = signals.scrape().expect("it can be written");
        let all = exposition::described(&exposition::prometheus_text(&text)).expect("text");
        assert_eq!(exposition::broken_rules(&all), Vec::<String>::new());
        let documented = exposition::documented(OPERATIONS, "### Metrics of a coordinator");
        assert_eq!(exposition::served(&all), documented);
        assert!(text.contains("palisade_migrations_total{kind=\"migrate\",result=\"done\"} 0"));
        assert!(text.contains("palisade_proposals_total{outcome=\"unknown\"} 0"));
    }

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::new();
        metrics.proposed(Purpose::Fence, Outcome::Applied, Duration::from_millis(3));
        metrics.proposed(Purpose::Other, Outcome::Unknown, Duration::from_secs(20));
        metrics.barrier_sent(7);
        let took = Duration::from_secs(2);
        metrics.migration_ended(TransitionKind::Migrate, Ending::Done, took);
        let signals = Signals::new(metrics.registry(), || (), || Ok(()), Vec::new());
        let text = signals.scrape().expect("it can be written");
        for line in [
            "palisade_proposals_total{outcome=\"applied\"} 1",
            "palisade_proposals_total{outcome=\"unknown\"} 1",
            "palisade_fences_total{outcome=\"applied\"} 1",
            "palisade_fences_total{outcome=\"unknown\"} 0",
            "palisade_barrier_messages_total 1",
            "palisade_barrier_records_total 7",
            "palisade_migrations_total{kind=\"migrate\",result=\"done\"} 1",
            "palisade_migration_seconds_sum{kind=\"migrate\"} 2.0",
            "palisade_proposal_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }
}
