//! The handle that the rest of the coordinator uses.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::StateMachine;
use super::apply::{Applier, State};
use super::directory::{self, Lock};
use super::error::{BootstrapError, FatalReason, OpenError, ProposeError, ReadError};
use super::follow::{self, Leadership, Status};
use super::log::LogStore;
use super::network::Peers;
use super::options::Options;
use super::propose::Proposals;
use super::read::Confirmations;
use super::snapshot::Snapshots;
use super::types::{Group0Types, Member};

/// How long a shutdown waits for proposals that are under way.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// A member of group0. Cheap to clone; all clones are the same member.
///
/// Call [`shutdown`](Self::shutdown) at the end. What was acknowledged is safe without it.
pub struct Group0<S: StateMachine> {
    inner: Arc<Inner<S>>,
}

impl<S: StateMachine> Clone for Group0<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(super) struct Inner<S: StateMachine> {
    pub(super) raft: openraft::Raft<Group0Types, Applier<S>>,
    state: Arc<State<S>>,
    pub(super) files: Files,
    proposals: Proposals<S>,
    confirmations: Confirmations,
    leadership: watch::Receiver<Option<Leadership>>,
    stop: CancellationToken,
    /// Ends the following of Raft with the last handle.
    _stop_on_drop: DropGuard,
}

/// Everything that is open in the data directory.
pub(super) struct Files {
    lock: Arc<Lock>,
    pub(super) log: LogStore,
    snapshots: Arc<Snapshots>,
}

impl<S: StateMachine> Group0<S> {
    /// Opens this member's directory and starts Raft. `empty` is the state before any entry.
    ///
    /// When it returns, what was known to be committed is applied. A leader is elected afterwards.
    ///
    /// # Errors
    ///
    /// Every [`OpenError`]. The directory is free again.
    pub async fn open(options: Options, empty: S) -> Result<Self, OpenError> {
        let config = Arc::new(options.raft_config()?);
        let (dir, raft_id) = (options.data_dir.clone(), options.raft_id);
        let (files, state) = tokio::task::spawn_blocking(move || open_files(&dir, raft_id, &empty))
            .await
            .map_err(|e| OpenError::Raft(e.to_string()))??;
        let state = Arc::new(state);
        let applier = Applier::new(Arc::clone(&state), Arc::clone(&files.snapshots));
        let raft = openraft::Raft::new(raft_id, config, Peers, files.log.clone(), applier)
            .await
            .map_err(|fatal| match state.fatal().borrow().clone() {
                Some(FatalReason::FormatTooNew(source)) => {
                    OpenError::FormatTooNew { path: options.data_dir.join("log"), source }
                }
                Some(FatalReason::Storage(reason) | FatalReason::Panicked(reason)) => {
                    OpenError::Raft(reason)
                }
                None => OpenError::Raft(fatal.to_string()),
            })?;
        let stop = CancellationToken::new();
        let (leadership_sender, leadership) = watch::channel(None);
        tokio::spawn(follow::follow(
            raft.metrics(),
            leadership_sender,
            Arc::clone(&state),
            stop.clone(),
        ));
        Ok(Self {
            inner: Arc::new(Inner {
                proposals: Proposals::new(raft.clone(), Arc::clone(&state)),
                confirmations: Confirmations::start(
                    raft.clone(),
                    Arc::clone(&state),
                    options.election_max,
                ),
                raft,
                state,
                files,
                leadership,
                _stop_on_drop: stop.clone().drop_guard(),
                stop,
            }),
        })
    }

    /// Whether this member belongs to a group: it has a log, or a vote.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::Fatal`].
    pub async fn is_initialized(&self) -> Result<bool, BootstrapError> {
        let initialized = self.inner.raft.is_initialized().await;
        initialized.map_err(|fatal| BootstrapError::Fatal(follow::reason(&fatal)))
    }

