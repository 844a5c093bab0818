//! Linearizable reads: leadership is confirmed by a quorum in a round that begins after the call;
//! a member that doesn't lead asks the leader for one, and how far it then has to have applied.

use crate::wait::Wait;
use process::wait::bounded;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{Fatal, LinearizableReadError, RaftError};
use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::transport::Channel;

use super::StateMachine;
use super::apply::{Applier, State};
use super::error::ReadError;
use super::follow;
use super::identity::Identity;
use super::propose::{Lead, lead};
use super::transport::Dialler;
use super::types::{Group0Types, Member};

/// Callers that one round answers. More wait for the next.
const MAX_CALLERS: usize = 1024;

type Caller = oneshot::Sender<Result<(), ReadError>>;

/// What answers many callers at a time.
pub(super) trait Round: Send + 'static {
    /// Once, for all who came before it began.
    fn run(&mut self) -> impl Future<Output = Result<(), ReadError>> + Send;
}

/// Where callers ask for a confirmation.
#[derive(Clone)]
pub(super) struct Confirmations(mpsc::Sender<Caller>);

impl Confirmations {
    /// Starts the task that confirms leadership, round after round. It ends with the last handle.
    /// A round that takes longer than `limit` has no quorum.
    pub(super) fn start<S: StateMachine>(
        raft: openraft::Raft<Group0Types, Applier<S>>,
        state: Arc<State<S>>,
        limit: Duration,
    ) -> Self {
        Self::of(Leading { raft, state, limit })
    }

    /// Starts the task that runs these rounds, one after the other.
    pub(super) fn of(mut rounds: impl Round) -> Self {
        let (sender, mut callers) = mpsc::channel(MAX_CALLERS);
        tokio::spawn(async move {
            let mut round = Vec::new();
            // Whoever is taken here arrived before the round begins.
            while callers.recv_many(&mut round, MAX_CALLERS).await > 0 {
                let confirmed = rounds.run().await;
                for caller in round.drain(..) {
                    // A caller that is gone needs no answer.
                    drop(Caller::send(caller, confirmed.clone()));
                }
            }
        });
        Self(sender)
    }

    /// Waits for a round that begins after this call.
    pub(super) async fn confirm(&self) -> Result<(), ReadError> {
        let (caller, confirmed) = oneshot::channel();
        self.0.send(caller).await.map_err(|_| ReadError::ShuttingDown)?;
        confirmed.await.unwrap_or(Err(ReadError::ShuttingDown))
    }
}

/// Rounds of a member that leads.
struct Leading<S: StateMachine> {
    raft: openraft::Raft<Group0Types, Applier<S>>,
    state: Arc<State<S>>,
    limit: Duration,
}

impl<S: StateMachine> Round for Leading<S> {
    async fn run(&mut self) -> Result<(), ReadError> {
        confirm(&self.raft, &self.state, self.limit).await
    }
}

/// Rounds of a member that follows.
pub(super) struct Following<S: StateMachine> {
    raft: openraft::Raft<Group0Types, Applier<S>>,
    state: Arc<State<S>>,
    identity: Arc<Identity>,
    limit: Duration,
    dialler: Dialler,
    /// To the raft address where the leader was asked last.
    connection: Option<(String, Channel)>,
}

impl<S: StateMachine> Following<S> {
    pub(super) fn new(
        raft: openraft::Raft<Group0Types, Applier<S>>,
        state: Arc<State<S>>,
        identity: Arc<Identity>,
        limit: Duration,
        dialler: Dialler,
    ) -> Self {
        Self { raft, state, identity, limit, dialler, connection: None }
    }

    /// How far the leader says that a reader has to have come.
    async fn index(&mut self) -> Result<u64, ReadError> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let raft_id = metrics.current_leader.filter(|leader| *leader != metrics.id);
        let raft_id = raft_id.ok_or(ReadError::NoLeader)?;
        let member = metrics.membership_config.membership().get_node(&raft_id);
        let Member { name, raft_address: address, .. } = member.ok_or(ReadError::NoLeader)?;
        let cluster = self.identity.cluster().ok_or(ReadError::NoLeader)?;
        let to = pb::Addressee { cluster_id: proto::convert::bytes(cluster), raft_id };
        let known = self.connection.take().filter(|(known, _)| known == address);
        let asked = async {
            let channel = match known {
                Some((_, channel)) => channel,
                None => {
                    let dialler = self.dialler.named(name);
                    dialler.connected(address).await.map_err(Status::unavailable)?
                }
            };
            let mut client = RaftServiceClient::new(channel.clone());
            let answer = client.read_index(pb::ReadIndexRequest { to: Some(to) }).await?;
            Ok::<_, Status>((channel, answer.into_inner().index))
        };
        match bounded(Wait::Confirm, self.limit * 2, asked).await {
            Ok(Ok((channel, index))) => {
                self.connection = Some((address.clone(), channel));
                Ok(index)
            }
            Ok(Err(status)) => {
                tracing::debug!(error = status.message(), "the leader gives no index to read at");
                Err(ReadError::NoLeader)
            }
            Err(_) => Err(ReadError::NoQuorum),
        }
    }
}

impl<S: StateMachine> Round for Following<S> {
    async fn run(&mut self) -> Result<(), ReadError> {
        let index = self.index().await?;
        let mut applied = self.state.index();
        // What was seen holds a lock, and goes before anything else.
        let reached = async { applied.wait_for(|seen| *seen >= Some(index)).await.map(drop) };
        let reached = bounded(Wait::Confirm, self.limit, reached).await;
        if let Some(reason) = self.state.fatal().borrow().clone() {
            return Err(ReadError::Fatal(reason));
        }
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadError::ShuttingDown),
            Err(_) => Err(ReadError::NoQuorum),
        }
    }
}

/// One round: a quorum still follows this leader, and all that was committed when the round began
/// is applied here, an entry of this leadership included.
async fn confirm<S: StateMachine>(
    raft: &openraft::Raft<Group0Types, Applier<S>>,
    state: &State<S>,
    limit: Duration,
) -> Result<(), ReadError> {
    // Never by lease: a lease trusts clocks.
    let asked = raft.ensure_linearizable(ReadPolicy::ReadIndex);
    let round = bounded(Wait::Confirm, limit, asked).await;
    if let Some(reason) = state.fatal().borrow().clone() {
        return Err(ReadError::Fatal(reason));
    }
    match round {
        Ok(Ok(_)) => Ok(()),
        Err(_) => Err(ReadError::NoQuorum),
        Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
            Err(ReadError::NoQuorum)
        }
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
            Err(match lead(forward, raft) {
                Lead::Another { leader, term } => ReadError::NotLeader { leader, term },
                Lead::HandingOver => ReadError::HandingOver,
                Lead::Nobody => ReadError::NoLeader,
            })
        }
        Ok(Err(RaftError::Fatal(Fatal::Stopped))) => Err(ReadError::ShuttingDown),
        Ok(Err(RaftError::Fatal(fatal))) => Err(ReadError::Fatal(follow::reason(&fatal))),
    }
}
