//! The stream service: who is served what. The call itself, once it is admitted, is `source`'s.

use super::feed::{Feed, Resume};
use super::outcome::OutcomeQuery;
use super::rate::RateLimiter;
use super::source::Serving;
use super::transport::MESSAGE_BYTES;
use super::{CHUNKS_IN_FLIGHT, CallClock, Failure, Own, STREAMS, Standing};
use crate::guard::{FrozenGuard, TopologyGuard};
use crate::store::StreamState;
use crate::tablets::{CopyState, Tablets};
use crate::wait::Wait;
use futures::{Stream, StreamExt, stream};
use migrations::agent::calls::{Asked, NotServed, check_serve};
use migrations::evidence::FailureReason;
use migrations::id::{ClusterId, NodeId, SessionId, TabletId};
use migrations::pull::{ReceiverSays, Source, SourceEvent, SourceStep};
use migrations::record::{StreamPair, TabletRecord};
use migrations::row::RowSum;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use process::wait::watched;
use proto::Malformed;
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_request::Event;
use proto::stream::v1::stream_service_server::{StreamService, StreamServiceServer};
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Serves this node's rows to the receivers that transitions name, and its records of streams to
/// whoever asks.
#[derive(Debug)]
pub struct StreamApi {
    standing: Arc<dyn Standing>,
    tablets: Arc<Tablets>,
    limiter: RateLimiter,
    slots: Arc<Semaphore>,
}

/// What a call is answered with.
type Responses = Pin<Box<dyn Stream<Item = Result<pb::PullResponse, Status>> + Send>>;

/// What a receiver asks for, as far as its form tells.
#[derive(Debug)]
pub(super) struct Begin {
    cluster: ClusterId,
    tablet: TabletId,
    version: TopologyVersion,
    session: SessionId,
    pair: StreamPair,
    source_incarnation: Incarnation,
    receiver_incarnation: Incarnation,
    resume: Option<Resume>,
    receiver_address: String,
}

impl TryFrom<pb::Begin> for Begin {
    type Error = Malformed;
    fn try_from(begin: pb::Begin) -> Result<Begin, Malformed> {
        let pb::Begin { cluster_id, tablet, version, session, source, receiver, .. } = &begin;
        let pb::Begin { source_incarnation, receiver_incarnation, copy, resume, .. } = &begin;
        let pair = StreamPair {
            source: convert::node_id("source", *source)?,
            receiver: convert::node_id("receiver", *receiver)?,
        };
        convert::version("copy", *copy)?;
        let (theirs, ours) = ("receiver_incarnation", "source_incarnation");
        Ok(Begin {
            cluster: convert::cluster_id("cluster_id", cluster_id)?,
            tablet: convert::tablet_id("tablet", *tablet)?,
            version: convert::version("version", *version)?,
            session: convert::session_id("session", session)?,
            pair,
            source_incarnation: Incarnation(convert::version(ours, *source_incarnation)?),
            receiver_incarnation: Incarnation(convert::version(theirs, *receiver_incarnation)?),
            resume: resume.clone().map(Resume::try_from).transpose()?,
            receiver_address: begin.receiver_address.clone(),
        })
    }
}

impl TryFrom<pb::Resume> for Resume {
    type Error = Malformed;
    fn try_from(resume: pb::Resume) -> Result<Resume, Malformed> {
        let pb::Resume { position, source_copy, rows, sum } = resume;
        let source_copy = CopyId(convert::version("resume.source_copy", source_copy)?);
        let sum = RowSum(convert::sum("resume.sum", &sum)?);
        Ok(Resume { position: position.to_vec(), source_copy, rows, sum })
    }
}

impl StreamApi {
    /// A service over this node's tablets; all streams out of it share the limiter.
    pub fn new(
        standing: Arc<dyn Standing>,
        tablets: Arc<Tablets>,
        limiter: RateLimiter,
    ) -> StreamApi {
        let slots = Arc::new(Semaphore::new(STREAMS));
        StreamApi { standing, tablets, limiter, slots }
    }

