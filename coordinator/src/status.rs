//! Errors of a coordinator as statuses: the only place where they are mapped. Each says what is
//! wrong, in the closed list's words, and for a change how far it got.

use crate::group0::{Group0, Member, MemberError, ProposeError, ReadError};
use crate::machine::Machine;
use crate::proposer::SubmitError;
use migrations::command::{Missing, Rejected};
use migrations::id::NodeId;
use migrations::retry::ChangeOutcome;
use migrations::version::Incarnation;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::io;
use std::time::Duration;
use tonic::Status;

/// When a client may look again for a leader.
const LEADER_RETRY: Duration = Duration::from_millis(200);
/// When a client may come again after an overload.
const OVERLOAD_RETRY: Duration = Duration::from_millis(500);

/// Whom a refusal goes to: each is sent to the leader's port for its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// People, command lines and programs.
    Admin,
    /// Replica agents.
    Agents,
}

impl Port {
    /// Go to the leader, on this port.
    fn lead(self, leader: &Member, term: u64, message: impl Into<String>) -> Refusal {
        let address = match self {
            Port::Admin => &leader.admin_address,
            Port::Agents => &leader.agents_address,
        };
        Refusal::new(Reason::NotLeader, message)
            .with("leader", leader.name.clone())
            .with("address", address.clone())
            .with("term", term.to_string())
    }
}

/// This coordinator does not lead; where an agent is to go, if it knows.
pub(crate) fn not_leader(group0: &Group0<Machine>) -> Status {
    // It may have been elected a moment ago, and not be ready to serve.
    let leader = group0.leader().filter(|leader| leader.name != group0.member().name);
    match leader {
        Some(leader) => {
            let refusal =
                Port::Agents.lead(&leader, group0.metrics().term, "this coordinator does not lead");
            outcome(refusal.into(), ChangeOutcome::NotApplied)
        }
        None => no_leader(),
    }
}

fn handing_over() -> Refusal {
    let message = "leadership is being handed over";
    Refusal::new(Reason::LeaderTransferring, message).retry_after(LEADER_RETRY)
}

fn no_leader() -> Status {
    let refusal = Refusal::new(Reason::NoLeader, "group0 has no leader");
    outcome(refusal.retry_after(LEADER_RETRY).into(), ChangeOutcome::NotApplied)
}

/// There is a leader, and its cluster has not begun: the same to a caller, who comes again.
pub(crate) fn not_begun() -> Status {
    let refusal = Refusal::new(Reason::NoLeader, "the cluster has not begun");
    outcome(refusal.retry_after(LEADER_RETRY).into(), ChangeOutcome::NotApplied)
}

/// An incarnation is fenced, or is not the admitted one.
pub(crate) fn fenced(incarnation: Incarnation) -> Status {
    let message = format!("incarnation {incarnation} is not admitted");
    Refusal::new(Reason::NodeFenced, message).into()
}

fn outcome(mut status: Status, outcome: ChangeOutcome) -> Status {
    proto::status::set_outcome(status.metadata_mut(), outcome);
    status
}

/// This coordinator ends: what was asked for goes on at another one.
pub(crate) fn shutting_down() -> Status {
    let message = "this coordinator is shutting down";
    let refusal = Refusal::new(Reason::ShuttingDown, message).retry_after(LEADER_RETRY);
    outcome(refusal.into(), ChangeOutcome::NotApplied)
}

/// A read that could not be shown to be the newest; if it was for a change, nothing was proposed.
/// `port` is where it came in.
pub(crate) fn read_error(error: &ReadError, port: Port) -> Status {
    let refusal = match error {
        ReadError::NotLeader { leader, term } => port.lead(leader, *term, error.to_string()),
        ReadError::NoLeader | ReadError::NoQuorum => return no_leader(),
        ReadError::HandingOver => handing_over(),
        ReadError::ShuttingDown | ReadError::Fatal(_) => {
            Refusal::new(Reason::ShuttingDown, error.to_string()).retry_after(LEADER_RETRY)
        }
    };
    outcome(refusal.into(), ChangeOutcome::NotApplied)
}

