//! Tables, tablets and their transitions, running and finished.

use super::DecodeError;
use super::evidence::{failure, failure_number};
use super::field::{
    incarnation, kind, kind_number, named, nodes, partitioning, partitioning_number, stage,
    stage_number, there, version,
};
use crate::convert::{
    bytes, migration_id, node_id, replica_set, replicas_to_wire, table_id, tablet_id,
};
use crate::generated::storage::v1 as pb;
use migrations::clock::HybridTime;
use migrations::evidence::StreamReport;
use migrations::id::{NodeId, TableId, TabletId};
use migrations::record::TransitionRecord;
use migrations::switch::Origin;
use migrations::tablet::{
    AcceptedLoss, EndReason, Ending, FinishedMigration, StageRecord, Table, Tablet, Transition,
};
use migrations::version::Incarnation;

/// A table as it is written.
pub(super) fn table_to_wire(id: TableId, table: &Table) -> pb::Table {
    let Table { name, partitioning, replication_factor, tablets, is_dropping } = table;
    pb::Table {
        id: id.as_u64(),
        name: name.clone(),
        partitioning: partitioning_number(*partitioning),
        replication_factor: *replication_factor,
        tablets: tablets.iter().map(|tablet| tablet.as_u64()).collect(),
        is_dropping: *is_dropping,
    }
}

/// A table, from a snapshot.
pub(super) fn table(wire: pb::Table) -> Result<(TableId, Table), DecodeError> {
    let pb::Table { id, name, partitioning: by, replication_factor, tablets, is_dropping } = wire;
    let tablet = |id| Ok(tablet_id("tables.tablets", id)?);
    let table = Table {
        name,
        partitioning: partitioning("tables.partitioning", by)?,
        replication_factor,
        tablets: tablets.into_iter().map(tablet).collect::<Result<_, DecodeError>>()?,
        is_dropping,
    };
    Ok((table_id("tables.id", id)?, table))
}

/// A tablet as it is written.
pub(super) fn tablet_to_wire(id: TabletId, tablet: &Tablet) -> pb::Tablet {
    let Tablet { table, range, replicas, version, promise, transition } = tablet;
    pb::Tablet {
        id: id.as_u64(),
        table: table.as_u64(),
        range: Some(range.into()),
        replicas: replicas_to_wire(replicas),
        version: Some((*version).into()),
        promise: promise.0,
        transition: transition.as_deref().map(Into::into),
    }
}

/// A tablet, from a snapshot.
pub(super) fn tablet(wire: pb::Tablet) -> Result<(TabletId, Tablet), DecodeError> {
    let pb::Tablet { id, table, range, replicas, version: at, promise, transition } = wire;
    let tablet = Tablet {
        table: table_id("tablets.table", table)?,
        range: there("tablets.range", range)?.into(),
        replicas: replica_set("tablets.replicas", replicas)?,
        version: version("tablets.version", at)?,
        promise: HybridTime(promise),
        transition: transition.map(Transition::try_from).transpose()?.map(Box::new),
    };
    Ok((tablet_id("tablets.id", id)?, tablet))
}

impl From<&Transition> for pb::Transition {
    fn from(transition: &Transition) -> pb::Transition {
        let Transition {
            record,
            is_cancelled,
            is_pending_lost,
            reason,
            promised,
            is_fully_exchanged,
            note,
            origin,
            failures,
            started_ms,
            accepted_loss,
            stages,
        } = transition;
        let promise = |(node, incarnation, promised): &(NodeId, Incarnation, HybridTime)| {
            let (node, incarnation) = (node.as_u64(), Some(incarnation.0.into()));
            pb::Promise { node, incarnation, promised: promised.0 }
        };
        pb::Transition {
            record: Some(record.into()),
            is_cancelled: *is_cancelled,
            is_pending_lost: *is_pending_lost,
            reason: reason.map(Into::into),
            promised: promised.iter().map(promise).collect(),
            is_fully_exchanged: *is_fully_exchanged,
            note: note.clone(),
            origin: pb::Origin::from(*origin).into(),
            started_ms: *started_ms,
            accepted_loss: accepted_loss.as_ref().map(Into::into),
            stages: stages.iter().map(Into::into).collect(),
            failures: *failures,
        }
    }
}

