//! The receiver's end of one call: from its record to its end. Whatever happens, it ends once.

use super::failure::{Failure, Origin};
#[cfg(feature = "faults")]
use super::hold::guessed;
use super::pipe::Pipe;
use super::pull::{Live, PullOrder};
use super::rate::RateLimiter;
use super::write::{InChunk, Writer};
use super::{CHUNKS_IN_FLIGHT, CallClock, Own};
#[cfg(feature = "faults")]
use crate::faults::Switch;
use crate::guard::{FrozenGuard, TopologyGuard};
use crate::metrics::Direction;
use crate::store::{Begun, Call, IngestError, Progress, StreamOnRecord};
use crate::tablets::Tablets;
use crate::wait::Wait;
use migrations::agent::calls::{NotOrdered, check_order};
use migrations::evidence::StreamReport;
use migrations::id::SessionId;
use migrations::pull::{
    Bounds, Receiver, ReceiverEvent, ReceiverState, ReceiverStep, SourceSays, Totals,
};
use migrations::record::StreamPair;
use migrations::row::RowSum;
use migrations::version::CopyId;
use process::wait::{bounded as bounded_by, watched};
use proto::convert;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_request::Event as Asks;
use proto::stream::v1::pull_response::Event as Says;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

/// After so many bytes a sync is asked for, so that a later attempt can go on there.
const SYNC_BYTES: u64 = 64 << 20;

/// One call to be made.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) order: PullOrder,
    pub(super) own: Own,
    pub(super) session: SessionId,
    pub(super) tablets: Arc<Tablets>,
    pub(super) bounds: Bounds,
    pub(super) limiter: RateLimiter,
    pub(super) channel: Channel,
    /// Where the source may ask for the outcome.
    pub(super) address: String,
    pub(super) live: Arc<Live>,
    #[cfg(feature = "faults")]
    pub(super) holds: Arc<crate::faults::HoldPoint>,
    #[cfg(feature = "faults")]
    pub(super) faults: Arc<crate::faults::Faults>,
}

/// A call that is complete, and not yet ended by its source.
#[derive(Debug)]
pub(super) struct Goodbye {
    responses: Streaming<pb::PullResponse>,
    patience: Duration,
}

impl Goodbye {
    /// Waits for the source to end the call: `Received` may be on its way until then.
    pub(super) async fn said(mut self) {
        let heard = &mut self.responses;
        let drained =
            async { while let Ok(Some(_)) = watched(Wait::StreamNext, heard.message()).await {} };
        if let Err(overdue) = bounded_by(Wait::StreamGoodbye, self.patience, drained).await {
            tracing::debug!(error = %overdue, "a complete stream's source didn't end the call");
        }
    }
}

/// How a call ended well: now, with a call to take leave of, or before, by the record.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) report: StreamReport,
    pub(super) goodbye: Option<Goodbye>,
}

/// What happened in a call.
enum Happened {
    Stopped,
    Revoked,
    Wrote(Result<Progress, Failure>),
    Heard(Result<Option<pb::PullResponse>, Status>),
    Due,
}

impl Pull {
    pub(super) fn pair(&self) -> StreamPair {
        StreamPair { source: self.order.source, receiver: self.own.node }
    }

    /// Pulls the stream, or finds it on record. It holds a guard until its outcome is durable.
    pub(super) async fn run(&self) -> Result<Complete, Failure> {
        let source_copy = self.check_order()?;
        #[cfg(feature = "faults")]
        if self.is_on(Switch::SkipPulls) {
            let report = self.report(&Progress::default());
            return Ok(Complete { report, goodbye: None });
        }
        if let Some(done) = self.on_record() {
            return done;
        }
        let frozen = FrozenGuard(self.session);
        let mut guard = self.tablets.sessions().enter(frozen, self.order.record.tablet)?;
        let work = guard.describe("stream from a source", Some(self.order.source));
        let (forced, guard) = (guard.forced(), Arc::new(guard));
        let working = self.work(guard, &work, source_copy);
        let ended = forced.run_until_cancelled(working).await;
        ended.unwrap_or_else(|| Err(Failure::forced()))
    }

