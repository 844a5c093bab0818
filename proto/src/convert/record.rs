//! Records of tablets, and versions of rows.

use super::{bytes, migration_id, node_id, router_id, session_id, table_id, tablet_id, version};
use crate::Malformed;
use crate::types::v1 as pb;
use migrations::clock::{HybridTime, Timestamp};
use migrations::position::{Partitioning, PositionRange};
use migrations::record::{StreamPair, TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::RowVersion;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, Incarnation};

impl From<Replica> for pb::Replica {
    fn from(replica: Replica) -> pb::Replica {
        let Replica { node, copy, lost } = replica;
        pb::Replica { node: node.as_u64(), copy: Some(copy.0.into()), lost }
    }
}

impl TryFrom<pb::Replica> for Replica {
    type Error = Malformed;
    fn try_from(wire: pb::Replica) -> Result<Replica, Malformed> {
        let pb::Replica { node, copy, lost } = wire;
        let node = node_id("replica.node", node)?;
        Ok(Replica { node, copy: CopyId(version("replica.copy", copy)?), lost })
    }
}

/// A set of replicas, for messages.
pub(crate) fn replicas_to_wire(set: &ReplicaSet) -> Vec<pb::Replica> {
    set.iter().copied().map(Into::into).collect()
}

/// A set of replicas, from a message.
pub(crate) fn replica_set(
    field: &'static str,
    wire: Vec<pb::Replica>,
) -> Result<ReplicaSet, Malformed> {
    let replicas = wire.into_iter().map(Replica::try_from).collect::<Result<Vec<_>, _>>()?;
    ReplicaSet::new(replicas).ok_or(Malformed::Field { field, problem: "two on one node" })
}

impl From<&PositionRange> for pb::PositionRange {
    fn from(range: &PositionRange) -> pb::PositionRange {
        let PositionRange { start, end } = range.clone();
        pb::PositionRange { start: start.into(), end: end.map(Into::into) }
    }
}

impl From<pb::PositionRange> for PositionRange {
    fn from(wire: pb::PositionRange) -> PositionRange {
        let pb::PositionRange { start, end } = wire;
        PositionRange { start: start.to_vec(), end: end.map(|end| end.to_vec()) }
    }
}

impl From<Partitioning> for pb::Partitioning {
    fn from(partitioning: Partitioning) -> pb::Partitioning {
        match partitioning {
            Partitioning::Hash => pb::Partitioning::Hash,
            Partitioning::Range => pb::Partitioning::Range,
        }
    }
}

/// A table's partitioning, from a message.
pub fn partitioning(field: &'static str, wire: i32) -> Result<Partitioning, Malformed> {
    match pb::Partitioning::try_from(wire) {
        Ok(pb::Partitioning::Hash) => Ok(Partitioning::Hash),
        Ok(pb::Partitioning::Range) => Ok(Partitioning::Range),
        Ok(pb::Partitioning::Unspecified) | Err(_) => {
            Err(Malformed::Field { field, problem: "not a partitioning" })
        }
    }
}

impl From<Stage> for pb::Stage {
    fn from(stage: Stage) -> pb::Stage {
        match stage {
            Stage::AllowWriteBothReadOld => pb::Stage::AllowWriteBothReadOld,
            Stage::WriteBothReadOld => pb::Stage::WriteBothReadOld,
            Stage::Streaming => pb::Stage::Streaming,
            Stage::WriteBothReadNew => pb::Stage::WriteBothReadNew,
            Stage::WriteBothReadOldFallback => pb::Stage::WriteBothReadOldFallback,
            Stage::UseNew => pb::Stage::UseNew,
            Stage::Cleanup => pb::Stage::Cleanup,
            Stage::EndMigration => pb::Stage::EndMigration,
            Stage::CleanupTarget => pb::Stage::CleanupTarget,
            Stage::RevertMigration => pb::Stage::RevertMigration,
            Stage::OpenRepair => pb::Stage::OpenRepair,
            Stage::Repair => pb::Stage::Repair,
            Stage::EndRepair => pb::Stage::EndRepair,
            Stage::Drop => pb::Stage::Drop,
        }
    }
}

/// A stage, from a message.
pub fn stage(field: &'static str, wire: i32) -> Result<Stage, Malformed> {
    let unknown = Malformed::Field { field, problem: "not a stage" };
    let known = pb::Stage::try_from(wire).map_err(|_| unknown.clone())?;
    Stage::ALL.into_iter().find(|stage| pb::Stage::from(*stage) == known).ok_or(unknown)
}

impl From<TransitionKind> for pb::TransitionKind {
    fn from(kind: TransitionKind) -> pb::TransitionKind {
        match kind {
            TransitionKind::Migrate => pb::TransitionKind::Migrate,
            TransitionKind::AddReplica => pb::TransitionKind::AddReplica,
            TransitionKind::RemoveReplica => pb::TransitionKind::RemoveReplica,
            TransitionKind::Rebuild => pb::TransitionKind::Rebuild,
            TransitionKind::Repair => pb::TransitionKind::Repair,
            TransitionKind::Drop => pb::TransitionKind::Drop,
        }
    }
}

