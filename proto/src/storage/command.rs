//! Commands: what a log entry holds.

use super::DecodeError;
use super::evidence::{failure, failure_number};
use super::field::{
    copy, incarnation, kind, kind_number, nodes, partitioning, partitioning_number, session,
    session_bytes, stage, stage_number, there, time_number, version,
};
use super::switch::{switch, switch_to_wire};
use crate::Malformed;
use crate::convert::{
    admission_token, bytes, cluster_id, directory_id, migration_id, node_id, request_id,
    session_id, settings_unchecked, sum, sum_bytes, table_id, tablet_id,
};
use crate::generated::storage::v1 as pb;
use bytes::Bytes;
use migrations::clock::HybridTime;
use migrations::command::{
    Admit, Advance, Bootstrap, Change, Command, CreateTable, Expected, Start,
};
use migrations::evidence::Evidence;
use migrations::id::{AdmissionToken, NodeId, SessionId, TabletId};
use migrations::position::PositionRange;
use migrations::request::RequestStamp;
use migrations::tablet::EndReason;
use migrations::version::{CopyId, Incarnation};
use std::collections::BTreeMap;

impl From<&Command> for pb::Command {
    fn from(command: &Command) -> pb::Command {
        use pb::command::Kind;
        let kind = match command {
            Command::Bootstrap(bootstrap) => {
                let Bootstrap { cluster, settings } = bootstrap;
                let cluster = bytes(cluster.as_uuid());
                Kind::Bootstrap(pb::Bootstrap { cluster, settings: Some(settings.into()) })
            }
            Command::Admit(admit) => Kind::Admit(admit.as_ref().into()),
            Command::Fence { node, incarnation } => {
                let (node, incarnation) = (node.as_u64(), Some(incarnation.0.into()));
                Kind::Fence(pb::Fence { node, incarnation })
            }
            Command::MarkLost { node, incarnation, copies } => Kind::MarkLost(pb::MarkLost {
                node: node.as_u64(),
                incarnation: Some(incarnation.0.into()),
                copies: copies.iter().map(copy_to_wire).collect(),
            }),
            Command::Advance(advance) => Kind::Advance(advance.as_ref().into()),
            Command::Forget { node } => Kind::Forget(node.as_u64()),
            Command::Raise { level } => Kind::Raise(*level),
            Command::Balance { start, now_ms } => {
                let (start, now_ms) = (Some(start.as_ref().into()), *now_ms);
                Kind::Balance(pb::Balance { start, now_ms })
            }
            Command::Change { stamp, change } => {
                let RequestStamp { id, digest, caller } = stamp;
                Kind::Request(pb::Request {
                    id: bytes(id.as_uuid()),
                    digest: sum_bytes(*digest),
                    caller: caller.clone(),
                    change: Some(change.into()),
                })
            }
        };
        pb::Command { kind: Some(kind) }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = DecodeError;
    fn try_from(wire: pb::Command) -> Result<Command, DecodeError> {
        use pb::command::Kind;
        let pb::Command { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "command" })? {
            Kind::Bootstrap(pb::Bootstrap { cluster, settings }) => {
                let cluster = cluster_id("bootstrap.cluster", &cluster)?;
                let settings = settings_unchecked("bootstrap.settings", settings)?;
                Command::Bootstrap(Bootstrap { cluster, settings })
            }
            Kind::Admit(admit) => Command::Admit(Box::new(admit.try_into()?)),
            Kind::Fence(pb::Fence { node, incarnation: of_node }) => Command::Fence {
                node: node_id("fence.node", node)?,
                incarnation: incarnation("fence.incarnation", of_node)?,
            },
            Kind::MarkLost(pb::MarkLost { node, incarnation: of_node, copies }) => {
                Command::MarkLost {
                    node: node_id("mark_lost.node", node)?,
                    incarnation: incarnation("mark_lost.incarnation", of_node)?,
                    copies: copies.into_iter().map(tablet_copy).collect::<Result<_, _>>()?,
                }
            }
            Kind::Advance(advance) => Command::Advance(Box::new(advance.try_into()?)),
            Kind::Forget(node) => Command::Forget { node: node_id("forget", node)? },
            Kind::Raise(level) => Command::Raise { level },
            Kind::Balance(pb::Balance { start, now_ms }) => Command::Balance {
                start: Box::new(there("balance.start", start)?.try_into()?),
                now_ms,
            },
            Kind::Request(pb::Request { id, digest, caller, change }) => {
                let id = request_id("request.id", &id)?;
                let digest = sum("request.digest", &digest)?;
                let stamp = RequestStamp { id, digest, caller };
                let change = there("request.change", change)?.try_into()?;
                Command::Change { stamp, change }
            }
        })
    }
}

