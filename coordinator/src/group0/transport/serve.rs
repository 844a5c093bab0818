//! The raft port: what other coordinators ask of this one. What is meant for another cluster or
//! another member is refused before Raft sees it.

use crate::now::wall_millis;
use crate::wait::Wait;
use process::wait::{Overdue, bounded, watched};
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt as _};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::AppendEntriesRequest;
use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_server::{RaftService, RaftServiceServer};
use proto::reasons::Reason;
use proto::status::Refusal;
use tls::Caller;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::super::apply::Applier;
use super::super::blocking::blocking;
use super::super::identity::{BindError, Identity};
use super::super::snapshot::Snapshots;
use super::super::types::{Group0Types, Member};
use super::super::{Group0, StateMachine};
use super::{APPENDS_IN_FLIGHT, MESSAGE_BYTES, form, receive};

/// Serves other coordinators.
pub struct RaftApi<S: StateMachine> {
    pub(super) raft: openraft::Raft<Group0Types, Applier<S>>,
    group0: Group0<S>,
}

impl<S: StateMachine> RaftApi<S> {
    pub(in super::super) fn service(
        group0: Group0<S>,
        raft: openraft::Raft<Group0Types, Applier<S>>,
    ) -> RaftServiceServer<Self> {
        RaftServiceServer::new(Self { raft, group0 }).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Refuses what is meant for somebody else. A member of no cluster takes the first that
    /// addresses it for its own, durably.
    pub(super) async fn check(&self, to: Option<&pb::Addressee>) -> Result<(), Status> {
        check(self.identity(), to).await
    }

    /// The same of what is said with a vote, and of who says it.
    pub(super) async fn check_said(
        &self,
        to: Option<&pb::Addressee>,
        vote: Option<&pb::Vote>,
    ) -> Result<(), Status> {
        check_said(&self.group0, tls::caller().as_ref(), to, vote).await
    }

    /// Where a snapshot that comes in is kept.
    pub(super) fn snapshots(&self) -> Arc<Snapshots> {
        Arc::clone(&self.group0.inner.files.snapshots)
    }

    fn identity(&self) -> &Arc<Identity> {
        &self.group0.inner.files.identity
    }

    /// Where to ask what only the leader knows.
    fn not_leading(&self, message: String) -> Status {
        let metrics = self.group0.metrics();
        let leader = metrics.leader.filter(|leader| *leader != metrics.node);
        match (leader, self.group0.leader()) {
            (Some(raft_id), Some(leader)) => Refusal::new(Reason::NotLeader, message)
                .with("raft_id", raft_id.to_string())
                .with("address", leader.raft_address)
                .into(),
            _ => Refusal::new(Reason::NoLeader, message).into(),
        }
    }
}

async fn check(identity: &Arc<Identity>, to: Option<&pb::Addressee>) -> Result<(), Status> {
    let to = to.ok_or_else(|| Refusal::invalid_field("to", "is missing"))?;
    let own = identity.raft_id();
    if to.raft_id != own {
        let message = format!("this is Raft id {own}, not {}", to.raft_id);
        return Err(Refusal::new(Reason::NodeMismatch, message).into());
    }
    let cluster = Uuid::from_slice(&to.cluster_id).ok().filter(|cluster| !cluster.is_nil());
    let cluster =
        cluster.ok_or_else(|| Refusal::invalid_field("to.cluster_id", "is not a cluster's id"))?;
    if identity.cluster() == Some(cluster) {
        return Ok(());
    }
    let binding = Arc::clone(identity);
    let bound = blocking(move || binding.bind(cluster)).await;
    match bound {
        Ok(Ok(())) => {
            tracing::info!(%cluster, "belongs to this cluster from now on");
            Ok(())
        }
        Ok(Err(error @ BindError::Other(_))) => {
            Err(Refusal::new(Reason::ClusterMismatch, error.to_string()).into())
        }
        Ok(Err(error @ BindError::Open(_))) => {
            Err(Refusal::new(Reason::DiskError, error.to_string()).into())
        }
        Ok(Err(BindError::Closed)) | Err(_) => Err(shutting_down()),
    }
}

/// By how much a term may be above the newest that is known here: more elections than any cluster
/// holds while a member is away, and so few of all terms that nobody can use them up.
const TERMS_AHEAD: u64 = 1 << 32;

/// Refuses a term that no election can have come to. Whoever takes on the last of all terms never
/// elects anybody any more.
fn check_term(known: u64, vote: Option<&pb::Vote>) -> Result<(), Status> {
    match vote.filter(|vote| vote.term > known.saturating_add(TERMS_AHEAD)) {
        None => Ok(()),
        Some(vote) => Err(malformed(format!("term {} is no term after {known}", vote.term))),
    }
}

/// The same, and refuses a coordinator that leads, or wants to, in the name of another one. Of an
/// id that this member has not heard of it doesn't know whose it is: it may be behind, and who
/// leads may have come since.
async fn check_said<S: StateMachine>(
    group0: &Group0<S>,
    caller: Option<&Caller>,
    to: Option<&pb::Addressee>,
    vote: Option<&pb::Vote>,
) -> Result<(), Status> {
    if let (Some(caller), Some(vote)) = (caller, vote)
        && let Some(member) = group0.known(vote.voted_for)
    {
        caller.must_be_coordinator(&member.name)?;
    }
    check_term(group0.term(), vote)?;
    check(&group0.inner.files.identity, to).await
}

pub(super) fn shutting_down() -> Status {
    Refusal::new(Reason::ShuttingDown, "this coordinator is shutting down").into()
}

pub(super) fn fatal(error: &Fatal<Group0Types>) -> Status {
    Refusal::new(Reason::ShuttingDown, format!("group0 has ended here: {error}")).into()
}

fn raft_error<E: std::fmt::Display>(error: RaftError<Group0Types, E>) -> Status {
    match error {
        RaftError::Fatal(error) => fatal(&error),
        RaftError::APIError(error) => malformed(error),
    }
}

pub(super) fn malformed(error: impl std::fmt::Display) -> Status {
    Refusal::new(Reason::StreamProtocol, error.to_string()).into()
}

#[tonic::async_trait]
impl<S: StateMachine> RaftService for RaftApi<S> {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<pb::AppendResponse, Status>> + Send>>;

