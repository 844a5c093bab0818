//! Nodes come in, are fenced, and lose copies.

use super::Work;
use crate::barrier;
use crate::command::{Admit, Applied, Missing, Outcome, PlacementRule, Rejected};
use crate::id::{NodeId, SessionId, TabletId};
use crate::node::Node;
use crate::rule::{Rule, is_undone};
use crate::stage::{Stage, WayBack};
use crate::switch::BalanceScope;
use crate::tablet::{EndReason, Tablet};
use crate::topology::Topology;
use crate::version::{CopyId, Incarnation};
use alloc::vec::Vec;

/// Whether a number is of an era before the newest restore: whoever has it has not been admitted
/// to the cluster that the restore made.
fn is_before_restore(topology: &Topology, incarnation: Incarnation) -> bool {
    incarnation.0.era() < topology.version().era()
}

/// Which node a process may become, or why it may not.
fn check_identity(topology: &Topology, admit: &Admit) -> Result<Option<NodeId>, Rejected> {
    let Some((id, node)) = topology.node_named(&admit.name) else {
        let is_elsewhere = topology.state.nodes.values().any(|n| n.directory == admit.directory);
        // One that came in after what was restored had been saved is a new one here.
        let known = admit.known_incarnation;
        let was_admitted = known.is_some_and(|known| !is_before_restore(topology, known));
        return match (is_elsewhere, was_admitted) {
            (true, _) => Err(Rejected::NodeMismatch),
            (false, true) => Err(Rejected::NodeRemoved),
            (false, false) => Ok(None),
        };
    };
    // A directory that knows neither the newest incarnation nor its token is an old copy of
    // itself: what it promised since is not in it.
    let is_known = match is_before_restore(topology, node.incarnation) {
        // Its first admission here. What it learned after the state was saved is above.
        true => {
            let known = admit.known_incarnation;
            let known = known.filter(|known| is_before_restore(topology, *known));
            known >= Some(node.incarnation)
        }
        false => admit.known_incarnation == Some(node.incarnation),
    };
    let is_newest = is_known || admit.held_tokens.contains(&node.token);
    // One that was copied since is told by what it has promised after that.
    let has_fallen = admit.highest_floor.is_some_and(|floor| floor < node.acknowledged);
    let is_old = (!is_newest || has_fallen) && !is_undone(Rule::NewestDirectory);
    if node.directory != admit.directory || is_old {
        return Err(Rejected::NodeMismatch);
    }
    if !node.is_fenced && node.process != admit.process {
        return Err(Rejected::NodeNotFenced(id));
    }
    Ok(Some(id))
}

/// Whether a node has a replica of any tablet, or is to get one.
fn holds_something(topology: &Topology, node: NodeId) -> bool {
    let tablets = topology.state.tablets.values();
    tablets.into_iter().any(|tablet| barrier::asked(tablet).contains(&node))
}

pub(super) fn check_remove(topology: &Topology, id: NodeId, reason: &str) -> Result<(), Rejected> {
    super::balance::check_drain(topology, id, reason)?;
    let is_admitted = topology.node(id).and_then(Node::admitted).is_some();
    if is_admitted && holds_something(topology, id) {
        let rule = PlacementRule::RemovedHoldsNothing;
        return Err(Rejected::PlacementViolation { rule, node: id });
    }
    Ok(())
}

