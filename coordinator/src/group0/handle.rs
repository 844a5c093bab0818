//! The handle that the rest of the coordinator uses.

use crate::wait::Wait;
use process::wait::bounded;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use proto::raft::v1::raft_service_server::RaftServiceServer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::StateMachine;
use super::apply::{Applier, State};
use super::blocking::blocking;
use super::clocks::Clocks;
use super::error::{BootstrapError, FatalReason, ProposeError, ReadError, SaveError};
use super::follow::{self, Leadership, Standing, Status};
use super::identity::{BindError, Identity};
use super::open::Files;
use super::propose::Proposals;
use super::read::Confirmations;
use super::snapshot::SnapshotFile;
use super::transport::{Dialler, RaftApi};
use super::types::{Group0Types, Member};

/// A member of group0. Cheap to clone; all clones are the same member.
///
/// Call [`shutdown`](Self::shutdown) at the end. What was acknowledged is safe without it.
pub struct Group0<S: StateMachine> {
    pub(super) inner: Arc<Inner<S>>,
}

impl<S: StateMachine> Clone for Group0<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(super) struct Inner<S: StateMachine> {
    pub(super) raft: openraft::Raft<Group0Types, Applier<S>>,
    pub(super) state: Arc<State<S>>,
    pub(super) files: Files,
    pub(super) member: Member,
    pub(super) heartbeat: Duration,
    pub(super) election_max: Duration,
    pub(super) feature_level: u32,
    /// One change of the members at a time.
    pub(super) changes: tokio::sync::Mutex<()>,
    pub(super) proposals: Proposals<S>,
    pub(super) confirmations: Confirmations,
    pub(super) following: Confirmations,
    pub(super) leadership: watch::Receiver<Option<Leadership>>,
    pub(super) stop: CancellationToken,
    pub(super) clocks: Arc<Clocks>,
    /// Dials other members, and who would be one.
    pub(super) dialler: Dialler,
    /// Ends the following of Raft with the last handle.
    pub(super) _stop_on_drop: DropGuard,
}

impl<S: StateMachine> Group0<S> {
    /// Whether this member belongs to a group: it has a log, or a vote.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::Fatal`].
    pub async fn is_initialized(&self) -> Result<bool, BootstrapError> {
        let initialized = self.inner.raft.is_initialized().await;
        initialized.map_err(|fatal| BootstrapError::Fatal(follow::reason(&fatal)))
    }