    async fn identify(
        &self,
        _request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        let identity = self.identity();
        let cluster = identity.cluster();
        let Member { name: _, raft_address, admin_address, agents_address } =
            self.group0.member().clone();
        Ok(Response::new(pb::IdentifyResponse {
            name: identity.name().to_owned(),
            raft_id: identity.raft_id(),
            cluster_id: cluster.map(proto::convert::bytes).unwrap_or_default(),
            raft_address,
            admin_address,
            agents_address,
            expected: identity.expected(),
            stopping: identity.stops(),
            feature_level: self.group0.inner.feature_level,
            pending: cluster.is_some() && !identity.was_member(),
        }))
    }

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (checked, requests) = mpsc::channel(APPENDS_IN_FLIGHT);
        let (refuse, refused) = mpsc::channel(1);
        let (caller, said) = (tls::caller(), request.into_inner());
        tokio::spawn(forward(self.group0.clone(), caller, said, checked, refuse));
        let digests = Arc::clone(self.group0.inner.state.digests());
        let form = move |result| form::appended_form(&result, digests.newest(), wall_millis());
        let answers = self.raft.stream_append(ReceiverStream::new(requests));
        let answers = answers.map(move |answer| answer.map(&form).map_err(|error| fatal(&error)));
        // A refusal ends the requests, so it comes after the answers to those before it.
        let refusals = ReceiverStream::new(refused).map(Err);
        Ok(Response::new(Box::pin(answers.chain(refusals))))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        self.check_said(request.to.as_ref(), request.vote.as_ref()).await?;
        let answer = self.raft.vote(form::ask_of(request).map_err(malformed)?).await;
        Ok(Response::new(form::voted_form(&answer.map_err(raft_error)?)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        self.check_said(request.to.as_ref(), request.vote.as_ref()).await?;
        let answer = self.raft.pre_vote(form::ask_of(request).map_err(malformed)?).await;
        Ok(Response::new(form::voted_form(&answer.map_err(raft_error)?)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.check_said(request.to.as_ref(), request.from_leader.as_ref()).await?;
        let request = form::transfer_of(request).map_err(malformed)?;
        let answer = self.raft.handle_transfer_leader(request).await;
        answer.map_err(|error| fatal(&error))?.map_err(malformed)?;
        Ok(Response::new(pb::TransferLeaderResponse {}))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        self.check(request.into_inner().to.as_ref()).await?;
        let confirmed = self.group0.confirm_leadership().await;
        confirmed.map_err(|error| self.not_leading(error.to_string()))?;
        let index = (*self.group0.applied().borrow()).unwrap_or_default();
        Ok(Response::new(pb::ReadIndexResponse { index }))
    }

    async fn announce(
        &self,
        request: Request<pb::AnnounceRequest>,
    ) -> Result<Response<pb::AnnounceResponse>, Status> {
        let pb::AnnounceRequest { to, raft_id, name, raft_address, admin_address, agents_address } =
            request.into_inner();
        if let Some(caller) = tls::caller() {
            caller.must_be_coordinator(&name)?;
        }
        self.check(to.as_ref()).await?;
        let said = Member { name, raft_address, admin_address, agents_address };
        let member = self.group0.announced(raft_id, said).await;
        let member = member.map_err(|error| self.not_leading(error.to_string()))?;
        Ok(Response::new(pb::AnnounceResponse { member }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::InstallSnapshotRequest>>,
    ) -> Result<Response<pb::InstallSnapshotResponse>, Status> {
        let received = receive::install(self, request.into_inner());
        let received = bounded(Wait::Snapshot, Wait::Snapshot.bound(), received).await;
        let late = |overdue: Overdue| malformed(overdue.to_string());
        received.map_err(late)?.map(Response::new)
    }
}

/// Checks each append and hands it on, until one is refused or the leader says no more.
async fn forward<S: StateMachine>(
    group0: Group0<S>,
    caller: Option<Caller>,
    mut said: Streaming<pb::AppendRequest>,
    checked: mpsc::Sender<AppendEntriesRequest<Group0Types>>,
    refuse: mpsc::Sender<Status>,
) {
    let ended = loop {
        let request = match watched(Wait::Peer, said.message()).await {
            Ok(Some(request)) => request,
            // A leader that has gone needs no answer.
            Ok(None) | Err(_) => return,
        };
        let (to, vote) = (request.to.as_ref(), request.vote.as_ref());
        if let Err(status) = check_said(&group0, caller.as_ref(), to, vote).await {
            break status;
        }
        match form::append_of(request) {
            Ok(request) => {
                if checked.send(request).await.is_err() {
                    return;
                }
            }
            Err(error) => break malformed(error),
        }
    };
    // There is room for the one refusal; nobody listens if the stream has ended.
    let _ = refuse.try_send(ended);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_the_terms() {
        let vote = |term| pb::Vote { term, voted_for: 7, committed: true };
        for term in [0, 5, 1_000_000, 5 + TERMS_AHEAD] {
            check_term(5, Some(&vote(term))).expect("an election may have come to it");
        }
        for term in [6 + TERMS_AHEAD, u64::MAX] {
            check_term(5, Some(&vote(term))).expect_err("none has");
        }
        check_term(5, None).expect("nothing is said");
    }
}
