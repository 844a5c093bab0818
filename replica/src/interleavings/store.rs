//! A store without rows, whose syncs take as long as the schedule likes.

use crate::guard::{TopologyGuard, VersionGuard};
use crate::lock::{Mutex, locked};
use crate::store::{
    Begun, Call, Chunk, DataError, Digest, Dropped, Durable, Home, IngestError, Ingested, Known,
    NoRoom, Page, PurgeError, Purged, Reservation, Sizes, StepError, StoreError, StreamOnRecord,
    StreamState, TabletStore,
};
use crate::tablets::StepPermit;
use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::row::{RowVersion, WriteStep};
use migrations::version::{CopyId, TopologyVersion};
use std::sync::Arc;
use uuid::Uuid;

/// One tablet's floor, record and copies; what of the floor is durable.
#[derive(Debug, Default)]
pub(super) struct SlowDisk {
    written: Mutex<Written>,
    durable: Arc<Mutex<TopologyVersion>>,
}

#[derive(Debug, Default)]
struct Written {
    floor: Floor,
    record: Option<Arc<TabletRecord>>,
    copies: Vec<CopyId>,
}

impl SlowDisk {
    /// The floor that would be found after a power cut.
    pub(super) fn durable_floor(&self) -> TopologyVersion {
        *locked(&self.durable)
    }
}

fn no_rows() -> ! {
    unreachable!("nobody reads or writes rows here")
}

impl TabletStore for SlowDisk {
    fn raise_floor(
        &self,
        _: &StepPermit,
        record: &Arc<TabletRecord>,
        home: Home,
        _: HybridTime,
    ) -> Result<(), StepError> {
        let mut written = locked(&self.written);
        written.floor.raise(record.version)?;
        written.record = Some(Arc::clone(record));
        if let Home::Prepare(copy) = home {
            written.copies.push(copy);
        }
        Ok(())
    }

    fn floor(&self, _: TabletId) -> Floor {
        locked(&self.written).floor
    }

    fn known(&self, tablet: TabletId) -> Option<Known> {
        let written = locked(&self.written);
        let record = Some(written.record.clone()?);
        let (floor, copies) = (written.floor, written.copies.clone());
        let (given, promise) = (copies.first().copied(), HybridTime::ZERO);
        Some(Known { tablet, floor, record, given, copies, promise })
    }

    fn all_known(&self) -> Vec<Known> {
        Vec::new()
    }

    fn durable(&self) -> Durable {
        let (durable, end) = Durable::by_hand();
        let (floor, of_disk) = (self.floor_written(), Arc::clone(&self.durable));
        let sync = move || {
            let mut on_disk = locked(&of_disk);
            *on_disk = floor.max(*on_disk);
            drop(on_disk);
            end();
        };
        #[cfg(feature = "shuttle")]
        shuttle::thread::spawn(sync);
        #[cfg(not(feature = "shuttle"))]
        sync();
        durable
    }

    fn keep_floor(
        &self,
        _: &StepPermit,
        _: TabletId,
        _: TopologyVersion,
    ) -> Result<(), StoreError> {
        no_rows()
    }

    fn drop_copy(&self, _: &StepPermit, _: TabletId, _: CopyId) -> Result<(), StoreError> {
        no_rows()
    }

    fn raise_unlisted(
        &self,
        _: &StepPermit,
        _: TopologyVersion,
        _: &dyn Fn(TabletId) -> bool,
    ) -> Result<(), StoreError> {
        no_rows()
    }

    fn set_aside(&self, _: &StepPermit, _: TabletId, _: CopyId) -> Result<(), StoreError> {
        no_rows()
    }

    fn highest_floor(&self) -> TopologyVersion {
        no_rows()
    }

    fn aside(&self) -> Vec<(TabletId, CopyId)> {
        no_rows()
    }

    fn drop_aside(&self, _: TabletId, _: CopyId, _: Uuid) -> Result<Dropped, StoreError> {
        no_rows()
    }

    fn copies(&self) -> Vec<(TabletId, CopyId)> {
        no_rows()
    }

    fn sizes(&self, _: Option<TabletId>, _: usize) -> Sizes {
        no_rows()
    }

    fn probe(&self, _: &StepPermit) -> Result<(), StoreError> {
        no_rows()
    }

    fn room_for_rows(&self) -> Result<u64, StoreError> {
        no_rows()
    }

    fn begin_call(&self, _: &TopologyGuard, _: Call) -> Result<Begun, IngestError> {
        no_rows()
    }

    fn ingest(&self, _: &TopologyGuard, _: Chunk<'_>) -> Result<Ingested, IngestError> {
        no_rows()
    }

    fn end_call(
        &self,
        _: &TopologyGuard,
        _: NodeId,
        _: u64,
        _: StreamState,
    ) -> Result<(), IngestError> {
        no_rows()
    }

    fn stream(&self, _: TabletId, _: CopyId, _: NodeId) -> Option<StreamOnRecord> {
        no_rows()
    }

    fn read_rows_from(
        &self,
        _: &TopologyGuard,
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<Page, IngestError> {
        no_rows()
    }

    fn size(&self, _: &TopologyGuard) -> Result<u64, IngestError> {
        no_rows()
    }

    fn reserve(&self, _: u64) -> Result<Reservation, NoRoom> {
        no_rows()
    }

    fn put(&self, _: &VersionGuard, _: &[u8], _: &RowVersion) -> Result<WriteStep, DataError> {
        no_rows()
    }

    fn get(&self, _: &VersionGuard, _: &[u8]) -> Result<Option<RowVersion>, DataError> {
        no_rows()
    }

    fn scan(&self, _: &VersionGuard, _: &[u8], _: usize, _: usize) -> Result<Page, DataError> {
        no_rows()
    }

    fn digest(&self, _: &VersionGuard) -> Result<Digest, DataError> {
        no_rows()
    }

    fn purge(
        &self,
        _: &VersionGuard,
        _: HybridTime,
        _: Option<&[u8]>,
    ) -> Result<Purged, PurgeError> {
        no_rows()
    }
}

impl SlowDisk {
    fn floor_written(&self) -> TopologyVersion {
        locked(&self.written).floor.version()
    }
}
