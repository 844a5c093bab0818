//! Linearizable reads: leadership is confirmed by a quorum in a round that begins after the call.

use crate::wait::Wait;
use process::wait::bounded;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{Fatal, LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};

use super::StateMachine;
use super::apply::{Applier, State};
use super::error::ReadError;
use super::follow;
use super::propose::leader;
use super::types::Group0Types;

/// Callers that one round answers. More wait for the next.
const MAX_CALLERS: usize = 1024;

type Caller = oneshot::Sender<Result<(), ReadError>>;

/// Where callers ask for a confirmation.
#[derive(Clone)]
pub(super) struct Confirmations(mpsc::Sender<Caller>);

impl Confirmations {
    /// Starts the task that runs the rounds, one after the other. It ends with the last handle.
    /// A round that takes longer than `limit` has no quorum.
    pub(super) fn start<S: StateMachine>(
        raft: openraft::Raft<Group0Types, Applier<S>>,
        state: Arc<State<S>>,
        limit: Duration,
    ) -> Self {
        let (sender, mut callers) = mpsc::channel(MAX_CALLERS);
        tokio::spawn(async move {
            let mut round = Vec::new();
            // Whoever is taken here arrived before the round begins.
            while callers.recv_many(&mut round, MAX_CALLERS).await > 0 {
                let confirmed = confirm(&raft, &state, limit).await;
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
            Err(match leader(forward) {
                Some(leader) => ReadError::NotLeader { leader },
                None => ReadError::NoLeader,
            })
        }
        Ok(Err(RaftError::Fatal(Fatal::Stopped))) => Err(ReadError::ShuttingDown),
        Ok(Err(RaftError::Fatal(fatal))) => Err(ReadError::Fatal(follow::reason(&fatal))),
    }
}
