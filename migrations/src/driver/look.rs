//! A look at one tablet's transition: which orders it needs, and whether it can change its stage.
//! What is missing is what apply says is missing.

use super::{Driver, Effect, FreshSession, Order};
use crate::apply::{check_forward, expected};
use crate::barrier;
use crate::command::{Advance, Expected, Rejected};
use crate::evidence::{Evidence, FailureReason};
use crate::id::TabletId;
use crate::record::TabletRecord;
use crate::stage::{BarrierWhen, SessionOnEdge, Stage, WayBack, Work, session_on_edge};
use crate::streams;
use crate::tablet::{EndReason, Tablet, Transition};
use crate::topology::Topology;
use alloc::vec::Vec;

/// What a look came to.
enum Next {
    /// Something is still missing; orders that bring it are out, or held up.
    Wait,
    /// Forward, with this evidence.
    Forward(Evidence),
    /// A new attempt.
    Retry(FailureReason),
    /// Back.
    Back(EndReason),
}

impl Driver {
    pub(super) fn look(
        &mut self,
        topology: &Topology,
        id: TabletId,
        fresh: FreshSession<'_>,
        out: &mut Vec<Effect>,
    ) {
        let Some(tablet) = topology.tablet(id) else { return };
        let (Some(transition), Some(expected)) = (&tablet.transition, expected(id, tablet)) else {
            return;
        };
        self.looks = self.looks.saturating_add(1);
        self.renew(id, tablet.version);
        if self.gathered.get(&id).is_some_and(|gathered| gathered.is_proposed) {
            return;
        }
        if let Some(record) = topology.record(id) {
            self.order_barrier(&record, out);
            self.order_work(topology, tablet, &record, out);
        }
        let stands = topology.state().pause.is_some() && expected.stage.may_stand();
        match self.next(topology, id, transition) {
            Next::Wait => self.look_when_overdue(topology, id),
            // Until the pause is over. What goes back goes back.
            Next::Forward(_) | Next::Retry(_) if stands => {}
            Next::Forward(evidence) => {
                let to = expected.stage.on_success();
                let advance = forward(expected, to, evidence, fresh);
                self.propose(topology, advance, out);
            }
            Next::Retry(failure) => match expected.stage.retry_from() {
                Some(to) => {
                    let opened = Some(fresh());
                    let advance = back(expected, to, opened, None, Some(failure));
                    self.propose(topology, advance, out);
                }
                None => self.look_later(id, super::REPEAT_AFTER_NS),
            },
            Next::Back(reason) => {
                if let WayBack::To(to) = expected.stage.way_back() {
                    let failure = self.gathered.get(&id).and_then(|gathered| gathered.failure);
                    let advance = back(expected, to, None, Some(reason), failure);
                    self.propose(topology, advance, out);
                }
            }
        }
    }

    /// Tells every attached node of old ∪ new. Also in a stage without a barrier: so sources and
    /// replicas learn of the version before a receiver or a router comes with it.
    fn order_barrier(&mut self, record: &TabletRecord, out: &mut Vec<Effect>) {
        for node in record.both() {
            self.tell(record, Order::Barrier(node), out);
        }
    }

    fn order_work(
        &mut self,
        topology: &Topology,
        tablet: &Tablet,
        record: &TabletRecord,
        out: &mut Vec<Effect>,
    ) {
        let Some(transition) = &tablet.transition else { return };
        let stage = transition.record.stage;
        let gathered = self.gathered.get(&record.tablet);
        let acknowledged = gathered.map(|gathered| gathered.evidence().acknowledged);
        let acknowledged = acknowledged.unwrap_or_default();
        let is_held = stage.barrier() == BarrierWhen::BeforeWork
            && barrier::check_acknowledged(topology, tablet, &acknowledged).is_err();
        let has_failed = gathered.is_some_and(|gathered| gathered.failure.is_some());
        let is_paused = topology.state().pause.is_some();
        match stage.work() {
            Work::None => {}
            Work::Stream if has_failed || is_paused => {}
            Work::Stream => {
                let limit = topology.state().settings.streams_per_node;
                for pair in &transition.record.streams {
                    let is_done = self
                        .gathered
                        .get(&record.tablet)
                        .is_some_and(|gathered| gathered.reports.contains_key(pair));
                    let is_there = self.attached.contains_key(&pair.receiver);
                    if !is_done && is_there && self.slots.take(record.tablet, *pair, limit) {
                        self.tell(record, Order::Pull(*pair), out);
                    }
                }
            }
            Work::DropLeaving | Work::DropPending | Work::DropAll if is_held => {}
            Work::DropLeaving | Work::DropPending | Work::DropAll => {
                let now = self.now;
                if let Some(gathered) = self.gathered.get_mut(&record.tablet) {
                    gathered.drops_since.get_or_insert(now);
                }
                for replica in barrier::to_drop(stage, &record.replicas, record.next()) {
                    self.tell(record, Order::Drop(replica.node), out);
                }
            }
        }
    }

