//! Why the store could not do something, told apart where it arises.

use migrations::floor::StaleVersion;
use migrations::id::{ClusterId, NodeId, SessionId, TabletId};
use migrations::row::TimestampBehind;
use migrations::version::{CopyId, TopologyVersion};
use proto::reasons::Reason;
use std::io;
use std::path::PathBuf;

/// A failure of the disk, of what is on it, or of how the directory was opened. `Clone`, so that
/// everybody who waited for a failed sync hears of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room is left, or less than the reserve.
    #[error("the disk is full: {detail}")]
    DiskFull {
        /// What was tried.
        detail: String,
    },
    /// The disk refused a read, a write or a sync. Nothing of this store counts as durable after
    /// a failed sync; the process has to be started anew.
    #[error("the disk failed: {detail}")]
    Disk {
        /// What was tried, and what the system said.
        detail: String,
    },
    /// What is on the disk is not what was written.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// Another process has the directory.
    #[error("another process has {0}")]
    AlreadyRunning(PathBuf),
    /// The directory belongs to another node.
    #[error("the directory belongs to node {bound}, not to {given}")]
    NodeMismatch {
        /// The name that it is bound to.
        bound: String,
        /// The name that it was opened with.
        given: String,
    },
    /// The directory was never admitted to a cluster: there is nothing to bring over.
    #[error("{0} was never admitted to a cluster: start it as a new node")]
    NeverAdmitted(PathBuf),
    /// The directory is of the cluster that it is to be brought over to.
    #[error("the directory is of cluster {0} already")]
    IsOfCluster(ClusterId),
    /// A program from before the oldest format wrote the directory. It is as it was.
    #[error(
        "the directory has format {found}, older than {oldest}, the oldest that this program reads; \
         start the node empty, under another name, and have it filled"
    )]
    FormatTooOld {
        /// Its format.
        found: u32,
        /// The oldest that this program reads.
        oldest: u32,
    },
    /// A newer program wrote the directory.
    #[error("the directory has format {found}; this program knows up to {known}")]
    FormatTooNew {
        /// Its format.
        found: u32,
        /// The newest that this program reads.
        known: u32,
    },
}

impl StoreError {
    /// The reason on the closed list.
    pub const fn reason(&self) -> Reason {
        match self {
            StoreError::DiskFull { .. } => Reason::DiskFull,
            StoreError::Disk { .. } => Reason::DiskError,
            StoreError::Damaged { .. } => Reason::DataDamaged,
            StoreError::AlreadyRunning(_) => Reason::AlreadyExists,
            StoreError::NodeMismatch { .. } | StoreError::NeverAdmitted(_) => Reason::NodeMismatch,
            StoreError::IsOfCluster(_) => Reason::AlreadyExists,
            StoreError::FormatTooOld { .. } => Reason::UpgradeRequired,
            StoreError::FormatTooNew { .. } => Reason::FormatTooNew,
        }
    }

    /// What the system said when `tried` was tried.
    pub(crate) fn io(tried: &str, error: &io::Error) -> StoreError {
        let detail = format!("{tried}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::DiskFull { detail }
            }
            _ => StoreError::Disk { detail },
        }
    }

    /// Something that was read does not decode.
    pub(crate) fn damaged(what: impl Into<String>) -> StoreError {
        StoreError::Damaged { detail: what.into() }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        match error {
            sled::Error::Io(error) => StoreError::io("row store", &error),
            other => StoreError::Damaged { detail: other.to_string() },
        }
    }
}

/// A row is larger than rows may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {bytes} bytes; the limit is {limit}")]
pub struct TooLarge {
    /// A position or a value.
    pub what: &'static str,
    /// Its size.
    pub bytes: usize,
    /// The largest allowed.
    pub limit: usize,
}

/// Why rows, or the state of a stream, were refused under a topology guard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The guard's session is closing, or the lease has run out.
    #[error("{0}")]
    Revoked(#[from] crate::guard::Revoked),
    /// The tablet's durable record names another session, or none.
    #[error("session {0} is not the durable one of the tablet")]
    SessionUnknown(SessionId),
    /// The copy is not here, or not the one that the record gives this node.
    #[error("copy {copy} of tablet {tablet} is not given here")]
    WrongCopy {
        /// Which tablet.
        tablet: TabletId,
        /// Which copy the guard is for.
        copy: CopyId,
    },
    /// The chunk came by a call that is not the one on record for the session and source.
    #[error("call {call} from source {source_node} is not the one on record")]
    WrongCall {
        /// By which call it came.
        call: u64,
        /// From whom.
        source_node: NodeId,
    },
    /// The rows are not in strict order of position, or not in the tablet's range.
    #[error("rows out of order, or outside the tablet's range")]
    OutOfRange,
    /// A row is too large.
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Why a put, or a read, was refused under a version guard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The guard's version is not the tablet's any more, and the wait for it was given up.
    #[error("the tablet is at version {current}")]
    StaleVersion {
        /// The tablet's version.
        current: TopologyVersion,
    },
    /// The copy is not here.
    #[error("copy {copy} of tablet {tablet} is not here")]
    NoCopy {
        /// Which tablet.
        tablet: TabletId,
        /// Which copy the guard is for.
        copy: CopyId,
    },
    /// The position belongs to another tablet.
    #[error("the position is outside the tablet's range")]
    OutOfRange,
    /// The timestamp is not above what is here, or what was promised.
    #[error("{0}")]
    TimestampBehind(#[from] TimestampBehind),
    /// The row is too large.
    #[error("{0}")]
    TooLarge(#[from] TooLarge),
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl DataError {
    /// The reason on the closed list.
    pub fn reason(&self) -> Reason {
        match self {
            DataError::StaleVersion { .. } => Reason::StaleVersion,
            DataError::NoCopy { .. } => Reason::NotReplica,
            DataError::OutOfRange | DataError::TooLarge(_) => Reason::InvalidField,
            DataError::TimestampBehind(_) => Reason::TimestampBehind,
            DataError::Store(error) => error.reason(),
        }
    }
}

/// Why a purge was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// The tablet is in a transition, or the guard is not at exactly its version, or T is not
    /// the tablet's.
    #[error("no purge at this version of the tablet")]
    NotNow,
    /// This process holds no lease.
    #[error("the lease has run out")]
    LeaseExpired,
    /// As for a put.
    #[error("{0}")]
    Data(#[from] DataError),
}

impl PurgeError {
    /// The reason on the closed list.
    pub fn reason(&self) -> Reason {
        match self {
            PurgeError::NotNow => Reason::StaleVersion,
            PurgeError::LeaseExpired => Reason::LeaseExpired,
            PurgeError::Data(error) => error.reason(),
        }
    }
}

impl From<migrations::agent::admit::PurgeRefused> for PurgeError {
    fn from(refused: migrations::agent::admit::PurgeRefused) -> PurgeError {
        match refused {
            migrations::agent::admit::PurgeRefused::LeaseExpired => PurgeError::LeaseExpired,
            migrations::agent::admit::PurgeRefused::NotNow => PurgeError::NotNow,
        }
    }
}

/// Why a step of a barrier could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Older than the floor.
    #[error("{0}")]
    Stale(#[from] StaleVersion),
    /// The disk.
    #[error("{0}")]
    Store(#[from] StoreError),
}
