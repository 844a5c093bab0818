//! A transition changes its stage, or ends. All evidence is checked here, against what apply
//! itself finds must be asked. INV-1, INV-4, INV-10.

use super::Work;
use crate::barrier;
use crate::command::{Advance, Applied, Expected, Outcome, Rejected};
use crate::evidence::Evidence;
use crate::id::{NodeId, SessionId, TabletId};
use crate::problem::{Field, Problem};
use crate::record::StreamPair;
use crate::rule::{Rule, is_undone};
use crate::stage::{
    SessionOnEdge, Stage, TransitionKind, WayBack, Work as StageWork, session_on_edge,
};
use crate::streams;
use crate::tablet::{EndReason, Ending, FinishedMigration, Tablet, Transition};
use crate::topology::Topology;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// What a command about this tablet's transition has to expect now.
pub(crate) fn expected(id: TabletId, tablet: &Tablet) -> Option<Expected> {
    let transition = tablet.transition.as_ref()?;
    Some(Expected {
        tablet: id,
        version: tablet.version,
        migration: transition.record.migration,
        stage: transition.record.stage,
        session: transition.record.session,
        attempt: transition.record.attempt,
    })
}

/// The session that the edge brings, as the table of stages has it.
fn check_session(
    topology: &Topology,
    from: Stage,
    to: Option<Stage>,
    opened: Option<SessionId>,
) -> Result<(), Rejected> {
    let needs = to.map_or(SessionOnEdge::Clear, |to| session_on_edge(from, to));
    match (needs, opened) {
        (SessionOnEdge::OpenFresh, Some(session)) if topology.has_session(session) => {
            Err(Rejected::SessionInUse(session))
        }
        (SessionOnEdge::OpenFresh, Some(_)) => Ok(()),
        (SessionOnEdge::Keep | SessionOnEdge::Clear, None) => Ok(()),
        (SessionOnEdge::OpenFresh, None)
        | (SessionOnEdge::Keep | SessionOnEdge::Clear, Some(_)) => {
            Err(Rejected::IllegalEdge { from, to })
        }
    }
}

/// A forward edge up to `use_new` needs that nothing has been marked to end it, and a live
/// majority of new.
fn check_may_go_on(
    topology: &Topology,
    tablet: &Tablet,
    transition: &Transition,
) -> Result<(), Rejected> {
    if transition.is_cancelled || transition.is_pending_lost {
        return Err(Rejected::Ending);
    }
    let next = transition.remaining(&transition.record.next);
    let is_repair = transition.record.kind == TransitionKind::Repair;
    if !is_repair && !next.has_majority(|node| !topology.is_dead(tablet, node)) {
        return Err(Rejected::NoLiveMajority);
    }
    Ok(())
}

/// INV-4: what the stage's barrier, streams and drop orders must have brought.
fn check_evidence(
    topology: &Topology,
    tablet: &Tablet,
    transition: &Transition,
    evidence: &Evidence,
) -> Result<(), Rejected> {
    let stage = transition.record.stage;
    if is_undone(Rule::EvidenceChecked) {
        return Ok(());
    }
    barrier::check_acknowledged(topology, tablet, &evidence.acknowledged)?;
    match stage.work() {
        StageWork::None => Ok(()),
        StageWork::Stream => streams::check_reports(topology, transition, &evidence.streams),
        StageWork::DropLeaving | StageWork::DropPending | StageWork::DropAll => {
            barrier::check_dropped(topology, tablet, &evidence.drops)
        }
    }
}

/// Whether a tablet's transition may take its forward edge with this evidence, and which streams
/// it then begins. The driver asks the same question to know what it waits for.
pub(crate) fn check_forward(
    topology: &Topology,
    id: TabletId,
    evidence: &Evidence,
) -> Result<Vec<StreamPair>, Rejected> {
    let tablet = topology.tablet(id).ok_or(Rejected::NotInTransition(id))?;
    let transition = tablet.transition.as_ref().ok_or(Rejected::NotInTransition(id))?;
    let stage = transition.record.stage;
    let to = stage.on_success();
    if to.is_some_and(|to| stage.is_guarded_forward(to)) {
        check_may_go_on(topology, tablet, transition)?;
    }
    check_evidence(topology, tablet, transition, evidence)?;
    match to.map(Stage::work) {
        Some(StageWork::Stream) => streams::choose(topology, tablet, transition),
        _ => Ok(Vec::new()),
    }
}

/// The part of the evidence that counts. Whatever else is in it (of a node that is out, of another
/// version or attempt) was not needed to go on, and T must not rest on it.
fn counted(topology: &Topology, id: TabletId, evidence: &Evidence) -> Evidence {
    let Some(tablet) = topology.tablet(id) else { return Evidence::default() };
    let Some(transition) = &tablet.transition else { return Evidence::default() };
    let acknowledged = evidence.acknowledged.iter().copied();
    let streams = evidence.streams.iter().copied();
    Evidence {
        acknowledged: acknowledged.filter(|ack| barrier::counts(topology, tablet, ack)).collect(),
        streams: streams.filter(|said| streams::is_current(topology, transition, said)).collect(),
        drops: Vec::new(),
    }
}