    /// Begins a new group with these voters, this member among them. Does nothing if this member
    /// already belongs to a group. Until there is a transport, only one voter finds a quorum.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NotAMember`] if this member isn't among them, [`BootstrapError::Fatal`].
    pub async fn bootstrap(&self, members: BTreeMap<u64, Member>) -> Result<(), BootstrapError> {
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(e))) => {
                Err(BootstrapError::NotAMember { raft_id: e.node_id })
            }
            Err(RaftError::Fatal(fatal)) => Err(BootstrapError::Fatal(follow::reason(&fatal))),
        }
    }

    /// Proposes an entry and waits until it is committed and applied here.
    ///
    /// The proposal goes on if the caller hangs up.
    ///
    /// # Errors
    ///
    /// Each [`ProposeError`] says whether the entry was applied, or that this is unknown.
    pub async fn propose(
        &self,
        entry: Vec<u8>,
        deadline: Instant,
    ) -> Result<S::Response, ProposeError> {
        self.inner.proposals.propose(entry, deadline).await
    }

    /// Returns once a quorum has confirmed, in a round that begins after this call, that this
    /// member leads, and all that was committed before that round is applied here. Calls that
    /// come together share a round.
    ///
    /// # Errors
    ///
    /// Each [`ReadError`]: nothing may be answered on the strength of this member's state.
    pub async fn confirm_leadership(&self) -> Result<(), ReadError> {
        self.inner.confirmations.confirm().await
    }

    /// Looks at the state after [`confirm_leadership`](Self::confirm_leadership): everything that
    /// anybody had been told was committed before this call is in it.
    ///
    /// # Errors
    ///
    /// As `confirm_leadership`.
    pub async fn linearizable_read<T>(&self, f: impl FnOnce(&S) -> T) -> Result<T, ReadError> {
        self.confirm_leadership().await?;
        Ok(self.read(f))
    }

    /// Looks at the state as it is applied here, which may lag behind the leader's. Entries aren't
    /// applied meanwhile: be quick, and don't call group0 from within.
    pub fn read<T>(&self, f: impl FnOnce(&S) -> T) -> T {
        self.inner.state.read(f)
    }

    /// Index of the last entry applied here. A reader that sees it sees a state at least as new.
    pub fn applied(&self) -> watch::Receiver<Option<u64>> {
        self.inner.state.index()
    }

    /// The leadership of this process, once an entry of it is applied here; none while it doesn't
    /// lead. It may lag behind the truth: [confirm](Self::confirm_leadership) it before an answer.
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.inner.leadership.clone()
    }

    /// Where group0 stands here; blank for a moment after [`open`](Self::open).
    pub fn metrics(&self) -> Status {
        follow::status(&self.inner.raft.metrics().borrow_watched())
    }

    /// Resolves when group0 can't go on in this process. The process then has to end.
    pub fn fatal(&self) -> impl Future<Output = FatalReason> + Send + 'static {
        let mut fatal = self.inner.state.fatal();
        async move {
            loop {
                if let Some(reason) = fatal.borrow_and_update().clone() {
                    return reason;
                }
                if fatal.changed().await.is_err() {
                    return pending().await;
                }
            }
        }
    }

    /// Refuses new proposals, waits (2 s at the most) for those under way, stops Raft, writes and
    /// closes what is open, and gives the directory free.
    ///
    /// # Errors
    ///
    /// The last write or sync of the log that failed. Nothing acknowledged is lost by it.
    pub async fn shutdown(&self) -> Result<(), FatalReason> {
        let inner = &self.inner;
        inner.proposals.close();
        // Those that are left learn that their outcome is unknown.
        let _all_answered = timeout(SHUTDOWN_PATIENCE, inner.proposals.finished()).await.is_ok();
        inner.stop.cancel();
        let stopped = inner.raft.shutdown().await;
        let (log, snapshots) = (inner.files.log.clone(), Arc::clone(&inner.files.snapshots));
        let closed = tokio::task::spawn_blocking(move || {
            snapshots.close();
            log.close()
        })
        .await;
        inner.files.lock.release();
        stopped.map_err(|e| FatalReason::Panicked(e.to_string()))?;
        closed
            .map_err(|e| FatalReason::Panicked(e.to_string()))?
            .map_err(|e| FatalReason::Storage(e.to_string()))
    }
}

#[cfg(test)]
impl<S: StateMachine> Group0<S> {
    /// What the tests look at, or break.
    pub(super) fn inner(&self) -> &Inner<S> {
        &self.inner
    }
}

fn open_files<S: StateMachine>(
    dir: &Path,
    raft_id: u64,
    empty: &S,
) -> Result<(Files, State<S>), OpenError> {
    let lock = Arc::new(directory::open(dir, raft_id)?);
    let log = LogStore::open(&dir.join("log"), Arc::clone(&lock))?;
    let (snapshots, restored) =
        Snapshots::open(dir.join("snapshots"), Arc::clone(&lock), log.purged(), |body| {
            let mut machine = empty.clone();
            machine.restore(body)?;
            Ok(machine)
        })?;
    let state = match restored {
        Some((meta, machine)) => State::new(machine, meta),
        None => State::new(empty.clone(), Default::default()),
    };
    Ok((Files { lock, log, snapshots: Arc::new(snapshots) }, state))
}
