//! What came of a command, refusals in full: the retry of a request gets the same answer from a
//! coordinator that has it from a snapshot.

use super::DecodeError;
use super::field::{incarnation, named, stage, stage_number, version};
use super::problem::{field, field_number, problem, problem_number};
use crate::Malformed;
use crate::convert::{bytes, cluster_id, migration_id, node_id, session_id, table_id, tablet_id};
use crate::generated::storage::v1 as pb;
use migrations::command::{Applied, Missing, Outcome, PlacementRule, Rejected};

/// An outcome as it is written.
pub(super) fn outcome_to_wire(outcome: &Outcome) -> pb::Outcome {
    use pb::outcome::Kind;
    let kind = match outcome {
        Ok(applied) => Kind::Applied((*applied).into()),
        Err(rejected) => Kind::Rejected(rejected.into()),
    };
    pb::Outcome { kind: Some(kind) }
}

/// An outcome, from a snapshot.
pub(super) fn outcome(wire: pb::Outcome) -> Result<Outcome, DecodeError> {
    use pb::outcome::Kind;
    let pb::Outcome { kind } = wire;
    Ok(match kind.ok_or(DecodeError::Unknown { what: "outcome" })? {
        Kind::Applied(applied) => Ok(applied.try_into()?),
        Kind::Rejected(rejected) => Err(rejected.try_into()?),
    })
}

impl From<Applied> for pb::Applied {
    fn from(applied: Applied) -> pb::Applied {
        use pb::applied::Kind;
        let kind = match applied {
            Applied::Done => Kind::Done(pb::Nothing {}),
            Applied::Table(table) => Kind::Table(table.as_u64()),
            Applied::Migration(migration) => Kind::Migration(bytes(migration.as_uuid())),
            Applied::Admitted { node, incarnation } => {
                let (node, incarnation) = (node.as_u64(), Some(incarnation.0.into()));
                Kind::Admitted(pb::Admitted { node, incarnation })
            }
        };
        pb::Applied { kind: Some(kind) }
    }
}

impl TryFrom<pb::Applied> for Applied {
    type Error = DecodeError;
    fn try_from(wire: pb::Applied) -> Result<Applied, DecodeError> {
        use pb::applied::Kind;
        let pb::Applied { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "result of a command" })? {
            Kind::Done(pb::Nothing {}) => Applied::Done,
            Kind::Table(table) => Applied::Table(table_id("applied.table", table)?),
            Kind::Migration(migration) => {
                Applied::Migration(migration_id("applied.migration", &migration)?)
            }
            Kind::Admitted(pb::Admitted { node, incarnation: under }) => Applied::Admitted {
                node: node_id("applied.admitted.node", node)?,
                incarnation: incarnation("applied.admitted.incarnation", under)?,
            },
        })
    }
}

impl From<Missing> for pb::Missing {
    fn from(missing: Missing) -> pb::Missing {
        use pb::missing::Kind;
        let kind = match missing {
            Missing::Table(table) => Kind::Table(table.as_u64()),
            Missing::Tablet(tablet) => Kind::Tablet(tablet.as_u64()),
            Missing::Node(node) => Kind::Node(node.as_u64()),
            Missing::Migration(migration) => Kind::Migration(bytes(migration.as_uuid())),
        };
        pb::Missing { kind: Some(kind) }
    }
}

impl TryFrom<pb::Missing> for Missing {
    type Error = DecodeError;
    fn try_from(wire: pb::Missing) -> Result<Missing, DecodeError> {
        use pb::missing::Kind;
        let pb::Missing { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "missing thing" })? {
            Kind::Table(table) => Missing::Table(table_id("not_found.table", table)?),
            Kind::Tablet(tablet) => Missing::Tablet(tablet_id("not_found.tablet", tablet)?),
            Kind::Node(node) => Missing::Node(node_id("not_found.node", node)?),
            Kind::Migration(migration) => {
                Missing::Migration(migration_id("not_found.migration", &migration)?)
            }
        })
    }
}

impl From<PlacementRule> for pb::PlacementRule {
    fn from(rule: PlacementRule) -> pb::PlacementRule {
        match rule {
            PlacementRule::OneReplicaPerNode => pb::PlacementRule::OneReplicaPerNode,
            PlacementRule::OneReplicaPerRack => pb::PlacementRule::OneReplicaPerRack,
            PlacementRule::LeavingHoldsReplica => pb::PlacementRule::LeavingHoldsReplica,
            PlacementRule::KeepOneReplica => pb::PlacementRule::KeepOneReplica,
            PlacementRule::ReplicationFactor => pb::PlacementRule::ReplicationFactor,
            PlacementRule::LeavingIsDead => pb::PlacementRule::LeavingIsDead,
            PlacementRule::RemovedHoldsNothing => pb::PlacementRule::RemovedHoldsNothing,
        }
    }
}

