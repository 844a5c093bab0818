//! group0: the replicated, durable state of the coordinators. The only truth.
//!
//! [`Group0`] is the handle: propose an entry, confirm leadership, read the state. What is
//! replicated is given by a [`StateMachine`], which is pure: this module knows nothing of tablets,
//! and the state machine knows nothing of logs, elections or disks.
//!
//! On disk (one directory, one process at a time):
//!
//! | path | what |
//! |---|---|
//! | `lock` | held exclusively while a process has the directory open |
//! | `format` | version of the layout, Raft id and name of the member, id of its cluster |
//! | `log/` | log, vote and committed index |
//! | `snapshots/` | `snapshot-<entries>-<term>`: the newest, and the one before it; `*.aside` |
//!
//! Members talk over gRPC (`transport`). Who they are changes through the leader (`members`).

mod announce;
mod apply;
mod begin;
mod blocking;
mod clocks;
mod digests;
mod directory;
mod error;
mod follow;
#[cfg(test)]
mod fuzz;
mod handle;
mod identity;
mod levels;
mod log;
mod members;
mod open;
mod options;
mod propose;
mod quorum;
mod read;
mod remains;
mod restored;
#[cfg(test)]
mod simulated;
mod snapshot;
#[cfg(test)]
mod tests;
mod transport;
mod types;

pub use begin::NotYet;
pub(crate) use clocks::is_too_far;
pub use error::{
    BootstrapError, Damaged, FatalReason, FormatTooNew, MemberError, OpenError, ProposeError,
    ReadError, RestoreError, SaveError,
};
pub use follow::{Leadership, Role, Standing, Status};
pub use handle::Group0;
pub use options::Options;
pub(crate) use options::{DIGEST_EVERY, SNAPSHOT_EVERY};
pub use remains::{Remains, read_remains};
pub use restored::begin_restored;
pub use snapshot::SnapshotFile;
pub use transport::RaftApi;
pub use types::Member;

use std::fmt::Debug;
use std::io::{self, BufRead, Write};

/// What group0 replicates. Deterministic and total: the outcome of `apply` depends on the entry
/// and the state alone, on every coordinator and in every build.
///
/// `Clone` is used once for each snapshot and each digest, under the lock that keeps entries from
/// being applied; the copy is then encoded outside it.
pub trait StateMachine: Clone + Send + Sync + 'static {
    /// What `apply` answers to the proposer. Not stored.
    type Response: Clone + Debug + Send + Sync + 'static;

    /// Applies one committed entry.
    ///
    /// # Errors
    ///
    /// [`FormatTooNew`] if this build doesn't know the entry. It must then have changed nothing:
    /// this coordinator stops before it applies or acknowledges the entry. A refusal of the entry
    /// is not an error but a `Response`.
    fn apply(&mut self, entry: &[u8]) -> Result<Self::Response, FormatTooNew>;

    /// The feature level that a member has to be able to read.
    fn feature_level(&self) -> u32 {
        0
    }

    /// Writes the whole state as bytes that [`restore`](Self::restore) understands, with their
    /// version, piece by piece.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn snapshot(&self, out: &mut dyn Write) -> io::Result<()>;

    /// The XXH3-128 of the bytes of `snapshot`: the same on every member that has applied the same.
    fn digest(&self) -> u128 {
        let mut sum = Summed::default();
        self.snapshot(&mut sum).expect("a sum takes all that is written");
        sum.0.digest128()
    }

    /// Replaces the state with that of a snapshot, read piece by piece up to its end. After an
    /// error the value is thrown away.
    ///
    /// # Errors
    ///
    /// [`RestoreError::TooNew`] if a newer build wrote it, [`RestoreError::Unread`] if it can't be
    /// read, [`RestoreError::Damaged`] otherwise.
    fn restore(&mut self, snapshot: &mut dyn BufRead) -> Result<(), RestoreError>;
}

/// Sums up what is written.
#[derive(Default)]
struct Summed(xxhash_rust::xxh3::Xxh3);

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