fn copy_to_wire((tablet, copy): &(TabletId, CopyId)) -> pb::TabletCopy {
    pb::TabletCopy { tablet: tablet.as_u64(), copy: Some(copy.0.into()) }
}

fn tablet_copy(wire: pb::TabletCopy) -> Result<(TabletId, CopyId), DecodeError> {
    let pb::TabletCopy { tablet, copy: number } = wire;
    Ok((tablet_id("copies.tablet", tablet)?, copy("copies.copy", number)?))
}

impl From<&Admit> for pb::Admit {
    fn from(admit: &Admit) -> pb::Admit {
        let Admit {
            name,
            directory,
            known_incarnation,
            held_tokens,
            token,
            process,
            location,
            feature_level,
            fresh,
            lost,
            highest_floor,
        } = admit;
        let fresh = fresh.iter().map(|(tablet, session)| pb::FreshSession {
            tablet: tablet.as_u64(),
            session: bytes(session.as_uuid()),
        });
        pb::Admit {
            name: name.clone(),
            directory: bytes(directory.as_uuid()),
            known_incarnation: known_incarnation.map(|Incarnation(version)| version.into()),
            held_tokens: held_tokens.iter().map(|token| bytes(token.as_uuid())).collect(),
            token: bytes(token.as_uuid()),
            process: Some(process.into()),
            location: Some(location.into()),
            feature_level: *feature_level,
            fresh: fresh.collect(),
            lost: lost.iter().map(copy_to_wire).collect(),
            highest_floor: highest_floor.map(Into::into),
        }
    }
}

impl TryFrom<pb::Admit> for Admit {
    type Error = DecodeError;
    fn try_from(wire: pb::Admit) -> Result<Admit, DecodeError> {
        let pb::Admit {
            name,
            directory,
            known_incarnation,
            held_tokens,
            token,
            process,
            location,
            feature_level,
            fresh,
            lost,
            highest_floor,
        } = wire;
        let known =
            known_incarnation.map(|known| incarnation("admit.known_incarnation", Some(known)));
        let held = |token: &Bytes| admission_token("admit.held_tokens", token);
        Ok(Admit {
            name,
            directory: directory_id("admit.directory", &directory)?,
            known_incarnation: known.transpose()?,
            held_tokens: held_tokens
                .iter()
                .map(held)
                .collect::<Result<Vec<AdmissionToken>, Malformed>>()?,
            token: admission_token("admit.token", &token)?,
            process: there("admit.process", process)?.into(),
            location: there("admit.location", location)?.into(),
            feature_level,
            fresh: fresh_sessions(fresh)?,
            lost: lost.into_iter().map(tablet_copy).collect::<Result<_, _>>()?,
            highest_floor: highest_floor
                .map(|floor| version("admit.highest_floor", Some(floor)))
                .transpose()?,
        })
    }
}

fn fresh_sessions(
    wire: Vec<pb::FreshSession>,
) -> Result<BTreeMap<TabletId, SessionId>, DecodeError> {
    let mut fresh = BTreeMap::new();
    for pb::FreshSession { tablet, session } in wire {
        let tablet = tablet_id("admit.fresh.tablet", tablet)?;
        let session = session_id("admit.fresh.session", &session)?;
        if fresh.insert(tablet, session).is_some() {
            return Err(
                Malformed::Field { field: "admit.fresh", problem: "two of a tablet" }.into()
            );
        }
    }
    Ok(fresh)
}

impl From<&Advance> for pb::Advance {
    fn from(advance: &Advance) -> pb::Advance {
        let Advance { expected, to, opened, evidence, reason, failure } = advance;
        pb::Advance {
            expected: Some(expected.into()),
            to: to.map(stage_number),
            opened: session_bytes(*opened),
            evidence: Some(evidence.into()),
            reason: reason.map(Into::into),
            failure: failure.map(failure_number),
        }
    }
}

