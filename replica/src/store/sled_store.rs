//! The store over sled: opening it, what is held in memory of each tablet, and the trait.
//!
//! One sled database holds all copies, so that one sync makes all of them durable. Its own flush
//! does not reach the disk's cache; the committer adds `fdatasync`. A mutex for each tablet
//! serialises what is done to its copies, so that no sled transactions are needed.

use super::aside::Asides;
use super::aside::Dropped;
use super::binding;
use super::committer::{Committer, Durable};
use super::directory::Directory;
use super::error::{DataError, IngestError, PurgeError, StepError, StoreError};
use super::load::{Loaded, load};
use super::manifest::{CopyNote, FloorNote, Manifest, Pending};
use super::sizes::Sizes;
use super::space::{NoRoom, Reservation, Space};
use super::streams::{Chunk, Ingested};
use super::tally::Tally;
use super::{Begun, Call, StreamOnRecord, StreamState};
use super::{Digest, Home, Known, Page, Purged, TabletStore};
use crate::guard::{TopologyGuard, VersionGuard};
use crate::lease::Lease;
use crate::limits::{RESERVE_BYTES, SEGMENT_BYTES, UNSYNCED_BYTES};
use crate::lock::{Mutex, locked};
use crate::metrics::Syncs;
use crate::tablets::StepPermit;
use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::row::{RowVersion, WriteStep};
use migrations::version::{CopyId, TopologyVersion};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// What can be chosen of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Bytes of pages that are kept in memory.
    pub cache_bytes: u64,
    /// Free bytes of the disk below which rows are refused.
    pub reserve_bytes: u64,
    /// How the disk is to fail.
    #[cfg(feature = "faults")]
    pub faults: Arc<crate::faults::DiskFaults>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            cache_bytes: 256 << 20,
            reserve_bytes: RESERVE_BYTES,
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        }
    }
}

/// One copy that is on the disk.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) name: (TabletId, CopyId),
    pub(super) tree: sled::Tree,
    pub(super) streams: BTreeMap<NodeId, StreamOnRecord>,
    pub(super) tally: Tally,
}

/// What is held in memory of one tablet; it says what the disk says, or will after a sync.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) floor: Floor,
    /// The record at the floor.
    pub(super) record: Option<Arc<TabletRecord>>,
    /// The copy that the record gives this node, if it is there.
    pub(super) given: Option<CopyId>,
    pub(super) promise: HybridTime,
    pub(super) copies: BTreeMap<CopyId, Copy>,
}

impl Entry {
    pub(super) fn at(floor: TopologyVersion) -> Entry {
        Entry {
            floor: Floor::at(floor),
            record: None,
            given: None,
            promise: HybridTime::ZERO,
            copies: BTreeMap::new(),
        }
    }

    fn known(&self, tablet: TabletId) -> Known {
        let copies = self.copies.keys().copied().collect();
        let (floor, record) = (self.floor, self.record.clone());
        Known { tablet, floor, record, given: self.given, copies, promise: self.promise }
    }
}

pub(super) type Entries = HashMap<TabletId, Arc<Mutex<Entry>>>;

/// The store over sled.
#[derive(Debug)]
pub struct SledStore {
    // First, so that its thread has ended when the database is closed.
    committer: Committer,
    pub(super) db: sled::Db,
    pub(super) floors: sled::Tree,
    pub(super) entries: RwLock<Entries>,
    /// The floor of tablets that have no entry.
    pub(super) unlisted: Mutex<TopologyVersion>,
    pub(super) highest: Mutex<TopologyVersion>,
    pub(super) aside: Mutex<Asides>,
    /// What the next sync will cover.
    pub(super) told: Arc<Pending>,
    pub(super) space: Space,
    /// Bytes of rows written since the last sync that `pace` has waited for.
    unsynced: AtomicU64,
    pub(super) lease: Arc<Lease>,
    #[cfg(feature = "faults")]
    pub(super) faults: Arc<crate::faults::DiskFaults>,
    // Last, so that no other process gets the directory before the database is closed.
    _directory: Arc<Directory>,
}

