//! Orders to pull, and what is reported of them. Each call runs in a task of its own, which no
//! attachment's end takes along, and is reported once when it ends.

use super::call::Pull;
use super::failure::Failure;
use super::rate::RateLimiter;
use super::transport::endpoint;
use super::{STREAMS, Standing};
use crate::lock::{Mutex, locked};
use crate::metrics::Direction;
use crate::tablets::Tablets;
use migrations::evidence::StreamReport;
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::record::{StreamPair, TabletRecord};
use migrations::version::Incarnation;
use process::traces::{self, Span, Step};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Least time between two reports of how far a stream is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Most calls that have ended whose outcome is remembered beside the store's record.
const ENDED: usize = 1_024;
/// Most peers whose connections are kept.
const PEERS: usize = 256;

/// An order to pull a tablet's rows, under the session of the record.
#[derive(Debug, Clone)]
pub struct PullOrder {
    /// The tablet at the version that orders it. It has been taken on.
    pub record: Arc<TabletRecord>,
    /// Who has the rows.
    pub source: NodeId,
    /// Where that node's stream service is reached, `host:port`.
    pub source_address: String,
    /// That node's incarnation.
    pub source_incarnation: Incarnation,
}

/// Which stream, in all that is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamId {
    /// Of which tablet.
    pub tablet: TabletId,
    /// Under which session.
    pub session: SessionId,
    /// From where to where.
    pub pair: StreamPair,
    /// The source's incarnation.
    pub source_incarnation: Incarnation,
    /// The receiver's incarnation: this process'.
    pub receiver_incarnation: Incarnation,
}

/// What a receiver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// It goes on. Now and then; left out if nobody takes it.
    Progress {
        /// Which.
        stream: StreamId,
        /// Rows stored so far, those of earlier attempts that it goes on from included.
        rows: u64,
        /// Bytes of them.
        bytes: u64,
        /// About how many it will be; 0 if that is not known.
        bytes_total: u64,
        /// It stands still by order.
        is_paused: bool,
    },
    /// All of it is durable, with its outcome. Once when it ends, and for each order after that.
    Complete {
        /// Which.
        stream: StreamId,
        /// The evidence.
        report: StreamReport,
    },
    /// The call failed. Once when it ends, and for each order after that.
    Failed {
        /// Which.
        stream: StreamId,
        /// Why, and where that arose.
        failure: Failure,
    },
}

/// A call that this process has made, or is making.
#[derive(Debug)]
pub(super) struct Live {
    stream: StreamId,
    events: mpsc::Sender<StreamEvent>,
    /// Ends it.
    pub(super) stop: CancellationToken,
    /// It is ended by an operator's order, and the order to pull still holds.
    is_cut: AtomicBool,
    /// Fires when its task is over.
    over: CancellationToken,
    rows: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    is_paused: AtomicBool,
    told: Mutex<Option<Instant>>,
    outcome: OnceLock<Result<StreamReport, Failure>>,
}

