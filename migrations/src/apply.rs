//! The only writer of `Topology`. Pure, deterministic and total: each command is applied, or
//! refused with a reason and without effect. It depends on the command and the state alone.
//!
//! One file a subject below this one: admission and fences, tables, the start of a transition,
//! its advance, replicas that are given up, and what people have switched off.

mod advance;
mod membership;
mod balance;
mod loss;
mod start;
mod table;

pub(crate) use advance::{check_forward, expected};
pub(crate) use balance::disabled;
pub(crate) use start::check_pending;

use crate::command::{Applied, Change, Command, Entry, Outcome, Rejected};
use crate::id::{NodeId, SessionId, TabletId};
use crate::invariant::{self, Broken};
use crate::lease::Instant;
use crate::problem::{Field, Problem};
use crate::request::Seen;
use crate::rule::{Rule, is_undone};
use crate::settings::Settings;
use crate::switch::{BalanceScope, Origin};
use crate::topology::Topology;
use crate::version::TopologyVersion;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedEntry {
    /// Of each command, in order.
    pub outcomes: Vec<Outcome>,
    /// The tablets that have a new version or are gone.
    pub touched: BTreeSet<TabletId>,
    /// Whether anything but tablets has changed: nodes, tables, settings.
    pub is_wider: bool,
    /// The nodes that were admitted or fenced: their tablets' transitions may go another way now.
    pub nodes: BTreeSet<NodeId>,
    /// Settings or a pause have changed: so may all transitions.
    pub is_for_all: bool,
}

/// What one command may change besides the state: what the entry reports.
struct Work<'a> {
    topology: &'a mut Topology,
    /// The version that every change of this entry gets.
    at: TopologyVersion,
    /// The proposer's clock.
    now_ms: u64,
    touched: BTreeSet<TabletId>,
    is_wider: bool,
    nodes: BTreeSet<NodeId>,
    is_for_all: bool,
}

/// Applies an entry. The counter is raised once, if anything changed; each command stands alone.
pub fn apply(topology: &mut Topology, entry: &Entry) -> AppliedEntry {
    let at = topology.state.version.next();
    let mut applied = AppliedEntry::default();
    let now_ms = entry.proposed_ms;
    let mut work = Work {
        topology,
        at,
        now_ms,
        touched: BTreeSet::new(),
        is_wider: false,
        nodes: BTreeSet::new(),
        is_for_all: false,
    };
    for command in &entry.commands {
        applied.outcomes.push(work.command(command));
    }
    applied.touched = work.touched;
    applied.is_wider = work.is_wider;
    applied.nodes = work.nodes;
    applied.is_for_all = work.is_for_all;
    if !applied.touched.is_empty() || applied.is_wider {
        topology.state.version = at;
    }
    applied
}

/// The first step of a restored state: every tablet gets the first version of the new era, and
/// what has a session begins its attempt anew with the fresh one.
pub(crate) fn begin_era(
    topology: &mut Topology,
    fresh: &BTreeMap<TabletId, SessionId>,
    now_ms: u64,
) {
    let at = topology.state.version.next();
    let tablets: Vec<TabletId> = topology.state.tablets.keys().copied().collect();
    let mut work = Work {
        topology,
        at,
        now_ms,
        touched: BTreeSet::new(),
        is_wider: true,
        nodes: BTreeSet::new(),
        is_for_all: true,
    };
    for id in tablets {
        let transition = work.topology.transition(id);
        let restarts = transition.filter(|transition| transition.record.session.is_some());
        match restarts.and_then(|transition| transition.record.stage.retry_from()) {
            Some(stage) => work.enter(id, stage, fresh.get(&id).copied(), None),
            None => work.touch(id, |_| {}),
        }
    }
    topology.state.version = at;
}

/// What `apply` would say of a change now, nothing done: `validate_only`.
pub fn check(topology: &Topology, change: &Change) -> Result<(), Rejected> {
    if topology.state.cluster.is_none() {
        return Err(Rejected::NotBootstrapped);
    }
    match change {
        Change::CreateTable(create) => table::check_create(topology, create),
        Change::DropTable { table, migration } => table::check_drop(topology, *table, *migration),
        Change::Start(start) => start::check(topology, start),
        Change::Cancel { migration } => start::check_cancel(topology, *migration).map(drop),
        Change::Configure { expected, settings } => check_configure(topology, expected, settings),
        Change::DisableBalancing { scope, switch } => {
            balance::check_disable(topology, *scope, switch)
        }
        Change::EnableBalancing { scope } => balance::check_scope(topology, *scope),
        Change::Pause { reason } => balance::check_reason(reason),
        Change::Resume => Ok(()),
        Change::Drain { node, reason } => balance::check_drain(topology, *node, reason),
        Change::Undrain { node } => balance::check_scope(topology, BalanceScope::Node(*node)),
        Change::RemoveNode { node, reason } => membership::check_remove(topology, *node, reason),
        Change::AcceptLoss { tablet, start, nodes, note } => {
            loss::check_accept(topology, *tablet, start.as_deref(), nodes, note)
        }
    }
}

