//! A store whose first chunk waits, in the middle of its write, until it is told to go on.

use migrations::clock::HybridTime;
use migrations::floor::Floor;
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::row::{RowVersion, WriteStep};
use migrations::version::{CopyId, TopologyVersion};
use palisade_replica::guard::{TopologyGuard, VersionGuard};
use palisade_replica::store::{
    Begun, Call, Chunk, DataError, Digest, Dropped, Durable, Home, IngestError, Ingested, Known,
    NoRoom, Page, PurgeError, Purged, Reservation, Sizes, StepError, StoreError, StreamOnRecord,
    StreamState, TabletStore,
};
use palisade_replica::tablets::StepPermit;
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::oneshot;
use uuid::Uuid;

#[derive(Debug)]
struct Wait {
    began: oneshot::Sender<()>,
    go: mpsc::Receiver<()>,
}

/// The gate in front of the first chunk.
pub(crate) struct Gate {
    began: Option<oneshot::Receiver<()>>,
    go: mpsc::SyncSender<()>,
}

impl Gate {
    /// Returns once the write has begun.
    pub(crate) async fn entered(mut self) -> Gate {
        let began = self.began.take().expect("once");
        began.await.expect("the write begins");
        self
    }

    pub(crate) fn open(self) {
        self.go.send(()).expect("the write waits");
    }
}

/// A store to be.
pub(crate) struct Gated {
    wait: Wait,
}

impl Gated {
    pub(crate) fn new() -> (Gated, Gate) {
        let (began, begun) = oneshot::channel();
        let (tell, go) = mpsc::sync_channel(1);
        (Gated { wait: Wait { began, go } }, Gate { began: Some(begun), go: tell })
    }

    pub(crate) fn over(self, inner: Arc<dyn TabletStore>) -> Arc<dyn TabletStore> {
        Arc::new(GatedStore { inner, wait: Mutex::new(Some(self.wait)) })
    }
}

#[derive(Debug)]
struct GatedStore {
    inner: Arc<dyn TabletStore>,
    wait: Mutex<Option<Wait>>,
}

impl TabletStore for GatedStore {
    fn ingest(&self, guard: &TopologyGuard, chunk: Chunk<'_>) -> Result<Ingested, IngestError> {
        let wait = self.wait.lock().expect("no panic").take();
        if let Some(Wait { began, go }) = wait {
            began.send(()).expect("the test waits");
            go.recv().expect("the test tells");
        }
        self.inner.ingest(guard, chunk)
    }

    fn begin_call(&self, guard: &TopologyGuard, call: Call) -> Result<Begun, IngestError> {
        self.inner.begin_call(guard, call)
    }

    fn end_call(
        &self,
        guard: &TopologyGuard,
        source: NodeId,
        call: u64,
        state: StreamState,
    ) -> Result<(), IngestError> {
        self.inner.end_call(guard, source, call, state)
    }

    fn stream(&self, tablet: TabletId, copy: CopyId, source: NodeId) -> Option<StreamOnRecord> {
        self.inner.stream(tablet, copy, source)
    }

    fn read_rows_from(
        &self,
        guard: &TopologyGuard,
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<Page, IngestError> {
        self.inner.read_rows_from(guard, after, max_bytes)
    }

    fn put(
        &self,
        guard: &VersionGuard,
        position: &[u8],
        row: &RowVersion,
    ) -> Result<WriteStep, DataError> {
        self.inner.put(guard, position, row)
    }

    fn get(&self, guard: &VersionGuard, position: &[u8]) -> Result<Option<RowVersion>, DataError> {
        self.inner.get(guard, position)
    }

    fn scan(
        &self,
        guard: &VersionGuard,
        start: &[u8],
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page, DataError> {
        self.inner.scan(guard, start, limit, max_bytes)
    }

    fn digest(&self, guard: &VersionGuard) -> Result<Digest, DataError> {
        self.inner.digest(guard)
    }

    fn purge(
        &self,
        guard: &VersionGuard,
        promise: HybridTime,
        after: Option<&[u8]>,
    ) -> Result<Purged, PurgeError> {
        self.inner.purge(guard, promise, after)
    }

    fn raise_floor(
        &self,
        permit: &StepPermit,
        record: &Arc<TabletRecord>,
        home: Home,
        promise: HybridTime,
    ) -> Result<(), StepError> {
        self.inner.raise_floor(permit, record, home, promise)
    }

    fn keep_floor(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        version: TopologyVersion,
    ) -> Result<(), StoreError> {
        self.inner.keep_floor(permit, tablet, version)
    }

    fn probe(&self, permit: &StepPermit) -> Result<(), StoreError> {
        self.inner.probe(permit)
    }

    fn drop_copy(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError> {
        self.inner.drop_copy(permit, tablet, copy)
    }

    fn raise_unlisted(
        &self,
        permit: &StepPermit,
        version: TopologyVersion,
        is_listed: &dyn Fn(TabletId) -> bool,
    ) -> Result<(), StoreError> {
        self.inner.raise_unlisted(permit, version, is_listed)
    }

    fn floor(&self, tablet: TabletId) -> Floor {
        self.inner.floor(tablet)
    }

    fn known(&self, tablet: TabletId) -> Option<Known> {
        self.inner.known(tablet)
    }

    fn all_known(&self) -> Vec<Known> {
        self.inner.all_known()
    }

    fn set_aside(
        &self,
        permit: &StepPermit,
        tablet: TabletId,
        copy: CopyId,
    ) -> Result<(), StoreError> {
        self.inner.set_aside(permit, tablet, copy)
    }

    fn highest_floor(&self) -> TopologyVersion {
        self.inner.highest_floor()
    }

    fn aside(&self) -> Vec<(TabletId, CopyId)> {
        self.inner.aside()
    }

    fn drop_aside(
        &self,
        tablet: TabletId,
        copy: CopyId,
        request: Uuid,
    ) -> Result<Dropped, StoreError> {
        self.inner.drop_aside(tablet, copy, request)
    }

    fn copies(&self) -> Vec<(TabletId, CopyId)> {
        self.inner.copies()
    }

    fn sizes(&self, after: Option<TabletId>, limit: usize) -> Sizes {
        self.inner.sizes(after, limit)
    }

    fn durable(&self) -> Durable {
        self.inner.durable()
    }

    fn room_for_rows(&self) -> Result<u64, StoreError> {
        self.inner.room_for_rows()
    }

    fn reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        self.inner.reserve(bytes)
    }

    fn size(&self, guard: &TopologyGuard) -> Result<u64, IngestError> {
        self.inner.size(guard)
    }
}
