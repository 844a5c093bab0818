//! What group0 knows of a node.

use crate::id::{AdmissionToken, DirectoryId};
use crate::switch::Drain;
use crate::version::{Incarnation, TopologyVersion};
use alloc::string::String;

/// What tells that an earlier process of a node is gone: the same directory, whose lock file is
/// held now, on a machine that has not been started anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessProof {
    /// Drawn by the machine's kernel at each boot.
    pub boot: String,
    /// The device of the lock file.
    pub lock_device: u64,
    /// The inode of the lock file.
    pub lock_inode: u64,
}

/// Where others reach a node, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLocation {
    /// For routers: `host:port`.
    pub data_address: String,
    /// For other agents: `host:port`.
    pub stream_address: String,
    /// At most one replica of a tablet in a rack; empty where racks are not told apart.
    pub rack: String,
}

/// A node: admitted, or fenced until it is admitted anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The operator's name for it.
    pub name: String,
    /// Bound to the name at the first attach.
    pub directory: DirectoryId,
    /// Of the newest admission: shows a directory that has not heard of it to be the newest.
    pub token: AdmissionToken,
    /// Of the admitted process.
    pub process: ProcessProof,
    /// Of the admitted process, or of the one that was fenced.
    pub incarnation: Incarnation,
    /// Whether that incarnation is out.
    pub is_fenced: bool,
    /// What it still has from before a fence has to be repaired.
    pub is_repair_owed: bool,
    /// Where it is.
    pub location: NodeLocation,
    /// What its build can do.
    pub feature_level: u32,
    /// Set while it is to hold nothing. Its processes come and go; this stays.
    pub drain: Option<Drain>,
    /// It is to go for good, once it holds nothing. It is drained then, too.
    pub is_leaving: bool,
    /// The newest version that a process of it has acknowledged, of whatever tablet, as far as a
    /// transition has gone on by its word: its directory has had a floor as high.
    pub acknowledged: TopologyVersion,
}

impl Node {
    /// The incarnation whose acknowledgements, reports and renewals count, if any does.
    pub fn admitted(&self) -> Option<Incarnation> {
        if self.is_fenced { None } else { Some(self.incarnation) }
    }
}
