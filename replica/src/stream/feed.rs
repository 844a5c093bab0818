//! A source's rows: read page by page under the session's guard, packed, summed as they go out.
//! All of it blocks.

use super::codec::{self, CHUNK_BYTES};
use super::failure::Failure;
use crate::guard::TopologyGuard;
use crate::store::{Page, TabletStore};
use bytes::Bytes;
use migrations::position::Position;
use migrations::pull::Totals;
use migrations::row::RowSum;
use migrations::version::CopyId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of positions and values in one page. Packed, with their heads, they are about a chunk.
const PAGE_BYTES: usize = CHUNK_BYTES / 4 * 3;

/// Where a receiver asks to go on.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    pub(super) position: Position,
    pub(super) source_copy: CopyId,
    pub(super) rows: u64,
    pub(super) sum: RowSum,
}

/// A chunk that may go out.
#[derive(Debug, Clone)]
pub(super) struct OutChunk {
    pub(super) rows: Bytes,
    /// How many rows.
    pub(super) count: u64,
    pub(super) checksum: u32,
    /// The sum of all rows up to its last.
    pub(super) sum: RowSum,
}

/// Rows of one copy, from some position on.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    store: Arc<dyn TabletStore>,
    guard: Arc<TopologyGuard>,
    page: Page,
    /// How many rows of the page are packed.
    packed: usize,
    totals: Totals,
}

impl Feed {
    /// From the first position on. Reads nothing yet.
    pub(super) fn new(store: Arc<dyn TabletStore>, guard: Arc<TopologyGuard>) -> Feed {
        Feed { store, guard, page: Page::default(), packed: 0, totals: Totals::default() }
    }

    /// How much there is in all.
    pub(super) fn size(&self) -> Result<u64, Failure> {
        Ok(self.store.size(&self.guard)?)
    }

    /// What has gone out so far, and what it was asked to go on behind.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Goes on behind a position if what is here up to it is exactly what the receiver has; else
    /// stays at the first one. Looks for no longer than `patience`: the receiver waits.
    pub(super) fn resume(&mut self, resume: &Resume, patience: Duration) -> Result<bool, Failure> {
        if resume.source_copy != self.guard.copy() {
            return Ok(false);
        }
        let began = Instant::now();
        let mut totals = Totals::default();
        let mut after: Option<Position> = None;
        while began.elapsed() < patience {
            let page = self.read(after.as_deref())?;
            for (index, (position, row)) in page.rows.iter().enumerate() {
                if *position > resume.position {
                    let is_same = totals.rows == resume.rows && totals.sum == resume.sum;
                    if is_same {
                        (self.page, self.packed, self.totals) = (page, index, totals);
                    }
                    return Ok(is_same);
                }
                totals.rows += 1;
                totals.bytes += codec::packed_bytes(position, row) as u64;
                totals.sum.add(position, row);
            }
            if page.is_last {
                let is_same = totals.rows == resume.rows && totals.sum == resume.sum;
                if is_same {
                    (self.packed, self.totals) = (page.rows.len(), totals);
                    self.page = page;
                }
                return Ok(is_same);
            }
            after = page.rows.into_iter().next_back().map(|(position, _)| position);
        }
        Ok(false)
    }

    /// The next chunk; `None`: that was all.
    pub(super) fn next(&mut self) -> Result<Option<OutChunk>, Failure> {
        self.guard.check()?;
        while self.packed == self.page.rows.len() {
            if self.page.is_last {
                return Ok(None);
            }
            let after = self.page.rows.pop().map(|(position, _)| position);
            self.page = self.read(after.as_deref())?;
            self.packed = 0;
        }
        let mut sum = self.totals.sum;
        let packed = codec::pack(&self.page.rows[self.packed..], &mut sum);
        self.packed += packed.rows;
        let (rows, bytes) = (packed.rows as u64, packed.bytes.len() as u64);
        self.totals =
            Totals { rows: self.totals.rows + rows, bytes: self.totals.bytes + bytes, sum };
        let checksum = crc32fast::hash(&packed.bytes);
        Ok(Some(OutChunk { rows: packed.bytes, count: rows, checksum, sum }))
    }

    fn read(&self, after: Option<&[u8]>) -> Result<Page, Failure> {
        Ok(self.store.read_rows_from(&self.guard, after, PAGE_BYTES)?)
    }
}
