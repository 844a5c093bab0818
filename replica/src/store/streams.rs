//! What a receiver has on record of a stream: one record for each source of a copy.

use migrations::id::{MigrationId, NodeId, SessionId};
use migrations::position::Position;
use migrations::row::{Merged, RowSum, RowVersion};
use migrations::version::CopyId;

/// How a stream stands, as its receiver has it on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// The call was begun. After a restart this means: nobody knows more, and nobody ever will.
    Running,
    /// All rows are durable.
    Complete,
    /// The call ended before that.
    Failed,
}

/// A stream from one source, as its receiver has it on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOnRecord {
    /// Under which session it was pulled.
    pub session: SessionId,
    /// By which call: there is one for each session and source, for ever.
    pub call: u64,
    /// For which migration.
    pub migration: MigrationId,
    /// From which copy of the source.
    pub source_copy: CopyId,
    /// How it stands.
    pub state: StreamState,
    /// How far it has come, in this and earlier sessions of the migration.
    pub progress: Progress,
}

/// Which call is to be put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// A number that no earlier call of this receiver had.
    pub call: u64,
    /// Who is called.
    pub source: NodeId,
    /// Which copy of theirs is pulled.
    pub source_copy: CopyId,
}

/// The answer to putting a call on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is on record now; durable after the next sync. It goes on where the record says, if the
    /// source agrees with the sum; else from the first position.
    New(StreamOnRecord),
    /// A call of this session and source was on record before: no second one.
    OnRecord(StreamOnRecord),
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last position that has come; `None`: nothing has.
    pub after: Option<Position>,
    /// Rows so far.
    pub rows: u64,
    /// Bytes so far, as the stream counts them.
    pub bytes: u64,
    /// Sum so far, of positions and rows.
    pub sum: RowSum,
}

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
