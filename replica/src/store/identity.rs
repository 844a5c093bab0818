//! What a data directory knows of itself, as a text of `name value` lines under a checksum.

use super::error::StoreError;
use migrations::id::{AdmissionToken, ClusterId, DirectoryId, NodeId};
use migrations::version::{Incarnation, TopologyVersion};
use std::fmt::Write;
use uuid::Uuid;

/// A directory's own knowledge of whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn when the directory was made.
    pub directory: DirectoryId,
    /// The operator's name for the node; bound when the directory was made.
    pub node_name: String,
    /// The id of its row store, once that was made.
    pub rows: Option<Uuid>,
    /// The cluster, once an admission was learned of.
    pub cluster: Option<ClusterId>,
    /// Whether it was brought over to that cluster, and the first full state of it is not worked
    /// off yet: what that doesn't give is set aside.
    pub adopted: bool,
    /// The node's id and its newest incarnation that was learned of.
    pub node: Option<(NodeId, Incarnation)>,
    /// The token of that incarnation first, then those of processes that asked for admission and
    /// never learned what became of it.
    pub tokens: Vec<AdmissionToken>,
}

impl Identity {
    /// That of a new directory.
    pub(crate) fn fresh(node_name: &str) -> Identity {
        let directory = DirectoryId::from_uuid(Uuid::new_v4()).expect("a v4 UUID is never nil");
        let node_name = node_name.to_owned();
        let (rows, cluster, adopted, node, tokens) = (None, None, false, None, Vec::new());
        Identity { directory, node_name, rows, cluster, adopted, node, tokens }
    }

    pub(crate) fn to_text(&self) -> String {
        let Identity { directory, node_name, rows, cluster, adopted, node, tokens } = self;
        let mut text = format!("directory {directory}\nnode-name {node_name}\n");
        if let Some(rows) = rows {
            text.push_str(&format!("rows {rows}\n"));
        }
        if let Some(cluster) = cluster {
            text.push_str(&format!("cluster {cluster}\n"));
        }
        if *adopted {
            text.push_str("adopted yes\n");
        }
        if let Some((node, Incarnation(version))) = node {
            let (era, counter) = (version.era(), version.counter());
            text.push_str(&format!("node {} {era} {counter}\n", node.as_u64()));
        }
        for token in tokens {
            text.push_str(&format!("token {token}\n"));
        }
        let sum = crc32fast::hash(text.as_bytes());
        // Writing to a string never fails.
        let _always = writeln!(text, "crc32 {sum:08x}");
        text
    }

    pub(crate) fn parse(text: &str) -> Result<Identity, StoreError> {
        let damaged = |what: &str| StoreError::damaged(format!("identity: {what}"));
        let (body, sum) = text.rsplit_once("crc32 ").ok_or_else(|| damaged("no checksum"))?;
        let sum = u32::from_str_radix(sum.trim_end(), 16).map_err(|_| damaged("checksum"))?;
        if crc32fast::hash(body.as_bytes()) != sum {
            return Err(damaged("another checksum"));
        }
        let mut identity = Identity::fresh("");
        for line in body.lines() {
            let (name, value) = line.split_once(' ').ok_or_else(|| damaged(line))?;
            identity.read(name, value).ok_or_else(|| damaged(line))?;
        }
        // A line that is not there, or there twice: a directory without an id would get a new one
        // each time.
        if identity.to_text() != text {
            return Err(damaged("not as it was written"));
        }
        Ok(identity)
    }

    fn read(&mut self, name: &str, value: &str) -> Option<()> {
        let uuid = || Uuid::parse_str(value).ok();
        match name {
            "directory" => self.directory = DirectoryId::from_uuid(uuid()?)?,
            "node-name" => self.node_name = value.to_owned(),
            "rows" => self.rows = Some(uuid()?),
            "cluster" => self.cluster = Some(ClusterId::from_uuid(uuid()?)?),
            "adopted" => self.adopted = value == "yes",
            "token" => self.tokens.push(AdmissionToken::from_uuid(uuid()?)?),
            "node" => {
                let mut parts = value.split(' ');
                let node = NodeId::from_u64(parts.next()?.parse().ok()?)?;
                let (era, counter) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
                let version = TopologyVersion::from_parts(era, counter);
                self.node = Some((node, Incarnation(version)));
            }
            _ => return None,
        }
        Some(())
    }
}