fn check_configure(
    topology: &Topology,
    expected: &Settings,
    settings: &Settings,
) -> Result<(), Rejected> {
    let now = &topology.state.settings;
    let invalid = |problem| Err(Rejected::InvalidField { field: Field::Settings, problem });
    if expected != now {
        return Err(Rejected::SettingsChanged);
    }
    // Every leader waits for leases as long as they may last. A lease that an agent counts by the
    // longer terms would outlast a fence that is decided by the shorter ones.
    let wait = |settings: &Settings| settings.lease.leader_deadline(Instant(0));
    if wait(settings) < wait(now) {
        return invalid(Problem::LeaseShorter);
    }
    settings.contradiction().map_or(Ok(()), invalid)
}

/// Checks the invariants that can be read off the state. For tests and simulations after each
/// entry; for a coordinator after a restore.
pub fn check_invariants(topology: &Topology) -> Result<(), Broken> {
    invariant::check(&topology.state)
}

impl Work<'_> {
    fn command(&mut self, command: &Command) -> Outcome {
        if self.topology.state.cluster.is_none() && !matches!(command, Command::Bootstrap(_)) {
            return Err(Rejected::NotBootstrapped);
        }
        match command {
            Command::Bootstrap(bootstrap) => {
                let state = &mut self.topology.state;
                if let Some(cluster) = state.cluster {
                    return Err(Rejected::AlreadyBootstrapped(cluster));
                }
                if let Some(problem) = bootstrap.settings.contradiction() {
                    return Err(Rejected::InvalidField { field: Field::Settings, problem });
                }
                state.cluster = Some(bootstrap.cluster);
                state.settings = bootstrap.settings;
                self.change_for_all();
                Ok(Applied::Done)
            }
            Command::Admit(admit) => self.admit(admit),
            Command::Fence { node, incarnation } => self.fence(*node, *incarnation),
            Command::MarkLost { node, incarnation, copies } => {
                self.mark_lost(*node, *incarnation, copies)
            }
            Command::Advance(advance) => self.advance(advance),
            Command::Balance { start, now_ms } => self.balance(start, *now_ms),
            Command::Forget { node } => self.forget(*node),
            Command::Raise { level } => self.raise(*level),
            Command::Change { stamp, change } => {
                // Before any check that depends on other state: else the retry of a migration
                // would be refused because of itself.
                match self.topology.state.requests.look_up(stamp) {
                    _ if is_undone(Rule::RequestsRemembered) => {}
                    Seen::Before(outcome) => return outcome.clone(),
                    Seen::Reused => return Err(Rejected::RequestIdReused),
                    Seen::Expired => return Err(Rejected::RequestIdExpired),
                    Seen::New => {}
                }
                let outcome = self.change(change);
                self.topology.state.requests.remember(stamp, outcome.clone());
                outcome
            }
        }
    }

    fn change(&mut self, change: &Change) -> Outcome {
        check(self.topology, change)?;
        match change {
            Change::CreateTable(create) => Ok(self.create_table(create)),
            Change::DropTable { table, migration } => Ok(self.drop_table(*table, *migration)),
            Change::Start(start) => self.start(start, Origin::Request),
            Change::Cancel { migration } => self.cancel(*migration),
            Change::Configure { settings, .. } => {
                self.topology.state.settings = *settings;
                self.change_for_all();
                Ok(Applied::Done)
            }
            Change::DisableBalancing { scope, switch } => {
                Ok(self.disable_balancing(*scope, switch))
            }
            Change::EnableBalancing { scope } => Ok(self.enable_balancing(*scope)),
            Change::Pause { reason } => Ok(self.pause(reason)),
            Change::Resume => Ok(self.resume()),
            Change::Drain { node, reason } => Ok(self.drain(*node, reason)),
            Change::Undrain { node } => Ok(self.undrain(*node)),
            Change::RemoveNode { node, reason } => Ok(self.remove_node(*node, reason)),
            Change::AcceptLoss { tablet, start, note, .. } => {
                self.accept_loss(*tablet, start.as_deref(), note)
            }
        }
    }

    /// Something that all transitions go by has changed.
    fn change_for_all(&mut self) {
        self.is_wider = true;
        self.is_for_all = true;
    }

    /// A node was admitted or fenced.
    fn change_node(&mut self, node: NodeId) {
        self.is_wider = true;
        self.nodes.insert(node);
    }

    /// Changes a tablet and stamps it with this entry's version.
    fn touch(&mut self, tablet: TabletId, change: impl FnOnce(&mut crate::tablet::Tablet)) {
        let at = self.at;
        self.topology.change(tablet, |tablet| {
            tablet.version = at;
            change(tablet);
        });
        self.touched.insert(tablet);
    }
}
