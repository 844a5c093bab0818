//! The floor: what an agent has promised for one tablet, whether or not it holds a copy of it.
//! INV-5.

use crate::version::TopologyVersion;

/// An agent's promise for a tablet: nothing older than this is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Floor {
    version: TopologyVersion,
}

/// What was offered is older than the floor: `STALE_VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {offered} is older than the floor {floor}")]
pub struct StaleVersion {
    /// What was offered.
    pub offered: TopologyVersion,
    /// The floor that refused it.
    pub floor: TopologyVersion,
}

impl Floor {
    /// A floor read from a durable place.
    pub const fn at(version: TopologyVersion) -> Floor {
        Floor { version }
    }

    /// The version below which nothing is obeyed.
    pub const fn version(self) -> TopologyVersion {
        self.version
    }

    /// Refuses what is older. Equal is accepted: a barrier may be repeated.
    pub fn admit(self, offered: TopologyVersion) -> Result<(), StaleVersion> {
        if offered < self.version {
            return Err(StaleVersion { offered, floor: self.version });
        }
        Ok(())
    }

    /// The only way up; there is none down. Refuses what is older.
    pub fn raise(&mut self, offered: TopologyVersion) -> Result<(), StaleVersion> {
        self.admit(offered)?;
        self.version = offered;
        Ok(())
    }
}