    /// As a service for a server, with the bounds on messages.
    pub fn into_service(self) -> StreamServiceServer<StreamApi> {
        StreamServiceServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    fn own(&self) -> Result<Own, Failure> {
        self.standing.own().ok_or_else(|| Failure::fenced("this process is not admitted"))
    }

    fn own_in(&self, cluster: ClusterId) -> Result<Own, Status> {
        let own = self.own().map_err(|failure| failure.refusal())?;
        if own.cluster != cluster {
            let detail = format!("this node belongs to cluster {}", own.cluster);
            return Err(Refusal::new(Reason::ClusterMismatch, detail).into());
        }
        Ok(own)
    }

    /// Enters under the session, and looks whether group0 lets this receiver have this copy.
    fn admit(&self, begin: &Begin) -> Result<TopologyGuard, Status> {
        let own = self.own_in(begin.cluster)?;
        let refused = |failure: Failure| Status::from(failure.refusal());
        if begin.pair.source != own.node || begin.source_incarnation != own.incarnation {
            let detail = format!("this is node {}, incarnation {}", own.node, own.incarnation);
            return Err(refused(Failure::fenced(detail)));
        }
        let entered = self.tablets.sessions().enter(FrozenGuard(begin.session), begin.tablet);
        let guard = entered.map_err(|error| refused(error.into()))?;
        let record = self.tablets.record(begin.tablet);
        let unknown = || Refusal::new(Reason::SessionUnknown, "the tablet is not known here");
        let record = record.ok_or_else(unknown)?;
        check_record(&record, begin)?;
        match self.tablets.copy(begin.tablet) {
            CopyState::Here(copy) if copy == guard.copy() => Ok(guard),
            CopyState::Lost(_) => {
                Err(Refusal::new(Reason::DataDamaged, "the copy here is lost").into())
            }
            CopyState::Here(_) | CopyState::None => {
                Err(Refusal::new(Reason::NotReplica, "this node has no such copy").into())
            }
        }
    }

    fn serve(&self, begin: Begin, guard: TopologyGuard, slot: OwnedSemaphorePermit) -> Serving {
        let mut guard = guard;
        let work = guard.describe("stream to a receiver", Some(begin.pair.receiver));
        let guard = Arc::new(guard);
        let feed = Feed::new(Arc::clone(self.tablets.store()), Arc::clone(&guard));
        Serving {
            feed,
            tablets: Arc::clone(&self.tablets),
            guard,
            work,
            resume: begin.resume,
            limiter: self.limiter.clone(),
            bounds: self.standing.bounds(),
            query: OutcomeQuery {
                cluster: begin.cluster,
                tablet: begin.tablet,
                session: begin.session,
                pair: begin.pair,
            },
            receiver_address: begin.receiver_address,
            dial: self.standing.dial(begin.pair.receiver),
            #[cfg(feature = "faults")]
            faults: self.standing.faults(),
            metrics: Arc::clone(self.tablets.sessions().metrics()),
            _slot: slot,
        }
    }
}

/// Whether this node's record of the tablet goes with what is asked for.
fn check_record(record: &TabletRecord, begin: &Begin) -> Result<(), Status> {
    let refused = |reason, detail: String| Err(Refusal::new(reason, detail).into());
    let Begin { version, session, pair, receiver_incarnation, .. } = *begin;
    match check_serve(record, &Asked { version, session, pair, receiver_incarnation }) {
        Ok(()) => Ok(()),
        Err(NotServed::StaleVersion) => {
            let detail = format!("the tablet is at version {}", record.version);
            refused(Reason::StaleVersion, detail)
        }
        Err(NotServed::SessionUnknown) => {
            refused(Reason::SessionUnknown, format!("session {session} is not open"))
        }
        Err(NotServed::NodeFenced) => {
            let detail = format!("that incarnation of node {} is not admitted", pair.receiver);
            refused(Reason::NodeFenced, detail)
        }
        Err(NotServed::NotReceiver) => {
            let detail = format!("no transition names node {} as a receiver", pair.receiver);
            refused(Reason::NotReplica, detail)
        }
    }
}

#[tonic::async_trait]
impl StreamService for StreamApi {
    type PullStream = Responses;