impl Work<'_> {
    /// Admits a process. In the same command, each transition with an open session that the node
    /// takes part in begins anew with a fresh one, so that nothing of the earlier process counts.
    pub(super) fn admit(&mut self, admit: &Admit) -> Outcome {
        let needed = self.topology.state.feature_level;
        if admit.feature_level < needed {
            return Err(Rejected::UpgradeRequired(needed));
        }
        let known = check_identity(self.topology, admit)?;
        // One version makes one incarnation of a node: a second admission of it in this entry
        // would be the same one, of another process.
        let at = Incarnation(self.at);
        let admitted =
            known.filter(|id| self.topology.node(*id).is_some_and(|n| n.incarnation == at));
        if let Some(id) = admitted {
            return Err(Rejected::NodeNotFenced(id));
        }
        let restarts = known.map(|node| self.topology.open_sessions_of(node));
        let restarts = self.fresh_sessions(admit, restarts.unwrap_or_default())?;
        let incarnation = Incarnation(self.at);
        let state = &mut self.topology.state;
        let id = known.unwrap_or_else(|| {
            let id = NodeId::mint(self.at.era(), state.next_node);
            state.next_node += 1;
            id
        });
        let owed = state.nodes.get(&id).is_some_and(|n| n.is_fenced || n.is_repair_owed);
        let drain = state.nodes.get(&id).and_then(|node| node.drain.clone());
        let is_leaving = state.nodes.get(&id).is_some_and(|node| node.is_leaving);
        let acknowledged = state.nodes.get(&id).map(|node| node.acknowledged);
        let node = Node {
            name: admit.name.clone(),
            directory: admit.directory,
            token: admit.token,
            process: admit.process.clone(),
            incarnation,
            is_fenced: false,
            is_repair_owed: owed,
            location: admit.location.clone(),
            feature_level: admit.feature_level,
            drain,
            is_leaving,
            acknowledged: acknowledged.unwrap_or_default(),
        };
        state.nodes.insert(id, node);
        self.change_node(id);
        for (tablet, stage, session) in restarts {
            self.enter(tablet, stage, Some(session), None);
        }
        self.lose(id, &admit.lost);
        Ok(Applied::Admitted { node: id, incarnation })
    }

    /// The tablets that begin anew, each with the stage and the fresh session that it gets.
    fn fresh_sessions(
        &self,
        admit: &Admit,
        tablets: Vec<TabletId>,
    ) -> Result<Vec<(TabletId, Stage, SessionId)>, Rejected> {
        let mut restarts: Vec<(TabletId, Stage, SessionId)> = Vec::new();
        for tablet in tablets {
            let transition = self.topology.transition(tablet);
            let stage = transition.and_then(|t| t.record.stage.retry_from());
            // A session is open only in stages that can be tried again.
            let stage = stage.ok_or(Rejected::InvariantBroken(1))?;
            let fresh = admit.fresh.get(&tablet).ok_or(Rejected::FreshSessionMissing(tablet))?;
            let is_taken = restarts.iter().any(|(_, _, taken)| taken == fresh);
            if is_taken || self.topology.has_session(*fresh) {
                return Err(Rejected::SessionInUse(*fresh));
            }
            restarts.push((tablet, stage, *fresh));
        }
        Ok(restarts)
    }

    /// Puts an incarnation out. In the same command, each transition whose pending replica it is
    /// goes back: its copy will be dropped, and with it writes that it has acknowledged.
    pub(super) fn fence(&mut self, id: NodeId, incarnation: Incarnation) -> Outcome {
        let node = self.topology.state.nodes.get_mut(&id);
        let node = node.ok_or(Rejected::NotFound(Missing::Node(id)))?;
        if node.incarnation != incarnation || node.is_fenced {
            return Err(Rejected::NodeFenced(id));
        }
        node.is_fenced = true;
        self.change_node(id);
        let concerned: Vec<TabletId> = self.topology.in_transition_on(id).collect();
        for tablet in concerned {
            self.turn_back_without_pending(tablet, id, EndReason::NodeFenced(id));
        }
        Ok(Applied::Done)
    }

    /// A node goes, at once or when it holds nothing any more; `check_remove` has agreed to it.
    pub(super) fn remove_node(&mut self, id: NodeId, reason: &str) -> Applied {
        if !holds_something(self.topology, id) {
            self.forget_node(id);
            return Applied::Done;
        }
        self.drain(id, reason);
        if let Some(node) = self.topology.state.nodes.get_mut(&id) {
            node.is_leaving = true;
        }
        Applied::Done
    }

    /// Raises the feature level. Coordinators have been asked by whoever proposes it; who is admitted
    /// here has said it with his admission.
    pub(super) fn raise(&mut self, level: u32) -> Outcome {
        let state = &mut self.topology.state;
        if level <= state.feature_level {
            return Ok(Applied::Done);
        }
        let mut admitted = state.nodes.iter().filter(|(_, node)| node.admitted().is_some());
        if admitted.any(|(_, node)| node.feature_level < level) {
            return Err(Rejected::UpgradeRequired(level));
        }
        state.feature_level = level;
        self.change_for_all();
        Ok(Applied::Done)
    }

    /// A node that was to go holds nothing any more.
    pub(super) fn forget(&mut self, id: NodeId) -> Outcome {
        let node = self.topology.node(id).ok_or(Rejected::NotFound(Missing::Node(id)))?;
        if !node.is_leaving || holds_something(self.topology, id) {
            let rule = PlacementRule::RemovedHoldsNothing;
            return Err(Rejected::PlacementViolation { rule, node: id });
        }
        self.forget_node(id);
        Ok(Applied::Done)
    }

    fn forget_node(&mut self, id: NodeId) {
        let state = &mut self.topology.state;
        state.nodes.remove(&id);
        state.balancing.remove(&BalanceScope::Node(id));
        self.change_node(id);
    }

    /// Marks copies as lost. Their transitions go back where the pending replica is among them.
    pub(super) fn mark_lost(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        copies: &[(TabletId, CopyId)],
    ) -> Outcome {
        let found = self.topology.node(node).ok_or(Rejected::NotFound(Missing::Node(node)))?;
        if found.admitted() != Some(incarnation) {
            return Err(Rejected::NodeFenced(node));
        }
        self.lose(node, copies);
        Ok(Applied::Done)
    }

    fn lose(&mut self, node: NodeId, copies: &[(TabletId, CopyId)]) {
        for (id, copy) in copies {
            let holds = |tablet: &Tablet| {
                let next = tablet.transition.as_ref().and_then(|t| t.record.next.on(node));
                let replica = tablet.replicas.on(node).or(next);
                replica.is_some_and(|replica| replica.copy == *copy && !replica.lost)
            };
            if !self.topology.tablet(*id).is_some_and(holds) {
                continue;
            }
            self.touch(*id, |tablet| {
                tablet.replicas.mark_lost(node, *copy);
                if let Some(transition) = &mut tablet.transition {
                    transition.record.next.mark_lost(node, *copy);
                }
            });
            self.turn_back_without_pending(*id, node, EndReason::ReplicaLost(node));
        }
    }

    /// If `node` is the pending replica of a transition that has not passed the point of no
    /// return, marks it and takes it back.
    fn turn_back_without_pending(&mut self, id: TabletId, node: NodeId, reason: EndReason) {
        let Some(tablet) = self.topology.tablet(id) else { return };
        let Some(transition) = &tablet.transition else { return };
        let stage = transition.record.stage;
        let is_pending = transition.record.next.contains(node) && !tablet.replicas.contains(node);
        let is_ignored = is_undone(Rule::PendingLossTurnsBack);
        if !is_pending || stage.is_past_no_return() || is_ignored {
            return;
        }
        if let WayBack::To(back) = stage.way_back() {
            self.enter(id, back, None, Some(reason));
        }
        self.touch(id, |tablet| {
            if let Some(transition) = &mut tablet.transition {
                transition.is_pending_lost = true;
            }
        });
    }
}
