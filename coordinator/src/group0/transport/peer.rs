//! One other coordinator, as Raft talks to it. An error is never taken for an answer: nothing is
//! granted or acknowledged on behalf of a peer that has said nothing.

use crate::now::wall_millis;
use crate::wait::Wait;
use process::wait::{bounded, watched};
use std::collections::VecDeque;
use std::future::Future;
use std::iter::repeat;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{Stream, StreamExt as _, unfold};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use prost::Message as _;
use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use super::super::apply::SnapshotData;
use super::super::types::{Group0Types, Vote};
use super::link::{Bulk, Link, Links};
use super::{APPEND_BYTES_PER_SECOND, APPENDS_IN_FLIGHT, form, snapshot};

type Client = RaftServiceClient<Channel>;
type Rpc<T> = Result<T, RPCError<Group0Types>>;
type Appended = Rpc<StreamAppendResult<Group0Types>>;

/// One other coordinator.
pub(crate) struct Peer {
    links: Arc<Links>,
    target: u64,
    /// Over which connection appends and snapshots go; votes have theirs.
    bulk: Bulk,
    /// Whether it has answered the newest of those, as far as anybody was told.
    answers: AtomicBool,
}

/// The appends of one stream that wait for their answers.
struct Unanswered {
    /// When each was sent, and its bytes.
    sent: Mutex<VecDeque<(Instant, usize)>>,
    places: Semaphore,
}

impl Unanswered {
    fn sent(&self, bytes: usize) {
        let sent = (Instant::now(), bytes);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push_back(sent);
    }

    /// How long ago the one was sent that is answered now.
    fn answered(&self) -> Option<Duration> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        self.places.add_permits(1);
        sent.map(|(at, _)| at.elapsed())
    }

    /// Until when the one that waits longest is to be answered: a large one takes its time on the
    /// wire and on the disk, and given up it would be sent again, as large as before.
    fn due(&self, limit: Duration) -> Option<Instant> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, bytes) = sent.front().copied()?;
        let for_bytes = Duration::from_secs_f64(bytes as f64 / APPEND_BYTES_PER_SECOND);
        Some(at + limit + for_bytes)
    }
}

impl Peer {
    pub(super) fn new(links: Arc<Links>, target: u64, bulk: Bulk) -> Peer {
        Peer { links, target, bulk, answers: AtomicBool::new(true) }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Unreachable<Group0Types> {
        let target = self.target;
        let link = self.links.get(target);
        let address = link.as_ref().map_or("an unknown address", |link| &link.address);
        Unreachable::from_string(format!("coordinator {target:x} at {address}: {why}"))
    }

    fn failed(&self, status: &Status) -> RPCError<Group0Types> {
        self.unreachable(status.message()).into()
    }

    /// Tells of a change: Raft's own lines come with each try.
    fn told<T>(&self, answer: &Rpc<T>) {
        if self.answers.swap(answer.is_ok(), Ordering::Relaxed) != answer.is_ok() {
            let (peer, what) = (format_args!("{:x}", self.target), self.bulk);
            match answer {
                Ok(_) => tracing::info!(peer, ?what, "a coordinator answers again"),
                Err(error) => tracing::warn!(peer, ?what, %error, "a coordinator does not answer"),
            }
        }
    }

    fn client(&self, which: impl FnOnce(&Link) -> Option<Channel>) -> Rpc<(Client, pb::Addressee)> {
        let link = self.links.get(self.target);
        let channel = link.as_deref().and_then(which);
        let channel = channel.ok_or_else(|| self.unreachable("its address is none"))?;
        let to = link.and_then(|link| link.addressee());
        let to = to.ok_or_else(|| self.unreachable("this member belongs to no cluster"))?;
        Ok((RaftServiceClient::new(channel), to))
    }

    fn silent(&self) -> Unreachable<Group0Types> {
        self.unreachable("this leader is silent, since no quorum answers it")
    }

    /// For what a leader sends.
    fn leaders_client(&self) -> Rpc<(Client, pb::Addressee)> {
        if self.links.is_silent() {
            return Err(self.silent().into());
        }
        self.client(|link| link.bulk(self.bulk))
    }

    /// A call with one answer, within `limit`.
    async fn ask<T, Fut>(&self, limit: Duration, call: Fut) -> Rpc<T>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        match bounded(Wait::Peer, limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(overdue) => Err(self.unreachable(overdue).into()),
        }
    }

    /// Opens a stream of appends.
    async fn open<S>(
        &self,
        input: S,
        unanswered: Arc<Unanswered>,
    ) -> Rpc<Streaming<pb::AppendResponse>>
    where
        S: Stream<Item = AppendEntriesRequest<Group0Types>> + OptionalSend + Unpin + 'static,
    {
        let (mut client, to) = self.leaders_client()?;
        let links = Arc::clone(&self.links);
        let requests = unfold((input, unanswered), move |(mut input, unanswered)| {
            let (to, links) = (to.clone(), Arc::clone(&links));
            async move {
                unanswered.places.acquire().await.ok()?.forget();
                let request = input.next().await?;
                if links.is_silent() {
                    // The whole stream fails, and Raft sends again what is not answered.
                    return None;
                }
                let request = form::append_form(to, request);
                unanswered.sent(request.encoded_len());
                Some((request, (input, unanswered)))
            }
        });
        // The answer's head comes before any append is answered.
        self.ask(self.links.pace().append, client.append(requests)).await
    }

