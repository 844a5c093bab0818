//! The steps of a barrier in the store: floors, and the trees of copies. No rows are written here.

use super::error::{StepError, StoreError};
use super::layout;
use super::manifest::{CopyNote, FloorNote};
use super::sled_store::{Copy, Entry, SledStore};
use super::tally::{Change, Tally};
use super::{Home, StreamOnRecord};
#[cfg(feature = "faults")]
use crate::faults::DiskFault;
use crate::lock::locked;
use migrations::clock::HybridTime;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::version::{CopyId, TopologyVersion};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

impl SledStore {
    pub(super) fn raise_to(
        &self,
        record: &Arc<TabletRecord>,
        home: Home,
        promise: HybridTime,
    ) -> Result<(), StepError> {
        let tablet = record.tablet;
        let entry = self.entry(tablet);
        let mut entry = locked(&entry);
        let mut floor = entry.floor;
        floor.raise(record.version)?;
        // What is promised is promised for the tablet: it goes into whichever copy is its home.
        let promise = promise.max(entry.promise);
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Full, "write a record")?;
        let given = match home {
            Home::Copy(copy) => Some(copy),
            Home::Prepare(copy) => {
                self.prepare(&mut entry, tablet, copy)?;
                Some(copy)
            }
            Home::Floors => None,
        };
        match given {
            Some(copy) => {
                self.write_record(&mut entry, copy, record, promise)?;
                self.told.floor(tablet, FloorNote::At(record.version));
            }
            None => self.write_floor(tablet, record.version)?,
        }
        if matches!(home, Home::Prepare(_)) {
            // The copy's mark: if its tree is ever missing or damaged, this is what tells a lost
            // copy from one to prepare. In the same sync; what a crash leaves out is made good
            // when the copy is found.
            self.write_floor(tablet, record.version)?;
        }
        self.note_highest(record.version)?;
        entry.floor = floor;
        entry.promise = promise;
        entry.record = Some(Arc::clone(record));
        entry.given = given;
        Ok(())
    }

    fn prepare(&self, entry: &mut Entry, tablet: TabletId, copy: CopyId) -> Result<(), StoreError> {
        if entry.copies.contains_key(&copy) {
            return Ok(());
        }
        let tree = self.db.open_tree(layout::tree_name(tablet, copy))?;
        if !tree.is_empty() {
            return Err(StoreError::damaged("a copy to prepare holds something already"));
        }
        let name = (tablet, copy);
        let (streams, tally) = (BTreeMap::new(), Tally::of(name));
        entry.copies.insert(copy, Copy { name, tree, streams, tally });
        Ok(())
    }

    pub(super) fn keep_floor_of(
        &self,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<(), StoreError> {
        let entry = self.entry(tablet);
        let mut entry = locked(&entry);
        let mut floor = entry.floor;
        if floor.raise(version).is_err() {
            return Ok(());
        }
        self.write_floor(tablet, version)?;
        if floor > entry.floor {
            entry.floor = floor;
            entry.record = None;
            entry.given = None;
        }
        Ok(())
    }

    pub(super) fn drop_tree_of(&self, tablet: TabletId, copy: CopyId) -> Result<(), StoreError> {
        let entry = self.entry(tablet);
        let was_there = {
            let mut entry = locked(&entry);
            if entry.given == Some(copy) {
                entry.given = None;
            }
            entry.copies.remove(&copy)
        };
        // Not under the lock: a large copy takes long, and whoever lists copies would wait with
        // all tablets locked. Nobody finds the copy any more, and its number never comes again.
        let dropped = self.drop_tree(tablet, copy);
        // What could not be dropped is there: the next order has to drop it, and not to say that
        // it has gone.
        if let (Err(_), Some(kept)) = (&dropped, was_there) {
            locked(&entry).copies.insert(copy, kept);
        }
        dropped
    }

    fn drop_tree(&self, tablet: TabletId, copy: CopyId) -> Result<(), StoreError> {
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Drops, "drop a copy")?;
        self.db.drop_tree(layout::tree_name(tablet, copy))?;
        self.told.copy(tablet, copy, CopyNote::Gone);
        Ok(())
    }

    pub(super) fn raise_unlisted_to(
        &self,
        version: TopologyVersion,
        is_listed: &dyn Fn(TabletId) -> bool,
    ) -> Result<(), StoreError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let mut unlisted = locked(&self.unlisted);
        if version <= *unlisted {
            return Ok(());
        }
        let is_forgotten = |(tablet, entry): &(&TabletId, &Arc<crate::lock::Mutex<Entry>>)| {
            // Somebody who has the entry in hand would otherwise go on with one that is gone.
            let is_free = Arc::strong_count(entry) == 1;
            let entry = locked(entry);
            let is_covered = entry.copies.is_empty() && entry.floor.version() <= version;
            is_free && is_covered && !is_listed(**tablet)
        };
        let forgotten: Vec<TabletId> =
            entries.iter().filter(is_forgotten).map(|(tablet, _)| *tablet).collect();
        let mut batch = sled::Batch::default();
        batch.insert(layout::UNLISTED, &layout::encode_version(version));
        for tablet in &forgotten {
            batch.remove(&tablet.as_u64().to_be_bytes());
        }
        self.floors.apply_batch(batch)?;
        self.told.unlisted(version);
        *unlisted = version;
        for tablet in &forgotten {
            self.told.floor(*tablet, FloorNote::Unlisted);
            entries.remove(tablet);
        }
        Ok(())
    }

    /// Writes the floor of the unlisted as it is.
    pub(super) fn write_again(&self) -> Result<(), StoreError> {
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Full, "write a floor")?;
        let unlisted = locked(&self.unlisted);
        self.floors.insert(layout::UNLISTED, &layout::encode_version(*unlisted))?;
        Ok(())
    }

    /// In the same sync as the floor: what is acknowledged is at or below it.
    fn note_highest(&self, version: TopologyVersion) -> Result<(), StoreError> {
        let mut highest = locked(&self.highest);
        if version > *highest {
            self.floors.insert(layout::HIGHEST, &layout::encode_version(version))?;
            *highest = version;
        }
        Ok(())
    }

    fn write_floor(&self, tablet: TabletId, version: TopologyVersion) -> Result<(), StoreError> {
        #[cfg(feature = "faults")]
        self.faults.check(DiskFault::Full, "write a floor")?;
        self.floors.insert(tablet.as_u64().to_be_bytes(), &layout::encode_version(version))?;
        self.told.floor(tablet, FloorNote::At(version));
        Ok(())
    }

    fn write_record(
        &self,
        entry: &mut Entry,
        copy: CopyId,
        record: &TabletRecord,
        promise: HybridTime,
    ) -> Result<(), StoreError> {
        let missing = || StoreError::damaged("the copy that a floor goes into is gone");
        let copy = entry.copies.get_mut(&copy).ok_or_else(missing)?;
        let migration = record.transition.as_ref().map(|transition| transition.migration);
        let is_over = |stream: &StreamOnRecord| Some(stream.migration) != migration;
        let over = copy.streams.iter().filter(|(_, stream)| is_over(stream));
        let over: Vec<NodeId> = over.map(|(source, _)| *source).collect();
        let mut change = Change::of(copy);
        change.note(layout::RECORD, Some(&layout::encode_record(record)))?;
        change.note(layout::PROMISE, Some(&promise.0.to_be_bytes()))?;
        for source in &over {
            change.note(&layout::stream_key(*source), None)?;
        }
        change.apply(&self.told)?;
        copy.streams.retain(|_, stream| !is_over(stream));
        Ok(())
    }
}
