//! The source's end of a call that was admitted: reads, sums and sends, until it ends.

use super::CallClock;
use super::feed::{Feed, OutChunk, Resume};
use super::outcome::{Outcome, OutcomeQuery, ask_outcome};
use super::rate::RateLimiter;
use super::{CHUNKS_IN_FLIGHT, Failure};
#[cfg(feature = "faults")]
use crate::faults::{Faults, Step, Switch};
use crate::guard::TopologyGuard;
use crate::holders::Work;
use crate::limits::NOTE_PATIENCE;
use crate::metrics::{Direction, Metrics};
use crate::store::StreamState;
use crate::tablets::Tablets;
use crate::wait::Wait;
use migrations::evidence::FailureReason;
use migrations::pull::{Bounds, ReceiverSays, Source, SourceEvent, SourceState, SourceStep};
use process::wait::{bounded as bounded_by, watched};
use proto::convert;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_request::Event as Asks;
use proto::stream::v1::pull_response::Event as Says;
use std::collections::VecDeque;
use std::sync::Arc;
use tls::Dial;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

type Out = mpsc::Sender<Result<pb::PullResponse, Status>>;

/// One call that is served. It holds its guard until it ends.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) feed: Feed,
    pub(super) tablets: Arc<Tablets>,
    pub(super) guard: Arc<TopologyGuard>,
    pub(super) work: Arc<Work>,
    pub(super) resume: Option<Resume>,
    pub(super) limiter: RateLimiter,
    pub(super) bounds: Bounds,
    /// By what the receiver can be asked for the outcome, and where; empty: nowhere.
    pub(super) query: OutcomeQuery,
    pub(super) receiver_address: String,
    pub(super) dial: Dial,
    #[cfg(feature = "faults")]
    pub(super) faults: Arc<Faults>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// What a read in a blocking task gives back: the feed, and the next chunk.
type ReadNext = (Feed, Result<Option<OutChunk>, Failure>);

/// What is ready to go out, and where more comes from.
struct Pipe {
    feed: Option<Feed>,
    reading: Option<JoinHandle<ReadNext>>,
    ready: VecDeque<OutChunk>,
    is_read: bool,
}

impl Pipe {
    /// Reads on, if there is room for what comes.
    fn read_on(&mut self) {
        if self.ready.len() >= CHUNKS_IN_FLIGHT || self.is_read {
            return;
        }
        if let Some(mut feed) = self.feed.take() {
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let next = feed.next();
                (feed, next)
            }));
        }
    }

    /// What says that all has gone out.
    fn complete(&self) -> Says {
        let totals = self.feed.as_ref().map(Feed::totals).unwrap_or_default();
        let (rows, bytes, sum) = (totals.rows, totals.bytes, convert::sum_bytes(totals.sum.0));
        Says::Complete(pb::Complete { rows, bytes, sum })
    }

    /// Returns when the read that runs is over; never, if none runs. Cancel safe.
    async fn read(&mut self) -> Result<(), Failure> {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let read = reading.await;
        self.reading = None;
        let (feed, next) = read.map_err(|error| Failure::panicked(&error))?;
        self.feed = Some(feed);
        match next? {
            Some(chunk) => self.ready.push_back(chunk),
            None => self.is_read = true,
        }
        Ok(())
    }
}

/// What happened in a call.
#[allow(clippy::large_enum_variant)] // One at a time, on the stack.
enum Happened {
    Revoked,
    Read(Result<(), Failure>),
    Asked(Result<Option<pb::PullRequest>, Status>),
    HungUp,
    MaySend,
    Due,
}

impl Serving {
    /// Serves the call to its end.
    pub(super) async fn run(
        self,
        mut machine: Source,
        clock: CallClock,
        mut requests: Streaming<pb::PullRequest>,
        out: Out,
    ) {
        let tablet = self.guard.tablet();
        let (session, receiver) = (self.guard.session(), self.query.pair.receiver);
        let (query, address) = (self.query, self.receiver_address.clone());
        let dial = self.dial.clone();
        let (token, forced) = (self.guard.token(), self.guard.forced());
        let tablets = Arc::clone(&self.tablets);
        let streaming = self.stream(&mut machine, clock, &mut requests, &out, token);
        let ended = forced.run_until_cancelled(streaming).await;
        let ended = ended.unwrap_or_else(|| Err(Failure::forced()));
        match (ended, machine.state()) {
            (Ok(()), SourceState::Complete) => {
                tracing::info!(%tablet, %session, peer = %receiver, "stream out complete");
            }
            // The guard is given back: asking does nothing here.
            (Ok(()), _) => ask(&dial, &address, query).await,
            (Err(failure), _) => {
                failure.tell(tablets.fitness());
                tracing::info!(%tablet, %session, peer = %receiver, error = %failure,
                    "a stream out failed");
                let last = Err(failure.refusal().into());
                // Who has hung up doesn't hear it.
                let said = out.send(last);
                let _heard = bounded_by(Wait::StreamLastWord, NOTE_PATIENCE, said).await;
            }
        }
    }

