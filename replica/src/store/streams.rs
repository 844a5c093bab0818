//! Rows of a stream on their way into the store. What is on record of it is the core's to say.

use migrations::agent::calls::Progress;
use migrations::id::NodeId;
use migrations::position::Position;
use migrations::row::{Merged, RowVersion};

/// Rows of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// By which call it came.
    pub call: u64,
    /// From whom.
    pub source: NodeId,
    /// How far the stream was before it.
    pub before: &'a Progress,
    /// The rows, in order of position.
    pub rows: &'a [(Position, RowVersion)],
    /// Their bytes, as the stream counts them.
    pub bytes: u64,
}

/// What became of a chunk's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// One for each row, in their order.
    pub merged: Vec<Merged>,
    /// How far the stream is now: on record, with the rows, in one transaction.
    pub progress: Progress,
}