impl SledStore {
    /// Opens the row store of a directory, and makes durable what it finds. Blocks. What can't
    /// be read at all, or is not the row store that the directory had, is `Damaged`; a copy that
    /// can't be read, or is not as it was when that was durable, is left out, and so is *lost*.
    /// Reads all copies through.
    pub fn open(
        directory: Arc<Directory>,
        lease: Arc<Lease>,
        options: StoreOptions,
    ) -> Result<SledStore, StoreError> {
        let space = Space::watch(directory.path(), options.reserve_bytes)?;
        #[cfg(feature = "faults")]
        let space = space.with(&options.faults);
        let path = directory.path().join("rows");
        binding::check_is_there(&directory, &path)?;
        binding::wait_until_free(&path)?;
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(options.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        let is_adopted = directory.identity().adopted;
        let (mut noted, round) = binding::manifest(&directory)?;
        if is_adopted {
            noted.bring_back();
        }
        // sled panics on some kinds of damage.
        let open = AssertUnwindSafe(|| {
            let db = config.open()?;
            let id = binding::check_id(&directory, &db)?;
            let found = load(db, &noted, is_adopted)?;
            Ok((id, found))
        });
        let panicked = |_| Err(StoreError::damaged("the row store panicked when it was opened"));
        let (id, loaded) = catch_unwind(open).unwrap_or_else(panicked)?;
        let Loaded { db, floors, entries, unlisted, highest, aside } = loaded;
        #[cfg(feature = "faults")]
        let faults = Arc::clone(&options.faults);
        let check = move || {
            #[cfg(feature = "faults")]
            faults.check(crate::faults::DiskFault::Syncs, "fdatasync")?;
            Ok(())
        };
        let told = Arc::new(found(&entries, unlisted));
        let manifest = Manifest::make(directory.path(), noted, round)?;
        let committer = start_committer(&db, &path, (manifest, Arc::clone(&told)), check)?;
        // What was read may be in the system's cache only; a floor counts once it is durable.
        committer.durable().wait_blocking()?;
        directory.note_rows(id)?;
        Ok(SledStore {
            committer,
            db,
            floors,
            entries: RwLock::new(entries),
            unlisted: Mutex::new(unlisted),
            highest: Mutex::new(highest),
            aside: Mutex::new(aside),
            told,
            space,
            unsynced: AtomicU64::new(0),
            lease,
            #[cfg(feature = "faults")]
            faults: options.faults,
            _directory: directory,
        })
    }

    /// Waits for a sync where too much is written and not synced. sled 0.34 can otherwise stand
    /// still for good: a writer waits for the truncation of a segment, which waits for the threads
    /// that write, which wait for the lock that the writer holds.
    fn pace(&self, bytes: usize) -> Result<(), StoreError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.unsynced.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > UNSYNCED_BYTES
        {
            self.committer.durable().wait_blocking()?;
            self.unsynced.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The tablet's entry, if it has one.
    pub(super) fn find(&self, tablet: TabletId) -> Option<Arc<Mutex<Entry>>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&tablet).map(Arc::clone)
    }

    /// The tablet's entry, made at the floor of the unlisted if it has none.
    pub(super) fn entry(&self, tablet: TabletId) -> Arc<Mutex<Entry>> {
        if let Some(entry) = self.find(tablet) {
            return entry;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let floor = *locked(&self.unlisted);
        let fresh = || Arc::new(Mutex::new(Entry::at(floor)));
        Arc::clone(entries.entry(tablet).or_insert_with(fresh))
    }
}

/// What the first sync makes durable of what was found.
fn found(entries: &Entries, unlisted: TopologyVersion) -> Pending {
    let told = Pending::default();
    for (tablet, entry) in entries {
        let entry = locked(entry);
        told.floor(*tablet, FloorNote::At(entry.floor.version()));
        for (copy, found) in &entry.copies {
            told.copy(*tablet, *copy, CopyNote::Changes(found.tally.changes));
        }
    }
    told.unlisted(unlisted);
    told
}

/// The committer of a database. Each sync begins with the check, and ends with what is noted of
/// it outside.
fn start_committer(
    db: &sled::Db,
    path: &std::path::Path,
    (mut manifest, told): (Manifest, Arc<Pending>),
    check: impl Fn() -> Result<(), StoreError> + Send + 'static,
) -> Result<Committer, StoreError> {
    let io = |error: std::io::Error| StoreError::io("open the row store's log", &error);
    let log = File::open(path.join("db")).map_err(io)?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io)?;
    let db = db.clone();
    Committer::start(Box::new(move || {
        check()?;
        // Before the flush, which covers it all then.
        let covered = told.take();
        db.flush()?;
        let synced = rustix::fs::fdatasync(&log);
        synced.map_err(|error| StoreError::io("fdatasync", &error.into()))?;
        manifest.write(&covered)
    }))
}

impl SledStore {
    /// What is counted of the syncs.
    pub fn syncs(&self) -> &Syncs {
        self.committer.syncs()
    }
}

impl TabletStore for SledStore {
    fn begin_call(&self, guard: &TopologyGuard, call: Call) -> Result<Begun, IngestError> {
        self.begin_call_of(guard, call)
    }

    fn ingest(&self, guard: &TopologyGuard, chunk: Chunk<'_>) -> Result<Ingested, IngestError> {
        self.pace(usize::try_from(chunk.bytes).unwrap_or(usize::MAX))?;
        self.ingest_chunk(guard, chunk)
    }

