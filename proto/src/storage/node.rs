//! Nodes and their parts, which the admission of one brings.

use super::DecodeError;
use super::field::{incarnation, there, version};
use crate::convert::{admission_token, bytes, directory_id, node_id};
use crate::generated::storage::v1 as pb;
use migrations::id::NodeId;
use migrations::node::{Node, NodeLocation, ProcessProof};
use migrations::version::TopologyVersion;

impl From<&ProcessProof> for pb::ProcessProof {
    fn from(process: &ProcessProof) -> pb::ProcessProof {
        let ProcessProof { boot, lock_device, lock_inode } = process.clone();
        pb::ProcessProof { boot, lock_device, lock_inode }
    }
}

impl From<pb::ProcessProof> for ProcessProof {
    fn from(wire: pb::ProcessProof) -> ProcessProof {
        let pb::ProcessProof { boot, lock_device, lock_inode } = wire;
        ProcessProof { boot, lock_device, lock_inode }
    }
}

impl From<&NodeLocation> for pb::NodeLocation {
    fn from(location: &NodeLocation) -> pb::NodeLocation {
        let NodeLocation { data_address, stream_address, rack } = location.clone();
        pb::NodeLocation { data_address, stream_address, rack }
    }
}

impl From<pb::NodeLocation> for NodeLocation {
    fn from(wire: pb::NodeLocation) -> NodeLocation {
        let pb::NodeLocation { data_address, stream_address, rack } = wire;
        NodeLocation { data_address, stream_address, rack }
    }
}

/// A node as it is written.
pub(super) fn node_to_wire(id: NodeId, node: &Node) -> pb::Node {
    let Node {
        name,
        directory,
        token,
        process,
        incarnation,
        is_fenced,
        is_repair_owed,
        location,
        feature_level,
        drain,
        is_leaving,
        acknowledged,
    } = node;
    pb::Node {
        id: id.as_u64(),
        name: name.clone(),
        directory: bytes(directory.as_uuid()),
        token: bytes(token.as_uuid()),
        process: Some(process.into()),
        incarnation: Some(incarnation.0.into()),
        is_fenced: *is_fenced,
        is_repair_owed: *is_repair_owed,
        location: Some(location.into()),
        feature_level: *feature_level,
        drain: drain.as_ref().map(Into::into),
        is_leaving: *is_leaving,
        acknowledged: (*acknowledged > TopologyVersion::ZERO).then(|| (*acknowledged).into()),
    }
}

/// A node, from a snapshot.
pub(super) fn node(wire: pb::Node) -> Result<(NodeId, Node), DecodeError> {
    let pb::Node {
        id,
        name,
        directory,
        token,
        process,
        incarnation: of_process,
        is_fenced,
        is_repair_owed,
        location,
        feature_level,
        drain,
        is_leaving,
        acknowledged,
    } = wire;
    let node = Node {
        name,
        directory: directory_id("nodes.directory", &directory)?,
        token: admission_token("nodes.token", &token)?,
        process: there("nodes.process", process)?.into(),
        incarnation: incarnation("nodes.incarnation", of_process)?,
        is_fenced,
        is_repair_owed,
        location: there("nodes.location", location)?.into(),
        feature_level,
        drain: drain.map(Into::into),
        is_leaving,
        acknowledged: match acknowledged {
            Some(at) => version("nodes.acknowledged", Some(at))?,
            None => TopologyVersion::ZERO,
        },
    };
    Ok((node_id("nodes.id", id)?, node))
}