impl Live {
    fn new(stream: StreamId, events: mpsc::Sender<StreamEvent>) -> Live {
        Live {
            stream,
            events,
            stop: CancellationToken::new(),
            is_cut: AtomicBool::new(false),
            over: CancellationToken::new(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            is_paused: AtomicBool::new(false),
            told: Mutex::new(None),
            outcome: OnceLock::new(),
        }
    }

    /// Why it was told to stop.
    pub(super) fn stopped(&self) -> Failure {
        match self.is_cut.load(Ordering::Acquire) {
            true => Failure::closed("cut by order"),
            false => Failure::fenced("this node's streams were told to stop"),
        }
    }

    pub(super) fn progressed(&self, rows: u64, bytes: u64) {
        self.rows.store(rows, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.is_paused.store(false, Ordering::Relaxed);
        self.tell();
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
        self.tell();
    }

    /// Says how far it is, unless it has just done so, or nobody listens.
    pub(super) fn tell(&self) {
        let mut told = locked(&self.told);
        if told.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            *told = Some(Instant::now());
            let _full = self.events.try_send(self.stands());
        }
    }

    /// How it stands, as an event.
    fn stands(&self) -> StreamEvent {
        let stream = self.stream;
        match self.outcome.get() {
            Some(Ok(report)) => StreamEvent::Complete { stream, report: *report },
            Some(Err(failure)) => StreamEvent::Failed { stream, failure: failure.clone() },
            // Its task is over, and said nothing: it has panicked, or was dropped.
            None if self.over.is_cancelled() => {
                let failure = Failure::closed("the call's task has ended without an outcome");
                StreamEvent::Failed { stream, failure }
            }
            None => StreamEvent::Progress {
                stream,
                rows: self.rows.load(Ordering::Relaxed),
                bytes: self.bytes.load(Ordering::Relaxed),
                bytes_total: self.bytes_total.load(Ordering::Relaxed),
                is_paused: self.is_paused.load(Ordering::Relaxed),
            },
        }
    }
}

type Key = (SessionId, TabletId, NodeId);

#[derive(Debug)]
struct Inner {
    standing: Arc<dyn Standing>,
    tablets: Arc<Tablets>,
    events: mpsc::Sender<StreamEvent>,
    limiter: RateLimiter,
    slots: Arc<Semaphore>,
    calls: Mutex<HashMap<Key, Arc<Live>>>,
    channels: Mutex<HashMap<(NodeId, String), Channel>>,
    #[cfg(feature = "faults")]
    holds: Arc<crate::faults::HoldPoint>,
}

/// Pulls what this node is ordered to. A handle: clones are of the same.
#[derive(Debug, Clone)]
pub struct Puller {
    inner: Arc<Inner>,
}

impl Puller {
    /// A puller over this node's tablets; all its streams share the limiter. What becomes of its
    /// calls is sent to `events`, which somebody has to take.
    pub fn new(
        standing: Arc<dyn Standing>,
        tablets: Arc<Tablets>,
        events: mpsc::Sender<StreamEvent>,
        limiter: RateLimiter,
    ) -> Puller {
        let inner = Inner {
            standing,
            tablets,
            events,
            limiter,
            slots: Arc::new(Semaphore::new(STREAMS)),
            calls: Mutex::default(),
            channels: Mutex::default(),
            #[cfg(feature = "faults")]
            holds: Arc::default(),
        };
        Puller { inner: Arc::new(inner) }
    }

    /// Where a chunk can be held.
    #[cfg(feature = "faults")]
    pub fn hold_point(&self) -> &Arc<crate::faults::HoldPoint> {
        &self.inner.holds
    }

    /// Obeys an order: begins the call, in a task of its own, or answers with an event how the one
    /// stands that was begun for the same session and source. Never a second call. Returns before
    /// the call ends.
    pub async fn pull(&self, order: PullOrder) {
        let Some((stream, own)) = self.stream_of(&order) else {
            tracing::info!(tablet = %order.record.tablet, source = %order.source,
                "an order to pull is not for this process, or has no session");
            return;
        };
        let (live, is_new) = self.enlist(stream);
        if !is_new {
            let _nobody = self.inner.events.send(live.stands()).await;
            return;
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            // Fires also if the task panics or is dropped with its runtime.
            let over = live.over.clone().drop_guard();
            inner.perform(order, stream, own, &live).await;
            // Whoever waits for the end finds that nothing of this node is in use by it.
            drop(inner);
            drop(over);
        });
    }

    /// Ends all calls, and returns once their tasks are over. New orders are obeyed again. Cancel
    /// safe; to be called again then.
    pub async fn stop_all(&self) {
        let calls: Vec<_> = locked(&self.inner.calls).values().map(Arc::clone).collect();
        calls.iter().for_each(|live| live.stop.cancel());
        for live in calls {
            live.over.cancelled().await;
        }
    }

    /// Cuts all calls to this source; how many there are.
    pub fn cut_from(&self, source: NodeId) -> usize {
        let calls = locked(&self.inner.calls);
        let from = calls.values().filter(|live| live.stream.pair.source == source);
        let from = from.filter(|live| !live.over.is_cancelled());
        let cut = |live: &&Arc<Live>| {
            live.is_cut.store(true, Ordering::Release);
            live.stop.cancel();
        };
        from.inspect(cut).count()
    }

    fn stream_of(&self, order: &PullOrder) -> Option<(StreamId, super::Own)> {
        let own = self.inner.standing.own()?;
        let stream = StreamId {
            tablet: order.record.tablet,
            session: order.record.session()?,
            pair: StreamPair { source: order.source, receiver: own.node },
            source_incarnation: order.source_incarnation,
            receiver_incarnation: own.incarnation,
        };
        Some((stream, own))
    }

