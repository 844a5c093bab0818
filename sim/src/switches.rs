//! What people switch off and on while tablets move: a pause of all transitions, drains of nodes,
//! balancing. And the core's balancer, which obeys them.

use crate::coordinator::proposals::Then;
use crate::event::Event;
use crate::time::MILLI;
use crate::world::World;
use migrations::balancer::{self, Limits, Why};
use migrations::command::{Change, Command, Start};
use migrations::id::{MigrationId, NodeId, TableId};
use migrations::switch::{BalanceScope, BalanceSwitch};

impl World {
    /// Something to switch, now and then.
    pub(crate) fn flip(&mut self, at: usize) -> Option<Change> {
        if !self.plan.has_switches || !self.random.workload.chance(120) {
            return None;
        }
        let state = self.coordinators[at].topology.state();
        let nodes: Vec<NodeId> = state.nodes.keys().copied().collect();
        let tables: Vec<TableId> = state.tables.keys().copied().collect();
        // Their machines have come in again under other names.
        let without = state.nodes.iter().filter(|(id, node)| {
            !node.is_leaving && node.admitted().is_none() && self.agent_of(**id).is_none()
        });
        let without: Vec<NodeId> = without.map(|(id, _)| *id).collect();
        let drained: Vec<NodeId> =
            state.nodes.iter().filter(|(_, n)| n.drain.is_some()).map(|(id, _)| *id).collect();
        let switched: Vec<BalanceScope> = state.balancing.keys().copied().collect();
        let is_paused = state.pause.is_some();
        let workload = &mut self.random.workload;
        let reason = || String::from("work on the racks");
        let dice = workload.below(10);
        match dice {
            // A pause is short, a drain is not.
            _ if is_paused => Some(Change::Resume),
            _ if !without.is_empty() => {
                let node = workload.pick(&without)?;
                Some(Change::RemoveNode { node, reason: reason() })
            }
            0 | 1 => Some(Change::Pause { reason: reason() }),
            2..=4 if drained.is_empty() => {
                let node = workload.pick(&nodes)?;
                Some(Change::Drain { node, reason: reason() })
            }
            2..=4 => Some(Change::Undrain { node: workload.pick(&drained)? }),
            5 | 6 => {
                let scopes = [
                    Some(BalanceScope::Cluster),
                    workload.pick(&tables).map(BalanceScope::Table),
                    workload.pick(&nodes).map(BalanceScope::Node),
                ];
                let scope = workload.pick(&scopes)??;
                let since_ms = self.coordinators[at].clock.wall_ms(self.queue.now);
                let until_ms = Some(since_ms + 1_500);
                let switch = BalanceSwitch { reason: reason(), since_ms, until_ms };
                Some(Change::DisableBalancing { scope, switch })
            }
            _ => Some(Change::EnableBalancing { scope: workload.pick(&switched)? }),
        }
    }

    /// A round of the core's balancer.
    pub(crate) fn balance(&mut self, at: usize) {
        if !self.random.workload.chance(350) {
            return;
        }
        let now_ms = self.coordinators[at].clock.wall_ms(self.queue.now);
        let limits = Limits { moves: 2, per_node: 2 };
        let plan = balancer::plan(&self.coordinators[at].topology, limits, now_ms);
        for node in balancer::emptied(&self.coordinators[at].topology) {
            self.mark("a removed node is forgotten");
            self.propose(at, Command::Forget { node }, Then::Nothing);
        }
        for planned in plan.moves {
            let Some(migration) = MigrationId::from_uuid(self.random.ids.uuid()) else { continue };
            self.mark(match planned.why {
                Why::Drain => "the balancer empties a drained node",
                Why::Level => "the balancer levels",
                Why::Remove => "the balancer rebuilds what a removed node held",
            });
            let start = Box::new(Start {
                migration,
                tablet: planned.tablet,
                kind: planned.kind,
                from: Some(planned.from),
                to: Some(planned.to),
                session: None,
                proposed_promise: None,
                note: String::new(),
            });
            self.propose(at, Command::Balance { start, now_ms }, Then::Nothing);
        }
    }

    /// Once faults have stopped, a pause is lifted, else nothing would end. Looked at until the end:
    /// one that is on its way may still come.
    pub(crate) fn lift(&mut self) {
        self.queue.after(500 * MILLI, Event::Lift);
        if self.oracles.topology.state().pause.is_none() {
            return;
        }
        let all = 0..self.coordinators.len();
        let leading: Vec<usize> = all.filter(|c| self.coordinators[*c].leading.is_some()).collect();
        if let Some(at) = self.random.workload.pick(&leading) {
            self.ask_of(at, Change::Resume);
        }
    }
}