    /// The next answer of a stream; an error if none comes though one is due.
    async fn next(
        &self,
        answers: &mut Streaming<pb::AppendResponse>,
        unanswered: &Unanswered,
    ) -> Option<Appended> {
        let limit = self.links.pace().append;
        loop {
            let look = unanswered.due(limit).unwrap_or_else(|| Instant::now() + limit);
            let message = tokio::select! {
                message = watched(Wait::Peer, answers.message()) => message,
                () = self.links.silenced() => return Some(Err(self.silent().into())),
                () = sleep_until(look) => match unanswered.due(limit) {
                    Some(due) if due <= Instant::now() => {
                        let late = format!("an append is not answered within {limit:?}");
                        return Some(Err(self.unreachable(late).into()));
                    }
                    _ => continue,
                },
            };
            let passed = unanswered.answered();
            return match message {
                Ok(None) => None,
                Ok(Some(answer)) => {
                    if let Some(said) = answer.state.as_ref().and_then(form::said_of) {
                        self.links.digests().heard(self.target, said);
                    }
                    if let Some(passed) = passed {
                        let clocks = self.links.clocks();
                        clocks.heard(self.target, answer.wall_ms, wall_millis(), passed);
                    }
                    Some(form::appended_of(answer).map_err(|e| self.unreachable(e).into()))
                }
                Err(status) => Some(Err(self.failed(&status))),
            };
        }
    }
}

impl NetStreamAppend<Group0Types> for Peer {
    /// Many appends are on their way at a time; the answers come in their order.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Appended>>>
    where
        S: Stream<Item = AppendEntriesRequest<Group0Types>> + OptionalSend + Unpin + 'static,
    {
        let peer = &*self;
        Box::pin(async move {
            let unanswered = Arc::new(Unanswered {
                sent: Mutex::default(),
                places: Semaphore::new(APPENDS_IN_FLIGHT),
            });
            let opened = peer.open(input, Arc::clone(&unanswered)).await;
            if opened.is_err() {
                peer.told(&opened);
            }
            if opened.is_err() && matches!(peer.bulk, Bulk::Entries) {
                // Raft backs off when it draws an append, and what is refused at once draws none:
                // it would try again without a pause.
                sleep(peer.links.pace().heartbeat).await;
            }
            let answers = opened?;
            let stream: BoxStream<'s, Appended> =
                Box::pin(unfold(Some((answers, unanswered)), move |state| async move {
                    let (mut answers, unanswered) = state?;
                    let next = peer.next(&mut answers, &unanswered).await?;
                    peer.told(&next);
                    // What is no match is the last answer.
                    let goes_on = matches!(next, Ok(Ok(_)));
                    Some((next, goes_on.then_some((answers, unanswered))))
                }));
            Ok(stream)
        })
    }
}

impl NetVote<Group0Types> for Peer {
    async fn vote(
        &mut self,
        request: VoteRequest<Group0Types>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Group0Types>> {
        let (mut client, to) = self.client(Link::urgent)?;
        let asked = client.vote(form::ask_form(to, &request));
        let answer = self.ask(option.soft_ttl(), asked).await?;
        form::voted_of(answer).map_err(|e| self.unreachable(e).into())
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Group0Types>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Group0Types>> {
        let (mut client, to) = self.client(Link::urgent)?;
        let asked = client.pre_vote(form::ask_form(to, &request));
        let answer = self.ask(option.soft_ttl(), asked).await?;
        form::voted_of(answer).map_err(|e| self.unreachable(e).into())
    }
}

impl NetTransferLeader<Group0Types> for Peer {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Group0Types>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Group0Types>> {
        let (mut client, to) = self.client(Link::urgent)?;
        let asked = client.transfer_leader(form::transfer_form(to, &request));
        self.ask(option.soft_ttl(), asked).await?;
        Ok(Ok(()))
    }
}

impl NetSnapshot<Group0Types> for Peer {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Group0Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Group0Types>, StreamingError<Group0Types>> {
        let (mut client, to) = self.leaders_client()?;
        let parts =
            snapshot::parts(to, &vote, snapshot.snapshot).map_err(|e| self.unreachable(e))?;
        let sent = self.ask(option.soft_ttl(), client.install_snapshot(parts));
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            () = self.links.silenced() => return Err(self.silent().into()),
            answer = sent => answer?,
        };
        let vote = form::vote_of(answer.vote).map_err(|e| self.unreachable(e))?;
        Ok(SnapshotResponse::new(vote))
    }
}

impl NetBackoff<Group0Types> for Peer {
    /// A peer that comes back is used again within a heartbeat.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(repeat(self.links.pace().heartbeat)))
    }
}