fn placement_rule(wire: i32) -> Result<PlacementRule, DecodeError> {
    named("placement_violation.rule", "rule of placement", wire, |wire| {
        match pb::PlacementRule::try_from(wire).ok()? {
            pb::PlacementRule::Unspecified => None,
            pb::PlacementRule::OneReplicaPerNode => Some(PlacementRule::OneReplicaPerNode),
            pb::PlacementRule::OneReplicaPerRack => Some(PlacementRule::OneReplicaPerRack),
            pb::PlacementRule::LeavingHoldsReplica => Some(PlacementRule::LeavingHoldsReplica),
            pb::PlacementRule::KeepOneReplica => Some(PlacementRule::KeepOneReplica),
            pb::PlacementRule::ReplicationFactor => Some(PlacementRule::ReplicationFactor),
            pb::PlacementRule::LeavingIsDead => Some(PlacementRule::LeavingIsDead),
            pb::PlacementRule::RemovedHoldsNothing => Some(PlacementRule::RemovedHoldsNothing),
        }
    })
}

impl From<&Rejected> for pb::Rejected {
    fn from(rejected: &Rejected) -> pb::Rejected {
        use pb::rejected::Kind;
        let kind = match rejected {
            Rejected::NotBootstrapped => Kind::NotBootstrapped(pb::Nothing {}),
            Rejected::AlreadyBootstrapped(cluster) => {
                Kind::AlreadyBootstrapped(bytes(cluster.as_uuid()))
            }
            Rejected::NotFound(missing) => Kind::NotFound((*missing).into()),
            Rejected::TableExists(table) => Kind::TableExists(table.as_u64()),
            Rejected::TabletBusy(migration) => Kind::TabletBusy(bytes(migration.as_uuid())),
            Rejected::NotInTransition(tablet) => Kind::NotInTransition(tablet.as_u64()),
            Rejected::PlacementViolation { rule, node } => {
                let rule = pb::PlacementRule::from(*rule).into();
                Kind::PlacementViolation(pb::PlacementViolation { rule, node: node.as_u64() })
            }
            Rejected::InvalidField { field, problem } => {
                let (field, problem) = (field_number(*field), problem_number(*problem));
                Kind::InvalidField(pb::InvalidField { field, problem })
            }
            Rejected::NodeFenced(node) => Kind::NodeFenced(node.as_u64()),
            Rejected::NodeNotFenced(node) => Kind::NodeNotFenced(node.as_u64()),
            Rejected::NodeMismatch => Kind::NodeMismatch(pb::Nothing {}),
            Rejected::FreshSessionMissing(tablet) => Kind::FreshSessionMissing(tablet.as_u64()),
            Rejected::SessionInUse(session) => Kind::SessionInUse(bytes(session.as_uuid())),
            Rejected::Moved { version, stage } => {
                let (version, stage) = (Some((*version).into()), stage_number(*stage));
                Kind::Moved(pb::Moved { version, stage })
            }
            Rejected::IllegalEdge { from, to } => {
                let (from, to) = (stage_number(*from), to.map(stage_number));
                Kind::IllegalEdge(pb::IllegalEdge { from, to })
            }
            Rejected::EvidenceMissing(node) => Kind::EvidenceMissing(node.as_u64()),
            Rejected::SilentMajority => Kind::SilentMajority(pb::Nothing {}),
            Rejected::DigestMismatch => Kind::DigestMismatch(pb::Nothing {}),
            Rejected::NoLiveMajority => Kind::NoLiveMajority(pb::Nothing {}),
            Rejected::NoSources => Kind::NoSources(pb::Nothing {}),
            Rejected::ReceiverFenced(node) => Kind::ReceiverFenced(node.as_u64()),
            Rejected::Ending => Kind::Ending(pb::Nothing {}),
            Rejected::PastPointOfNoReturn => Kind::PastPointOfNoReturn(pb::Nothing {}),
            Rejected::RequestIdReused => Kind::RequestIdReused(pb::Nothing {}),
            Rejected::RequestIdExpired => Kind::RequestIdExpired(pb::Nothing {}),
            Rejected::NodeDraining(node) => Kind::NodeDraining(node.as_u64()),
            Rejected::BalancingDisabled(scope) => Kind::BalancingDisabled((*scope).into()),
            Rejected::Paused => Kind::Paused(pb::Nothing {}),
            Rejected::SettingsChanged => Kind::SettingsChanged(pb::Nothing {}),
            Rejected::NodeRemoved => Kind::NodeRemoved(pb::Nothing {}),
            Rejected::UpgradeRequired(level) => Kind::UpgradeRequired(*level),
            Rejected::NothingLost(tablet) => Kind::NothingLost(tablet.as_u64()),
            Rejected::LossNotNamed(node) => Kind::LossNotNamed(node.as_u64()),
            Rejected::InvariantBroken(number) => Kind::InvariantBroken(u32::from(*number)),
        };
        pb::Rejected { kind: Some(kind) }
    }
}