    /// Makes the call, if it was not made before. All that it waits for goes with it when it is
    /// dropped, the guard too; a write that runs keeps its own hold.
    async fn work(
        &self,
        guard: Arc<TopologyGuard>,
        work: &crate::holders::Work,
        source_copy: CopyId,
    ) -> Result<Complete, Failure> {
        let held = self.size(&guard).await?;
        let call = Uuid::new_v4().as_u64_pair().0;
        let begin = Call { call, source: self.order.source, source_copy };
        let stream = match self.put_on_record(&guard, begin).await? {
            Begun::New(stream) => stream,
            Begun::OnRecord(stream) => return self.stands(&stream),
        };
        let ended = self.stream(&guard, work, stream, held).await;
        match ended {
            Ok(goodbye) => Ok(goodbye),
            Err(failure) => {
                self.note_failed(guard, call).await;
                Err(failure)
            }
        }
    }

    /// Whether the record names this stream; the source's copy by it.
    fn check_order(&self) -> Result<CopyId, Failure> {
        let (record, pair) = (&self.order.record, self.pair());
        check_order(record, pair, self.own.incarnation).map_err(|not| match not {
            NotOrdered::NoSuchStream => Failure::protocol("the transition names no such stream"),
            NotOrdered::OtherIncarnation => {
                Failure::fenced("the order is for another incarnation of this node")
            }
        })
    }

    /// How much of what comes may be here already.
    async fn size(&self, guard: &Arc<TopologyGuard>) -> Result<u64, Failure> {
        let (store, guard) = (Arc::clone(self.tablets.store()), Arc::clone(guard));
        blocking(move || store.size(&guard)).await
    }

    /// Makes the call and stores what comes.
    async fn stream(
        &self,
        guard: &Arc<TopologyGuard>,
        work: &crate::holders::Work,
        stream: StreamOnRecord,
        held: u64,
    ) -> Result<Complete, Failure> {
        let clock = CallClock::start();
        let may_resume = stream.progress.after.is_some();
        let mut machine = Receiver::new(self.bounds, may_resume, clock.now());
        let token = guard.token();
        let (requests, outbox) = mpsc::channel(2);
        let begin = self.begin(guard.copy(), &stream);
        let begin = pb::PullRequest { event: Some(Asks::Begin(begin)) };
        requests.try_send(begin).map_err(|_| Failure::closed("the call was not made"))?;
        let mut client = StreamServiceClient::new(self.channel.clone())
            .max_decoding_message_size(super::transport::MESSAGE_BYTES);
        let mut responses = tokio::select! {
            biased;
            () = token.cancelled() => return Err(revoked(guard)),
            () = self.live.stop.cancelled() => return Err(self.live.stopped()),
            called = watched(Wait::StreamOpen, client.pull(ReceiverStream::new(outbox))) => {
                called.map_err(|status| Failure::of_status(&status))?.into_inner()
            }
            () = clock.reaches(machine.deadline()) => {
                return Err(Failure::closed("the source doesn't answer"));
            }
        };
        let call = stream.call;
        let mut pipe = Pipe::new(self.writer(call), stream, held);
        let sent =
            self.receive(&mut machine, clock, guard, &token, work, &mut responses, &mut pipe);
        let sent = sent.await?;
        #[cfg(feature = "faults")]
        if self.is_on(Switch::ReceivedBeforeRecord) {
            let event = Some(Asks::Received(pb::Received {}));
            let _gone = requests.send(pb::PullRequest { event }).await;
            let ended = watched(Wait::StreamNext, responses.message()).await;
            ended.map_err(|status| Failure::of_status(&status))?;
        }
        let report = self.record(guard, call, sent, pipe.progress).await?;
        if machine.on(ReceiverEvent::Recorded, clock.now()) != ReceiverStep::SendReceived {
            return Err(Failure::protocol("recorded out of turn"));
        }
        // Nothing waits for this to arrive: the record says what it says.
        let received = pb::PullRequest { event: Some(Asks::Received(pb::Received {})) };
        let _gone = requests.send(received).await;
        Ok(Complete {
            report,
            goodbye: Some(Goodbye { responses, patience: self.bounds.silence() }),
        })
    }

