//! Switches of the balancer, drains and a pause; and the moves that the balancer begins, which
//! they stop.

use super::{Work, start};
use crate::command::{Applied, Missing, Outcome, Rejected, Start};
use crate::id::{NodeId, TableId};
use crate::problem::{Field, Problem};
use crate::stage::TransitionKind;
use crate::switch::{BalanceScope, BalanceSwitch, Drain, Origin, Pause, TEXT_MAX};
use crate::topology::Topology;
use alloc::string::String;

/// A reason is short enough to be kept.
pub(super) fn check_reason(reason: &str) -> Result<(), Rejected> {
    match reason.len() > TEXT_MAX {
        true => Err(Rejected::InvalidField { field: Field::Reason, problem: Problem::TooLong }),
        false => Ok(()),
    }
}

/// What a switch is about is there.
pub(super) fn check_scope(topology: &Topology, scope: BalanceScope) -> Result<(), Rejected> {
    let missing = match scope {
        BalanceScope::Cluster => None,
        BalanceScope::Table(table) => {
            let found = topology.state.tables.get(&table).filter(|table| !table.is_dropping);
            found.is_none().then_some(Missing::Table(table))
        }
        BalanceScope::Node(node) => topology.node(node).is_none().then_some(Missing::Node(node)),
    };
    missing.map_or(Ok(()), |missing| Err(Rejected::NotFound(missing)))
}

pub(super) fn check_disable(
    topology: &Topology,
    scope: BalanceScope,
    switch: &BalanceSwitch,
) -> Result<(), Rejected> {
    check_scope(topology, scope)?;
    check_reason(&switch.reason)?;
    match switch.is_in_force(switch.since_ms) {
        true => Ok(()),
        false => Err(Rejected::InvalidField { field: Field::UntilMs, problem: Problem::NotAhead }),
    }
}

pub(super) fn check_drain(topology: &Topology, node: NodeId, reason: &str) -> Result<(), Rejected> {
    check_scope(topology, BalanceScope::Node(node))?;
    check_reason(reason)
}

/// The first switch that stops a move of this table's between these nodes at this time.
pub(crate) fn disabled(
    topology: &Topology,
    table: TableId,
    nodes: impl IntoIterator<Item = NodeId>,
    now_ms: u64,
) -> Option<BalanceScope> {
    let nodes = nodes.into_iter().map(BalanceScope::Node);
    let mut scopes = [BalanceScope::Cluster, BalanceScope::Table(table)].into_iter().chain(nodes);
    scopes.find(|scope| {
        let switch = topology.state.balancing.get(scope);
        switch.is_some_and(|switch| switch.is_in_force(now_ms))
    })
}

/// Whether the balancer may begin this move at this time.
pub(crate) fn check_balance(
    topology: &Topology,
    start: &Start,
    now_ms: u64,
) -> Result<(), Rejected> {
    // What is on a node that is dead is rebuilt elsewhere.
    if !matches!(start.kind, TransitionKind::Migrate | TransitionKind::Rebuild) {
        return Err(Rejected::InvalidField { field: Field::Kind, problem: Problem::NotAMove });
    }
    start::check(topology, start)?;
    if topology.state.pause.is_some() {
        return Err(Rejected::Paused);
    }
    let Some(tablet) = topology.tablet(start.tablet) else {
        return Err(Rejected::NotFound(Missing::Tablet(start.tablet)));
    };
    let nodes = start.from.into_iter().chain(start.to);
    match disabled(topology, tablet.table, nodes, now_ms) {
        Some(scope) => Err(Rejected::BalancingDisabled(scope)),
        None => Ok(()),
    }
}

impl Work<'_> {
    /// Begins a move of the balancer's, if nothing has been switched off that stops it.
    pub(super) fn balance(&mut self, start: &Start, now_ms: u64) -> Outcome {
        check_balance(self.topology, start, now_ms)?;
        self.start(start, Origin::Balancer)
    }

    /// Disables what `check_disable` has agreed to.
    pub(super) fn disable_balancing(
        &mut self,
        scope: BalanceScope,
        switch: &BalanceSwitch,
    ) -> Applied {
        self.topology.state.balancing.insert(scope, switch.clone());
        self.is_wider = true;
        Applied::Done
    }

    pub(super) fn enable_balancing(&mut self, scope: BalanceScope) -> Applied {
        if self.topology.state.balancing.remove(&scope).is_some() {
            self.is_wider = true;
        }
        Applied::Done
    }

    pub(super) fn pause(&mut self, reason: &str) -> Applied {
        let pause = &mut self.topology.state.pause;
        let since_ms = pause.as_ref().map_or(self.now_ms, |pause| pause.since_ms);
        *pause = Some(Pause { reason: String::from(reason), since_ms });
        self.change_for_all();
        Applied::Done
    }

    pub(super) fn resume(&mut self) -> Applied {
        if self.topology.state.pause.take().is_some() {
            self.change_for_all();
        }
        Applied::Done
    }

    pub(super) fn drain(&mut self, node: NodeId, reason: &str) -> Applied {
        if let Some(node) = self.topology.state.nodes.get_mut(&node) {
            let since_ms = node.drain.as_ref().map_or(self.now_ms, |drain| drain.since_ms);
            node.drain = Some(Drain { reason: String::from(reason), since_ms });
            self.is_wider = true;
        }
        Applied::Done
    }

    pub(super) fn undrain(&mut self, node: NodeId) -> Applied {
        if let Some(node) = self.topology.state.nodes.get_mut(&node)
            && node.drain.take().is_some()
        {
            node.is_leaving = false;
            self.is_wider = true;
        }
        Applied::Done
    }
}
