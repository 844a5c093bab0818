//! A chunk's way into the store: checked, unpacked, and only then a guard — asked for anew for
//! each chunk, so that one that waits holds none, and one that is late is refused.

use super::codec;
use super::failure::{Failure, Origin};
use crate::guard::FrozenGuard;
use crate::store::{Chunk, Progress};
use crate::tablets::Tablets;
use bytes::Bytes;
use migrations::evidence::FailureReason;
use migrations::id::{NodeId, TabletId};
use migrations::position::Position;
use migrations::row::{RowSum, RowVersion};
use proto::convert;
use proto::stream::v1 as pb;
use std::sync::Arc;

/// A chunk that came and is not stored.
#[derive(Debug, Clone)]
pub(super) struct InChunk {
    pub(super) number: u64,
    checksum: u32,
    rows: Bytes,
    /// The source's sum up to its last row.
    sum: RowSum,
}

impl TryFrom<pb::Chunk> for InChunk {
    type Error = Failure;
    fn try_from(chunk: pb::Chunk) -> Result<InChunk, Failure> {
        let pb::Chunk { number, checksum, rows, sum } = chunk;
        let sum = RowSum(convert::sum("chunk.sum", &sum)?);
        Ok(InChunk { number, checksum, rows, sum })
    }
}

impl InChunk {
    pub(super) fn bytes(&self) -> usize {
        self.rows.len()
    }

    /// Its rows, if they are what was sent: by their checksum, and by the sum behind `before`.
    pub(super) fn unpack(&self, before: RowSum) -> Result<Vec<(Position, RowVersion)>, Failure> {
        if crc32fast::hash(&self.rows) != self.checksum {
            let detail = format!("chunk {} is not what its checksum says", self.number);
            return Err(Failure::new(FailureReason::ChecksumMismatch, Origin::Data, detail));
        }
        let (mut rows, mut sum) = (Vec::new(), before);
        for row in codec::unpack(&self.rows) {
            let row = row.map_err(|error| Failure::protocol(error.to_string()))?;
            sum.add_encoded(row.encoded);
            rows.push(row.to_row());
        }
        self.compare(sum)?;
        Ok(rows)
    }

    fn compare(&self, sum: RowSum) -> Result<(), Failure> {
        if sum == self.sum {
            return Ok(());
        }
        let detail = format!("the sums differ after chunk {}", self.number);
        Err(Failure::new(FailureReason::DigestMismatch, Origin::Data, detail))
    }

    /// The positions of its rows, as far as they are rows.
    #[cfg(feature = "faults")]
    pub(super) fn positions(&self) -> Vec<Position> {
        codec::unpack(&self.rows).flatten().map(|row| row.position.to_vec()).collect()
    }
}

/// Stores the chunks of one call.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) tablets: Arc<Tablets>,
    pub(super) session: FrozenGuard,
    pub(super) tablet: TabletId,
    pub(super) source: NodeId,
    /// The number of the call that is on record.
    pub(super) call: u64,
}

impl Writer {
    /// Checks a chunk and stores it, behind how far the stream was; how far it is now. Blocks. The
    /// guard lives exactly as long as the write, whoever still waits for it.
    ///
    /// The sum is compared before the write as well as after it: a row that was bent on its way
    /// must not get into the store, where a later attempt might find it to be the greater one.
    pub(super) fn write(&self, chunk: &InChunk, before: &Progress) -> Result<Progress, Failure> {
        let rows = chunk.unpack(before.sum)?;
        let (call, source, bytes) = (self.call, self.source, chunk.rows.len() as u64);
        let guard = self.tablets.sessions().enter(self.session, self.tablet)?;
        let chunk_in_order = Chunk { call, source, before, rows: &rows, bytes };
        let ingested = self.tablets.store().ingest(&guard, chunk_in_order)?;
        drop(guard);
        chunk.compare(ingested.progress.sum)?;
        Ok(ingested.progress)
    }
}