    fn begin(&self, copy: CopyId, stream: &StreamOnRecord) -> pb::Begin {
        let record = &self.order.record;
        let resume = stream.progress.after.clone().map(|position| pb::Resume {
            position: position.into(),
            source_copy: Some(stream.source_copy.0.into()),
            rows: stream.progress.rows,
            sum: convert::sum_bytes(stream.progress.sum.0),
        });
        pb::Begin {
            cluster_id: convert::bytes(self.own.cluster.as_uuid()),
            tablet: record.tablet.as_u64(),
            version: Some(record.version.into()),
            session: convert::bytes(self.session.as_uuid()),
            source: self.order.source.as_u64(),
            receiver: self.own.node.as_u64(),
            source_incarnation: Some(self.order.source_incarnation.0.into()),
            receiver_incarnation: Some(self.own.incarnation.0.into()),
            copy: Some(copy.0.into()),
            resume,
            receiver_address: self.address.clone(),
        }
    }

    fn writer(&self, call: u64) -> Writer {
        Writer {
            tablets: Arc::clone(&self.tablets),
            session: FrozenGuard(self.session),
            tablet: self.order.record.tablet,
            source: self.order.source,
            call,
        }
    }

    /// Receives and stores chunks until the source has completed and all of them are stored; what
    /// the source says it has sent.
    #[allow(clippy::too_many_arguments)] // One loop over all that a call consists of.
    async fn receive(
        &self,
        machine: &mut Receiver,
        clock: CallClock,
        guard: &TopologyGuard,
        token: &CancellationToken,
        work: &crate::holders::Work,
        responses: &mut Streaming<pb::PullResponse>,
        pipe: &mut Pipe,
    ) -> Result<Totals, Failure> {
        let mut sent = None;
        loop {
            self.write_on(pipe)?;
            if let (Some(sent), true) = (sent, pipe.is_idle()) {
                return Ok(sent);
            }
            let is_listening = sent.is_none() && pipe.pending.len() < CHUNKS_IN_FLIGHT;
            let happened = tokio::select! {
                biased;
                () = token.cancelled() => Happened::Revoked,
                () = self.live.stop.cancelled() => Happened::Stopped,
                wrote = pipe.wrote() => Happened::Wrote(wrote),
                heard = next(&self.limiter, responses), if is_listening => Happened::Heard(heard),
                () = clock.reaches(machine.deadline()), if is_listening => Happened::Due,
            };
            let event = match happened {
                Happened::Revoked => return Err(revoked(guard)),
                Happened::Stopped => return Err(self.live.stopped()),
                Happened::Wrote(wrote) => {
                    self.wrote(pipe, wrote?, work);
                    if !is_listening {
                        machine.listen_again(clock.now());
                    }
                    continue;
                }
                Happened::Due if self.limiter.is_throttling() => {
                    // It is slow by order, which the leader must not take for lost.
                    self.live.tell();
                    machine.listen_again(clock.now());
                    continue;
                }
                Happened::Due => ReceiverEvent::Tick,
                Happened::Heard(heard) => self.heard(heard, pipe)?,
            };
            match machine.on(event, clock.now()) {
                ReceiverStep::Wait => {}
                ReceiverStep::Start { is_resumed: true } => {}
                ReceiverStep::Start { is_resumed: false } => pipe.progress = Progress::default(),
                ReceiverStep::Store => pipe.accept(),
                ReceiverStep::Record(totals) => sent = Some(totals),
                ReceiverStep::Fail(reason) => return Err(pipe.failure(reason)),
                ReceiverStep::SendReceived => {
                    debug_assert_eq!(machine.state(), ReceiverState::Complete);
                }
            }
        }
    }