impl TryFrom<pb::Rejected> for Rejected {
    type Error = DecodeError;
    fn try_from(wire: pb::Rejected) -> Result<Rejected, DecodeError> {
        use pb::rejected::Kind;
        let pb::Rejected { kind } = wire;
        let node = |node| node_id("rejected.node", node);
        let tablet = |tablet| tablet_id("rejected.tablet", tablet);
        Ok(match kind.ok_or(DecodeError::Unknown { what: "refusal" })? {
            Kind::NotBootstrapped(pb::Nothing {}) => Rejected::NotBootstrapped,
            Kind::AlreadyBootstrapped(cluster) => {
                Rejected::AlreadyBootstrapped(cluster_id("rejected.cluster", &cluster)?)
            }
            Kind::NotFound(missing) => Rejected::NotFound(missing.try_into()?),
            Kind::TableExists(table) => Rejected::TableExists(table_id("rejected.table", table)?),
            Kind::TabletBusy(migration) => {
                Rejected::TabletBusy(migration_id("rejected.migration", &migration)?)
            }
            Kind::NotInTransition(id) => Rejected::NotInTransition(tablet(id)?),
            Kind::PlacementViolation(pb::PlacementViolation { rule, node: on }) => {
                Rejected::PlacementViolation { rule: placement_rule(rule)?, node: node(on)? }
            }
            Kind::InvalidField(pb::InvalidField { field: of, problem: what }) => {
                Rejected::InvalidField { field: field(of)?, problem: problem(what)? }
            }
            Kind::NodeFenced(id) => Rejected::NodeFenced(node(id)?),
            Kind::NodeNotFenced(id) => Rejected::NodeNotFenced(node(id)?),
            Kind::NodeMismatch(pb::Nothing {}) => Rejected::NodeMismatch,
            Kind::FreshSessionMissing(id) => Rejected::FreshSessionMissing(tablet(id)?),
            Kind::SessionInUse(session) => {
                Rejected::SessionInUse(session_id("rejected.session", &session)?)
            }
            Kind::Moved(pb::Moved { version: at, stage: in_stage }) => Rejected::Moved {
                version: version("moved.version", at)?,
                stage: stage("moved.stage", in_stage)?,
            },
            Kind::IllegalEdge(pb::IllegalEdge { from, to }) => Rejected::IllegalEdge {
                from: stage("illegal_edge.from", from)?,
                to: to.map(|to| stage("illegal_edge.to", to)).transpose()?,
            },
            Kind::EvidenceMissing(id) => Rejected::EvidenceMissing(node(id)?),
            Kind::SilentMajority(pb::Nothing {}) => Rejected::SilentMajority,
            Kind::DigestMismatch(pb::Nothing {}) => Rejected::DigestMismatch,
            Kind::NoLiveMajority(pb::Nothing {}) => Rejected::NoLiveMajority,
            Kind::NoSources(pb::Nothing {}) => Rejected::NoSources,
            Kind::ReceiverFenced(id) => Rejected::ReceiverFenced(node(id)?),
            Kind::Ending(pb::Nothing {}) => Rejected::Ending,
            Kind::PastPointOfNoReturn(pb::Nothing {}) => Rejected::PastPointOfNoReturn,
            Kind::RequestIdReused(pb::Nothing {}) => Rejected::RequestIdReused,
            Kind::RequestIdExpired(pb::Nothing {}) => Rejected::RequestIdExpired,
            Kind::NodeDraining(id) => Rejected::NodeDraining(node(id)?),
            Kind::BalancingDisabled(scope) => Rejected::BalancingDisabled(scope.try_into()?),
            Kind::Paused(pb::Nothing {}) => Rejected::Paused,
            Kind::SettingsChanged(pb::Nothing {}) => Rejected::SettingsChanged,
            Kind::NodeRemoved(pb::Nothing {}) => Rejected::NodeRemoved,
            Kind::UpgradeRequired(level) => Rejected::UpgradeRequired(level),
            Kind::NothingLost(id) => Rejected::NothingLost(tablet(id)?),
            Kind::LossNotNamed(id) => Rejected::LossNotNamed(node(id)?),
            Kind::InvariantBroken(number) => Rejected::InvariantBroken(invariant(number)?),
        })
    }
}

fn invariant(number: u32) -> Result<u8, Malformed> {
    let problem = "not the number of an invariant";
    u8::try_from(number).map_err(|_| Malformed::Field { field: "invariant_broken", problem })
}