impl TryFrom<pb::Advance> for Advance {
    type Error = DecodeError;
    fn try_from(wire: pb::Advance) -> Result<Advance, DecodeError> {
        let pb::Advance { expected, to, opened, evidence, reason, failure: failed } = wire;
        Ok(Advance {
            expected: there("advance.expected", expected)?.try_into()?,
            to: to.map(|to| stage("advance.to", to)).transpose()?,
            opened: session("advance.opened", opened)?,
            evidence: Evidence::try_from(there("advance.evidence", evidence)?)?,
            reason: reason.map(EndReason::try_from).transpose()?,
            failure: failed.map(|reason| failure("advance.failure", reason)).transpose()?,
        })
    }
}

impl From<&Expected> for pb::Expected {
    fn from(expected: &Expected) -> pb::Expected {
        let Expected { tablet, version, migration, stage, session, attempt } = *expected;
        pb::Expected {
            tablet: tablet.as_u64(),
            version: Some(version.into()),
            migration: bytes(migration.as_uuid()),
            stage: stage_number(stage),
            session: session_bytes(session),
            attempt,
        }
    }
}

impl TryFrom<pb::Expected> for Expected {
    type Error = DecodeError;
    fn try_from(wire: pb::Expected) -> Result<Expected, DecodeError> {
        let pb::Expected {
            tablet,
            version: at,
            migration,
            stage: in_stage,
            session: open,
            attempt,
        } = wire;
        Ok(Expected {
            tablet: tablet_id("expected.tablet", tablet)?,
            version: version("expected.version", at)?,
            migration: migration_id("expected.migration", &migration)?,
            stage: stage("expected.stage", in_stage)?,
            session: session("expected.session", open)?,
            attempt,
        })
    }
}

impl From<&Change> for pb::Change {
    fn from(change: &Change) -> pb::Change {
        use pb::change::Kind;
        let kind = match change {
            Change::CreateTable(create) => Kind::CreateTable(create.into()),
            Change::DropTable { table, migration } => {
                let (table, migration) = (table.as_u64(), bytes(migration.as_uuid()));
                Kind::DropTable(pb::DropTable { table, migration })
            }
            Change::Start(start) => Kind::Start(start.into()),
            Change::Cancel { migration } => Kind::Cancel(bytes(migration.as_uuid())),
            Change::Configure { expected, settings } => {
                let (settings, expected) = (Some(settings.into()), Some(expected.into()));
                Kind::Configure(pb::Configure { settings, expected })
            }
            Change::DisableBalancing { scope, switch } => {
                Kind::DisableBalancing(switch_to_wire(*scope, switch))
            }
            Change::EnableBalancing { scope } => Kind::EnableBalancing((*scope).into()),
            Change::Pause { reason } => Kind::Pause(reason.clone()),
            Change::Resume => Kind::Resume(pb::Nothing {}),
            Change::Drain { node, reason } => {
                let (node, reason) = (node.as_u64(), reason.clone());
                Kind::Drain(pb::DrainNode { node, reason })
            }
            Change::Undrain { node } => Kind::Undrain(node.as_u64()),
            Change::RemoveNode { node, reason } => {
                let (node, reason) = (node.as_u64(), reason.clone());
                Kind::RemoveNode(pb::DrainNode { node, reason })
            }
            Change::AcceptLoss { tablet, start, nodes, note } => Kind::AcceptLoss(pb::AcceptLoss {
                tablet: tablet.as_u64(),
                start: start.as_deref().map(Into::into),
                note: note.clone(),
                nodes: nodes.iter().map(|node| node.as_u64()).collect(),
            }),
        };
        pb::Change { kind: Some(kind) }
    }
}