/// What can't be done since the disk of this coordinator takes or gives no bytes.
pub(crate) fn disk_error(error: &io::Error) -> Status {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::DiskFull,
        _ => Reason::DiskError,
    };
    Refusal::new(reason, error.to_string()).into()
}

/// A change that has no outcome. `port` is where it came in.
pub(crate) fn submit_error(error: &SubmitError, port: Port) -> Status {
    let message = error.to_string();
    let SubmitError::Propose(propose) = error else {
        let refusal = Refusal::new(Reason::Overloaded, message).retry_after(OVERLOAD_RETRY);
        return outcome(refusal.into(), ChangeOutcome::NotApplied);
    };
    let known = match propose.outcome_unknown() {
        true => ChangeOutcome::Unknown,
        false => ChangeOutcome::NotApplied,
    };
    let refusal = match propose {
        ProposeError::NotLeader { leader, term } => port.lead(leader, *term, message),
        ProposeError::NoLeader => Refusal::new(Reason::NoLeader, message).retry_after(LEADER_RETRY),
        ProposeError::HandingOver => handing_over(),
        ProposeError::ShuttingDown => {
            Refusal::new(Reason::ShuttingDown, message).retry_after(LEADER_RETRY)
        }
        ProposeError::TooLate => Refusal::new(Reason::QueueTimeout, message),
        ProposeError::TooLarge { .. } => Refusal::invalid_field("request", message),
        ProposeError::LeadershipLost | ProposeError::Fatal(_) => {
            Refusal::new(Reason::LeadershipLost, message)
        }
        ProposeError::CommitTimeout => Refusal::new(Reason::CommitTimeout, message),
    };
    outcome(refusal.into(), known)
}

/// A change of the members that was not made, or of which that is not known.
pub(crate) fn member_error(error: &MemberError, port: Port) -> Status {
    let message = error.to_string();
    let violated = |rule: &str, name: &str| {
        Refusal::new(Reason::PlacementViolation, message.clone())
            .with("rule", rule)
            .with("coordinator", name)
    };
    let refusal = match error {
        MemberError::Read(error) => return read_error(error, port),
        MemberError::Propose(error) => return submit_error(&error.clone().into(), port),
        MemberError::Silent { .. }
        | MemberError::CantLead { .. }
        | MemberError::NobodyElse
        | MemberError::Moved { .. } => Refusal::new(Reason::NodeNotReady, message),
        MemberError::OtherName { .. } | MemberError::WasRemoved { .. } => {
            Refusal::new(Reason::NodeMismatch, message)
        }
        MemberError::OtherCluster { .. } | MemberError::ExpectsOthers { .. } => {
            Refusal::new(Reason::ClusterMismatch, message)
        }
        MemberError::TooOld { .. } => Refusal::new(Reason::UpgradeRequired, message),
        MemberError::NameTaken { name, .. } => {
            Refusal::new(Reason::AlreadyExists, message).of_resource("coordinator", name.as_str())
        }
        MemberError::NotFound(name) => {
            Refusal::new(Reason::NotFound, message).of_resource("coordinator", name.as_str())
        }
        MemberError::TooMany(_) => violated("most-coordinators", ""),
        MemberError::LosesQuorum { name, .. } => violated("keep-a-quorum", name),
        MemberError::LastVoter { name } => violated("keep-one-coordinator", name),
        MemberError::NotTaken => {
            Refusal::new(Reason::LeaderTransferring, message).retry_after(LEADER_RETRY)
        }
    };
    let known = match error.outcome_unknown() {
        true => ChangeOutcome::Unknown,
        false => ChangeOutcome::NotApplied,
    };
    outcome(refusal.into(), known)
}

/// A command that the state machine refused, with nodes by their numbers.
pub(crate) fn rejected(refused: &Rejected) -> Status {
    rejected_of(refused, &|node| node.to_string())
}