/// A kind of transition, from a message.
pub fn transition_kind(field: &'static str, wire: i32) -> Result<TransitionKind, Malformed> {
    let unknown = Malformed::Field { field, problem: "not a kind" };
    let known = pb::TransitionKind::try_from(wire).map_err(|_| unknown.clone())?;
    let mut all = TransitionKind::ALL.into_iter();
    all.find(|kind| pb::TransitionKind::from(*kind) == known).ok_or(unknown)
}

impl From<&TransitionRecord> for pb::TransitionRecord {
    fn from(record: &TransitionRecord) -> pb::TransitionRecord {
        let TransitionRecord {
            migration,
            kind,
            stage,
            next,
            session,
            attempt,
            streams,
            proposed_promise,
        } = record;
        let pair = |pair: &StreamPair| pb::StreamPair {
            source: pair.source.as_u64(),
            receiver: pair.receiver.as_u64(),
        };
        pb::TransitionRecord {
            migration: bytes(migration.as_uuid()),
            kind: pb::TransitionKind::from(*kind).into(),
            stage: pb::Stage::from(*stage).into(),
            next: replicas_to_wire(next),
            session: session.map(|session| bytes(session.as_uuid())),
            attempt: *attempt,
            streams: streams.iter().map(pair).collect(),
            proposed_promise: proposed_promise.map(|time| time.0),
        }
    }
}

impl TryFrom<pb::TransitionRecord> for TransitionRecord {
    type Error = Malformed;
    fn try_from(wire: pb::TransitionRecord) -> Result<TransitionRecord, Malformed> {
        let pb::TransitionRecord {
            migration,
            kind,
            stage: wire_stage,
            next,
            session,
            attempt,
            streams,
            proposed_promise,
        } = wire;
        let pair = |wire: pb::StreamPair| {
            let pb::StreamPair { source, receiver } = wire;
            let source = node_id("transition.streams.source", source)?;
            Ok(StreamPair { source, receiver: node_id("transition.streams.receiver", receiver)? })
        };
        let session = session.map(|session| session_id("transition.session", &session));
        Ok(TransitionRecord {
            migration: migration_id("transition.migration", &migration)?,
            kind: transition_kind("transition.kind", kind)?,
            stage: stage("transition.stage", wire_stage)?,
            next: replica_set("transition.next", next)?,
            session: session.transpose()?,
            attempt,
            streams: streams.into_iter().map(pair).collect::<Result<_, Malformed>>()?,
            proposed_promise: proposed_promise.map(HybridTime),
        })
    }
}

impl From<&TabletRecord> for pb::TabletRecord {
    fn from(record: &TabletRecord) -> pb::TabletRecord {
        let TabletRecord {
            tablet,
            table,
            range,
            version,
            replicas,
            transition,
            promise,
            incarnations,
        } = record;
        let incarnation = |(node, incarnation): &(migrations::id::NodeId, Incarnation)| {
            let (node, incarnation) = (node.as_u64(), Some(incarnation.0.into()));
            pb::NodeIncarnation { node, incarnation }
        };
        pb::TabletRecord {
            tablet: tablet.as_u64(),
            table: table.as_u64(),
            range: Some(range.into()),
            version: Some((*version).into()),
            replicas: replicas_to_wire(replicas),
            transition: transition.as_ref().map(Into::into),
            promise: promise.0,
            incarnations: incarnations.iter().map(incarnation).collect(),
        }
    }
}

impl TryFrom<pb::TabletRecord> for TabletRecord {
    type Error = Malformed;
    fn try_from(wire: pb::TabletRecord) -> Result<TabletRecord, Malformed> {
        let pb::TabletRecord {
            tablet,
            table,
            range,
            version: wire_version,
            replicas,
            transition,
            promise,
            incarnations,
        } = wire;
        let incarnation = |wire: pb::NodeIncarnation| {
            let pb::NodeIncarnation { node, incarnation } = wire;
            let node = node_id("incarnations.node", node)?;
            Ok((node, Incarnation(version("incarnations.incarnation", incarnation)?)))
        };
        Ok(TabletRecord {
            tablet: tablet_id("tablet", tablet)?,
            table: table_id("table", table)?,
            range: range.ok_or(Malformed::Missing { field: "range" })?.into(),
            version: version("version", wire_version)?,
            replicas: replica_set("replicas", replicas)?,
            transition: transition.map(TransitionRecord::try_from).transpose()?,
            promise: HybridTime(promise),
            incarnations: incarnations
                .into_iter()
                .map(incarnation)
                .collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<&RowVersion> for pb::RowVersion {
    fn from(row: &RowVersion) -> pb::RowVersion {
        let RowVersion { timestamp: Timestamp { time, router }, value } = row;
        let router = bytes(router.as_uuid());
        pb::RowVersion { time: time.0, router, value: value.clone().map(Into::into) }
    }
}

impl TryFrom<pb::RowVersion> for RowVersion {
    type Error = Malformed;
    fn try_from(wire: pb::RowVersion) -> Result<RowVersion, Malformed> {
        let pb::RowVersion { time, router, value } = wire;
        let router = router_id("row.router", &router)?;
        let timestamp = Timestamp { time: HybridTime(time), router };
        Ok(RowVersion { timestamp, value: value.map(|value| value.to_vec()) })
    }
}
