//! The topology as group0's state machine: entries are decoded here and applied by the core.
//!
//! Beside the topology it keeps which tablets the newest versions touched, so that the driver and
//! the watches learn what has changed without comparing states.

use crate::group0::{Damaged, FormatTooNew, RestoreError, StateMachine};
use migrations::apply::{AppliedEntry, apply};
use migrations::command::{Command, Entry, Outcome};
use migrations::id::{NodeId, TabletId};
#[cfg(feature = "faults")]
use migrations::request::RequestMemory;
use migrations::state::FEATURE_LEVEL;
use migrations::topology::Topology;
use migrations::version::TopologyVersion;
use proto::storage;
use proto::storage::DecodeError;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// How many changes are kept. Who is further behind looks at everything.
const CHANGES_KEPT: usize = 4_096;

/// What one version changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: TopologyVersion,
    pub(crate) touched: Arc<BTreeSet<TabletId>>,
    pub(crate) is_wider: bool,
    /// Nodes that were admitted or fenced.
    pub(crate) nodes: Arc<BTreeSet<NodeId>>,
    /// Settings or a pause have changed.
    pub(crate) is_for_all: bool,
}

/// The state of group0 on this coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) topology: Topology,
    /// The highest feature level that this process reads.
    reads: u32,
    changes: VecDeque<Change>,
    /// No change at or below it is kept.
    compacted: TopologyVersion,
}

/// What came of an entry: the outcome of each command.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) outcomes: Vec<Outcome>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::reading(FEATURE_LEVEL)
    }
}

impl Machine {
    /// An empty state, of a process that reads up to this feature level.
    pub(crate) fn reading(level: u32) -> Machine {
        Machine {
            topology: Topology::default(),
            reads: level,
            changes: VecDeque::new(),
            compacted: TopologyVersion::default(),
        }
    }

    /// Whether an entry raises the feature level above what is read here.
    fn too_high(&self, entry: &Entry) -> Option<FormatTooNew> {
        let levels = entry.commands.iter().filter_map(|command| match command {
            Command::Raise { level } => Some(*level),
            _ => None,
        });
        let highest = levels.max().filter(|level| *level > self.reads)?;
        let known = format!("feature level {}", self.reads);
        Some(FormatTooNew { found: format!("feature level {highest}"), known })
    }

    /// What has changed above `version`, oldest first; `None` if that is no longer known.
    pub(crate) fn changes_since(&self, version: TopologyVersion) -> Option<Vec<Change>> {
        if version < self.compacted || version > self.topology.version() {
            return None;
        }
        let known = self.changes.partition_point(|change| change.version <= version);
        Some(self.changes.range(known..).cloned().collect())
    }

    /// Another state, which holds its invariants as well.
    #[cfg(feature = "faults")]
    pub(crate) fn bend(&mut self) {
        let mut state = self.topology.state().clone();
        state.next_table += 1;
        if let Ok(topology) = Topology::from_state(state) {
            self.topology = topology;
        }
    }

    /// The same, with room for so many remembered requests, and with or without its horizon.
    #[cfg(feature = "faults")]
    pub(crate) fn limit_memory(&mut self, limit: usize, forgets_horizon: bool) {
        let mut state = self.topology.state().clone();
        let known = &state.requests;
        let (remembered, horizons) = (known.remembered().clone(), known.caller_horizons().clone());
        let horizon = known.horizon().filter(|_| !forgets_horizon);
        state.requests = RequestMemory::from_parts(limit, remembered, horizons, horizon);
        if let Ok(topology) = Topology::from_state(state) {
            self.topology = topology;
        }
    }

    fn note(&mut self, applied: &AppliedEntry) {
        if applied.touched.is_empty() && !applied.is_wider {
            return;
        }
        if self.changes.len() >= CHANGES_KEPT
            && let Some(oldest) = self.changes.pop_front()
        {
            self.compacted = oldest.version;
        }
        self.changes.push_back(Change {
            version: self.topology.version(),
            touched: Arc::new(applied.touched.clone()),
            is_wider: applied.is_wider,
            nodes: Arc::new(applied.nodes.clone()),
            is_for_all: applied.is_for_all,
        });
    }

    fn apply_decoded(&mut self, entry: &Entry) -> Response {
        let applied = apply(&mut self.topology, entry);
        self.note(&applied);
        Response { outcomes: applied.outcomes }
    }
}

impl StateMachine for Machine {
    type Response = Response;

    fn apply(&mut self, entry: &[u8]) -> Result<Response, FormatTooNew> {
        match storage::decode_entry(entry) {
            Ok(entry) => match self.too_high(&entry) {
                None => Ok(self.apply_decoded(&entry)),
                Some(too_new) => Err(too_new),
            },
            // Bytes that were never an entry are not known to this build either; to go on without
            // them would make this coordinator's state another one than its peers'.
            Err(error) => Err(too_new(&error)),
        }
    }

    fn feature_level(&self) -> u32 {
        self.topology.state().feature_level
    }

    fn snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        storage::write_snapshot(self.topology.state(), out)
    }

    fn restore(&mut self, snapshot: &mut dyn BufRead) -> Result<(), RestoreError> {
        let state =
            storage::read_snapshot(snapshot, self.reads).map_err(|error| restore_error(&error))?;
        let topology = Topology::from_state(state);
        self.topology = topology.map_err(|broken| Damaged(broken.to_string()))?;
        self.changes.clear();
        self.compacted = self.topology.version();
        Ok(())
    }
}

/// What this build does not know.
fn too_new(error: &DecodeError) -> FormatTooNew {
    FormatTooNew { found: error.to_string(), known: format!("format {}", storage::FORMAT) }
}

pub(crate) fn restore_error(error: &DecodeError) -> RestoreError {
    match error {
        DecodeError::Malformed(_) | DecodeError::NotProtobuf(_) => {
            Damaged(error.to_string()).into()
        }
        DecodeError::TooNew { .. } | DecodeError::Unknown { .. } => too_new(error).into(),
        DecodeError::Unread(detail) => RestoreError::Unread(detail.clone()),
    }
}