impl TryFrom<pb::Transition> for Transition {
    type Error = DecodeError;
    fn try_from(wire: pb::Transition) -> Result<Transition, DecodeError> {
        let pb::Transition {
            record,
            is_cancelled,
            is_pending_lost,
            reason,
            promised,
            is_fully_exchanged,
            note,
            origin: by,
            started_ms,
            accepted_loss,
            stages,
            failures,
        } = wire;
        let promise = |wire: pb::Promise| {
            let pb::Promise { node, incarnation: under, promised } = wire;
            let node = node_id("transition.promised.node", node)?;
            let under = incarnation("transition.promised.incarnation", under)?;
            Ok((node, under, HybridTime(promised)))
        };
        Ok(Transition {
            record: TransitionRecord::try_from(there("transition.record", record)?)?,
            is_cancelled,
            is_pending_lost,
            reason: reason.map(EndReason::try_from).transpose()?,
            promised: promised.into_iter().map(promise).collect::<Result<_, DecodeError>>()?,
            is_fully_exchanged,
            note,
            origin: origin(by)?,
            failures,
            started_ms,
            accepted_loss: accepted_loss.map(AcceptedLoss::try_from).transpose()?,
            stages: stages.into_iter().map(StageRecord::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&AcceptedLoss> for pb::AcceptedLoss {
    fn from(loss: &AcceptedLoss) -> pb::AcceptedLoss {
        let AcceptedLoss { nodes, note, at_ms } = loss;
        let nodes = nodes.iter().map(|node| node.as_u64()).collect();
        pb::AcceptedLoss { nodes, note: note.clone(), at_ms: *at_ms }
    }
}

impl TryFrom<pb::AcceptedLoss> for AcceptedLoss {
    type Error = DecodeError;
    fn try_from(wire: pb::AcceptedLoss) -> Result<AcceptedLoss, DecodeError> {
        let pb::AcceptedLoss { nodes: given_up, note, at_ms } = wire;
        Ok(AcceptedLoss { nodes: nodes("accepted_loss.nodes", given_up)?, note, at_ms })
    }
}

impl From<&StageRecord> for pb::StageRecord {
    fn from(record: &StageRecord) -> pb::StageRecord {
        let StageRecord { stage, version, attempt, entered_ms, acknowledged, streams, failure } =
            record;
        let said = |(node, at_ms): &(NodeId, u64)| pb::StageAcknowledgement {
            node: node.as_u64(),
            at_ms: *at_ms,
        };
        pb::StageRecord {
            stage: stage_number(*stage),
            version: Some((*version).into()),
            attempt: *attempt,
            entered_ms: *entered_ms,
            acknowledged: acknowledged.iter().map(said).collect(),
            streams: streams.iter().map(Into::into).collect(),
            failure: failure.map(failure_number),
        }
    }
}

impl TryFrom<pb::StageRecord> for StageRecord {
    type Error = DecodeError;
    fn try_from(wire: pb::StageRecord) -> Result<StageRecord, DecodeError> {
        let pb::StageRecord {
            stage: at_stage,
            version: at,
            attempt,
            entered_ms,
            acknowledged,
            streams,
            failure: failed,
        } = wire;
        let said = |wire: pb::StageAcknowledgement| {
            let pb::StageAcknowledgement { node, at_ms } = wire;
            Ok((node_id("stages.acknowledged.node", node)?, at_ms))
        };
        Ok(StageRecord {
            stage: stage("stages.stage", at_stage)?,
            version: version("stages.version", at)?,
            attempt,
            entered_ms,
            acknowledged: acknowledged.into_iter().map(said).collect::<Result<_, DecodeError>>()?,
            streams: streams.into_iter().map(StreamReport::try_from).collect::<Result<_, _>>()?,
            failure: failed.map(|reason| failure("stages.failure", reason)).transpose()?,
        })
    }
}

impl From<Origin> for pb::Origin {
    fn from(origin: Origin) -> pb::Origin {
        match origin {
            Origin::Request => pb::Origin::Request,
            Origin::Balancer => pb::Origin::Balancer,
        }
    }
}

fn origin(wire: i32) -> Result<Origin, DecodeError> {
    named("transition.origin", "origin", wire, |wire| match pb::Origin::try_from(wire).ok()? {
        pb::Origin::Unspecified => None,
        pb::Origin::Request => Some(Origin::Request),
        pb::Origin::Balancer => Some(Origin::Balancer),
    })
}

impl From<Ending> for pb::Ending {
    fn from(ending: Ending) -> pb::Ending {
        match ending {
            Ending::Done => pb::Ending::Done,
            Ending::Reverted => pb::Ending::Reverted,
            Ending::Cancelled => pb::Ending::Cancelled,
        }
    }
}

fn ending(wire: i32) -> Result<Ending, DecodeError> {
    named("finished.ending", "ending", wire, |wire| match pb::Ending::try_from(wire).ok()? {
        pb::Ending::Unspecified => None,
        pb::Ending::Done => Some(Ending::Done),
        pb::Ending::Reverted => Some(Ending::Reverted),
        pb::Ending::Cancelled => Some(Ending::Cancelled),
    })
}

impl From<&FinishedMigration> for pb::FinishedMigration {
    fn from(finished: &FinishedMigration) -> pb::FinishedMigration {
        let FinishedMigration {
            migration,
            kind,
            table,
            table_name,
            tablet,
            replicas,
            next,
            ending,
            reason,
            attempt,
            ended_ms,
            version,
            note,
            origin,
            started_ms,
            accepted_loss,
            stages,
        } = finished;
        pb::FinishedMigration {
            migration: bytes(migration.as_uuid()),
            kind: kind_number(*kind),
            table: table.as_u64(),
            table_name: table_name.clone(),
            tablet: tablet.as_u64(),
            replicas: replicas_to_wire(replicas),
            next: replicas_to_wire(next),
            ending: pb::Ending::from(*ending).into(),
            reason: reason.map(Into::into),
            attempt: *attempt,
            ended_ms: *ended_ms,
            version: Some((*version).into()),
            note: note.clone(),
            origin: pb::Origin::from(*origin).into(),
            started_ms: *started_ms,
            accepted_loss: accepted_loss.as_ref().map(Into::into),
            stages: stages.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::FinishedMigration> for FinishedMigration {
    type Error = DecodeError;
    fn try_from(wire: pb::FinishedMigration) -> Result<FinishedMigration, DecodeError> {
        let pb::FinishedMigration {
            migration,
            kind: of_kind,
            table,
            table_name,
            tablet,
            replicas,
            next,
            ending: how,
            reason,
            attempt,
            ended_ms,
            version: at,
            note,
            origin: by,
            started_ms,
            accepted_loss,
            stages,
        } = wire;
        Ok(FinishedMigration {
            migration: migration_id("finished.migration", &migration)?,
            kind: kind("finished.kind", of_kind)?,
            table: table_id("finished.table", table)?,
            table_name,
            tablet: tablet_id("finished.tablet", tablet)?,
            replicas: replica_set("finished.replicas", replicas)?,
            next: replica_set("finished.next", next)?,
            ending: ending(how)?,
            reason: reason.map(EndReason::try_from).transpose()?,
            attempt,
            ended_ms,
            version: version("finished.version", at)?,
            note,
            origin: origin(by)?,
            started_ms,
            accepted_loss: accepted_loss.map(AcceptedLoss::try_from).transpose()?,
            stages: stages.into_iter().map(StageRecord::try_from).collect::<Result<_, _>>()?,
        })
    }
}
