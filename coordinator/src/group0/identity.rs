//! Who this member is, durably: Raft id, name, and the one cluster that it belongs to.
//!
//! A member that belongs to no cluster binds itself to the first that addresses it by its Raft
//! id, before it answers. From then on it refuses every other.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use uuid::Uuid;

use super::directory::{self, Format, Lock};
use super::error::OpenError;

/// Who this member is. Shared by all that speak for it.
#[derive(Debug)]
pub(super) struct Identity {
    dir: PathBuf,
    raft_id: u64,
    name: String,
    /// None once the directory is closed.
    format: Mutex<Option<Format>>,
    /// The cluster that it belonged to when the directory was closed.
    closed: OnceLock<Option<Uuid>>,
    /// Set for good once it was in a membership that was committed.
    was_member: OnceLock<()>,
    /// Set once it stops soon.
    stops: AtomicBool,
    /// Those with whom a cluster is to begin, by name, in order.
    expected: Mutex<Vec<String>>,
    /// Nothing may open the directory while this can write.
    _lock: Arc<Lock>,
}

/// Why a member doesn't take a cluster for its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    /// It belongs to another.
    #[error("this coordinator belongs to cluster {0}")]
    Other(Uuid),
    /// This could not be made durable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory is closed.
    #[error("this coordinator is shutting down")]
    Closed,
}

impl Identity {
    /// The identity in a directory that has been opened; a new one where it is empty.
    ///
    /// # Errors
    ///
    /// [`OpenError::OtherRaftId`], [`OpenError::OtherName`], [`OpenError::Io`].
    pub(super) fn open(
        dir: PathBuf,
        lock: Arc<Lock>,
        known: Option<Format>,
        raft_id: Option<u64>,
        name: &str,
    ) -> Result<Self, OpenError> {
        let is_same = |format: &Format| raft_id.is_none_or(|asked| asked == format.raft_id);
        if let Some(format) = known.as_ref().filter(|format| !is_same(format)) {
            let (found, asked) = (format.raft_id, raft_id.unwrap_or_default());
            return Err(OpenError::OtherRaftId { path: dir, found, asked });
        }
        if let Some(format) = known.as_ref().filter(|format| !["", name].contains(&&*format.name)) {
            let (found, asked) = (format.name.clone(), name.to_owned());
            return Err(OpenError::OtherName { path: dir, found, asked });
        }
        let mut format = known.clone().unwrap_or_else(|| Format {
            raft_id: raft_id.unwrap_or_else(draw),
            name: String::new(),
            cluster: None,
            minted: None,
            member: false,
        });
        name.clone_into(&mut format.name);
        if known.as_ref() != Some(&format) {
            directory::write_format(&dir, &format)?;
        }
        let was_member = OnceLock::new();
        if format.member {
            was_member.get_or_init(|| ());
        }
        Ok(Self {
            dir,
            raft_id: format.raft_id,
            name: name.to_owned(),
            format: Mutex::new(Some(format)),
            closed: OnceLock::new(),
            was_member,
            stops: AtomicBool::new(false),
            expected: Mutex::default(),
            _lock: lock,
        })
    }

    /// Raft id of this member.
    pub(super) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it belongs to. Who asks until the very end must not take it for empty.
    pub(super) fn cluster(&self) -> Option<Uuid> {
        match &*self.guard() {
            Some(format) => format.cluster,
            None => self.closed.get().copied().flatten(),
        }
    }

    /// It stops soon.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::SeqCst);
    }

    /// Whether it stops soon.
    pub(super) fn stops(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }

    /// With whom it expects a cluster to begin; nobody, unless it was told.
    pub(super) fn expected(&self) -> Vec<String> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells it with whom a cluster is to begin.
    pub(super) fn expect(&self, names: Vec<String>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Takes `cluster` for its own, durably, unless it belongs to another. Blocks.
    ///
    /// # Errors
    ///
    /// Every [`BindError`].
    pub(super) fn bind(&self, cluster: Uuid) -> Result<(), BindError> {
        let mut guard = self.guard();
        let format = guard.as_mut().ok_or(BindError::Closed)?;
        match format.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(own) => Err(BindError::Other(own)),
            None => {
                let bound = Format { cluster: Some(cluster), ..format.clone() };
                directory::write_format(&self.dir, &bound)?;
                *format = bound;
                Ok(())
            }
        }
    }

    /// The cluster that this member begins: the one that it was about to begin before, or a new
    /// one, durably. Blocks.
    ///
    /// # Errors
    ///
    /// Every [`BindError`]; `Other` also if it was bound by another's call.
    pub(super) fn mint(&self) -> Result<Uuid, BindError> {
        let mut guard = self.guard();
        let format = guard.as_mut().ok_or(BindError::Closed)?;
        match (format.cluster, format.minted) {
            (Some(own), Some(minted)) if own == minted => Ok(own),
            (Some(own), _) => Err(BindError::Other(own)),
            (None, _) => {
                let cluster = Uuid::new_v4();
                let minted =
                    Format { cluster: Some(cluster), minted: Some(cluster), ..format.clone() };
                directory::write_format(&self.dir, &minted)?;
                *format = minted;
                Ok(cluster)
            }
        }
    }

    /// Whether it may still begin a cluster: it belongs to none, or to the one that it was about
    /// to begin.
    pub(super) fn may_begin(&self) -> bool {
        let guard = self.guard();
        guard.as_ref().is_some_and(|format| format.cluster == format.minted)
    }

    /// Whether it was in a membership that was committed.
    pub(super) fn was_member(&self) -> bool {
        self.was_member.get().is_some()
    }

    /// Keeps, durably, that it was in a membership that was committed. Blocks the first time.
    ///
    /// # Errors
    ///
    /// [`BindError::Open`], [`BindError::Closed`].
    pub(super) fn is_member(&self) -> Result<(), BindError> {
        if self.was_member() {
            return Ok(());
        }
        let mut guard = self.guard();
        let format = guard.as_mut().ok_or(BindError::Closed)?;
        let taken_in = Format { member: true, ..format.clone() };
        directory::write_format(&self.dir, &taken_in)?;
        *format = taken_in;
        self.was_member.get_or_init(|| ());
        Ok(())
    }

    /// Nothing is written any more. The caller gives the directory free.
    pub(super) fn close(&self) {
        let mut guard = self.guard();
        let cluster = guard.take().and_then(|format| format.cluster);
        self.closed.get_or_init(|| cluster);
    }

    fn guard(&self) -> MutexGuard<'_, Option<Format>> {
        self.format.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Raft id that nobody else has.
pub(super) fn draw() -> u64 {
    loop {
        let (drawn, _) = Uuid::new_v4().as_u64_pair();
        if drawn > 0 {
            return drawn;
        }
    }
}
