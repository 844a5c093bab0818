//! Topology versions, and the two numbers that are versions: incarnations and copies.
//! All of them are made by `apply` and only grow. No arithmetic on them anywhere else.

use core::fmt;

/// (era, counter): raised once by each entry that changes the topology. Not a log index.
///
/// The era changes only by a restore; orders compare eras first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopologyVersion {
    era: u32,
    counter: u64,
}

impl TopologyVersion {
    /// Older than every version that apply makes.
    pub const ZERO: TopologyVersion = TopologyVersion { era: 0, counter: 0 };

    /// The version with these parts, as read from a message or file.
    pub const fn from_parts(era: u32, counter: u64) -> TopologyVersion {
        TopologyVersion { era, counter }
    }

    /// Which restore of the cluster it was made after; 0 before the first.
    pub const fn era(self) -> u32 {
        self.era
    }

    /// The counter within the era.
    pub const fn counter(self) -> u64 {
        self.counter
    }

    /// For `apply` alone.
    pub(crate) const fn next(self) -> TopologyVersion {
        TopologyVersion { era: self.era, counter: self.counter + 1 }
    }
}

impl fmt::Display for TopologyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.era {
            0 => write!(f, "{}", self.counter),
            era => write!(f, "{era}.{}", self.counter),
        }
    }
}

/// The version of the commit that admitted a node's process: never the same twice for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub TopologyVersion);

/// The number of one replica's data of a tablet on one node: the version of the entry whose
/// transition named the replica. Retries keep it; a later transition has a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId(pub TopologyVersion);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
