//! Tables come and go.

use super::Work;
use crate::clock::HybridTime;
use crate::command::{Applied, CreateTable, Missing, PlacementRule, Rejected};
use crate::id::{MigrationId, NodeId, TableId, TabletId};
use crate::problem::{Field, Problem};
use crate::replica_set::{Replica, ReplicaSet};
use crate::stage::TransitionKind;
use crate::switch::{BalanceScope, Origin};
use crate::tablet::{EndReason, Ending, Table, Tablet, Transition};
use crate::topology::Topology;
use crate::version::CopyId;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest name of a table, in bytes.
const NAME_MAX: usize = 128;

/// Most tablets of one table: one entry makes them all.
const TABLETS_MAX: usize = 100_000;

fn invalid(field: Field, problem: Problem) -> Rejected {
    Rejected::InvalidField { field, problem }
}

/// A name is what can stand before the slash of a tablet's, in a path and in a label.
fn check_name(name: &str) -> Result<(), Rejected> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(allowed) {
        return Err(invalid(Field::Name, Problem::NotAName));
    }
    Ok(())
}

/// Ranges are in order, do not overlap and leave nothing out.
fn check_ranges(create: &CreateTable) -> Result<(), Rejected> {
    let tablets = &create.tablets;
    if tablets.is_empty() || tablets.len() > TABLETS_MAX {
        return Err(invalid(Field::Tablets, Problem::TabletCount));
    }
    let adjoin = tablets.windows(2).all(|pair| {
        let (before, after) = (&pair[0].0, &pair[1].0);
        before.end.as_ref() == Some(&after.start) && before.start < after.start
    });
    let first_to_last = tablets.first().is_some_and(|(range, _)| range.start.is_empty())
        && tablets.last().is_some_and(|(range, _)| range.end.is_none());
    if adjoin && first_to_last { Ok(()) } else { Err(invalid(Field::Tablets, Problem::Ranges)) }
}

fn check_nodes(
    topology: &Topology,
    nodes: &[NodeId],
    replication_factor: u32,
) -> Result<(), Rejected> {
    let violation = |rule, node| Err(Rejected::PlacementViolation { rule, node });
    for (i, id) in nodes.iter().enumerate() {
        let node = topology.node(*id).ok_or(Rejected::NotFound(Missing::Node(*id)))?;
        if node.is_fenced {
            return Err(Rejected::NodeFenced(*id));
        }
        if node.drain.is_some() {
            return Err(Rejected::NodeDraining(*id));
        }
        for other in &nodes[..i] {
            if other == id {
                return violation(PlacementRule::OneReplicaPerNode, *id);
            }
            let rack = topology.node(*other).map(|other| other.location.rack.as_str());
            if !node.location.rack.is_empty() && rack == Some(node.location.rack.as_str()) {
                return violation(PlacementRule::OneReplicaPerRack, *id);
            }
        }
    }
    match nodes.first() {
        Some(_) if nodes.len() as u64 == u64::from(replication_factor) => Ok(()),
        Some(node) => violation(PlacementRule::ReplicationFactor, *node),
        None => Err(invalid(Field::ReplicationFactor, Problem::Zero)),
    }
}

pub(super) fn check_create(topology: &Topology, create: &CreateTable) -> Result<(), Rejected> {
    check_name(&create.name)?;
    check_ranges(create)?;
    if let Some((id, _)) = topology.table_named(&create.name) {
        return Err(Rejected::TableExists(id));
    }
    for (_, nodes) in &create.tablets {
        check_nodes(topology, nodes, create.replication_factor)?;
    }
    Ok(())
}

pub(super) fn check_drop(
    topology: &Topology,
    table: TableId,
    migration: MigrationId,
) -> Result<(), Rejected> {
    if topology.tablets_of(migration).next().is_some() {
        return Err(invalid(Field::Migration, Problem::InUse));
    }
    match topology.state.tables.get(&table) {
        Some(found) if !found.is_dropping => Ok(()),
        _ => Err(Rejected::NotFound(Missing::Table(table))),
    }
}

impl Work<'_> {
    /// Makes a table that `check_create` has agreed to.
    pub(super) fn create_table(&mut self, create: &CreateTable) -> Applied {
        let state = &mut self.topology.state;
        let era = self.at.era();
        let table = TableId::mint(era, state.next_table);
        state.next_table += 1;
        let first = state.next_tablet;
        state.next_tablet += create.tablets.len() as u32;
        let ids: Vec<TabletId> =
            (first..state.next_tablet).map(|number| TabletId::mint(era, number)).collect();
        let made = Table {
            name: create.name.clone(),
            partitioning: create.partitioning,
            replication_factor: create.replication_factor,
            tablets: ids.clone(),
            is_dropping: false,
        };
        state.tables.insert(table, made);
        for (id, (range, nodes)) in ids.into_iter().zip(&create.tablets) {
            let copy = CopyId(self.at);
            let replica = |node: &NodeId| Replica { node: *node, copy, lost: false };
            // `check_nodes` has seen that they are distinct.
            let replicas = ReplicaSet::new(nodes.iter().map(replica).collect()).unwrap_or_default();
            let tablet = Tablet {
                table,
                range: range.clone(),
                replicas,
                version: self.at,
                promise: HybridTime::ZERO,
                transition: None,
            };
            self.topology.put(id, Some(tablet));
            self.touched.insert(id);
        }
        self.is_wider = true;
        Applied::Table(table)
    }

    /// Drops a table that `check_drop` has agreed to: every tablet goes into the stage `drop`,
    /// from any stage, and its session is cleared in the same command.
    pub(super) fn drop_table(&mut self, table: TableId, migration: MigrationId) -> Applied {
        let Some(found) = self.topology.state.tables.get_mut(&table) else {
            return Applied::Done;
        };
        found.is_dropping = true;
        let tablets = found.tablets.clone();
        self.topology.state.balancing.remove(&BalanceScope::Table(table));
        for id in tablets {
            let running = self.end_transition(id, Ending::Reverted, Some(EndReason::TableDropped));
            let (at, now_ms) = (self.at, self.now_ms);
            self.touch(id, |tablet| {
                // Also who was pending may hold a copy.
                let next = running.map(|running| running.record.next);
                let next = next.unwrap_or_else(|| tablet.replicas.clone());
                let (kind, began) = (TransitionKind::Drop, (Origin::Request, now_ms));
                let mut transition = Transition::begin(migration, kind, next, String::new(), began);
                transition.note_stage(at, now_ms);
                tablet.transition = Some(Box::new(transition));
            });
        }
        self.is_wider = true;
        Applied::Migration(migration)
    }

    /// After the last copy of a tablet is gone: its record goes, and with the last one the table.
    pub(super) fn forget_tablet(&mut self, id: TabletId) {
        let Some(table) = self.topology.tablet(id).map(|tablet| tablet.table) else { return };
        self.topology.put(id, None);
        self.touched.insert(id);
        let tables = &mut self.topology.state.tables;
        if let Some(found) = tables.get_mut(&table) {
            found.tablets.retain(|tablet| *tablet != id);
            if found.tablets.is_empty() {
                tables.remove(&table);
            }
        }
        self.is_wider = true;
    }
}
