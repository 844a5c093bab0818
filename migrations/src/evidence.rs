//! What a command that leaves a stage carries to show that it may: apply checks all of it.
//! INV-4. Who is fenced is not in here; apply knows that itself.

use crate::clock::HybridTime;
use crate::id::{NodeId, SessionId};
use crate::record::StreamPair;
use crate::row::RowSum;
use crate::version::{CopyId, Incarnation, TopologyVersion};
use alloc::vec::Vec;
use core::fmt;

/// A node has brought a tablet to a version, and nothing older can act there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub node: NodeId,
    /// Under which incarnation.
    pub incarnation: Incarnation,
    /// For exactly this version.
    pub version: TopologyVersion,
    /// The T that it has durably promised, if the stage asked for one.
    pub promised: Option<HybridTime>,
    /// When the leader heard of it: its clock, milliseconds since 1970. For people; nothing is
    /// decided by it.
    pub at_ms: u64,
}

/// A receiver has durably stored all that a source sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamReport {
    /// Under which session.
    pub session: SessionId,
    /// From where to where.
    pub pair: StreamPair,
    /// The source's incarnation.
    pub source_incarnation: Incarnation,
    /// The receiver's incarnation.
    pub receiver_incarnation: Incarnation,
    /// Rows sent.
    pub rows: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// The source's sum over the rows as it sent them.
    pub sent: RowSum,
    /// The receiver's sum over the rows as its store reported them.
    pub stored: RowSum,
}

/// A node has dropped a copy, or had none such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropReport {
    /// Who.
    pub node: NodeId,
    /// Under which incarnation.
    pub incarnation: Incarnation,
    /// Which copy.
    pub copy: CopyId,
    /// At exactly this version of the tablet.
    pub version: TopologyVersion,
}

/// All that was gathered in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Of the stage's barrier.
    pub acknowledged: Vec<Acknowledgement>,
    /// Of its streams.
    pub streams: Vec<StreamReport>,
    /// Of its drop orders.
    pub drops: Vec<DropReport>,
}

/// Why an attempt at a stream, or the work of a stage, failed. Told apart where it arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// A message that doesn't belong.
    StreamProtocol,
    /// No payload within the stall bound.
    StreamStalled,
    /// A chunk's checksum is wrong.
    ChecksumMismatch,
    /// The sums of source and receiver differ.
    DigestMismatch,
    /// The other end, or the network to it, went away.
    PeerClosed,
    /// The local disk failed.
    DiskError,
    /// The local disk is full.
    DiskFull,
    /// Stored data could not be read back.
    DataDamaged,
    /// The session is not open there.
    SessionUnknown,
    /// The session is being closed there.
    SessionClosing,
    /// The agent holds no lease.
    LeaseExpired,
    /// The node, or this incarnation of it, is not admitted.
    NodeFenced,
    /// There is no room for the tablet.
    NodeFull,
    /// The order is older than the floor.
    StaleVersion,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [FailureReason; 14] = [
        FailureReason::StreamProtocol,
        FailureReason::StreamStalled,
        FailureReason::ChecksumMismatch,
        FailureReason::DigestMismatch,
        FailureReason::PeerClosed,
        FailureReason::DiskError,
        FailureReason::DiskFull,
        FailureReason::DataDamaged,
        FailureReason::SessionUnknown,
        FailureReason::SessionClosing,
        FailureReason::LeaseExpired,
        FailureReason::NodeFenced,
        FailureReason::NodeFull,
        FailureReason::StaleVersion,
    ];

    /// The reason's name on the closed list.
    pub const fn name(self) -> &'static str {
        match self {
            FailureReason::StreamProtocol => "STREAM_PROTOCOL",
            FailureReason::StreamStalled => "STREAM_STALLED",
            FailureReason::ChecksumMismatch => "CHECKSUM_MISMATCH",
            FailureReason::DigestMismatch => "DIGEST_MISMATCH",
            FailureReason::PeerClosed => "PEER_CLOSED",
            FailureReason::DiskError => "DISK_ERROR",
            FailureReason::DiskFull => "DISK_FULL",
            FailureReason::DataDamaged => "DATA_DAMAGED",
            FailureReason::SessionUnknown => "SESSION_UNKNOWN",
            FailureReason::SessionClosing => "SESSION_CLOSING",
            FailureReason::LeaseExpired => "LEASE_EXPIRED",
            FailureReason::NodeFenced => "NODE_FENCED",
            FailureReason::NodeFull => "NODE_FULL",
            FailureReason::StaleVersion => "STALE_VERSION",
        }
    }

    /// The reason with this name.
    pub fn from_name(name: &str) -> Option<FailureReason> {
        FailureReason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether a new attempt can help. Exhaustive on purpose: whoever adds a reason decides here.
    pub const fn is_retryable(self) -> bool {
        match self {
            FailureReason::StreamProtocol
            | FailureReason::StreamStalled
            | FailureReason::ChecksumMismatch
            | FailureReason::DigestMismatch
            | FailureReason::PeerClosed
            | FailureReason::SessionUnknown
            | FailureReason::SessionClosing
            | FailureReason::LeaseExpired
            | FailureReason::NodeFenced
            | FailureReason::StaleVersion => true,
            FailureReason::DiskError
            | FailureReason::DiskFull
            | FailureReason::DataDamaged
            | FailureReason::NodeFull => false,
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
