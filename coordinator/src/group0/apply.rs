//! Between Raft and the state machine: applies committed entries, makes and installs snapshots.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::StateMachine;
use super::blocking::blocking;
use super::digests::Digests;
use super::error::{FatalReason, RestoreError};
use super::identity::Identity;
use super::snapshot::{SnapshotFile, Snapshots};
use super::types::{Answer, Group0Types, LogId, SnapshotMeta, StoredMembership};

/// The state with how far it has been applied.
#[derive(Clone)]
struct Applied<S> {
    machine: S,
    last: Option<LogId>,
    membership: StoredMembership,
}

thread_local! {
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// This thread looks at the state, until it is dropped.
struct Looking;

impl Looking {
    fn begin() -> Looking {
        LOOKING.set(true);
        Looking
    }

    fn goes_on() -> bool {
        LOOKING.get()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        LOOKING.set(false);
    }
}

/// The applied state, for readers and for Raft.
pub(super) struct State<S> {
    applied: RwLock<Applied<S>>,
    index: watch::Sender<Option<u64>>,
    fatal: watch::Sender<Option<FatalReason>>,
    digests: Arc<Digests>,
}

impl<S: StateMachine> State<S> {
    /// A state as of `meta`; a fresh one with the default. It is summed up each time so many
    /// entries have been applied.
    pub(super) fn new(machine: S, meta: SnapshotMeta, digest_every: u64) -> Self {
        let index = meta.last_log_id.as_ref().map(LogId::index);
        Self {
            applied: RwLock::new(Applied {
                machine,
                last: meta.last_log_id,
                membership: meta.last_membership,
            }),
            index: watch::Sender::new(index),
            fatal: watch::Sender::new(None),
            digests: Arc::new(Digests::new(digest_every)),
        }
    }

    /// What the state came to, here and on the other members.
    pub(super) fn digests(&self) -> &Arc<Digests> {
        &self.digests
    }

    /// Makes the state another one than it is.
    #[cfg(any(test, feature = "faults"))]
    pub(super) fn bend(&self, bend: impl FnOnce(&mut S)) {
        bend(&mut self.applied.write().unwrap_or_else(PoisonError::into_inner).machine);
    }

    /// Looks at the state. Entries aren't applied meanwhile.
    pub(super) fn read<T>(&self, f: impl FnOnce(&S) -> T) -> T {
        let applied = self.looked_at();
        let _looking = Looking::begin();
        f(&applied.machine)
    }

    fn looked_at(&self) -> RwLockReadGuard<'_, Applied<S>> {
        // An entry that waits between two looks of one thread would wait for ever, and they for it.
        debug_assert!(!Looking::goes_on(), "a look at group0 within another");
        self.applied.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the state, with what it covers. Entries aren't applied meanwhile.
    pub(super) fn image(&self) -> (SnapshotMeta, S) {
        let Applied { machine, last, membership } = self.looked_at().clone();
        (SnapshotMeta { last_log_id: last, last_membership: membership }, machine)
    }

    /// The last membership applied.
    pub(super) fn membership(&self) -> StoredMembership {
        self.looked_at().membership.clone()
    }

    /// Index of the last entry applied.
    pub(super) fn index(&self) -> watch::Receiver<Option<u64>> {
        self.index.subscribe()
    }

    /// Why this process has to end, once it has to.
    pub(super) fn fatal(&self) -> watch::Receiver<Option<FatalReason>> {
        self.fatal.subscribe()
    }

    /// Ends this process's part in group0. The first reason stays.
    pub(super) fn fail(&self, reason: FatalReason) {
        self.fatal.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::error!(%reason, "group0 can't go on in this process");
                *known = Some(reason);
            }
            first
        });
    }

    /// `fail` for an error of storage, which is handed on to Raft.
    fn failed(&self, error: io::Error) -> io::Error {
        self.fail(FatalReason::Storage(error.to_string()));
        error
    }

    /// Applies one entry.
    ///
    /// # Errors
    ///
    /// It can't be: [`fatal`](Self::fatal) says why.
    pub(super) fn apply(
        &self,
        id: LogId,
        payload: EntryPayload<super::types::Entry, u64, super::Member>,
    ) -> io::Result<Answer> {
        let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
        let answer = match payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(id), membership);
                None
            }
            EntryPayload::Normal(entry) => {
                let machine = &mut applied.machine;
                match catch_unwind(AssertUnwindSafe(|| machine.apply(&entry.0))) {
                    Ok(Ok(response)) => Some(Arc::new(response) as Arc<dyn Any + Send + Sync>),
                    Ok(Err(too_new)) => {
                        self.fail(FatalReason::FormatTooNew(too_new.clone()));
                        return Err(io::Error::new(io::ErrorKind::Unsupported, too_new));
                    }
                    Err(_) => {
                        let reason = format!("the state machine, at entry {}", id.index());
                        self.fail(FatalReason::Panicked(reason.clone()));
                        return Err(io::Error::other(reason));
                    }
                }
            }
        };
        applied.last = Some(id);
        let summed = self.digests.is_due(id.index()).then(|| applied.machine.clone());
        drop(applied);
        if let Some(copy) = summed {
            self.digests.sum(id.index(), copy);
        }
        self.index.send_replace(Some(id.index()));
        Ok(Answer(answer))
    }
}

