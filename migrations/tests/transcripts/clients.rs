//! What routers and operators see: reads and writes by majorities, purges, and how transitions
//! go on.

use crate::world::World;
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{NodeId, RouterId, TabletId};
use migrations::record::TabletRecord;
use migrations::router::{Access, Operation, Refused, Step};
use migrations::row::{Merged, RowVersion, WriteStep, admit_write, merge};
use migrations::stage::Stage;
use migrations::tablet::{EndReason, Ending};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where a tablet stands, and its attempt.
pub(crate) type Stages = BTreeMap<TabletId, (Stage, u32)>;

impl World {
    pub(crate) fn stages(&self) -> Stages {
        let running = self.topology.in_transition().filter_map(|id| {
            let record = &self.topology.transition(id)?.record;
            Some((id, (record.stage, record.attempt)))
        });
        running.collect()
    }

    /// One line for each tablet that has changed its stage.
    pub(crate) fn tell_stages(&mut self, before: &Stages) {
        for (id, (stage, attempt)) in self.stages() {
            if before.get(&id) == Some(&(stage, attempt)) {
                continue;
            }
            let session = self.topology.transition(id).and_then(|t| t.record.session);
            let mut line = format!("t{id}: {stage}");
            if let Some(session) = session {
                line += &format!(", session {}", self.session_name(session));
            }
            if attempt > 1 {
                line += &format!(", attempt {attempt}");
            }
            self.say(line);
        }
    }

    pub(crate) fn tell_finished(&mut self, before: usize) {
        let ended: Vec<_> = self.topology.state().finished.iter().skip(before).cloned().collect();
        for ended in ended {
            let how = match ended.ending {
                Ending::Done => "done",
                Ending::Reverted => "reverted",
                Ending::Cancelled => "cancelled",
            };
            let why = match ended.reason {
                Some(EndReason::NodeFenced(node)) => format!(": {} was fenced", self.name(node)),
                Some(EndReason::ReplicaLost(node)) => {
                    format!(": {} lost its copy", self.name(node))
                }
                Some(EndReason::Failed(reason)) => format!(": {reason}"),
                Some(EndReason::NoLiveMajority) => ": no live majority".into(),
                Some(EndReason::NoSources) => ": no sources".into(),
                Some(EndReason::TableDropped) => ": the table was dropped".into(),
                Some(EndReason::Cancelled) | None => String::new(),
            };
            let on = match self.topology.tablet(ended.tablet) {
                Some(tablet) => {
                    let names: Vec<String> =
                        tablet.replicas.nodes().map(|n| self.name(n)).collect();
                    format!("on {}", names.join(" "))
                }
                None => "gone".into(),
            };
            self.say(format!("t{}: {} {how}{why}; {on}", ended.tablet, ended.kind));
        }
    }

    /// The record of the tablet that a key belongs to.
    fn record_of(&self, key: &str) -> Option<TabletRecord> {
        let tablets = self.topology.state().tablets.iter();
        let mut owners = tablets.filter(|(_, tablet)| tablet.range.contains(key.as_bytes()));
        self.topology.record(*owners.next()?.0)
    }

    /// A replica checks the version that a request goes by, and catches up with a newer one.
    fn admit_request(&mut self, node: NodeId, record: &TabletRecord) -> Result<(), Refused> {
        if !self.agent(node).is_up {
            return Err(Refused::Unavailable);
        }
        let floor = self.agent(node).floors.get(&record.tablet).copied().unwrap_or_default();
        floor.admit(record.version).map_err(|_| Refused::StaleVersion)?;
        if record.version > floor.version() && !self.take(node, record) {
            return Err(Refused::VersionAhead);
        }
        Ok(())
    }

    fn write_at(
        &mut self,
        node: NodeId,
        record: &TabletRecord,
        key: &str,
        row: &RowVersion,
    ) -> Result<(), Refused> {
        self.admit_request(node, record)?;
        let promise = self.agent(node).promise(record.tablet);
        let agent = self.agent(node);
        let (_, rows) = agent.copies.get_mut(&record.tablet).ok_or(Refused::Unavailable)?;
        match admit_write(rows.get(key), promise, row) {
            Ok(WriteStep::Store) => {
                rows.insert(key.to_string(), row.clone());
                Ok(())
            }
            Ok(WriteStep::AlreadyThere) => Ok(()),
            Err(behind) => Err(Refused::TimestampBehind(behind.highest)),
        }
    }