    /// Begins a new group with these voters, this member among them, under a cluster id that is
    /// made here. Does nothing if this member already belongs to a group.
    ///
    /// Only one member may do it, and only if none of them belongs to a group.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NotAMember`] if this member isn't among them,
    /// [`BootstrapError::OtherCluster`], [`BootstrapError::Fatal`].
    pub async fn bootstrap(&self, members: BTreeMap<u64, Member>) -> Result<(), BootstrapError> {
        let raft_id = self.raft_id();
        if !members.contains_key(&raft_id) {
            return Err(BootstrapError::NotAMember { raft_id });
        }
        if self.is_initialized().await? {
            return Ok(());
        }
        self.identify_with(|identity| identity.mint().map(drop)).await?;
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(e))) => {
                Err(BootstrapError::NotAMember { raft_id: e.node_id })
            }
            Err(RaftError::Fatal(fatal)) => Err(BootstrapError::Fatal(follow::reason(&fatal))),
        }
    }

    /// Says to which cluster this member belongs, where a directory of an earlier build doesn't.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::OtherCluster`], [`BootstrapError::Fatal`].
    pub async fn bind(&self, cluster: Uuid) -> Result<(), BootstrapError> {
        self.identify_with(move |identity| identity.bind(cluster)).await
    }

    async fn identify_with(
        &self,
        change: impl FnOnce(&Identity) -> Result<(), BindError> + Send + 'static,
    ) -> Result<(), BootstrapError> {
        let identity = Arc::clone(&self.inner.files.identity);
        let changed = blocking(move || change(&identity)).await;
        match changed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(BindError::Other(cluster))) => Err(BootstrapError::OtherCluster(cluster)),
            Ok(Err(error @ (BindError::Open(_) | BindError::Closed))) => {
                Err(BootstrapError::Fatal(FatalReason::Storage(error.to_string())))
            }
            Err(e) => Err(BootstrapError::Fatal(FatalReason::Panicked(e.to_string()))),
        }
    }

    /// Raft id of this member, which its directory keeps.
    pub fn raft_id(&self) -> u64 {
        self.inner.files.identity.raft_id()
    }

    /// This member, as it names itself.
    pub fn member(&self) -> &Member {
        &self.inner.member
    }

    /// The cluster that this member belongs to.
    pub fn cluster(&self) -> Option<Uuid> {
        self.inner.files.identity.cluster()
    }

    /// Whether this member may still begin a cluster: it belongs to none.
    pub fn may_begin(&self) -> bool {
        self.inner.files.identity.may_begin()
    }

    /// What other coordinators ask of this one, to be served on the raft port until after
    /// [`shutdown`](Self::shutdown).
    pub fn raft_service(&self) -> RaftServiceServer<RaftApi<S>> {
        RaftApi::service(self.clone(), self.inner.raft.clone())
    }

    /// The members of the group as of the last membership applied here, with what this member
    /// knows of them.
    pub fn members(&self) -> Vec<Standing> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let mut members = follow::standings(&self.inner.state.membership(), &metrics);
        for own in members.iter_mut().filter(|member| member.raft_id == metrics.id) {
            // The membership may have it as it was when the group began.
            own.member = self.inner.member.clone();
        }
        // What it found while it led before is old.
        let leads = metrics.current_leader == Some(metrics.id);
        for member in members.iter_mut().filter(|_| leads) {
            member.state_differs_at = self.inner.state.digests().differs_at(member.raft_id);
            let is_own = member.raft_id == metrics.id;
            let ahead = || self.inner.clocks.ahead(member.raft_id);
            member.clock_ahead_ms = if is_own { Some(0) } else { ahead() };
        }
        members
    }

    /// Makes the state of this member another one than it is: what must never happen.
    #[cfg(feature = "faults")]
    pub(crate) fn bend(&self, bend: impl FnOnce(&mut S)) {
        self.inner.state.bend(bend);
    }

    /// One address of each member, as the membership has them.
    pub fn addresses(&self, which: impl Fn(&Member) -> &String) -> Vec<String> {
        let members = self.members();
        let addresses = members.iter().map(|one| which(&one.member).clone());
        addresses.filter(|address| !address.is_empty()).collect()
    }

    /// How many voters may fail from here on without stopping the group: those alive, less a
    /// majority. Alive is who was heard from within the longest election time. 0 where this member
    /// doesn't lead, because it can't know.
    pub fn failure_tolerance(&self, members: &[Standing]) -> u32 {
        let limit = self.inner.election_max;
        let is_alive = |member: &&Standing| member.silent.is_some_and(|silent| silent <= limit);
        let voters: Vec<&Standing> = members.iter().filter(|member| member.voter).collect();
        let alive = voters.iter().copied().filter(|member| is_alive(member)).count();
        let majority = voters.len() / 2 + 1;
        u32::try_from(alive.saturating_sub(majority)).unwrap_or(u32::MAX)
    }

    /// The member that leads, as far as this one knows.
    pub fn leader(&self) -> Option<Member> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let leader = metrics.current_leader?;
        metrics.membership_config.membership().get_node(&leader).cloned()
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
    pub async fn leaders_read<T>(&self, f: impl FnOnce(&S) -> T) -> Result<T, ReadError> {
        self.confirm_leadership().await?;
        Ok(self.read(f))
    }

    /// Returns once all that was committed before this call is applied here, on whichever member:
    /// one that doesn't lead asks the leader how far that is. Calls that come together share a
    /// question.
    ///
    /// # Errors
    ///
    /// Each [`ReadError`]: nothing may be answered on the strength of this member's state.
    pub async fn catch_up(&self) -> Result<(), ReadError> {
        let led = self.inner.raft.metrics().borrow_watched().current_leader;
        if led != Some(self.raft_id()) {
            return self.inner.following.confirm().await;
        }
        match self.confirm_leadership().await {
            Err(ReadError::NotLeader { .. }) => self.inner.following.confirm().await,
            other => other,
        }
    }

    /// Looks at the state after [`catch_up`](Self::catch_up): everything that anybody had been
    /// told was committed before this call is in it.
    ///
    /// # Errors
    ///
    /// As `catch_up`.
    pub async fn linearizable_read<T>(&self, f: impl FnOnce(&S) -> T) -> Result<T, ReadError> {
        self.catch_up().await?;
        Ok(self.read(f))
    }

    /// Looks at the state as it is applied here, which may lag behind the leader's. Entries aren't
    /// applied meanwhile: be quick, and don't call group0 from within.
    pub fn read<T>(&self, f: impl FnOnce(&S) -> T) -> T {
        self.inner.state.read(f)
    }

    /// The state as a snapshot file: as of a moment after the call, with everything in it that
    /// anybody had been told was committed before. It takes room on the disk while it is held.
    ///
    /// # Errors
    ///
    /// Each [`SaveError`].
    pub async fn save_snapshot(&self) -> Result<SnapshotFile, SaveError> {
        self.confirm_leadership().await?;
        let state = Arc::clone(&self.inner.state);
        let snapshots = Arc::clone(&self.inner.files.snapshots);
        let saved = blocking(move || {
            let (meta, machine) = state.image();
            snapshots.write(&meta, |out| machine.snapshot(out))
        });
        let panicked = |error: tokio::task::JoinError| {
            ReadError::Fatal(FatalReason::Panicked(error.to_string()))
        };
        Ok(saved.await.map_err(panicked)??)
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

    /// This member stops soon: it stands for no election any more, and those who ask it who it is
    /// hear of it, so that nobody hands leadership over to it.
    pub fn stand_back(&self) {
        self.inner.files.identity.stop();
        self.inner.raft.runtime_config().elect(false);
    }

    /// Refuses new proposals, waits (2 s at the most) for those under way, hands leadership over
    /// (1 s), stops Raft, writes and closes what is open, and gives the directory free.
    ///
    /// # Errors
    ///
    /// The last write or sync of the log that failed. Nothing acknowledged is lost by it.
    pub async fn shutdown(&self) -> Result<(), FatalReason> {
        let inner = &self.inner;
        self.stand_back();
        inner.proposals.close();
        // Those that are left learn that their outcome is unknown.
        let finished = inner.proposals.finished();
        let _all_answered = bounded(Wait::UnderWay, Wait::UnderWay.bound(), finished).await.is_ok();
        self.hand_over().await;
        inner.stop.cancel();
        let (log, snapshots) = (inner.files.log.clone(), Arc::clone(&inner.files.snapshots));
        let identity = Arc::clone(&inner.files.identity);
        let ended = async {
            let stopped = inner.raft.shutdown().await;
            let closed = blocking(move || {
                identity.close();
                snapshots.close();
                log.close()
            });
            (stopped, closed.await)
        };
        let ended = bounded(Wait::UnderWay, Wait::UnderWay.bound(), ended).await;
        // A disk that hangs keeps no process from ending; it keeps the directory until then.
        let (stopped, closed) = ended.map_err(|e| FatalReason::Storage(e.to_string()))?;
        inner.files.lock.release();
        stopped.map_err(|e| FatalReason::Panicked(e.to_string()))?;
        closed
            .map_err(|e| FatalReason::Panicked(e.to_string()))?
            .map_err(|e| FatalReason::Storage(e.to_string()))
    }

    /// Says with whom a cluster is to begin, for those who ask: one that expects others is not
    /// taken into a cluster that none of them belongs to.
    pub fn expect(&self, expected: &BTreeMap<String, String>) {
        self.inner.files.identity.expect(expected.keys().cloned().collect());
    }
}