/// What Raft applies entries with.
pub(super) struct Applier<S> {
    state: Arc<State<S>>,
    snapshots: Arc<Snapshots>,
    identity: Arc<Identity>,
}

impl<S: StateMachine> Applier<S> {
    pub(super) fn new(
        state: Arc<State<S>>,
        snapshots: Arc<Snapshots>,
        identity: Arc<Identity>,
    ) -> Self {
        Self { state, snapshots, identity }
    }

    /// Once this member is in an applied membership, its directory says so for ever: one that was
    /// removed is told from one whose addition was begun and never committed.
    async fn note_membership(&self) -> io::Result<()> {
        let identity = Arc::clone(&self.identity);
        let membership = self.state.membership();
        if identity.was_member() || membership.membership().get_node(&identity.raft_id()).is_none()
        {
            return Ok(());
        }
        let noted = written(move || identity.is_member().map_err(io::Error::other)).await;
        noted.map_err(|error| self.state.failed(error))
    }
}

/// A copy of the state, to be made into a snapshot while entries go on being applied.
pub(super) struct Image<S> {
    /// Taken by the one snapshot that is made of it.
    applied: Option<Applied<S>>,
    state: Arc<State<S>>,
    snapshots: Arc<Snapshots>,
}

/// What Raft hands on of a snapshot: a whole file, of which nothing is in memory.
pub(super) type SnapshotData = Arc<SnapshotFile>;

type Snapshot = SnapshotOf<Group0Types, SnapshotData>;

fn of_file(file: SnapshotData) -> Snapshot {
    Snapshot { meta: file.meta().clone(), snapshot: file }
}

impl<S: StateMachine> RaftSnapshotBuilder<Group0Types> for Image<S> {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let Some(Applied { machine, last, membership }) = self.applied.take() else {
            return Err(io::Error::other("a snapshot has been made of this image already"));
        };
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership };
        let snapshots = Arc::clone(&self.snapshots);
        let made = written(move || snapshots.make(&meta, |out| machine.snapshot(out))).await;
        made.map(of_file).map_err(|error| self.state.failed(error))
    }
}

impl<S: StateMachine> RaftStateMachine<Group0Types> for Applier<S> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Image<S>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied.read().unwrap_or_else(PoisonError::into_inner);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<Group0Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let is_membership = matches!(entry.payload, EntryPayload::Membership(_));
            let answer = self.state.apply(entry.log_id, entry.payload)?;
            if is_membership {
                self.note_membership().await?;
            }
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Image<S> {
        let applied = self.state.applied.read().unwrap_or_else(PoisonError::into_inner).clone();
        Image {
            applied: Some(applied),
            state: Arc::clone(&self.state),
            snapshots: Arc::clone(&self.snapshots),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotData,
    ) -> io::Result<()> {
        let mut machine = self.state.read(S::clone);
        let (state, snapshots) = (Arc::clone(&self.state), Arc::clone(&self.snapshots));
        let installed = written(move || {
            if let Err(error) = machine.restore(&mut file.body()) {
                if let RestoreError::TooNew(too_new) = &error {
                    state.fail(FatalReason::FormatTooNew(too_new.clone()));
                }
                return Err(io::Error::other(error));
            }
            snapshots.keep(file)?;
            Ok(machine)
        });
        let machine = installed.await.map_err(|error| self.state.failed(error))?;
        *self.state.applied.write().unwrap_or_else(PoisonError::into_inner) =
            Applied { machine, last: meta.last_log_id, membership: meta.last_membership.clone() };
        self.state.index.send_replace(meta.last_log_id.as_ref().map(LogId::index));
        self.note_membership().await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let current = self.snapshots.current().map_err(|error| self.state.failed(error))?;
        Ok(current.map(of_file))
    }
}

async fn written<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}