    /// Gives an order, unless it was given on this attachment already or nobody is attached.
    fn tell(&mut self, record: &TabletRecord, order: Order, out: &mut Vec<Effect>) {
        let node = match order {
            Order::Barrier(node) | Order::Drop(node) => node,
            Order::Pull(pair) => pair.receiver,
        };
        let Some(gathered) = self.gathered.get_mut(&record.tablet) else { return };
        if !self.attached.contains_key(&node) {
            self.fitness.wanted(node, self.now);
            return;
        }
        if !gathered.told.insert(order) {
            return;
        }
        self.fitness.ordered(node);
        let record = record.clone();
        match order {
            Order::Barrier(node) => out.push(Effect::Barrier { node, record }),
            Order::Pull(pair) => {
                gathered.streams_heard.insert(pair, self.now);
                out.push(Effect::Pull { pair, record });
            }
            Order::Drop(node) => {
                let own = record.replicas.on(node).or(record.next().on(node)).copied();
                if let Some(replica) = own {
                    out.push(Effect::Drop { replica, record });
                }
            }
        }
    }

    fn next(&self, topology: &Topology, id: TabletId, transition: &Transition) -> Next {
        let Some(gathered) = self.gathered.get(&id) else { return Next::Wait };
        let stage = transition.record.stage;
        let can_turn_back = matches!(stage.way_back(), WayBack::To(_));
        let Some(tablet) = topology.tablet(id) else { return Next::Wait };
        if (transition.is_cancelled || transition.is_pending_lost) && can_turn_back {
            return Next::Back(transition.reason.unwrap_or(EndReason::Cancelled));
        }
        if let Some(failure) = gathered.failure {
            return self.after_failure(topology, tablet, transition, failure, gathered.not_before);
        }
        if stage.work() == Work::Stream && streams::has_dead_end(topology, tablet, transition) {
            let died = FailureReason::NodeFenced;
            return self.after_failure(topology, tablet, transition, died, None);
        }
        let evidence = gathered.evidence();
        match check_forward(topology, id, &evidence) {
            Ok(_) => Next::Forward(evidence),
            Err(Rejected::NoLiveMajority) if can_turn_back => Next::Back(EndReason::NoLiveMajority),
            Err(Rejected::NoSources) if can_turn_back => Next::Back(EndReason::NoSources),
            // It is waited for as long as for an acknowledgement, and not for ever.
            Err(Rejected::ReceiverFenced(node)) if self.has_waited(topology, gathered.since) => {
                Next::Back(EndReason::NodeFenced(node))
            }
            Err(_) => Next::Wait,
        }
    }

    /// A failed attempt: another one after a pause, while there are tries left and one can help.
    fn after_failure(
        &self,
        topology: &Topology,
        tablet: &Tablet,
        transition: &Transition,
        failure: FailureReason,
        not_before: Option<crate::lease::Instant>,
    ) -> Next {
        let is_try = streams::costs_a_try(topology, tablet, transition, failure);
        let tries_left = transition.failures.saturating_add(1) < topology.state().settings.attempts;
        if !failure.is_retryable() || (is_try && !tries_left) {
            return Next::Back(EndReason::Failed(failure));
        }
        match not_before {
            Some(at) if self.now < at => Next::Wait,
            Some(_) | None => Next::Retry(failure),
        }
    }
}

fn forward(
    expected: Expected,
    to: Option<Stage>,
    evidence: Evidence,
    fresh: FreshSession<'_>,
) -> Advance {
    let opens =
        to.is_some_and(|to| session_on_edge(expected.stage, to) == SessionOnEdge::OpenFresh);
    let opened = if opens { Some(fresh()) } else { None };
    Advance { expected, to, opened, evidence, reason: None, failure: None }
}

fn back(
    expected: Expected,
    to: Stage,
    opened: Option<crate::id::SessionId>,
    reason: Option<EndReason>,
    failure: Option<FailureReason>,
) -> Advance {
    let evidence = Evidence::default();
    Advance { expected, to: Some(to), opened, evidence, reason, failure }
}
