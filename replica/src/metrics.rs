//! The metrics of a replica agent. `docs/OPERATIONS.md` says what each is for; a test keeps that
//! table and this file equal.
//!
//! Counted where things happen; what is a state and no event is computed at each scrape. No label
//! has a value without a bound, and every series is there from the start.

use migrations::evidence::FailureReason;
use process::exposition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use proto::reasons::Reason;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Bounds of durations on one machine or between two, in seconds.
const SHORT: [f64; 13] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];
/// Bounds of durations of drains, in seconds.
const DRAINS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 120.0];

/// Why a guard may be refused.
const REFUSALS: [Reason; 9] = [
    Reason::SessionUnknown,
    Reason::SessionClosing,
    Reason::NodeFenced,
    Reason::LeaseExpired,
    Reason::StaleVersion,
    Reason::VersionAhead,
    Reason::NotReplica,
    Reason::DataDamaged,
    Reason::NodeNotReady,
];

/// How a stream into this node has ended well.
const COMPLETE: &str = "complete";

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

impl Direction {
    const fn label(self) -> ByDirection {
        let direction = match self {
            Direction::In => "in",
            Direction::Out => "out",
        };
        ByDirection { direction }
    }
}

/// What a router asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Put,
    Delete,
    Get,
    Scan,
}

impl RequestKind {
    const ALL: [RequestKind; 4] =
        [RequestKind::Put, RequestKind::Delete, RequestKind::Get, RequestKind::Scan];

    const fn name(self) -> &'static str {
        match self {
            RequestKind::Put => "put",
            RequestKind::Delete => "delete",
            RequestKind::Get => "get",
            RequestKind::Scan => "scan",
        }
    }
}

/// How a router's request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Done,
    /// The router knows what to do next: another version, another time, another node.
    Refused,
    /// This node could not do it.
    Failed,
}

impl Answered {
    const ALL: [Answered; 3] = [Answered::Done, Answered::Refused, Answered::Failed];

    const fn name(self) -> &'static str {
        match self {
            Answered::Done => "done",
            Answered::Refused => "refused",
            Answered::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKindAndOutcome {
    kind: &'static str,
    outcome: &'static str,
}

fn short() -> Histogram {
    Histogram::new(SHORT)
}

/// The syncs of a store.
#[derive(Debug, Clone)]
pub struct Syncs {
    seconds: Histogram,
    failed: Counter,
}

impl Default for Syncs {
    fn default() -> Syncs {
        Syncs { seconds: short(), failed: Counter::default() }
    }
}

impl Syncs {
    /// One is over.
    pub(crate) fn over(&self, after: Duration, is_done: bool) {
        self.seconds.observe(after.as_secs_f64());
        if !is_done {
            self.failed.inc();
        }
    }
}

/// A state that is computed at each scrape.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub(crate) open_sessions: u64,
    pub(crate) closing_sessions: u64,
    pub(crate) session_guards: u64,
    pub(crate) version_guards: u64,
    pub(crate) is_lease_valid: bool,
    pub(crate) lease_left: Duration,
    pub(crate) is_attached: bool,
    pub(crate) is_unfit: bool,
    pub(crate) has_disk_trouble: bool,
    pub(crate) copies: u64,
    pub(crate) lost_copies: u64,
    pub(crate) room_bytes: u64,
}

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    refused: Family<ByReason, Counter>,
    barriers: Counter,
    drain_seconds: Histogram,
    forced: Counter,
    streams: Family<ByResult, Counter>,
    stream_bytes: Family<ByDirection, Counter>,
    stream_rows: Family<ByDirection, Counter>,
    running: Family<ByDirection, Gauge>,
    requests: Family<ByKindAndOutcome, Counter>,
    request_seconds: Family<ByKind, Histogram, fn() -> Histogram>,
    attachments: Counter,
    sessions: Family<ByState, Gauge>,
    guards: Family<ByKind, Gauge>,
    lease_valid: Gauge,
    lease_left: Gauge<f64, AtomicU64>,
    attached: Gauge,
    unfit: Gauge,
    disk_trouble: Gauge,
    copies: Gauge,
    lost_copies: Gauge,
    room_bytes: Gauge,
}