    async fn stream(
        mut self,
        machine: &mut Source,
        clock: CallClock,
        requests: &mut Streaming<pb::PullRequest>,
        out: &Out,
        token: CancellationToken,
    ) -> Result<(), Failure> {
        self.accept(machine, clock, out).await?;
        #[cfg(feature = "faults")]
        let faults = Arc::clone(&self.faults);
        let _running = self.metrics.stream_runs(Direction::Out);
        tracing::info!(tablet = %self.query.tablet, session = %self.query.session,
            peer = %self.query.pair.receiver, "a stream out began");
        let Serving { feed, guard, work, limiter, metrics, .. } = self;
        let (reading, ready) = (None, VecDeque::new());
        let mut pipe = Pipe { feed: Some(feed), reading, ready, is_read: false };
        loop {
            pipe.read_on();
            let is_sending = matches!(machine.state(), SourceState::Streaming { .. });
            let may_send = !pipe.ready.is_empty() || (pipe.is_read && is_sending);
            let happened = tokio::select! {
                biased;
                () = token.cancelled() => Happened::Revoked,
                asked = watched(Wait::StreamHeard, requests.message()) => Happened::Asked(asked),
                read = pipe.read() => Happened::Read(read),
                () = room(&limiter, out), if may_send => Happened::MaySend,
                () = out.closed() => Happened::HungUp,
                () = clock.reaches(machine.deadline()) => Happened::Due,
            };
            let (event, why) = match happened {
                Happened::Read(Ok(())) => continue,
                Happened::Read(Err(failure)) => failed(failure),
                Happened::Revoked => failed(revoked(&guard)),
                Happened::Asked(asked) => heard(asked),
                Happened::HungUp => (SourceEvent::Lost, None),
                Happened::MaySend if pipe.ready.is_empty() => (SourceEvent::ReadAll, None),
                Happened::MaySend => (SourceEvent::Read, None),
                Happened::Due => (SourceEvent::Tick, None),
            };
            #[cfg(feature = "faults")]
            if matches!(event, SourceEvent::Heard(ReceiverSays::Received)) {
                faults.steps.stand_still(guard.tablet(), Step::ReceivedHeard).await;
            }
            match machine.on(event, clock.now()) {
                SourceStep::Wait => {}
                SourceStep::SendChunk { number } => {
                    let Some(chunk) = pipe.ready.pop_front() else { continue };
                    #[cfg(feature = "faults")]
                    let chunk = bent(chunk, &faults, guard.tablet());
                    let (bytes, rows) = (chunk.rows.len(), chunk.count);
                    limiter.note(bytes);
                    work.progressed(bytes as u64);
                    metrics.streamed(Direction::Out, rows, bytes as u64);
                    say(out, chunk.into_wire(number)).await?;
                }
                SourceStep::SendComplete => say(out, pipe.complete()).await?,
                SourceStep::SendKeepAlive => {
                    let paused = limiter.is_throttling();
                    let alive = Says::KeepAlive(pb::KeepAlive { paused });
                    // Full: then there is something on the way that says it as well.
                    let _full = out.try_send(Ok(pb::PullResponse { event: Some(alive) }));
                }
                SourceStep::Done | SourceStep::Ask => return Ok(()),
                SourceStep::Fail(reason) => return Err(why.unwrap_or_else(|| of(reason))),
                SourceStep::Check | SourceStep::SendAccepted => {
                    return Err(Failure::protocol("a second begin"));
                }
            }
        }
    }

