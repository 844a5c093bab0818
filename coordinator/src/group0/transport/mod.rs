//! The transport between coordinators: gRPC on the raft port.
//!
//! Every request names the cluster and the Raft id that it is meant for; `serve` refuses what is
//! meant for somebody else before Raft sees it. Retries are Raft's.

mod dial;
mod form;
#[cfg(test)]
mod fuzz;
mod identify;
mod link;
mod peer;
mod receive;
mod serve;
mod snapshot;
#[cfg(test)]
mod tests;

pub(super) use dial::Dialler;
pub(super) use link::{Links, Peers};
pub use serve::RaftApi;

use std::time::Duration;

use super::log::MAX_ENTRY_BYTES;

/// Entries of one append.
pub(super) const APPEND_ENTRIES: u64 = 1024;
/// Bytes of the entries of one append; a single entry may be longer.
pub(super) const APPEND_BYTES: usize = 1 << 20;
/// Bytes of a snapshot in one message.
const CHUNK_BYTES: usize = 1 << 20;
/// The largest snapshot that is sent or taken: what one may take of a disk.
const SNAPSHOT_BYTES: u64 = 1 << 30;
/// The largest message that is taken: an append with the longest entry after a full budget.
const MESSAGE_BYTES: usize = MAX_ENTRY_BYTES + APPEND_BYTES + (1 << 20);
/// Appends that wait for their answers, on the way to one peer.
const APPENDS_IN_FLIGHT: usize = 16;
/// A peer that takes fewer bytes of appends a second, onto its disk, is taken for unreachable.
const APPEND_BYTES_PER_SECOND: f64 = 2_097_152.0;

const _: () = assert!(CHUNK_BYTES <= (4 << 20), "a chunk stays a small message");

/// What tunes the connections. Taken from the durations of Raft.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Time between heartbeats: a peer that could not be reached is tried again after it.
    pub(super) heartbeat: Duration,
    /// A connection comes up within this.
    pub(super) connect: Duration,
    /// An append is answered within this, or its stream is given up.
    pub(super) append: Duration,
}