/// A stream that runs; not any more, once this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    metrics: Arc<Metrics>,
    direction: Direction,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.running.get_or_create(&self.direction.label()).dec();
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All of them at 0.
    pub fn new() -> Metrics {
        let metrics = Metrics {
            refused: Family::default(),
            barriers: Counter::default(),
            drain_seconds: Histogram::new(DRAINS),
            forced: Counter::default(),
            streams: Family::default(),
            stream_bytes: Family::default(),
            stream_rows: Family::default(),
            running: Family::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(short),
            attachments: Counter::default(),
            sessions: Family::default(),
            guards: Family::default(),
            lease_valid: Gauge::default(),
            lease_left: Gauge::default(),
            attached: Gauge::default(),
            unfit: Gauge::default(),
            disk_trouble: Gauge::default(),
            copies: Gauge::default(),
            lost_copies: Gauge::default(),
            room_bytes: Gauge::default(),
        };
        metrics.create_all();
        metrics
    }

    /// Makes the series of all values that labels can have.
    fn create_all(&self) {
        for reason in REFUSALS.map(Reason::name) {
            drop(self.refused.get_or_create(&ByReason { reason }));
        }
        for result in FailureReason::ALL.map(FailureReason::name).into_iter().chain([COMPLETE]) {
            drop(self.streams.get_or_create(&ByResult { result }));
        }
        for direction in [Direction::In, Direction::Out].map(Direction::label) {
            drop(self.stream_bytes.get_or_create(&direction));
            drop(self.stream_rows.get_or_create(&direction));
            drop(self.running.get_or_create(&direction));
        }
        for kind in RequestKind::ALL.map(RequestKind::name) {
            drop(self.request_seconds.get_or_create(&ByKind { kind }));
            for outcome in Answered::ALL.map(Answered::name) {
                drop(self.requests.get_or_create(&ByKindAndOutcome { kind, outcome }));
            }
        }
        self.look(State::default());
    }

    /// All of them under their names, with those of the store's syncs.
    pub fn registry(&self, syncs: &Syncs) -> Registry {
        let mut all = exposition::registry(env!("CARGO_PKG_VERSION"));
        self.register_work(&mut all);
        self.register_states(&mut all);
        let help = "How long syncs of the store took";
        all.register_with_unit("store_sync", help, Unit::Seconds, syncs.seconds.clone());
        let help = "Syncs of the store that have failed; after one, nothing is durable any more";
        all.register("store_sync_failures", help, syncs.failed.clone());
        all
    }

    fn register_work(&self, all: &mut Registry) {
        all.register("guards_refused", "Guards that were refused, by reason", self.refused.clone());
        let help = "Barriers that were acknowledged, one for each tablet and version";
        all.register("barriers_acknowledged", help, self.barriers.clone());
        let help = "How long barriers waited for guards on this node";
        all.register_with_unit("drain", help, Unit::Seconds, self.drain_seconds.clone());
        let help = "Drains that went past their deadline, from where on old writes are refused";
        all.register("drains_forced", help, self.forced.clone());
        let help = "Streams into this node that have ended, by result: complete, or why not";
        all.register("streams", help, self.streams.clone());
        let help = "Bytes of rows in chunks that were stored or sent";
        all.register_with_unit("stream", help, Unit::Bytes, self.stream_bytes.clone());
        let help = "Rows in chunks that were stored or sent";
        all.register("stream_rows", help, self.stream_rows.clone());
        all.register("streams_running", "Streams that run", self.running.clone());
        let help = "Requests of routers, by how they were answered";
        all.register("data_requests", help, self.requests.clone());
        let help = "How long requests of routers took";
        all.register_with_unit("data_request", help, Unit::Seconds, self.request_seconds.clone());
        let help = "Times that a coordinator has welcomed this agent";
        all.register("attachments", help, self.attachments.clone());
    }

    fn register_states(&self, all: &mut Registry) {
        all.register("sessions", "Sessions known here, by state", self.sessions.clone());
        all.register("guards_live", "Guards that are held, by kind", self.guards.clone());
        let help = "Whether this process holds its lease";
        all.register("lease_valid", help, self.lease_valid.clone());
        let help = "How long the lease lasts without another renewal; 0 if it is not held";
        all.register_with_unit("lease_remaining", help, Unit::Seconds, self.lease_left.clone());
        let help = "Whether a coordinator is attached to, and the full state worked off";
        all.register("attached", help, self.attached.clone());
        let help = "Whether this node has found that it can't keep a floor or end a guard";
        all.register("unfit", help, self.unfit.clone());
        let help = "Whether this node's disk fails rows, or has no room for any";
        all.register("disk_trouble", help, self.disk_trouble.clone());
        all.register("copies", "Copies of tablets on this node's disk", self.copies.clone());
        let help = "Copies that should be here and are gone";
        all.register("copies_lost", help, self.lost_copies.clone());
        let help = "How much rows may still take on the disk";
        all.register_with_unit("store_room", help, Unit::Bytes, self.room_bytes.clone());
    }

    /// A guard was refused.
    pub(crate) fn guard_refused(&self, reason: Reason) {
        self.refused.get_or_create(&ByReason { reason: reason.name() }).inc();
    }

    /// A barrier was acknowledged.
    pub(crate) fn barrier_acknowledged(&self) {
        self.barriers.inc();
    }

    /// A drain is over.
    pub(crate) fn drained(&self, after: Duration) {
        self.drain_seconds.observe(after.as_secs_f64());
    }

    /// A drain went past its deadline.
    pub(crate) fn drain_forced(&self) {
        self.forced.inc();
    }

    /// A stream runs until what is answered is dropped.
    pub(crate) fn stream_runs(self: &Arc<Metrics>, direction: Direction) -> Running {
        self.running.get_or_create(&direction.label()).inc();
        Running { metrics: Arc::clone(self), direction }
    }

    /// A chunk was stored, or sent.
    pub(crate) fn streamed(&self, direction: Direction, rows: u64, bytes: u64) {
        self.stream_rows.get_or_create(&direction.label()).inc_by(rows);
        self.stream_bytes.get_or_create(&direction.label()).inc_by(bytes);
    }

    /// A stream into this node has ended: well, or for this reason.
    pub(crate) fn stream_ended(&self, failure: Option<FailureReason>) {
        let result = failure.map_or(COMPLETE, FailureReason::name);
        self.streams.get_or_create(&ByResult { result }).inc();
    }

    /// A request of a router was answered.
    pub(crate) fn answered(&self, kind: RequestKind, answered: Answered, after: Duration) {
        let (kind, outcome) = (kind.name(), answered.name());
        self.requests.get_or_create(&ByKindAndOutcome { kind, outcome }).inc();
        self.request_seconds.get_or_create(&ByKind { kind }).observe(after.as_secs_f64());
    }

    /// A coordinator has welcomed this agent.
    pub(crate) fn attached(&self) {
        self.attachments.inc();
    }

    /// Brings what is computed up to date.
    pub(crate) fn look(&self, state: State) {
        let sessions = [("open", state.open_sessions), ("closing", state.closing_sessions)];
        for (state, sessions) in sessions {
            self.sessions.get_or_create(&ByState { state }).set(count(sessions));
        }
        let guards = [("session", state.session_guards), ("version", state.version_guards)];
        for (kind, guards) in guards {
            self.guards.get_or_create(&ByKind { kind }).set(count(guards));
        }
        self.lease_valid.set(i64::from(state.is_lease_valid));
        self.lease_left.set(state.lease_left.as_secs_f64());
        self.attached.set(i64::from(state.is_attached));
        self.unfit.set(i64::from(state.is_unfit));
        self.disk_trouble.set(i64::from(state.has_disk_trouble));
        self.copies.set(count(state.copies));
        self.lost_copies.set(count(state.lost_copies));
        self.room_bytes.set(count(state.room_bytes));
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use process::Signals;

    const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

    fn scrape(metrics: &Metrics) -> String {
        let registry = metrics.registry(&Syncs::default());
        let signals = Signals::new(registry, || (), || Ok(()), Vec::new());
        signals.scrape().expect("it can be written")
    }

    #[test]
    fn every_metric_keeps_the_rules_is_there_from_the_start_and_is_documented() {
        let text = scrape(&Metrics::new());
        let all = exposition::described(&exposition::prometheus_text(&text)).expect("text");
        assert_eq!(exposition::broken_rules(&all), Vec::<String>::new());
        let documented = exposition::documented(OPERATIONS, "### Metrics of an agent");
        assert_eq!(exposition::served(&all), documented);
        for reason in REFUSALS.map(Reason::name) {
            let line = format!("palisade_guards_refused_total{{reason=\"{reason}\"}} 0");
            assert!(text.contains(&line), "{line}");
        }
        assert!(text.contains("palisade_streams_total{result=\"complete\"} 0"));
    }

    #[test]
    fn a_stream_runs_until_its_mark_is_dropped() {
        let metrics = Arc::new(Metrics::new());
        let running = metrics.stream_runs(Direction::In);
        metrics.streamed(Direction::In, 3, 100);
        metrics.stream_ended(Some(FailureReason::StreamStalled));
        let text = scrape(&metrics);
        assert!(text.contains("palisade_streams_running{direction=\"in\"} 1"));
        assert!(text.contains("palisade_stream_bytes_total{direction=\"in\"} 100"));
        assert!(text.contains("palisade_streams_total{result=\"STREAM_STALLED\"} 1"));
        drop(running);
        assert!(scrape(&metrics).contains("palisade_streams_running{direction=\"in\"} 0"));
    }
}
