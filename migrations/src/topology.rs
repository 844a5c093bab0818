//! The state that group0 replicates, checked, with the indexes that follow from it. Read by
//! everybody, written by `apply` only.

use crate::id::{MigrationId, NodeId, SessionId, TableId, TabletId};
use crate::invariant::{self, Broken};
use crate::node::Node;
use crate::record::TabletRecord;
use crate::state::{FINISHED_MIGRATIONS, State};
use crate::tablet::{FinishedMigration, Table, Tablet, Transition};
use crate::version::TopologyVersion;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A checked state with its indexes.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    pub(crate) state: State,
    /// Tablets in transition, by migration and tablet: a drop is one migration of many.
    migrations: BTreeSet<(MigrationId, TabletId)>,
    /// Open sessions.
    sessions: BTreeMap<SessionId, TabletId>,
    /// Tablets in transition.
    in_transition: BTreeSet<TabletId>,
    /// The same, by each node of old ∪ new.
    in_transition_on: BTreeSet<(NodeId, TabletId)>,
}

impl Topology {
    /// Takes over a state, e.g. from a snapshot. Refused if an invariant doesn't hold in it.
    pub fn from_state(state: State) -> Result<Topology, Broken> {
        invariant::check(&state)?;
        let mut topology = Topology { state, ..Topology::default() };
        let tablets: Vec<TabletId> = topology.state.tablets.keys().copied().collect();
        tablets.into_iter().for_each(|tablet| topology.index(tablet));
        Ok(topology)
    }

    /// All that is replicated, to be read.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The version of the newest change.
    pub fn version(&self) -> TopologyVersion {
        self.state.version
    }

    /// A tablet.
    pub fn tablet(&self, tablet: TabletId) -> Option<&Tablet> {
        self.state.tablets.get(&tablet)
    }

    /// A tablet's transition.
    pub fn transition(&self, tablet: TabletId) -> Option<&Transition> {
        self.tablet(tablet)?.transition.as_deref()
    }

    /// A node.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.state.nodes.get(&node)
    }

    /// The node of this name.
    pub fn node_named(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.state.nodes.iter().find(|(_, node)| node.name == name).map(|(id, node)| (*id, node))
    }

    /// The table of this name, unless it is being dropped.
    pub fn table_named(&self, name: &str) -> Option<(TableId, &Table)> {
        let named = |table: &&Table| table.name == name && !table.is_dropping;
        self.state.tables.iter().find(|(_, t)| named(t)).map(|(id, table)| (*id, table))
    }

    /// The tablets in transition, in order.
    pub fn in_transition(&self) -> impl Iterator<Item = TabletId> + '_ {
        self.in_transition.iter().copied()
    }

    /// The tablets in transition that concern a node, in order: in whose old or new set it is.
    pub fn in_transition_on(&self, node: NodeId) -> impl Iterator<Item = TabletId> + '_ {
        let from = self.in_transition_on.range((node, TabletId::mint(0, 0))..);
        from.take_while(move |(id, _)| *id == node).map(|(_, tablet)| *tablet)
    }

    /// The tablets of a running migration.
    pub fn tablets_of(&self, migration: MigrationId) -> impl Iterator<Item = TabletId> + '_ {
        let from = self.migrations.range((migration, TabletId::mint(0, 0))..);
        from.take_while(move |(id, _)| *id == migration).map(|(_, tablet)| *tablet)
    }

    /// Whether a session is open in the state.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The tablets whose open session a node takes part in: its admission begins a new attempt
    /// there, for which it has to bring a fresh session each.
    pub fn open_sessions_of(&self, node: NodeId) -> Vec<TabletId> {
        let has_session =
            |id: &TabletId| self.transition(*id).is_some_and(|t| t.record.session.is_some());
        self.in_transition_on(node).filter(has_session).collect()
    }

    /// What agents and routers are told of a tablet.
    pub fn record(&self, tablet: TabletId) -> Option<TabletRecord> {
        let found = self.tablet(tablet)?;
        let mut record = TabletRecord {
            tablet,
            table: found.table,
            range: found.range.clone(),
            version: found.version,
            replicas: found.replicas.clone(),
            transition: found.transition.as_ref().map(|transition| transition.record.clone()),
            promise: found.promise,
            incarnations: Vec::new(),
        };
        let admitted = |node| Some((node, self.node(node)?.admitted()?));
        record.incarnations = record.both().into_iter().filter_map(admitted).collect();
        Some(record)
    }

    /// The records of all tablets that concern a node: those in whose old or new set it is.
    pub fn records_of(&self, node: NodeId) -> Vec<TabletRecord> {
        let concerns = |tablet: &Tablet| {
            let next = tablet.transition.as_ref().map(|transition| &transition.record.next);
            tablet.replicas.contains(node) || next.is_some_and(|next| next.contains(node))
        };
        let ids = self.state.tablets.iter().filter(|(_, tablet)| concerns(tablet));
        ids.filter_map(|(id, _)| self.record(*id)).collect()
    }

    /// A node that is dead for a tablet's transition: fenced, never admitted, or its copy lost.
    pub fn is_dead(&self, tablet: &Tablet, node: NodeId) -> bool {
        let next = tablet.transition.as_ref().and_then(|t| t.record.next.on(node));
        let is_lost = tablet.replicas.on(node).or(next).is_some_and(|replica| replica.lost);
        is_lost || self.node(node).and_then(Node::admitted).is_none()
    }

    /// Puts a tablet in the place of what was there, and keeps the indexes.
    pub(crate) fn put(&mut self, id: TabletId, tablet: Option<Tablet>) {
        self.unindex(id);
        match tablet {
            Some(tablet) => {
                self.state.tablets.insert(id, tablet);
                self.index(id);
            }
            None => {
                self.state.tablets.remove(&id);
            }
        }
    }

    /// Changes a tablet in place, and keeps the indexes.
    pub(crate) fn change(&mut self, id: TabletId, change: impl FnOnce(&mut Tablet)) {
        self.unindex(id);
        if let Some(tablet) = self.state.tablets.get_mut(&id) {
            change(tablet);
        }
        self.index(id);
    }

    /// Ends a tablet's transition and keeps what is worth keeping of it.
    pub(crate) fn finish(&mut self, finished: FinishedMigration) {
        if self.state.finished.len() >= FINISHED_MIGRATIONS {
            self.state.finished.pop_front();
        }
        self.state.finished.push_back(finished);
    }

    fn index(&mut self, id: TabletId) {
        let Some(tablet) = self.state.tablets.get(&id) else { return };
        let Some(transition) = &tablet.transition else { return };
        let both = tablet.replicas.nodes().chain(transition.record.next.nodes());
        self.in_transition_on.extend(both.map(|node| (node, id)));
        self.in_transition.insert(id);
        self.migrations.insert((transition.record.migration, id));
        if let Some(session) = transition.record.session {
            self.sessions.insert(session, id);
        }
    }

    fn unindex(&mut self, id: TabletId) {
        let Some(tablet) = self.state.tablets.get(&id) else { return };
        let Some(transition) = &tablet.transition else { return };
        for node in tablet.replicas.nodes().chain(transition.record.next.nodes()) {
            self.in_transition_on.remove(&(node, id));
        }
        self.in_transition.remove(&id);
        self.migrations.remove(&(transition.record.migration, id));
        if let Some(session) = transition.record.session {
            self.sessions.remove(&session);
        }
    }

    /// Takes the transition out, e.g. to end it.
    pub(crate) fn take_transition(&mut self, id: TabletId) -> Option<Box<Transition>> {
        self.unindex(id);
        self.state.tablets.get_mut(&id)?.transition.take()
    }
}
