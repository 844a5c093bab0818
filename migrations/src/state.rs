//! All that group0 replicates, as plain data: what a snapshot holds.
//!
//! Not here: changing it (only `apply` does, through `Topology`).

use crate::command::Outcome;
use crate::id::{ClusterId, NodeId, TableId, TabletId};
use crate::node::Node;
use crate::request::RequestMemory;
use crate::settings::Settings;
use crate::shared_map::SharedMap;
use crate::switch::{BalanceScope, BalanceSwitch, Pause};
use crate::tablet::{FinishedMigration, Table, Tablet};
use crate::version::TopologyVersion;
use alloc::collections::{BTreeMap, VecDeque};

/// How many finished migrations are kept. INV-15.
pub const FINISHED_MIGRATIONS: usize = 1_000;

/// How many requests are remembered.
pub const REMEMBERED_REQUESTS: usize = 100_000;

/// What this build can do.
pub const FEATURE_LEVEL: u32 = 1;

/// What a cluster begins with, whatever builds it begins with: each of them reads this.
pub const FIRST_FEATURE_LEVEL: u32 = 1;

/// All that is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `None` before bootstrap.
    pub cluster: Option<ClusterId>,
    /// Raised once by each entry that changes the topology.
    pub version: TopologyVersion,
    /// Nothing above it is proposed. It never falls.
    pub feature_level: u32,
    /// What is the same everywhere.
    pub settings: Settings,
    /// Of the next table, tablet and node that apply makes, within the era.
    pub next_table: u32,
    /// See `next_table`.
    pub next_tablet: u32,
    /// See `next_table`.
    pub next_node: u32,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// All tables.
    pub tables: BTreeMap<TableId, Table>,
    /// All tablets.
    pub tablets: SharedMap<TabletId, Tablet>,
    /// What came of the newest requests.
    pub requests: RequestMemory<Outcome>,
    /// The newest finished migrations, the newest last.
    pub finished: VecDeque<FinishedMigration>,
    /// What balancing is disabled for. Those of a table go with it.
    pub balancing: BTreeMap<BalanceScope, BalanceSwitch>,
    /// Set while transitions stand still.
    pub pause: Option<Pause>,
}

impl Default for State {
    fn default() -> State {
        State {
            cluster: None,
            version: TopologyVersion::ZERO,
            feature_level: FIRST_FEATURE_LEVEL,
            settings: Settings::DEFAULT,
            next_table: 1,
            next_tablet: 1,
            next_node: 1,
            nodes: BTreeMap::new(),
            tables: BTreeMap::new(),
            tablets: SharedMap::new(),
            requests: RequestMemory::new(REMEMBERED_REQUESTS),
            finished: VecDeque::new(),
            balancing: BTreeMap::new(),
            pause: None,
        }
    }
}