    /// What a message, or the end of the call, is for the machine.
    fn heard(
        &self,
        heard: Result<Option<pb::PullResponse>, Status>,
        pipe: &mut Pipe,
    ) -> Result<ReceiverEvent, Failure> {
        let response = match heard {
            Ok(Some(response)) => response,
            Ok(None) => {
                #[cfg(feature = "faults")]
                if self.is_on(Switch::GuessComplete) {
                    return Ok(guessed(pipe));
                }
                return Ok(ReceiverEvent::Ended);
            }
            Err(status) => {
                let failure = Failure::of_status(&status);
                let (reason, origin) = (failure.reason, failure.origin);
                pipe.why = Some(failure);
                let is_network = origin == Origin::Network;
                let refused = ReceiverEvent::Refused(reason);
                return Ok(if is_network { ReceiverEvent::Lost } else { refused });
            }
        };
        let event = response.event;
        let event = event.ok_or_else(|| Failure::protocol("a message of no known kind"))?;
        Ok(ReceiverEvent::Heard(match event {
            Says::Accepted(pb::Accepted { source_copy, resumed, bytes_total }) => {
                let copy = CopyId(convert::version("accepted.source_copy", source_copy)?);
                if copy != pipe.source_copy {
                    return Err(Failure::protocol("another copy than the record names"));
                }
                // Before the first byte: a disk that would be full half way is not begun to fill.
                pipe.reserve(bytes_total)?;
                self.live.set_total(bytes_total);
                SourceSays::Accepted { is_resumed: resumed }
            }
            Says::Chunk(chunk) => {
                let chunk = InChunk::try_from(chunk)?;
                let number = chunk.number;
                pipe.arrived = Some(chunk);
                SourceSays::Chunk { number }
            }
            Says::Complete(pb::Complete { rows, bytes, sum }) => {
                let sum = RowSum(convert::sum("complete.sum", &sum)?);
                SourceSays::Complete(Totals { rows, bytes, sum })
            }
            Says::KeepAlive(pb::KeepAlive { paused }) => {
                self.live.set_paused(paused);
                SourceSays::KeepAlive { is_paused: paused }
            }
        }))
    }

    /// Begins the next write, if none runs.
    fn write_on(&self, pipe: &mut Pipe) -> Result<(), Failure> {
        if pipe.writing.is_some() {
            return Ok(());
        }
        let Some(chunk) = pipe.pending.pop_front() else { return Ok(()) };
        self.limiter.note(chunk.bytes());
        #[cfg(feature = "faults")]
        if self.holds.is_wanted(self.order.record.tablet) {
            self.hold(pipe, chunk);
            return Err(Failure::closed("a fault: the call was cut, with a chunk in hand"));
        }
        let (writer, before) = (pipe.writer.clone(), pipe.progress.clone());
        pipe.writing = Some(tokio::task::spawn_blocking(move || writer.write(&chunk, &before)));
        Ok(())
    }

    fn wrote(&self, pipe: &mut Pipe, progress: Progress, work: &crate::holders::Work) {
        let bytes = progress.bytes.saturating_sub(pipe.progress.bytes);
        work.progressed(bytes);
        pipe.stored(bytes);
        let rows = progress.rows.saturating_sub(pipe.progress.rows);
        self.tablets.sessions().metrics().streamed(Direction::In, rows, bytes);
        pipe.progress = progress;
        pipe.unsynced += bytes;
        if pipe.unsynced >= SYNC_BYTES {
            pipe.unsynced = 0;
            // Asked for, not waited for: an attempt that fails can go on from there.
            drop(self.tablets.store().durable());
        }
        self.live.progressed(pipe.progress.rows, pipe.progress.bytes);
    }
}

/// The next message, once the bound on bytes lets it be taken. Cancel safe.
async fn next(
    limiter: &RateLimiter,
    responses: &mut Streaming<pb::PullResponse>,
) -> Result<Option<pb::PullResponse>, Status> {
    limiter.ready().await;
    watched(Wait::StreamNext, responses.message()).await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IngestError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Failure::panicked(&error))??)
}

fn revoked(guard: &TopologyGuard) -> Failure {
    let said = guard.check().err();
    said.map_or_else(|| Failure::fenced("the session's work was told to stop"), Failure::from)
}