    fn end_call(
        &self,
        guard: &TopologyGuard,
        source: NodeId,
        call: u64,
        state: StreamState,
    ) -> Result<(), IngestError> {
        self.end_call_of(guard, source, call, state)
    }

    fn stream(&self, tablet: TabletId, copy: CopyId, source: NodeId) -> Option<StreamOnRecord> {
        let entry = self.find(tablet)?;
        let entry = locked(&entry);
        entry.copies.get(&copy)?.streams.get(&source).cloned()
    }

    fn size(&self, guard: &TopologyGuard) -> Result<u64, IngestError> {
        self.size_of(guard)
    }

    fn read_rows_from(
        &self,
        guard: &TopologyGuard,
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<Page, IngestError> {
        self.read_session_rows(guard, after, max_bytes)
    }

    fn put(
        &self,
        guard: &VersionGuard,
        position: &[u8],
        row: &RowVersion,
    ) -> Result<WriteStep, DataError> {
        self.pace(row.value.as_ref().map_or(0, Vec::len))?;
        self.put_row(guard, position, row)
    }

    fn get(&self, guard: &VersionGuard, position: &[u8]) -> Result<Option<RowVersion>, DataError> {
        self.get_row(guard, position)
    }

    fn scan(
        &self,
        guard: &VersionGuard,
        start: &[u8],
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page, DataError> {
        self.scan_rows(guard, start, limit, max_bytes)
    }

    fn digest(&self, guard: &VersionGuard) -> Result<Digest, DataError> {
        self.digest_rows(guard)
    }

    fn purge(
        &self,
        guard: &VersionGuard,
        promise: HybridTime,
        after: Option<&[u8]>,
    ) -> Result<Purged, PurgeError> {
        self.purge_slice(guard, promise, after)
    }

    fn raise_floor(
        &self,
        _permit: &StepPermit,
        record: &Arc<TabletRecord>,
        home: Home,
        promise: HybridTime,
    ) -> Result<(), StepError> {
        self.raise_to(record, home, promise)
    }

    fn keep_floor(
        &self,
        _permit: &StepPermit,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<(), StoreError> {
        self.keep_floor_of(tablet, version)
    }

    fn drop_copy(
        &self,
        _permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError> {
        self.drop_tree_of(tablet, copy)
    }

    fn set_aside(
        &self,
        _permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError> {
        self.set_copy_aside(tablet, copy)
    }

    fn raise_unlisted(
        &self,
        _permit: &StepPermit,
        version: TopologyVersion,
        is_listed: &dyn Fn(TabletId) -> bool,
    ) -> Result<(), StoreError> {
        self.raise_unlisted_to(version, is_listed)
    }

    fn probe(&self, _permit: &StepPermit) -> Result<(), StoreError> {
        self.write_again()
    }

    fn floor(&self, tablet: TabletId) -> Floor {
        match self.find(tablet) {
            Some(entry) => locked(&entry).floor,
            None => Floor::at(*locked(&self.unlisted)),
        }
    }

    fn known(&self, tablet: TabletId) -> Option<Known> {
        self.find(tablet).map(|entry| locked(&entry).known(tablet))
    }

    fn all_known(&self) -> Vec<Known> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(tablet, entry)| locked(entry).known(*tablet)).collect()
    }

    fn highest_floor(&self) -> TopologyVersion {
        let known = self.all_known();
        let floors = known.iter().map(|known| known.floor.version());
        let (unlisted, highest) = (*locked(&self.unlisted), *locked(&self.highest));
        floors.fold(unlisted.max(highest), TopologyVersion::max)
    }

    fn aside(&self) -> Vec<(TabletId, CopyId)> {
        locked(&self.aside).iter().copied().collect()
    }

    fn drop_aside(
        &self,
        tablet: TabletId,
        copy: CopyId,
        request: Uuid,
    ) -> Result<Dropped, StoreError> {
        self.drop_copy_aside(tablet, copy, request)
    }

    fn copies(&self) -> Vec<(TabletId, CopyId)> {
        let known = self.all_known();
        let copies = known.iter().flat_map(|k| k.copies.iter().map(|copy| (k.tablet, *copy)));
        copies.collect()
    }

    fn sizes(&self, after: Option<TabletId>, limit: usize) -> Sizes {
        self.sizes_after(after, limit)
    }

    fn durable(&self) -> Durable {
        self.committer.durable()
    }

    fn room_for_rows(&self) -> Result<u64, StoreError> {
        self.space.room_for_rows()
    }

    fn reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        self.space.reserve(bytes)
    }
}
