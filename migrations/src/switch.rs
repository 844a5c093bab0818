//! What people have told Palisade not to do until they say otherwise: balancing that is disabled,
//! a pause of all transitions, and nodes that are to hold nothing.

use crate::id::{NodeId, TableId};
use alloc::string::String;

/// Longest text of a caller's that the state keeps, in bytes. INV-15.
pub const TEXT_MAX: usize = 1_024;

/// What a switch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BalanceScope {
    /// Everything.
    Cluster,
    /// The tablets of a table.
    Table(TableId),
    /// A node: no replica goes there, and none away from there, a drain of it included.
    Node(NodeId),
}

/// Balancing is disabled: no move of the balancer's begins. Those that run go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceSwitch {
    /// Why, in the caller's words; at most `TEXT_MAX` bytes.
    pub reason: String,
    /// Since when: the proposer's clock, milliseconds since 1970.
    pub since_ms: u64,
    /// From then on it is not in force any more: milliseconds since 1970. `None`: until enabled.
    pub until_ms: Option<u64>,
}

impl BalanceSwitch {
    /// Whether it still holds at this time.
    pub fn is_in_force(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}

/// Transitions stand still, each at its next safe stage; see `Stage::may_stand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Why, in the caller's words; at most `TEXT_MAX` bytes.
    pub reason: String,
    /// Since when: the proposer's clock, milliseconds since 1970.
    pub since_ms: u64,
}

/// A node is to hold nothing: it gets no replica, and the balancer takes away those it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Why, in the caller's words; at most `TEXT_MAX` bytes.
    pub reason: String,
    /// Since when: the proposer's clock, milliseconds since 1970.
    pub since_ms: u64,
}

/// Who began a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Somebody asked for it.
    Request,
    /// The balancer.
    Balancer,
}
