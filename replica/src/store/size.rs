//! About how many bytes of packed rows a copy holds: what a receiver needs room for, and how far a
//! stream is.
//!
//! Counted from when the copy is made; a copy that was found on the disk is read through once, when
//! somebody asks. What changes meanwhile may count twice or not at all: nothing is decided by it but
//! whether there is room.

use super::error::IngestError;
use super::rows::read_page;
use super::sled_store::SledStore;
use crate::guard::TopologyGuard;
use crate::lock::locked;
use migrations::position::Position;
use migrations::row::RowVersion;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a packed row that are neither its position nor its value.
const HEAD_BYTES: usize = 33;
/// Bytes of rows that are read under one hold of the tablet's lock.
const SLICE_BYTES: usize = 1 << 20;

/// The size of one copy.
#[derive(Debug, Default)]
pub(super) struct Size {
    bytes: AtomicI64,
    is_known: AtomicBool,
}

/// How long a row is when it is packed.
fn packed(position: &[u8], row: &RowVersion) -> i64 {
    let bytes = HEAD_BYTES + position.len() + row.value.as_ref().map_or(0, Vec::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Size {
    /// Of a copy that was made just now.
    pub(super) fn empty() -> Size {
        Size { is_known: AtomicBool::new(true), ..Size::default() }
    }

    /// One row has taken the place of another, or of none; or is gone.
    pub(super) fn changed(
        &self,
        position: &[u8],
        before: Option<&RowVersion>,
        after: Option<&RowVersion>,
    ) {
        let of = |row: Option<&RowVersion>| row.map_or(0, |row| packed(position, row));
        self.bytes.fetch_add(of(after).saturating_sub(of(before)), Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.is_known.load(Ordering::Acquire).then(|| u64::try_from(bytes).unwrap_or(0))
    }

    fn measured(&self, bytes: i64) {
        if !self.is_known.swap(true, Ordering::AcqRel) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl SledStore {
    /// See [`super::TabletStore::size`].
    pub(super) fn size_of(
        &self,
        guard: &TopologyGuard,
        patience: Duration,
    ) -> Result<Option<u64>, IngestError> {
        let (began, entry) = (Instant::now(), self.entry(guard.tablet()));
        let (mut bytes, mut after): (i64, Option<Position>) = (0, None);
        while began.elapsed() < patience {
            let mut entry = locked(&entry);
            let copy = self.admit_session(&mut entry, guard)?;
            if let Some(known) = copy.size.get() {
                return Ok(Some(known));
            }
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = read_page(&copy.tree, from, usize::MAX, SLICE_BYTES)?;
            bytes += page.rows.iter().map(|(position, row)| packed(position, row)).sum::<i64>();
            if page.is_last {
                copy.size.measured(bytes);
                return Ok(copy.size.get());
            }
            after = page.rows.into_iter().next_back().map(|(position, _)| position);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::clock::{HybridTime, Timestamp};
    use migrations::id::RouterId;
    use uuid::Uuid;

    #[test]
    fn a_row_is_counted_as_long_as_it_is_when_packed() {
        let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(1), router };
        for value in [None, Some(vec![7; 10])] {
            let row = RowVersion { timestamp, value };
            let size = Size::empty();
            size.changed(b"key", None, Some(&row));
            let expected = crate::stream::codec::packed_bytes(b"key", &row) as u64;
            assert_eq!(size.get(), Some(expected));
            size.changed(b"key", Some(&row), None);
            assert_eq!(size.get(), Some(0));
        }
        assert_eq!(Size::default().get(), None, "not before it was measured");
    }
}
