//! What one call has received and not stored, and how far it has come.

use super::CHUNKS_IN_FLIGHT;
use super::failure::{Failure, Origin};
use super::write::{InChunk, Writer};
use crate::store::{Progress, Reservation, StreamOnRecord};
use migrations::evidence::FailureReason;
use migrations::version::CopyId;
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// Chunks between receipt and store.
pub(super) struct Pipe {
    pub(super) writer: Writer,
    pub(super) source_copy: CopyId,
    /// What came just now; the machine says whether it belongs.
    pub(super) arrived: Option<InChunk>,
    pub(super) pending: VecDeque<InChunk>,
    pub(super) writing: Option<JoinHandle<Result<Progress, Failure>>>,
    pub(super) progress: Progress,
    pub(super) unsynced: u64,
    /// What was heard of a failure, in words.
    pub(super) why: Option<Failure>,
    /// About how much of what comes the copy held when the call began.
    held: u64,
    room: Option<Reservation>,
}

impl Pipe {
    pub(super) fn new(writer: Writer, stream: StreamOnRecord, held: u64) -> Pipe {
        Pipe {
            writer,
            source_copy: stream.source_copy,
            arrived: None,
            pending: VecDeque::with_capacity(CHUNKS_IN_FLIGHT),
            writing: None,
            progress: stream.progress,
            unsynced: 0,
            why: None,
            held,
            room: None,
        }
    }

    /// Keeps room for what the source has and the copy has not. Where the source doesn't know how
    /// much that is, there has to be some.
    pub(super) fn reserve(&mut self, bytes_total: u64) -> Result<(), Failure> {
        let needed = bytes_total.saturating_sub(self.held);
        self.room = Some(self.writer.tablets.store().reserve(needed)?);
        Ok(())
    }

    /// So many bytes of what came are stored.
    pub(super) fn stored(&mut self, bytes: u64) {
        if let Some(room) = &mut self.room {
            room.used(bytes);
        }
    }

    pub(super) fn accept(&mut self) {
        self.pending.extend(self.arrived.take());
    }

    pub(super) fn is_idle(&self) -> bool {
        self.writing.is_none() && self.pending.is_empty()
    }

    /// Returns when the write that runs is over; never, if none runs. Cancel safe.
    pub(super) async fn wrote(&mut self) -> Result<Progress, Failure> {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let wrote = writing.await;
        self.writing = None;
        wrote.map_err(|error| Failure::panicked(&error))?
    }

    /// A failure for the machine's reason.
    pub(super) fn failure(&mut self, reason: FailureReason) -> Failure {
        let said = self.why.take().filter(|failure| failure.reason == reason);
        said.unwrap_or_else(|| match reason {
            FailureReason::PeerClosed => Failure::closed("nothing was heard of the source"),
            FailureReason::StreamStalled => {
                Failure::new(reason, Origin::Network, "the source is there, and sends no rows")
            }
            _ => Failure::protocol("a message, or an end, that doesn't belong"),
        })
    }
}
