//! What people have switched off.

use super::DecodeError;
use super::field::there;
use crate::convert::{node_id, table_id};
use crate::generated::storage::v1 as pb;
use migrations::id::{NodeId, TableId};
use migrations::switch::{BalanceScope, BalanceSwitch, Drain, Pause};

impl From<BalanceScope> for pb::BalanceScope {
    fn from(scope: BalanceScope) -> pb::BalanceScope {
        use pb::balance_scope::Kind;
        let kind = match scope {
            BalanceScope::Cluster => Kind::Cluster(pb::Nothing {}),
            BalanceScope::Table(table) => Kind::Table(TableId::as_u64(table)),
            BalanceScope::Node(node) => Kind::Node(NodeId::as_u64(node)),
        };
        pb::BalanceScope { kind: Some(kind) }
    }
}

impl TryFrom<pb::BalanceScope> for BalanceScope {
    type Error = DecodeError;
    fn try_from(wire: pb::BalanceScope) -> Result<BalanceScope, DecodeError> {
        use pb::balance_scope::Kind;
        let pb::BalanceScope { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "scope of balancing" })? {
            Kind::Cluster(pb::Nothing {}) => BalanceScope::Cluster,
            Kind::Table(table) => BalanceScope::Table(table_id("balance_scope.table", table)?),
            Kind::Node(node) => BalanceScope::Node(node_id("balance_scope.node", node)?),
        })
    }
}

/// A switch as it is written.
pub(super) fn switch_to_wire(scope: BalanceScope, switch: &BalanceSwitch) -> pb::BalanceSwitch {
    let BalanceSwitch { reason, since_ms, until_ms } = switch.clone();
    pb::BalanceSwitch { scope: Some(scope.into()), reason, since_ms, until_ms }
}

/// A switch, from the log or a snapshot.
pub(super) fn switch(
    wire: pb::BalanceSwitch,
) -> Result<(BalanceScope, BalanceSwitch), DecodeError> {
    let pb::BalanceSwitch { scope, reason, since_ms, until_ms } = wire;
    let scope = there("balance_switch.scope", scope)?.try_into()?;
    Ok((scope, BalanceSwitch { reason, since_ms, until_ms }))
}

impl From<&Pause> for pb::Standing {
    fn from(pause: &Pause) -> pb::Standing {
        let Pause { reason, since_ms } = pause.clone();
        pb::Standing { reason, since_ms }
    }
}

impl From<pb::Standing> for Pause {
    fn from(wire: pb::Standing) -> Pause {
        let pb::Standing { reason, since_ms } = wire;
        Pause { reason, since_ms }
    }
}

impl From<&Drain> for pb::Standing {
    fn from(drain: &Drain) -> pb::Standing {
        let Drain { reason, since_ms } = drain.clone();
        pb::Standing { reason, since_ms }
    }
}

impl From<pb::Standing> for Drain {
    fn from(wire: pb::Standing) -> Drain {
        let pb::Standing { reason, since_ms } = wire;
        Drain { reason, since_ms }
    }
}