    /// Writes a value, or a tombstone, at a majority of each set; `reached` bounds who hears it.
    /// Whether it was acknowledged.
    pub(crate) fn put(&mut self, key: &str, value: Option<&str>, reached: &[&str]) -> bool {
        let what = value.map_or_else(|| format!("delete {key}"), |v| format!("put {key}={v}"));
        let Some(record) = self.record_of(key) else {
            self.say(format!("{what}: no such tablet"));
            return false;
        };
        let Some(mut operation) = Operation::begin(&record, Access::Write) else {
            self.say(format!("{what}: the table is being dropped"));
            return false;
        };
        let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
        let timestamp = Timestamp { time: self.tick_clock(), router };
        let row = RowVersion { timestamp, value: value.map(|v| v.as_bytes().to_vec()) };
        let (mut stored, mut last) = (Vec::new(), Step::Wait);
        for node in operation.targets() {
            let name = self.name(node);
            let is_reached = reached.is_empty() || reached.contains(&name.as_str());
            let outcome = match is_reached {
                true => self.write_at(node, &record, key, &row),
                false => Err(Refused::Unavailable),
            };
            last = match outcome {
                Ok(()) => {
                    stored.push(name);
                    operation.agreed(node)
                }
                Err(why) => operation.refused(node, why),
            };
        }
        let outcome = if last == Step::Done { "acknowledged" } else { "not acknowledged" };
        self.say(format!("{what}: {outcome}, stored on {}", stored.join(" ")));
        last == Step::Done
    }

    /// Reads at a majority of the set that is read, and takes the newest of all that answer; or
    /// why that can't be. One node may be left out, so that each majority can be asked.
    pub(crate) fn read(
        &mut self,
        key: &str,
        left_out: Option<&str>,
    ) -> Result<Option<String>, &'static str> {
        let record = self.record_of(key).ok_or("no such tablet")?;
        let operation = Operation::begin(&record, Access::Read);
        let mut operation = operation.ok_or("the table is being dropped")?;
        let (mut newest, mut last): (Option<RowVersion>, _) = (None, Step::Wait);
        for node in operation.targets() {
            let is_left_out = left_out.is_some_and(|name| self.name(node) == name);
            let admitted = match is_left_out {
                true => Err(Refused::Unavailable),
                false => self.admit_request(node, &record),
            };
            last = match admitted {
                Ok(()) => {
                    let found = self.agent(node).rows(record.tablet).get(key).cloned();
                    if let Some(found) = found
                        && merge(newest.as_ref(), &found) == Merged::Stored
                    {
                        newest = Some(found);
                    }
                    operation.agreed(node)
                }
                Err(why) => operation.refused(node, why),
            };
        }
        let value = newest.and_then(|row| row.value);
        match last {
            Step::Done => Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned())),
            _ => Err("no majority"),
        }
    }

    pub(crate) fn get(&mut self, key: &str) {
        let line = match self.read(key, None) {
            Ok(Some(value)) => format!("get {key}: {value}"),
            Ok(None) => format!("get {key}: nothing"),
            Err(why) => format!("get {key}: {why}"),
        };
        self.say(line);
    }

    /// Each replica removes tombstones at or below T, where the tablet is at rest.
    pub(crate) fn purge(&mut self) {
        let nodes: Vec<NodeId> = self.agents.keys().copied().collect();
        let records: Vec<TabletRecord> = self
            .topology
            .state()
            .tablets
            .keys()
            .filter_map(|id| self.topology.record(*id))
            .collect();
        for record in records.iter().filter(|record| record.transition.is_none()) {
            for node in record.replicas.nodes().filter(|node| nodes.contains(node)) {
                let agent = self.agent(node);
                let is_at = agent.records.get(&record.tablet).map(|held| held.version);
                if is_at != Some(record.version) {
                    continue;
                }
                let Some((_, rows)) = agent.copies.get_mut(&record.tablet) else { continue };
                let before = rows.len();
                rows.retain(|_, row| !row.is_purgeable(record.promise));
                let purged = before - rows.len();
                if purged > 0 {
                    let line =
                        format!("{}: purged {purged} of t{}", self.name(node), record.tablet);
                    self.say(line);
                }
            }
        }
    }

    /// What each agent holds, values only.
    pub(crate) fn show(&mut self) {
        let mut lines = Vec::new();
        for agent in self.agents.values() {
            for (id, (_, rows)) in &agent.copies {
                let text = |(key, row): (&String, &migrations::row::RowVersion)| match &row.value {
                    Some(value) => format!("{key}={}", String::from_utf8_lossy(value)),
                    None => format!("{key} deleted"),
                };
                let rows: Vec<String> = rows.iter().map(text).collect();
                let rows = if rows.is_empty() { "empty".into() } else { rows.join(", ") };
                lines.push(format!("{} t{id}: {rows}", self.name(agent.node)));
            }
        }
        self.lines.extend(lines);
    }

    /// Which agents hold a copy of a tablet.
    pub(crate) fn copies(&mut self, id: TabletId) {
        let holds = self.agents.values().filter(|agent| agent.copies.contains_key(&id));
        let names: Vec<String> = holds.map(|agent| self.name(agent.node)).collect();
        self.say(format!("copies of t{id}: {}", names.join(" ")));
    }

    /// Whether T of a tablet was ever raised.
    pub(crate) fn promise(&mut self, id: TabletId) {
        let promise = self.topology.tablet(id).map_or(HybridTime::ZERO, |tablet| tablet.promise);
        let line = match promise {
            HybridTime::ZERO => format!("t{id}: T is not raised"),
            _ => format!("t{id}: T is raised"),
        };
        self.say(line);
    }
}
