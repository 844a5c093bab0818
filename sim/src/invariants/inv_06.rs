//! INV-6, INV-7 and INV-9: no acknowledged write is lost, and no read that began after a delete was
//! acknowledged returns something older: in each set that an unrefused version may read from, any
//! majority without a lost member holds each acknowledged write, or a newer one of its key.

use crate::world::World;
use migrations::agent::step::CopyState;
use migrations::id::{NodeId, TabletId};
use migrations::position::Position;
use migrations::record::TabletRecord;
use migrations::replica_set::ReplicaSet;
use migrations::row::RowVersion;
use migrations::version::CopyId;
use std::collections::BTreeSet;

/// What a replica would answer under a version.
enum Found {
    /// It would not.
    Refuses,
    Row(Option<RowVersion>),
}

impl World {
    fn is_lost(&self, id: TabletId, node: NodeId, copy: CopyId, marked: bool) -> bool {
        marked || self.oracles.damaged.contains(&(node, id, copy))
    }

    fn lost_majority(&self, id: TabletId, set: &ReplicaSet) -> bool {
        let lost = set.iter().filter(|r| self.is_lost(id, r.node, r.copy, r.lost)).count();
        lost * 2 > set.len()
    }

    /// Whether one more copy may be lost.
    pub(crate) fn may_lose(&self, own: NodeId, id: TabletId, copy: CopyId) -> bool {
        let Some(record) = self.oracles.topology.record(id) else { return true };
        let mut sets = [&record.replicas, record.next()].into_iter();
        sets.all(|set| {
            let lost = set.iter().filter(|r| {
                let is_it = r.node == own && r.copy == copy;
                is_it || self.is_lost(id, r.node, r.copy, r.lost)
            });
            let lost = lost.count();
            lost <= set.len().div_ceil(2).saturating_sub(1)
        })
    }

    /// A tablet that has lost more than it may is not held to anything.
    pub(super) fn inv_06_excuse(&mut self) {
        let topology = &self.oracles.topology;
        let excused: Vec<TabletId> = topology
            .state()
            .tablets
            .keys()
            .copied()
            .filter(|id| {
                topology.record(*id).is_some_and(|record| {
                    self.lost_majority(*id, &record.replicas)
                        || self.lost_majority(*id, record.next())
                })
            })
            .collect();
        if !excused.is_empty() {
            self.mark("a tablet has lost a majority");
        }
        self.oracles.excused.extend(excused);
    }

    /// Each majority that could be read now, of all tablets or of some.
    pub(super) fn inv_09_majorities(&mut self, of: Option<&BTreeSet<TabletId>>) {
        let mut lost = None;
        for (position, acknowledged) in &self.oracles.acknowledged {
            let Some(id) = self.oracles.places.get(position).copied() else { continue };
            let is_meant = of.is_none_or(|of| of.contains(&id));
            if !is_meant || self.oracles.excused.contains(&id) {
                continue;
            }
            let Some(history) = self.oracles.history.get(&id) else { continue };
            if self.oracles.topology.tablet(id).is_none() {
                continue;
            }
            for record in history.values() {
                if let Some(what) = self.misses(record, position, acknowledged) {
                    lost = Some(what);
                }
            }
        }
        if let Some(what) = lost {
            self.broken(9, || what);
        }
    }

    /// Whether a majority of those who would answer under this version misses a write.
    fn misses(
        &self,
        record: &TabletRecord,
        position: &Position,
        acknowledged: &RowVersion,
    ) -> Option<String> {
        let set = record.read_set()?;
        let (mut without, mut has_older) = (Vec::new(), false);
        for replica in set.iter() {
            let Found::Row(row) = self.look_up(record, replica.node, position) else { continue };
            let is_newest = row.as_ref().is_some_and(|row| !acknowledged.supersedes(row));
            if !is_newest {
                has_older |= row.is_some();
                without.push(replica.node);
            }
        }
        if without.len() * 2 <= set.len() {
            return None;
        }
        // A tombstone at or below T may be gone everywhere; then nothing older may be there.
        let current = self.oracles.topology.tablet(record.tablet)?;
        let may_be_purged = acknowledged.is_purgeable(current.promise);
        let is_older_fine = may_be_purged && !has_older;
        (!is_older_fine).then(|| {
            let names: Vec<String> = without.iter().map(|node| self.name_of(*node)).collect();
            let key = String::from_utf8_lossy(position);
            let (id, version) = (record.tablet, record.version);
            let time = acknowledged.timestamp.time;
            let kind = if acknowledged.value.is_some() { "write" } else { "delete" };
            format!(
                "t{id} at {version}: the {kind} of {key} at {time} is not on {}",
                names.join(" ")
            )
        })
    }

    fn look_up(&self, record: &TabletRecord, node: NodeId, position: &Position) -> Found {
        let Some(at) = self.agent_of(node) else { return Found::Refuses };
        let id = record.tablet;
        // Its floors have fallen, and nobody but group0 can tell: docs/PROTOCOL.md, "Limits".
        if self.directories.is_old(self.agents[at].disk.directory) {
            return Found::Refuses;
        }
        let disk = &self.agents[at].disk.live;
        let Some(given) = record.given(node) else { return Found::Refuses };
        if self.is_lost(id, node, given, false) {
            return Found::Refuses;
        }
        let memory = self.process(at).and_then(|process| process.tablets.get(&id));
        let floor = memory.map_or(disk.floor(id).version(), |tablet| tablet.floor);
        let is_lost = memory.is_some_and(|t| matches!(t.copy.0, CopyState::Lost(_)));
        if floor > record.version || is_lost {
            return Found::Refuses;
        }
        match disk.rows(id, given) {
            Some(rows) => Found::Row(rows.get(position).cloned()),
            // It would be made, if no version that gives it was ever taken on here.
            None if floor < given.0 => Found::Row(None),
            None => Found::Refuses,
        }
    }

    fn newest_is_value(&self, position: &Position) -> bool {
        let newest = self.oracles.acknowledged.get(position);
        newest.is_some_and(|newest| newest.value.is_some())
    }

    /// What a read of a majority has found.
    pub(crate) fn check_read(
        &mut self,
        at: usize,
        id: TabletId,
        position: &Position,
        acknowledged: Option<&RowVersion>,
        found: Option<&RowVersion>,
    ) {
        if self.oracles.excused.contains(&id) {
            return;
        }
        let key = || String::from_utf8_lossy(position).into_owned();
        if let Some(found) = found {
            let issued = self.oracles.issued.get(position);
            let row = (found.timestamp, found.value.clone());
            if issued.is_none_or(|issued| !issued.contains(&row)) {
                self.broken(6, || format!("r{at} reads of {} what nobody has written", key()));
            }
        }
        let Some(acknowledged) = acknowledged else { return };
        let (time, is_delete) = (acknowledged.timestamp.time, acknowledged.value.is_none());
        match found {
            Some(found) if acknowledged.supersedes(found) => {
                let number = if is_delete { 7 } else { 6 };
                let older = found.timestamp.time;
                self.broken(number, || {
                    format!("r{at} reads {} of {older}, after {time} was acknowledged", key())
                });
            }
            // A delete that came meanwhile may have been purged meanwhile.
            None if !is_delete && self.newest_is_value(position) => {
                self.broken(6, || {
                    format!("r{at} reads no {}, after {time} was acknowledged", key())
                });
            }
            Some(_) | None => {}
        }
    }
}