    async fn pull(
        &self,
        request: Request<Streaming<pb::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let full = |_| Refusal::new(Reason::Overloaded, "too many streams out of this node");
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(full)?;
        let mut requests = request.into_inner();
        let clock = CallClock::start();
        let mut machine = Source::new(self.standing.bounds(), clock.now());
        let first = tokio::select! {
            first = watched(Wait::StreamHeard, requests.message()) => first,
            () = clock.reaches(machine.deadline()) => {
                machine.on(SourceEvent::Tick, clock.now());
                return Err(Failure::closed("no begin came").refusal().into());
            }
        };
        let (event, begin) = heard_first(first);
        let SourceStep::Check = machine.on(event, clock.now()) else {
            return Err(Failure::protocol("a call begins with begin").refusal().into());
        };
        let begin = Begin::try_from(begin.unwrap_or_default())?;
        let (tablet, pair) = (begin.tablet, begin.pair);
        self.standing.is_caller(pair.receiver)?;
        let guard = self.admit(&begin).inspect_err(|refused| {
            let reason = refused.message();
            tracing::info!(%tablet, peer = %pair.receiver, %reason, "a pull was refused");
        })?;
        let serving = self.serve(begin, guard, slot);
        let (out, responses) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (over, is_over) = oneshot::channel();
        // A task of its own: it gives the guard back whatever becomes of the handler.
        let cut = self.tablets.cuts().enlist(pair.receiver);
        tokio::spawn(async move {
            tokio::select! {
                () = serving.run(machine, clock, requests, out) => {
                    let _hung_up = over.send(());
                }
                // A read that is under way keeps the guard until it is over.
                () = cut.ordered() => tracing::warn!(%tablet, peer = %pair.receiver, "stream cut"),
            }
        });
        Ok(Response::new(until_over(responses, is_over)))
    }

    async fn get_outcome(
        &self,
        request: Request<pb::GetOutcomeRequest>,
    ) -> Result<Response<pb::GetOutcomeResponse>, Status> {
        let pb::GetOutcomeRequest { cluster_id, tablet, session, source, receiver } =
            request.into_inner();
        let tablet = convert::tablet_id("tablet", tablet)?;
        let session = convert::session_id("session", session.as_ref())?;
        let source = convert::node_id("source", source)?;
        let receiver = convert::node_id("receiver", receiver)?;
        self.standing.is_caller(source)?;
        let own = self.own_in(convert::cluster_id("cluster_id", &cluster_id)?)?;
        if receiver != own.node {
            return Err(Failure::fenced(format!("this is node {}", own.node)).refusal().into());
        }
        Ok(Response::new(self.outcome(tablet, session, source).await?))
    }
}

impl StreamApi {
    /// What is on this node's record, as a receiver, once that is durable.
    async fn outcome(
        &self,
        tablet: TabletId,
        session: SessionId,
        source: NodeId,
    ) -> Result<pb::GetOutcomeResponse, Status> {
        let unknown = pb::GetOutcomeResponse {
            state: pb::StreamState::Unknown.into(),
            rows: 0,
            bytes: 0,
            sum: convert::sum_bytes(0),
        };
        let CopyState::Here(copy) = self.tablets.copy(tablet) else { return Ok(unknown) };
        let stream = self.tablets.store().stream(tablet, copy, source);
        let Some(stream) = stream.filter(|stream| stream.session == session) else {
            return Ok(unknown);
        };
        let synced = self.tablets.synced(Wait::StreamRecord).await;
        synced.map_err(|error| {
            let failure = Failure::from(error);
            failure.tell(self.tablets.fitness());
            failure.refusal()
        })?;
        let state = match stream.state {
            StreamState::Running => pb::StreamState::Running,
            StreamState::Complete => pb::StreamState::Complete,
            StreamState::Failed => pb::StreamState::Failed,
        };
        Ok(pb::GetOutcomeResponse {
            state: state.into(),
            rows: stream.progress.rows,
            bytes: stream.progress.bytes,
            sum: convert::sum_bytes(stream.progress.sum.0),
        })
    }
}

/// The responses of a call. If its task goes away before its end, with its process say, the call
/// doesn't end as if it had been meant to.
fn until_over(
    responses: mpsc::Receiver<Result<pb::PullResponse, Status>>,
    is_over: oneshot::Receiver<()>,
) -> Responses {
    let gone = || Err(Failure::closed("the source is being stopped").refusal().into());
    let last = stream::once(is_over).filter_map(move |over| ready(over.err().map(|_| gone())));
    Box::pin(ReceiverStream::new(responses).chain(last))
}

/// What the first message of a call is for the machine, and what it asks for.
fn heard_first(first: Result<Option<pb::PullRequest>, Status>) -> (SourceEvent, Option<pb::Begin>) {
    match first {
        Ok(Some(pb::PullRequest { event: Some(Event::Begin(begin)) })) => {
            (SourceEvent::Heard(ReceiverSays::Begin), Some(begin))
        }
        Ok(Some(pb::PullRequest { event: Some(Event::Received(_)) })) => {
            (SourceEvent::Heard(ReceiverSays::Received), None)
        }
        // A message that this build doesn't know doesn't belong.
        Ok(Some(pb::PullRequest { event: None })) => {
            (SourceEvent::Failed(FailureReason::StreamProtocol), None)
        }
        Ok(None) => (SourceEvent::Ended, None),
        Err(_) => (SourceEvent::Lost, None),
    }
}