    /// The call of a stream, and whether it is new.
    fn enlist(&self, stream: StreamId) -> (Arc<Live>, bool) {
        let key = (stream.session, stream.tablet, stream.pair.source);
        let mut calls = locked(&self.inner.calls);
        if let Some(live) = calls.get(&key) {
            return (Arc::clone(live), false);
        }
        if calls.len() >= ENDED {
            // What they came to is on the store's record, too.
            calls.retain(|_, live| !live.over.is_cancelled());
        }
        let live = Arc::new(Live::new(stream, self.inner.events.clone()));
        calls.insert(key, Arc::clone(&live));
        (live, true)
    }
}

impl Inner {
    async fn perform(&self, order: PullOrder, stream: StreamId, own: super::Own, live: &Arc<Live>) {
        let (tablet, session, source) = (stream.tablet, stream.session, order.source);
        let (began, record) = (SystemTime::now(), Arc::clone(&order.record));
        let mut place = pin!(self.slots.acquire());
        let mut waiting = tokio::time::interval(PROGRESS_INTERVAL);
        let slot = loop {
            tokio::select! {
                slot = &mut place => break slot.ok(),
                () = live.stop.cancelled() => break None,
                // It waits for its turn, which the leader must not take for lost.
                _ = waiting.tick() => live.tell(),
            }
        };
        let metrics = self.tablets.sessions().metrics();
        let running = slot.is_some().then(|| metrics.stream_runs(Direction::In));
        let pulled = match (slot.is_some(), self.channel(order.source, &order.source_address)) {
            (false, _) => Err(live.stopped()),
            (true, Err(failure)) => Err(failure),
            (true, Ok(channel)) => {
                let pull = Pull {
                    order,
                    own,
                    session,
                    tablets: Arc::clone(&self.tablets),
                    bounds: self.standing.bounds(),
                    limiter: self.limiter.clone(),
                    channel,
                    address: self.standing.address(),
                    live: Arc::clone(live),
                    #[cfg(feature = "faults")]
                    holds: Arc::clone(&self.holds),
                    #[cfg(feature = "faults")]
                    faults: self.standing.faults(),
                };
                pull.run().await
            }
        };
        let (outcome, goodbye) = match pulled {
            Ok(complete) => (Ok(complete.report), complete.goodbye),
            Err(failure) => (Err(failure), None),
        };
        match &outcome {
            Ok(report) => tracing::info!(%tablet, %session, peer = %source, rows = report.rows,
                bytes = report.bytes, "stream complete"),
            Err(error) => tracing::info!(%tablet, %session, peer = %source, %error,
                "stream failed"),
        }
        trace_stream(&record, &stream, began, &outcome);
        if let Err(failure) = &outcome {
            failure.tell(self.tablets.fitness());
        }
        metrics.stream_ended(outcome.as_ref().err().map(|failure| failure.reason));
        drop(running);
        let _first = live.outcome.set(outcome);
        // Nobody takes reports any more: then this process ends.
        let _nobody = self.events.send(live.stands()).await;
        if let Some(goodbye) = goodbye {
            goodbye.said().await;
        }
    }

    /// The connection to a peer; all streams from it share one.
    fn channel(&self, node: NodeId, address: &str) -> Result<Channel, Failure> {
        let at = (node, address.to_owned());
        let mut channels = locked(&self.channels);
        if let Some(channel) = channels.get(&at) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address);
        let endpoint = endpoint.map_err(|error| Failure::protocol(format!("address: {error}")))?;
        if channels.len() >= PEERS {
            channels.clear();
        }
        let channel = self.standing.dial(node).lazy(&endpoint);
        channels.insert(at, channel.clone());
        Ok(channel)
    }
}

/// Tells of a stream that is over, as a part of its stage.
fn trace_stream(
    record: &TabletRecord,
    stream: &StreamId,
    began: SystemTime,
    outcome: &Result<StreamReport, Failure>,
) {
    let Some(transition) = &record.transition else { return };
    traces::tell(|| {
        let StreamPair { source, receiver } = stream.pair;
        let version = (record.version.era(), record.version.counter());
        let migration = transition.migration.as_uuid().into_bytes();
        let stage = Step::stage(migration, record.tablet.as_u64(), version);
        let mut facts = vec![("session", stream.session.to_string()), ("peer", source.to_string())];
        if let Ok(report) = outcome {
            facts.push(("rows", report.rows.to_string()));
            facts.push(("bytes", report.bytes.to_string()));
        }
        Span {
            step: stage.stream(source.as_u64(), receiver.as_u64()),
            name: "stream".to_owned(),
            began,
            ended: SystemTime::now(),
            failure: outcome.as_ref().err().map(ToString::to_string),
            facts,
        }
    });
}