impl TryFrom<pb::Change> for Change {
    type Error = DecodeError;
    fn try_from(wire: pb::Change) -> Result<Change, DecodeError> {
        use pb::change::Kind;
        let pb::Change { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "change" })? {
            Kind::CreateTable(create) => Change::CreateTable(create.try_into()?),
            Kind::DropTable(pb::DropTable { table, migration }) => Change::DropTable {
                table: table_id("drop_table.table", table)?,
                migration: migration_id("drop_table.migration", &migration)?,
            },
            Kind::Start(start) => Change::Start(start.try_into()?),
            Kind::Cancel(migration) => {
                Change::Cancel { migration: migration_id("cancel", &migration)? }
            }
            Kind::Configure(pb::Configure { settings, expected }) => Change::Configure {
                expected: settings_unchecked("configure.expected", expected)?,
                settings: settings_unchecked("configure.settings", settings)?,
            },
            Kind::DisableBalancing(disabled) => {
                let (scope, switch) = switch(disabled)?;
                Change::DisableBalancing { scope, switch }
            }
            Kind::EnableBalancing(scope) => Change::EnableBalancing { scope: scope.try_into()? },
            Kind::Pause(reason) => Change::Pause { reason },
            Kind::Resume(pb::Nothing {}) => Change::Resume,
            Kind::Drain(pb::DrainNode { node, reason }) => {
                Change::Drain { node: node_id("drain.node", node)?, reason }
            }
            Kind::Undrain(node) => Change::Undrain { node: node_id("undrain", node)? },
            Kind::RemoveNode(pb::DrainNode { node, reason }) => {
                Change::RemoveNode { node: node_id("remove_node.node", node)?, reason }
            }
            Kind::AcceptLoss(pb::AcceptLoss { tablet, start, note, nodes: named }) => {
                Change::AcceptLoss {
                    tablet: tablet_id("accept_loss.tablet", tablet)?,
                    start: start.map(Start::try_from).transpose()?.map(Box::new),
                    nodes: nodes("accept_loss.nodes", named)?,
                    note,
                }
            }
        })
    }
}

impl From<&CreateTable> for pb::CreateTable {
    fn from(create: &CreateTable) -> pb::CreateTable {
        let CreateTable { name, partitioning, replication_factor, tablets } = create;
        let tablet = |(range, nodes): &(PositionRange, Vec<NodeId>)| pb::NewTablet {
            range: Some(range.into()),
            nodes: nodes.iter().map(|node| node.as_u64()).collect(),
        };
        pb::CreateTable {
            name: name.clone(),
            partitioning: partitioning_number(*partitioning),
            replication_factor: *replication_factor,
            tablets: tablets.iter().map(tablet).collect(),
        }
    }
}

impl TryFrom<pb::CreateTable> for CreateTable {
    type Error = DecodeError;
    fn try_from(wire: pb::CreateTable) -> Result<CreateTable, DecodeError> {
        let pb::CreateTable { name, partitioning: by, replication_factor, tablets } = wire;
        let tablet = |wire: pb::NewTablet| {
            let pb::NewTablet { range, nodes: on } = wire;
            let range = there("create_table.tablets.range", range)?.into();
            Ok((range, nodes("create_table.tablets.nodes", on)?))
        };
        Ok(CreateTable {
            name,
            partitioning: partitioning("create_table.partitioning", by)?,
            replication_factor,
            tablets: tablets.into_iter().map(tablet).collect::<Result<_, DecodeError>>()?,
        })
    }
}

impl From<&Start> for pb::Start {
    fn from(start: &Start) -> pb::Start {
        let Start { migration, tablet, kind, from, to, session, proposed_promise, note } = start;
        pb::Start {
            migration: bytes(migration.as_uuid()),
            tablet: tablet.as_u64(),
            kind: kind_number(*kind),
            from: from.map(NodeId::as_u64),
            to: to.map(NodeId::as_u64),
            session: session_bytes(*session),
            proposed_promise: time_number(*proposed_promise),
            note: note.clone(),
        }
    }
}

impl TryFrom<pb::Start> for Start {
    type Error = DecodeError;
    fn try_from(wire: pb::Start) -> Result<Start, DecodeError> {
        let pb::Start {
            migration,
            tablet,
            kind: of_kind,
            from,
            to,
            session: fresh,
            proposed_promise,
            note,
        } = wire;
        Ok(Start {
            migration: migration_id("start.migration", &migration)?,
            tablet: tablet_id("start.tablet", tablet)?,
            kind: kind("start.kind", of_kind)?,
            from: from.map(|from| node_id("start.from", from)).transpose()?,
            to: to.map(|to| node_id("start.to", to)).transpose()?,
            session: session("start.session", fresh)?,
            proposed_promise: proposed_promise.map(HybridTime),
            note,
        })
    }
}