    /// Says that the stream is served, and from where.
    async fn accept(
        &mut self,
        machine: &mut Source,
        clock: CallClock,
        out: &Out,
    ) -> Result<(), Failure> {
        let patience = self.bounds.stall;
        let (mut feed, resume) = (self.feed.clone(), self.resume.take());
        let looking = tokio::task::spawn_blocking(move || {
            let bytes_total = feed.size()?;
            let resumed = match resume {
                Some(resume) => feed.resume(&resume, patience / 2)?,
                None => false,
            };
            Ok::<_, Failure>((feed, bytes_total, resumed))
        });
        let looked = looking.await.map_err(|error| Failure::panicked(&error))?;
        let (feed, bytes_total, resumed) = looked?;
        self.feed = feed;
        machine.on(SourceEvent::Checked, clock.now());
        let source_copy = Some(self.guard.copy().0.into());
        say(out, Says::Accepted(pb::Accepted { source_copy, resumed, bytes_total })).await
    }
}

/// Asks for the outcome of a stream that ended between `Complete` and `Received`: the receiver's
/// record decides. Nothing is sent again, whatever it says: that is for the coordinator to order.
async fn ask(dial: &Dial, address: &str, query: OutcomeQuery) {
    let OutcomeQuery { tablet, session, pair, .. } = query;
    let receiver = pair.receiver;
    if address.is_empty() {
        tracing::info!(%tablet, %session, peer = %receiver,
            "a stream out ended unheard, and nobody is to be asked");
        return;
    }
    match ask_outcome(dial, address, query).await {
        Ok(Some(Outcome { state: StreamState::Complete, .. })) => {
            tracing::info!(%tablet, %session, peer = %receiver,
                "stream out complete, by the receiver's record");
        }
        Ok(outcome) => {
            let state = outcome.map(|outcome| outcome.state);
            tracing::info!(%tablet, %session, peer = %receiver, ?state,
                "a stream out ended unheard, and is not complete by the receiver's record");
        }
        Err(error) => tracing::info!(%tablet, %session, peer = %receiver, %error,
            "a stream out ended unheard, and the receiver can't be asked"),
    }
}

/// Returns once the bound on bytes lets more go and there is room for a message. Cancel safe.
async fn room(limiter: &RateLimiter, out: &Out) {
    limiter.ready().await;
    // The room stays: this task alone fills it. If the receiver has hung up, sending tells.
    let _room = out.reserve().await;
}

async fn say(out: &Out, event: Says) -> Result<(), Failure> {
    let said = out.send(Ok(pb::PullResponse { event: Some(event) })).await;
    said.map_err(|_| Failure::closed("the receiver has hung up"))
}

fn heard(asked: Result<Option<pb::PullRequest>, Status>) -> (SourceEvent, Option<Failure>) {
    match asked {
        Ok(Some(pb::PullRequest { event: Some(Asks::Received(_)) })) => {
            (SourceEvent::Heard(ReceiverSays::Received), None)
        }
        Ok(Some(pb::PullRequest { event: Some(Asks::Begin(_)) })) => {
            (SourceEvent::Heard(ReceiverSays::Begin), None)
        }
        Ok(Some(pb::PullRequest { event: None })) => {
            failed(Failure::protocol("a message that this build doesn't know"))
        }
        Ok(None) => (SourceEvent::Ended, None),
        Err(status) => (SourceEvent::Lost, Some(Failure::of_status(&status))),
    }
}

fn failed(failure: Failure) -> (SourceEvent, Option<Failure>) {
    (SourceEvent::Failed(failure.reason), Some(failure))
}

fn revoked(guard: &TopologyGuard) -> Failure {
    let said = guard.check().err();
    said.map_or_else(|| Failure::fenced("the session's work was told to stop"), Failure::from)
}

/// A reason that the machine has found by itself.
fn of(reason: FailureReason) -> Failure {
    match reason {
        FailureReason::PeerClosed => Failure::closed("the receiver is gone"),
        _ => Failure::protocol("a message, or an end, that doesn't belong"),
    }
}

/// A chunk as it goes out: other than its checksum says, if that is wanted.
#[cfg(feature = "faults")]
fn bent(chunk: OutChunk, faults: &Faults, tablet: migrations::id::TabletId) -> OutChunk {
    if !faults.switches.is_on(tablet, Switch::BendChunks) {
        return chunk;
    }
    let mut rows = chunk.rows.to_vec();
    if let Some(last) = rows.last_mut() {
        *last ^= 1;
    }
    OutChunk { rows: rows.into(), ..chunk }
}

impl OutChunk {
    fn into_wire(self, number: u64) -> Says {
        let OutChunk { rows, count: _, checksum, sum } = self;
        Says::Chunk(pb::Chunk { number, checksum, rows, sum: convert::sum_bytes(sum.0) })
    }
}
