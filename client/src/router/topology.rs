//! A router's picture of the topology: tables, tablets, nodes. Fed by the watch, and by records
//! that come with refusals. Pure: it neither waits nor connects.

use migrations::id::{ClusterId, NodeId, TableId, TabletId};
use migrations::position::{Partitioning, Position};
use migrations::record::TabletRecord;
use proto::admin::v1 as pb;
use proto::{Malformed, convert};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A table, as far as a router needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableEntry {
    pub(crate) id: TableId,
    pub(crate) partitioning: Partitioning,
}

/// The picture. Versions of one tablet only grow, until a snapshot replaces everything.
#[derive(Debug, Default)]
pub(crate) struct TopologyMap {
    cluster: Option<ClusterId>,
    tables: HashMap<String, TableEntry>,
    tablets: BTreeMap<TabletId, Arc<TabletRecord>>,
    by_start: BTreeMap<(TableId, Position), TabletId>,
    nodes: HashMap<NodeId, String>,
    skew_bound_ms: Option<u32>,
    /// Parts of a version that is not complete yet.
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Snapshot,
    Cluster(ClusterId),
    Tablet(Box<TabletRecord>),
    Gone(TabletId),
    Wider { tables: HashMap<String, TableEntry>, nodes: HashMap<NodeId, String> },
    SkewBound(u32),
}

impl TopologyMap {
    /// The cluster, once the picture is complete.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    pub(crate) fn table(&self, name: &str) -> Option<TableEntry> {
        self.tables.get(name).copied()
    }

    /// The tablet of a table that owns a position.
    pub(crate) fn tablet_at(&self, table: TableId, position: &[u8]) -> Option<Arc<TabletRecord>> {
        let upto = (table, position.to_vec());
        let ((of, _), id) = self.by_start.range(..=upto).next_back()?;
        let record = self.tablets.get(id)?;
        (*of == table && record.range.contains(position)).then(|| Arc::clone(record))
    }

    pub(crate) fn address(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).map(String::as_str)
    }

    pub(crate) fn is_address(&self, address: &str) -> bool {
        self.nodes.values().any(|known| known == address)
    }

    /// How far clocks may be apart, in milliseconds.
    pub(crate) fn skew_bound_ms(&self) -> Option<u32> {
        self.skew_bound_ms
    }

    /// Takes on a record if it is newer than what is known of that tablet.
    pub(crate) fn learn(&mut self, record: TabletRecord) -> bool {
        let known = self.tablets.get(&record.tablet);
        if known.is_none_or(|known| known.version >= record.version) {
            return false;
        }
        self.put(record);
        true
    }

    fn put(&mut self, record: TabletRecord) {
        self.by_start.insert((record.table, record.range.start.clone()), record.tablet);
        self.tablets.insert(record.tablet, Arc::new(record));
    }

    /// Takes a message of the watch; true once a version is complete and the picture has changed.
    /// A malformed one changes nothing.
    pub(crate) fn take(&mut self, message: pb::WatchTopologyResponse) -> Result<bool, Malformed> {
        let is_last = message.last;
        let parts = parts(message)?;
        if parts.iter().any(|part| matches!(part, Part::Snapshot)) {
            self.parts.clear();
        }
        self.parts.extend(parts);
        if !is_last {
            return Ok(false);
        }
        let parts = std::mem::take(&mut self.parts);
        let has_changed = !parts.is_empty();
        parts.into_iter().for_each(|part| self.apply(part));
        Ok(has_changed)
    }

    fn apply(&mut self, part: Part) {
        match part {
            Part::Snapshot => *self = TopologyMap::default(),
            Part::Cluster(cluster) => self.cluster = Some(cluster),
            Part::Tablet(record) => {
                // A refusal may have told of a newer one already.
                let known = self.tablets.get(&record.tablet);
                if known.is_none_or(|known| known.version < record.version) {
                    self.put(*record);
                }
            }
            Part::Gone(tablet) => {
                if let Some(record) = self.tablets.remove(&tablet) {
                    self.by_start.remove(&(record.table, record.range.start.clone()));
                }
            }
            Part::Wider { tables, nodes } => {
                self.tables = tables;
                self.nodes = nodes;
            }
            Part::SkewBound(bound) => self.skew_bound_ms = Some(bound),
        }
    }
}

/// What a message brings, in the order in which it is to be applied.
fn parts(message: pb::WatchTopologyResponse) -> Result<Vec<Part>, Malformed> {
    let pb::WatchTopologyResponse {
        cluster_id,
        version: _,
        snapshot,
        tablets,
        gone,
        tables,
        nodes,
        wider,
        last: _,
        settings,
        coordinators: _,
    } = message;
    let mut parts = Vec::new();
    if snapshot {
        parts.push(Part::Snapshot);
    }
    if !cluster_id.is_empty() {
        parts.push(Part::Cluster(convert::cluster_id("cluster_id", &cluster_id)?));
    }
    if wider {
        let tables = tables.into_iter().filter(|table| !table.dropping).map(table);
        let nodes = nodes
            .into_iter()
            .map(|node| Ok((convert::node_id("nodes.id", node.id)?, node.data_address)));
        parts.push(Part::Wider {
            tables: tables.collect::<Result<_, Malformed>>()?,
            nodes: nodes.collect::<Result<_, Malformed>>()?,
        });
    }
    for tablet in tablets {
        parts.push(Part::Tablet(Box::new(TabletRecord::try_from(tablet)?)));
    }
    for tablet in gone {
        parts.push(Part::Gone(convert::tablet_id("gone", tablet)?));
    }
    if let Some(settings) = settings {
        parts.push(Part::SkewBound(settings.skew_bound_ms));
    }
    Ok(parts)
}

fn table(table: pb::Table) -> Result<(String, TableEntry), Malformed> {
    let id = convert::table_id("tables.id", table.id)?;
    let partitioning = convert::partitioning("tables.partitioning", table.partitioning)?;
    Ok((table.name, TableEntry { id, partitioning }))
}