/// The first replica that can take no part now, as a reason for what is not reached without it.
fn first_dead(topology: &Topology, tablet: &Tablet) -> Option<EndReason> {
    let dead = tablet.replicas.iter().find(|replica| topology.is_dead(tablet, replica.node))?;
    let node = dead.node;
    Some(if dead.lost { EndReason::ReplicaLost(node) } else { EndReason::NodeFenced(node) })
}

fn is_way_back(stage: Stage, to: Option<Stage>) -> bool {
    to.is_some_and(|to| stage.way_back() == WayBack::To(to))
}

impl Work<'_> {
    pub(super) fn advance(&mut self, advance: &Advance) -> Outcome {
        let id = advance.expected.tablet;
        let not_in_transition = Rejected::NotInTransition(id);
        let Some(tablet) = self.topology.tablet(id) else { return Err(not_in_transition) };
        let Some(transition) = &tablet.transition else { return Err(not_in_transition) };
        let stage = transition.record.stage;
        let is_expected = expected(id, tablet) == Some(advance.expected);
        if !is_expected && !is_undone(Rule::ExpectedChecked) {
            return Err(Rejected::Moved { version: tablet.version, stage });
        }
        check_session(self.topology, stage, advance.to, advance.opened)?;
        // From `repair` both ways lead to the same stage: a reason says that it is the way back,
        // which brings no reports and is open to a transition that is cancelled.
        let is_back = advance.reason.is_some() && is_way_back(stage, advance.to);
        if advance.to == stage.on_success() && !is_back {
            self.forward(advance)
        } else {
            self.back(advance, stage)
        }
    }

    /// Along the table's forward edge, or to the end: with evidence.
    fn forward(&mut self, advance: &Advance) -> Outcome {
        let id = advance.expected.tablet;
        let pairs = check_forward(self.topology, id, &advance.evidence)?;
        let counted = counted(self.topology, id, &advance.evidence);
        self.note_evidence(id, &counted);
        match advance.to {
            Some(to) => {
                self.enter(id, to, advance.opened, advance.reason);
                self.topology.change(id, |tablet| {
                    if let Some(transition) = &mut tablet.transition {
                        transition.record.streams = pairs;
                    }
                });
            }
            None => self.complete(id, advance.expected.stage),
        }
        Ok(Applied::Done)
    }

    /// Along an edge back, or into a new attempt: no evidence is needed, the barrier of the stage
    /// that is entered covers what was going on.
    fn back(&mut self, advance: &Advance, stage: Stage) -> Outcome {
        let id = advance.expected.tablet;
        let illegal = Rejected::IllegalEdge { from: stage, to: advance.to };
        let is_retry = advance.to.is_some() && stage.retry_from() == advance.to;
        let Some(to) = advance.to.filter(|_| is_retry || is_way_back(stage, advance.to)) else {
            return Err(illegal);
        };
        if !is_retry && advance.reason.is_none() {
            return Err(Rejected::InvalidField { field: Field::Reason, problem: Problem::Missing });
        }
        let tablet = self.topology.tablet(id);
        let has_failed = tablet.zip(advance.failure).is_some_and(|(tablet, failure)| {
            let transition = tablet.transition.as_ref();
            transition.is_some_and(|t| streams::costs_a_try(self.topology, tablet, t, failure))
        });
        self.topology.change(id, |tablet| {
            let Some(transition) = &mut tablet.transition else { return };
            if is_retry && has_failed {
                transition.failures = transition.failures.saturating_add(1);
            }
            if let Some(last) = transition.stages.last_mut() {
                last.failure = advance.failure;
            }
        });
        self.enter(id, to, advance.opened, advance.reason);
        Ok(Applied::Done)
    }

    /// Enters a stage: sets what follows from the edge, and stamps the tablet.
    pub(super) fn enter(
        &mut self,
        id: TabletId,
        to: Stage,
        opened: Option<SessionId>,
        reason: Option<EndReason>,
    ) {
        let (at, now_ms) = (self.at, self.now_ms);
        self.touch(id, |tablet| {
            let Some(transition) = &mut tablet.transition else { return };
            let record = &mut transition.record;
            match session_on_edge(record.stage, to) {
                SessionOnEdge::Keep => {}
                SessionOnEdge::OpenFresh => {
                    // A way back into a stage with a session is a new attempt; the first way in
                    // comes from a stage that has none.
                    if record.stage.has_session() {
                        record.attempt += 1;
                    }
                    let kept = record.session.filter(|_| is_undone(Rule::FreshSessionOnRetry));
                    record.session = kept.or(opened);
                    record.streams = Vec::new();
                    transition.promised = Vec::new();
                    transition.is_fully_exchanged = false;
                }
                SessionOnEdge::Clear => {
                    record.session =
                        record.session.filter(|_| is_undone(Rule::SessionClearedOnWayBack));
                    record.streams = Vec::new();
                }
            }
            record.stage = to;
            if transition.reason.is_none() {
                transition.reason = reason;
            }
            transition.note_stage(at, now_ms);
        });
    }

    /// Keeps what the evidence said: for people, and T for the end of a repair.
    fn note_evidence(&mut self, id: TabletId, evidence: &Evidence) {
        let dead = self.topology.tablet(id).and_then(|tablet| first_dead(self.topology, tablet));
        for said in &evidence.acknowledged {
            if let Some(node) = self.topology.state.nodes.get_mut(&said.node) {
                node.acknowledged = node.acknowledged.max(said.version);
            }
        }
        self.topology.change(id, |tablet| {
            let replicas = tablet.replicas.clone();
            let Some(transition) = &mut tablet.transition else { return };
            match transition.record.stage {
                Stage::OpenRepair => {
                    let promises = evidence.acknowledged.iter();
                    transition.promised = promises
                        .filter_map(|ack| Some((ack.node, ack.incarnation, ack.promised?)))
                        .collect();
                }
                Stage::Repair => {
                    transition.is_fully_exchanged = streams::all_pairs(&replicas)
                        .all(|pair| evidence.streams.iter().any(|report| report.pair == pair));
                    // Whoever took no part was dead when it began: an admission begins it anew.
                    if !transition.is_fully_exchanged {
                        transition.reason = transition.reason.or(dead);
                    }
                }
                Stage::EndRepair => {
                    // One incarnation from the promise to the end, or it doesn't count.
                    transition.promised.retain(|(node, incarnation, _)| {
                        let ended = evidence.acknowledged.iter();
                        ended.clone().any(|a| a.node == *node && a.incarnation == *incarnation)
                    });
                    let promised = &transition.promised;
                    let is_out = |node: &NodeId| !promised.iter().any(|(n, _, _)| n == node);
                    let missing = replicas.nodes().find(is_out).map(EndReason::NodeFenced);
                    transition.reason = transition.reason.or(missing);
                }
                _ => {}
            }
            if let Some(last) = transition.stages.last_mut() {
                let said = evidence.acknowledged.iter();
                last.acknowledged = said.map(|ack| (ack.node, ack.at_ms)).collect();
                last.streams = evidence.streams.clone();
            }
        });
    }

    /// The last stage of a transition is done.
    fn complete(&mut self, id: TabletId, stage: Stage) {
        let Some(tablet) = self.topology.tablet(id) else { return };
        let Some(transition) = &tablet.transition else { return };
        let reason = transition.reason;
        let turned_back =
            if transition.is_cancelled { Ending::Cancelled } else { Ending::Reverted };
        match stage {
            Stage::EndMigration => {
                let next = transition.record.next.clone();
                self.end_transition(id, Ending::Done, None);
                self.touch(id, |tablet| tablet.replicas = next);
            }
            Stage::EndRepair => {
                let promise = repaired_up_to(tablet, transition);
                let ending = if reason.is_none() { Ending::Done } else { turned_back };
                self.end_transition(id, ending, reason);
                self.touch(id, |tablet| {
                    // Neither this nor a replica's own promise ever falls.
                    tablet.promise = tablet.promise.max(promise.unwrap_or_default());
                });
            }
            Stage::Drop => {
                self.end_transition(id, Ending::Done, None);
                self.forget_tablet(id);
            }
            _ => {
                self.end_transition(id, turned_back, reason);
                self.touch(id, |_| {});
            }
        }
    }

    /// Takes a tablet's transition out and keeps it among the finished ones.
    pub(super) fn end_transition(
        &mut self,
        id: TabletId,
        ending: Ending,
        reason: Option<EndReason>,
    ) -> Option<Box<Transition>> {
        let transition = self.topology.take_transition(id)?;
        let tablet = self.topology.tablet(id)?;
        let table = self.topology.state.tables.get(&tablet.table);
        let finished = FinishedMigration {
            migration: transition.record.migration,
            kind: transition.record.kind,
            table: tablet.table,
            table_name: table.map_or_else(String::new, |table| table.name.clone()),
            tablet: id,
            replicas: tablet.replicas.clone(),
            next: transition.record.next.clone(),
            ending,
            reason,
            attempt: transition.record.attempt,
            ended_ms: self.now_ms,
            version: self.at,
            note: transition.note.clone(),
            origin: transition.origin,
            started_ms: transition.started_ms,
            accepted_loss: transition.accepted_loss.clone(),
            stages: transition.stages.clone(),
        };
        self.topology.finish(finished);
        Some(transition)
    }
}

/// The T that a repair has brought: the least that was promised, if every replica, under one
/// incarnation, acknowledged the first and the last barrier, and all pairs have reported.
fn repaired_up_to(tablet: &Tablet, transition: &Transition) -> Option<crate::clock::HybridTime> {
    let promised = |node| transition.promised.iter().find(|(n, _, _)| *n == node);
    let all = tablet.replicas.nodes().all(|node| promised(node).is_some());
    let is_of_all = all && transition.is_fully_exchanged;
    if !is_of_all && !is_undone(Rule::PromiseOfAll) {
        return None;
    }
    transition.promised.iter().map(|(_, _, time)| *time).min()
}
