//! Proposals: what the caller learns is true, whoever hangs up and whatever stops.

use crate::wait::Wait;
use process::wait::bounded;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, ForwardReason, ForwardToLeader, RaftError};
use openraft::raft::ClientWriteResponse;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::StateMachine;
use super::apply::{Applier, State};
use super::error::{FatalReason, ProposeError};
use super::follow;
use super::log::MAX_ENTRY_BYTES;
use super::types::{Entry, Group0Types, Member};

type Written =
    Result<ClientWriteResponse<Group0Types>, RaftError<Group0Types, ClientWriteError<Group0Types>>>;

/// Proposals under way at once. More wait for their turn until their deadline.
const MAX_PROPOSALS: usize = 4096;

/// Owns every proposal until Raft has answered it.
pub(super) struct Proposals<S: StateMachine> {
    raft: openraft::Raft<Group0Types, Applier<S>>,
    state: Arc<State<S>>,
    permits: Arc<Semaphore>,
    under_way: TaskTracker,
}

impl<S: StateMachine> Proposals<S> {
    pub(super) fn new(raft: openraft::Raft<Group0Types, Applier<S>>, state: Arc<State<S>>) -> Self {
        Self {
            raft,
            state,
            permits: Arc::new(Semaphore::new(MAX_PROPOSALS)),
            under_way: TaskTracker::new(),
        }
    }

    /// Refuses new proposals.
    pub(super) fn close(&self) {
        self.permits.close();
        self.under_way.close();
    }

    /// Waits until every proposal under way has been answered. Call [`close`](Self::close) first.
    pub(super) async fn finished(&self) {
        self.under_way.wait().await;
    }

    pub(super) async fn propose(
        &self,
        entry: Vec<u8>,
        deadline: Instant,
    ) -> Result<S::Response, ProposeError> {
        if entry.len() > MAX_ENTRY_BYTES {
            let (bytes, limit) = (entry.len(), MAX_ENTRY_BYTES);
            return Err(ProposeError::TooLarge { bytes, limit });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let permit = bounded(Wait::Place, left, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| ProposeError::TooLate)?
            .map_err(|_| ProposeError::ShuttingDown)?;
        if deadline <= Instant::now() {
            return Err(ProposeError::TooLate);
        }
        let raft = self.raft.clone();
        let answer = self.under_way.spawn(async move {
            let _permit = permit;
            raft.client_write(Entry(entry.into())).await
        });
        let left = deadline.saturating_duration_since(Instant::now());
        match bounded(Wait::Commit, left, answer).await {
            Err(_) => Err(ProposeError::CommitTimeout),
            Ok(Ok(written)) => self.outcome(written),
            Ok(Err(_)) => {
                let reason = FatalReason::Panicked("the task of a proposal".into());
                Err(ProposeError::Fatal(reason))
            }
        }
    }

    fn outcome(&self, written: Written) -> Result<S::Response, ProposeError> {
        match written {
            Ok(response) => {
                let answer = response.data.0.as_deref().and_then(|any| any.downcast_ref());
                Ok(S::Response::clone(answer.expect("`apply` answers every proposed entry")))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(match lead(forward, &self.raft) {
                    Lead::Another { leader, term } => ProposeError::NotLeader { leader, term },
                    Lead::HandingOver => ProposeError::HandingOver,
                    Lead::Nobody => ProposeError::NoLeader,
                })
            }
            // Not of a proposal of ours: memberships and preconditions aren't proposed here. As
            // with a discarded entry, nothing is promised.
            Err(RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Err(ProposeError::LeadershipLost),
            Err(RaftError::Fatal(Fatal::Stopped)) if self.permits.is_closed() => {
                Err(ProposeError::LeadershipLost)
            }
            Err(RaftError::Fatal(fatal)) => {
                self.state.fail(follow::reason(&fatal));
                let known = self.state.fatal().borrow().clone();
                Err(ProposeError::Fatal(known.unwrap_or_else(|| follow::reason(&fatal))))
            }
        }
    }
}

/// Who leads, by the word of a member that takes nothing.
pub(super) enum Lead {
    /// Another member, in this term; 0 if that is not known.
    Another { leader: Box<Member>, term: u64 },
    /// This one, which is handing over.
    HandingOver,
    /// Nobody who is known here: one that has heard from no quorum names itself.
    Nobody,
}

/// What Raft says of who leads.
pub(super) fn lead<S: StateMachine>(
    forward: ForwardToLeader<Group0Types>,
    raft: &openraft::Raft<Group0Types, Applier<S>>,
) -> Lead {
    match forward.reason {
        ForwardReason::NotLeader => {}
        ForwardReason::LeadershipTransfer => return Lead::HandingOver,
        ForwardReason::LeaseExpired => return Lead::Nobody,
    }
    let Some(leader) = forward.leader_id else { return Lead::Nobody };
    let metrics = raft.metrics().borrow_watched().clone();
    let term = if metrics.current_leader == Some(leader) { metrics.current_term } else { 0 };
    Lead::Another { leader: Box::new(forward.leader_node.unwrap_or_default()), term }
}
