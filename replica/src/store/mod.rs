//! The tablet store: copies of tablets, and the floors of all tablets.
//!
//! Every method that writes rows takes a live guard, so that it can't be called without one; the
//! steps of a barrier take a permit that only `tablets` can make, and that writes no rows:
//!
//! ```compile_fail
//! fn write_without_a_guard(store: &dyn palisade_replica::store::TabletStore,
//!                          chunk: palisade_replica::store::Chunk<'_>) {
//!     store.ingest(chunk);
//! }
//! ```
//!
//! ```compile_fail
//! let permit = palisade_replica::tablets::StepPermit::new();
//! ```
//!
//! ```
//! use palisade_replica::guard::TopologyGuard;
//! use palisade_replica::store::{Chunk, IngestError, Ingested, TabletStore};
//!
//! fn write_under_a_guard(store: &dyn TabletStore, guard: &TopologyGuard, chunk: Chunk<'_>)
//!     -> Result<Ingested, IngestError> {
//!     store.ingest(guard, chunk)
//! }
//! ```
//!
//! All methods but [`Durable::wait`] are short, and may block on the disk. Nothing is durable
//! before a [`TabletStore::durable`] that was asked for after it has returned.
//! Not here: deciding which versions to obey and which copies to prepare or drop (`tablets`).

mod aside;
mod binding;
mod committer;
mod directory;
mod error;
#[cfg(test)]
mod fuzz;
mod identity;
mod layout;
mod load;
mod manifest;
mod rows;
mod sizes;
mod sled_store;
mod space;
mod steps;
mod streams;
mod tally;

pub use aside::Dropped;
pub use committer::Durable;
pub use directory::{Directory, ProcessProof};
pub use error::{DataError, IngestError, PurgeError, StepError, StoreError, TooLarge};
pub use identity::Identity;
pub use migrations::agent::calls::{Begun, Call, Progress, StreamOnRecord, StreamState};
pub use migrations::agent::step::Home;
pub use sizes::Sizes;
pub use sled_store::{SledStore, StoreOptions};
pub(crate) use space::rows_in;
pub use space::{NoRoom, Reservation};
pub use streams::{Chunk, Ingested};

use crate::guard::{TopologyGuard, VersionGuard};
use crate::tablets::StepPermit;
use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{NodeId, TabletId};
use migrations::position::Position;
use migrations::record::TabletRecord;
use migrations::row::{RowSum, RowVersion, WriteStep};
use migrations::version::{CopyId, TopologyVersion};
use std::sync::Arc;
use uuid::Uuid;

/// What the store knows of one tablet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which tablet.
    pub tablet: TabletId,
    /// Nothing older is obeyed.
    pub floor: Floor,
    /// The record at the floor; `None` where only the floor itself is known.
    pub record: Option<Arc<TabletRecord>>,
    /// The copy that the record gives this node, if it is there.
    pub given: Option<CopyId>,
    /// The copies on the disk.
    pub copies: Vec<CopyId>,
    /// This replica's own promise of T.
    pub promise: HybridTime,
}

/// A part of a tablet's rows, in order of position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The rows.
    pub rows: Vec<(Position, RowVersion)>,
    /// Whether there is none after them.
    pub is_last: bool,
}

/// What a copy holds, in short. Tombstones at or below the tablet's T are left out, since each
/// replica purges them when it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// Rows with a value.
    pub rows: u64,
    /// Tombstones above T.
    pub tombstones: u64,
    /// The sum over the positions of both.
    pub sum: RowSum,
}

/// What a slice of a purge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// Tombstones that are gone.
    pub removed: u64,
    /// Where the next slice goes on; `None`: that was all.
    pub after: Option<Position>,
}