/// A command that the state machine refused. `name` gives people the name of a node.
pub(crate) fn rejected_of(rejected: &Rejected, name: &dyn Fn(NodeId) -> String) -> Status {
    let message = rejected.to_string();
    let refusal = match rejected {
        Rejected::NotBootstrapped => Refusal::new(Reason::NoLeader, message),
        Rejected::AlreadyBootstrapped(_) | Rejected::TableExists(_) => {
            Refusal::new(Reason::AlreadyExists, message)
        }
        Rejected::NotFound(missing) => {
            let (kind, name) = resource(missing);
            Refusal::new(Reason::NotFound, format!("{kind} {name} does not exist"))
                .of_resource(kind, name)
        }
        Rejected::TabletBusy(migration) => Refusal::new(Reason::TabletBusy, message)
            .of_resource("migration", migration.to_string()),
        Rejected::NotInTransition(_) | Rejected::Moved { .. } => {
            Refusal::new(Reason::NotInTransition, message)
        }
        Rejected::PlacementViolation { rule, node } => {
            let node = name(*node);
            Refusal::new(Reason::PlacementViolation, format!("{node}: {rule}"))
                .with("rule", rule.name())
                .with("node", node)
        }
        Rejected::InvalidField { field, problem } => {
            Refusal::invalid_field(field.name(), problem.words())
        }
        Rejected::NodeFenced(node) | Rejected::ReceiverFenced(node) => {
            let node = name(*node);
            Refusal::new(Reason::NodeFenced, format!("{node} is fenced")).with("node", node)
        }
        Rejected::NodeDraining(node) => {
            let node = name(*node);
            Refusal::new(Reason::NodeDraining, format!("{node} is being drained"))
                .with("node", node)
        }
        Rejected::NodeNotFenced(node) => Refusal::new(Reason::NodeNotReady, message)
            .with("node", node.to_string())
            .retry_after(OVERLOAD_RETRY),
        Rejected::SettingsChanged => Refusal::invalid_field("expected", message),
        Rejected::NodeMismatch | Rejected::NodeRemoved => {
            Refusal::new(Reason::NodeMismatch, message)
        }
        Rejected::UpgradeRequired(_) => Refusal::new(Reason::UpgradeRequired, message),
        Rejected::NothingLost(_) => Refusal::new(Reason::NotInTransition, message),
        Rejected::LossNotNamed(node) => {
            let node = name(*node);
            let message = format!("the replica on {node} is dead too, and was not named");
            Refusal::new(Reason::LossNotNamed, message).with("node", node)
        }
        Rejected::PastPointOfNoReturn => Refusal::new(Reason::PastPointOfNoReturn, message),
        Rejected::RequestIdReused => Refusal::new(Reason::RequestIdReused, message),
        Rejected::RequestIdExpired => Refusal::new(Reason::RequestIdExpired, message),
        Rejected::SessionInUse(_)
        | Rejected::FreshSessionMissing(_)
        | Rejected::IllegalEdge { .. }
        | Rejected::EvidenceMissing(_)
        | Rejected::SilentMajority
        | Rejected::DigestMismatch
        | Rejected::NoLiveMajority
        | Rejected::NoSources
        | Rejected::Ending
        // Of the balancer's own proposals, which nobody asked for: they are logged, no more.
        | Rejected::BalancingDisabled(_)
        | Rejected::Paused => Refusal::new(Reason::NotInTransition, message),
        Rejected::InvariantBroken(_) => Refusal::new(Reason::InvariantBroken, message),
    };
    let known = match rejected {
        Rejected::RequestIdExpired => ChangeOutcome::Unknown,
        _ => ChangeOutcome::Rejected,
    };
    outcome(refusal.into(), known)
}

fn resource(missing: &Missing) -> (&'static str, String) {
    match missing {
        Missing::Table(table) => ("table", table.to_string()),
        Missing::Tablet(tablet) => ("tablet", tablet.to_string()),
        Missing::Node(node) => ("node", node.to_string()),
        Missing::Migration(migration) => ("migration", migration.to_string()),
    }
}