/// Where an agent keeps its copies. See the module for what holds for every method.
pub trait TabletStore: Send + Sync + std::fmt::Debug + 'static {
    // Work of a session.

    /// Puts a call on record, before it is made. One call for each session and source, for ever.
    fn begin_call(&self, guard: &TopologyGuard, call: Call) -> Result<Begun, IngestError>;

    /// Merges a chunk's rows, and moves the position of its stream, in one transaction; refused
    /// if the session, the copy or the call is not the one on record.
    fn ingest(&self, guard: &TopologyGuard, chunk: Chunk<'_>) -> Result<Ingested, IngestError>;

    /// Notes how a call ended. That it failed may be noted under a guard that has been revoked.
    fn end_call(
        &self,
        guard: &TopologyGuard,
        source: NodeId,
        call: u64,
        state: StreamState,
    ) -> Result<(), IngestError>;

    /// The stream on record from a source, into a copy.
    fn stream(&self, tablet: TabletId, copy: CopyId, source: NodeId) -> Option<StreamOnRecord>;

    /// Rows after a position, about `max_bytes` of them and at least one, for a stream out.
    fn read_rows_from(
        &self,
        guard: &TopologyGuard,
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<Page, IngestError>;

    /// How many bytes of packed rows the copy holds.
    fn size(&self, guard: &TopologyGuard) -> Result<u64, IngestError>;

    // Data requests, purges, sums.

    /// A router's put or delete. Answer it only once it is durable.
    fn put(
        &self,
        guard: &VersionGuard,
        position: &[u8],
        row: &RowVersion,
    ) -> Result<WriteStep, DataError>;

    /// The newest version of a row.
    fn get(&self, guard: &VersionGuard, position: &[u8]) -> Result<Option<RowVersion>, DataError>;

    /// Rows and tombstones from `start` on: at most `limit`, at most about `max_bytes`.
    fn scan(
        &self,
        guard: &VersionGuard,
        start: &[u8],
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page, DataError>;

    /// What the copy holds, in short. Reads all of it: for long; ends when the version does.
    fn digest(&self, guard: &VersionGuard) -> Result<Digest, DataError>;

    /// Removes tombstones at or below `promise`, in the next slice of rows. Outside transitions,
    /// at exactly the tablet's version, not above the tablet's T, with a lease.
    fn purge(
        &self,
        guard: &VersionGuard,
        promise: HybridTime,
        after: Option<&[u8]>,
    ) -> Result<Purged, PurgeError>;

    // Steps of a barrier, under the tablet's lock.

    /// Raises a tablet's floor to a record's version, and notes the record; a promise never
    /// falls. Streams of other migrations are forgotten.
    fn raise_floor(
        &self,
        permit: &StepPermit,
        record: &Arc<TabletRecord>,
        home: Home,
        promise: HybridTime,
    ) -> Result<(), StepError>;

    /// Raises a tablet's floor to a version of which no record is known, in the tree of floors;
    /// what is lower is no floor and changes nothing.
    fn keep_floor(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<(), StoreError>;

    /// Drops a copy, whose floor has been kept durably. For long, if the copy is large. Nothing
    /// if it is not there.
    fn drop_copy(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError>;

    /// Sets a copy aside that is not given to this node: it stays on the disk and is no copy of
    /// this node any more. Nothing if it is not there.
    fn set_aside(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError>;

    /// Makes `version` the floor of all tablets that are not listed, and forgets single floors at
    /// or below it of tablets that have no copy and for which `is_listed` is false. Never lowers.
    fn raise_unlisted(
        &self,
        permit: &StepPermit,
        version: TopologyVersion,
        is_listed: &dyn Fn(TabletId) -> bool,
    ) -> Result<(), StoreError>;

    /// Writes something that says what is there already: whether floors can be written.
    fn probe(&self, permit: &StepPermit) -> Result<(), StoreError>;

    // What is there.

    /// The floor of a tablet, listed or not.
    fn floor(&self, tablet: TabletId) -> Floor;

    /// What is known of a tablet; `None`: it is not listed.
    fn known(&self, tablet: TabletId) -> Option<Known>;

    /// All tablets that are listed: they have a copy or a floor of their own.
    fn all_known(&self) -> Vec<Known>;

    /// The highest floor of all, listed or not.
    fn highest_floor(&self) -> TopologyVersion;

    /// The copies that were set aside.
    fn aside(&self) -> Vec<(TabletId, CopyId)>;

    /// Drops a copy that was set aside, for somebody who has decided so by this request.
    fn drop_aside(
        &self,
        tablet: TabletId,
        copy: CopyId,
        request: Uuid,
    ) -> Result<Dropped, StoreError>;

    /// All copies on the disk, but for those that were set aside.
    fn copies(&self) -> Vec<(TabletId, CopyId)>;

    /// The sizes of the copies of at most `limit` tablets that come after one, of what is given to
    /// this node. Waits for nobody: a copy that is being changed at this moment is left out.
    fn sizes(&self, after: Option<TabletId>, limit: usize) -> Sizes;

    /// A wait for the next sync, which covers all that was written before this call.
    fn durable(&self) -> Durable;

    /// Bytes that rows may still take on the disk.
    fn room_for_rows(&self) -> Result<u64, StoreError>;

    /// Keeps room for so many bytes of rows, beside what others have reserved.
    fn reserve(&self, bytes: u64) -> Result<Reservation, NoRoom>;
}
