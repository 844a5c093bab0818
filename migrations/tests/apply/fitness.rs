//! INV-14, H12: a node that holds its lease and does not do what a transition needs is unfit. It
//! is fenced, and the transition goes on. One that is slow only is left alone.

use super::cluster::{Cluster, node, tablet};
use super::driver::{Leader, proposals};
use migrations::command::{Change, Command};
use migrations::driver::{Effect, Event, Ordered, Unfit};
use migrations::evidence::FailureReason;
use migrations::lease::Instant;
use migrations::settings::Settings;
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::EndReason;

const MILLI: u64 = 1_000_000;
/// The leader's ticks.
const STEP: u64 = 250 * MILLI;

/// A leader whose agents renew, and confirm and acknowledge as they are told to.
struct Run {
    cluster: Cluster,
    leader: Leader,
    now: u64,
    /// Says nothing but renewals.
    mute: Option<u64>,
    /// Confirms that orders come, and obeys none.
    wedged: Option<u64>,
    fenced: Vec<u64>,
    /// Attempts that the leader has given up, and why.
    retried: Vec<(u32, FailureReason)>,
}

impl Run {
    fn new(cluster: Cluster) -> Run {
        let leader = Leader::new(&cluster);
        let (fenced, retried) = (Vec::new(), Vec::new());
        Run { cluster, leader, now: 0, mute: None, wedged: None, fenced, retried }
    }

    fn attach(&mut self) {
        let effects = self.leader.attach_all(&self.cluster);
        self.perform(effects);
    }

    fn give(&mut self, event: Event) {
        let effects = self.leader.handle(&self.cluster, event);
        self.perform(effects);
    }

    /// Performs what the leader says, until it says nothing more.
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Confirm { node: to, .. } if self.mute.map(node) == Some(to) => {}
                Effect::Confirm { node, ticket } => self.give(Event::Received { node, ticket }),
                Effect::Barrier { node: to, record } => self.acknowledge(to, record.tablet),
                Effect::Propose(Command::Fence { node: id, incarnation }) => {
                    self.fenced.push(id.as_u64());
                    let fence = Command::Fence { node: id, incarnation };
                    self.cluster.apply(fence).expect("it was admitted");
                    let nodes = [id].into();
                    let touched = Default::default();
                    self.give(Event::Committed { touched, nodes, is_for_all: false });
                    self.give(Event::FenceEnded { node: id });
                }
                Effect::Propose(Command::Advance(advance)) => {
                    let attempt = advance.expected.attempt;
                    self.retried.extend(advance.failure.map(|failure| (attempt, failure)));
                }
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, to: migrations::id::NodeId, id: migrations::id::TabletId) {
        if [self.mute, self.wedged].into_iter().flatten().any(|n| node(n) == to) {
            return;
        }
        let said = self.cluster.evidence(id).acknowledged;
        for said in said.into_iter().filter(|said| said.node == to) {
            self.give(Event::Acknowledged { tablet: id, said });
        }
    }

    /// Time passes; everybody renews whose renewal may be answered.
    fn pass(&mut self, millis: u64) {
        let end = self.now + millis * MILLI;
        while self.now < end {
            self.now += STEP;
            let nodes = self.cluster.topology.state().nodes.clone();
            for (id, found) in nodes {
                let Some(incarnation) = found.admitted() else { continue };
                if self.leader.driver.may_renew(id, incarnation) {
                    self.give(Event::Renewed { node: id, incarnation, at: Instant(self.now) });
                }
            }
            self.give(Event::Tick(Instant(self.now)));
        }
    }

    fn why(&self, n: u64) -> Option<Unfit> {
        let incarnation = self.cluster.incarnation(n);
        self.leader.driver.unfit(node(n), incarnation).map(|(why, _)| why)
    }
}

const LEASE: u64 = Settings::DEFAULT.lease.length_ms as u64;
const DRAIN: u64 = Settings::DEFAULT.drain_deadline_ms as u64;

/// Leader → agent is cut for ever, its renewals come in.
#[test]
fn h12_a_node_that_no_order_reaches_is_fenced() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    run.mute = Some(2);
    run.attach();
    run.pass(LEASE);
    assert_eq!(run.why(2), None, "it may have confirmed late");
    run.pass(LEASE);
    assert_eq!(run.why(2), Some(Unfit::Unreachable));
    run.pass(2 * LEASE);
    assert_eq!(run.fenced, [2]);
    let waits = run.leader.driver.waiting_for(&run.cluster.topology, tablet(1));
    assert!(waits.is_empty(), "{waits:?}");
}

/// It renews its lease, and never attaches.
#[test]
fn h12_a_node_that_never_attaches_is_fenced_if_a_transition_needs_it_and_only_then() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    for n in [1, 3, 4] {
        run.give(Event::Attached { node: node(n), attachment: 1 });
    }
    run.pass(4 * LEASE);
    assert_eq!(run.fenced, [2], "n5 has nothing to do with it");
}

/// The handler of orders is wedged: it takes them in and does nothing.
#[test]
fn h12_a_node_that_never_acknowledges_is_fenced() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    run.wedged = Some(3);
    run.attach();
    run.pass(DRAIN + LEASE);
    assert_eq!(run.why(3), None, "its drain is ended by force before that");
    run.pass(LEASE);
    assert_eq!(run.why(3), Some(Unfit::Silent(tablet(1))));
    run.pass(2 * LEASE);
    assert_eq!(run.fenced, [3]);
}

/// A transition that a dead majority has held for long: who comes back owes its acknowledgement
/// from then on, and not since the stage began.
#[test]
fn h12_a_node_that_comes_back_to_a_held_transition_has_its_time() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    run.cluster.fence(2).expect("admitted");
    run.cluster.fence(3).expect("admitted");
    run.attach();
    run.pass(3 * (DRAIN + LEASE));
    run.wedged = Some(2);
    run.cluster.admit(2).expect("it is fenced");
    run.give(Event::Attached { node: node(2), attachment: 99 });
    run.pass(DRAIN + LEASE);
    assert_eq!((run.why(2), &run.fenced[..]), (None, &[][..]), "it has the time that each has");
    run.pass(LEASE);
    assert_eq!(run.why(2), Some(Unfit::Silent(tablet(1))));
}

/// The full state has come and is never worked off, by a node that no barrier waits for.
#[test]
fn h12_a_full_state_that_is_never_worked_off_has_its_bound() {
    let mut run = Run::new(Cluster::new(5, 3, 1));
    run.attach();
    run.mute = Some(2);
    run.give(Event::HasFullState { node: node(2) });
    run.pass(DRAIN + LEASE);
    assert_eq!(run.why(2), None);
    run.pass(DRAIN + 3 * LEASE);
    assert_eq!(run.fenced, [2]);
}

/// A drop that fails for good, and one that is never reported.
#[test]
fn h12_a_node_that_can_not_drop_a_copy_is_fenced() {
    for is_refused in [true, false] {
        let mut run = Run::new(Cluster::in_stage(Stage::Cleanup));
        run.attach();
        if is_refused {
            let (tablet, version) = (tablet(1), run.cluster.version(tablet(1)));
            let (order, reason) = (Ordered::Drop, FailureReason::DiskError);
            let incarnation = run.cluster.incarnation(1);
            let node = node(1);
            run.give(Event::Refused {
                tablet,
                version,
                node,
                incarnation,
                order,
                reason: Some(reason),
            });
            assert_eq!(run.why(1), Some(Unfit::CannotDrop(tablet, reason)));
        }
        run.pass(if is_refused { 2 * LEASE } else { DRAIN + 4 * LEASE });
        assert_eq!(run.fenced, [1]);
        let waits = run.leader.driver.waiting_for(&run.cluster.topology, tablet(1));
        assert!(waits.is_empty(), "its admission pays the debt: {waits:?}");
    }
}

/// A drop that is refused for what is no reason to: it is told of once, and not again and again until
/// the bound of a drop is over.
#[test]
fn h12_a_drop_that_is_refused_for_no_known_reason_is_not_repeated() {
    let mut run = Run::new(Cluster::in_stage(Stage::Cleanup));
    run.attach();
    let (tablet, version) = (tablet(1), run.cluster.version(tablet(1)));
    let (node, incarnation, order) = (node(1), run.cluster.incarnation(1), Ordered::Drop);
    let refused = Event::Refused { tablet, version, node, incarnation, order, reason: None };
    let mut leader = Leader::of(&run.cluster);
    leader.attach_all(&run.cluster);
    let is_drop = |effect: &Effect| matches!(effect, Effect::Drop { .. });
    let mut told = leader.handle(&run.cluster, refused.clone());
    told.extend(leader.handle(&run.cluster, Event::Tick(Instant(1_000 * MILLI))));
    assert!(!told.iter().any(is_drop), "{told:?}");
    run.give(refused);
    assert_eq!(run.why(1), None);
    run.pass(DRAIN + 4 * LEASE);
    assert_eq!(run.fenced, [1]);
}

/// n1 could not drop its copy, and died. Its word comes in when the next process of n1 is admitted
/// already: that one has not been asked yet.
#[test]
fn a_refusal_of_a_process_that_is_out_says_nothing_of_the_next_one() {
    let mut run = Run::new(Cluster::in_stage(Stage::Cleanup));
    run.attach();
    let (tablet, version) = (tablet(1), run.cluster.version(tablet(1)));
    let (node, incarnation) = (node(1), run.cluster.incarnation(1));
    run.cluster.fence(1).expect("admitted");
    run.cluster.admit(1).expect("fenced");
    let (order, reason) = (Ordered::Drop, FailureReason::DiskError);
    run.give(Event::Refused { tablet, version, node, incarnation, order, reason: Some(reason) });
    assert_eq!(run.why(1), None);
    run.pass(3 * LEASE);
    assert_eq!(run.fenced, []);
}

/// A refusal that another try can mend is no reason, nor is one of a barrier: whether a floor can
/// be made durable the agent says itself.
#[test]
fn a_refusal_that_can_pass_leaves_a_node_fit() {
    for (order, reason) in [
        (Ordered::Drop, FailureReason::StaleVersion),
        (Ordered::Barrier, FailureReason::DiskFull),
        (Ordered::Pull, FailureReason::DiskError),
    ] {
        let mut run = Run::new(Cluster::in_stage(Stage::Cleanup));
        run.attach();
        let (tablet, version) = (tablet(1), run.cluster.version(tablet(1)));
        let (node, incarnation) = (node(1), run.cluster.incarnation(1));
        run.give(Event::Refused {
            tablet,
            version,
            node,
            incarnation,
            order,
            reason: Some(reason),
        });
        assert_eq!(run.why(1), None, "{order:?} {reason}");
    }
}

/// Working off a full state takes as long as it takes, up to the bound of an acknowledgement.
#[test]
fn a_node_that_works_off_its_full_state_is_not_unreachable() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    for n in [1, 3, 4] {
        run.give(Event::Attached { node: node(n), attachment: 1 });
    }
    run.give(Event::HasFullState { node: node(2) });
    run.pass(DRAIN);
    assert_eq!(run.why(2), None);
    run.pass(2 * LEASE);
    assert_eq!(run.why(2), Some(Unfit::Silent(tablet(1))));
}

/// The leader's own process stood still: nobody was silent for that time.
#[test]
fn a_leader_that_was_away_takes_nobody_for_unfit() {
    let mut run = Run::new(Cluster::in_stage(Stage::UseNew));
    run.wedged = Some(3);
    run.mute = Some(2);
    run.attach();
    run.pass(1_000);
    run.now += 10 * DRAIN * MILLI;
    run.pass(1_000);
    assert_eq!((run.why(2), run.why(3)), (None, None));
    assert!(run.fenced.is_empty());
}

/// One question at a time, whatever the number of orders.
#[test]
fn one_question_is_out_at_a_time() {
    let cluster = Cluster::in_stage(Stage::UseNew);
    let mut leader = Leader::new(&cluster);
    let asked = |effects: &[Effect]| {
        let of_two = |effect: &Effect| match effect {
            Effect::Confirm { node: to, ticket } if *to == node(2) => Some(*ticket),
            _ => None,
        };
        effects.iter().filter_map(of_two).collect::<Vec<_>>()
    };
    let first = asked(&leader.attach_all(&cluster));
    let [ticket] = first.as_slice() else { panic!("{first:?}") };
    // Refused: it is told again, behind the question that is out.
    let (tablet, version) = (tablet(1), cluster.version(tablet(1)));
    let (order, reason) = (Ordered::Barrier, FailureReason::StaleVersion);
    let incarnation = cluster.incarnation(2);
    let refused =
        Event::Refused { tablet, version, node: node(2), incarnation, order, reason: Some(reason) };
    leader.handle(&cluster, refused);
    let again = leader.handle(&cluster, Event::Tick(Instant(1_000 * MILLI)));
    assert_eq!(asked(&again), []);
    assert!(proposals(&again).is_empty());
    let then = leader.handle(&cluster, Event::Received { node: node(2), ticket: *ticket });
    assert_eq!(asked(&then).len(), 1, "for the order that went out meanwhile");
    let late = leader.handle(&cluster, Event::Received { node: node(2), ticket: *ticket });
    assert_eq!(asked(&late), [], "the answer to the first one says nothing of the second");
}

/// Each admission begins sessions anew: who is unfit again and again waits longer and longer.
#[test]
fn a_node_that_is_unfit_again_waits_before_it_is_admitted() {
    let mut run = Run::new(Cluster::new(5, 3, 1));
    run.attach();
    let mut waited = Vec::new();
    for _ in 0..4 {
        let incarnation = run.cluster.incarnation(2);
        let why = Unfit::Says(FailureReason::DiskFull);
        run.give(Event::Unfit { node: node(2), incarnation, why });
        assert!(!run.leader.driver.may_renew(node(2), incarnation));
        run.pass(2 * LEASE);
        let began = run.now;
        while !run.leader.driver.may_admit(node(2)) {
            run.pass(1_000);
        }
        waited.push((run.now - began) / MILLI);
        run.cluster.admit(2).expect("it is fenced");
        run.pass(1_000);
    }
    assert_eq!(run.fenced, [2; 4]);
    assert_eq!(waited[0], 0);
    assert!(waited.windows(2).all(|pair| pair[0] < pair[1]), "{waited:?}");
    // Long ago is forgotten.
    run.pass(20 * (DRAIN + LEASE) + waited[3]);
    let incarnation = run.cluster.incarnation(2);
    let why = Unfit::Says(FailureReason::DiskFull);
    run.give(Event::Unfit { node: node(2), incarnation, why });
    run.pass(3 * LEASE);
    assert_eq!(run.fenced, [2; 5]);
    assert!(run.leader.driver.may_admit(node(2)));
}

/// H20: a removal waits for a remaining replica that is fenced, and goes back when it has waited
/// as long as for an acknowledgement.
#[test]
fn h20_a_removal_does_not_wait_for_ever_for_a_fenced_replica() {
    let mut cluster = Cluster::new(5, 4, 1);
    cluster.start(tablet(1), TransitionKind::RemoveReplica, [1, 0]).expect("at rest");
    cluster.forward(tablet(1)).expect("all acknowledge");
    cluster.fence(2).expect("admitted");
    let mut leader = Leader::of(&cluster);
    let mut proposed = Vec::new();
    for said in cluster.evidence(tablet(1)).acknowledged {
        let said = Event::Acknowledged { tablet: tablet(1), said };
        proposed.extend(proposals(&leader.handle(&cluster, said)).into_iter().cloned());
    }
    let mut now = 0;
    while now < (DRAIN + LEASE) * MILLI {
        now += STEP;
        let effects = leader.handle(&cluster, Event::Tick(Instant(now)));
        proposed.extend(proposals(&effects).into_iter().cloned());
        for n in [1, 3, 4, 5] {
            let (node, incarnation) = (node(n), cluster.incarnation(n));
            leader.handle(&cluster, Event::Renewed { node, incarnation, at: Instant(now) });
        }
    }
    assert!(proposed.is_empty(), "it is waited for: {proposed:?}");
    assert_eq!(leader.driver.waiting_for(&cluster.topology, tablet(1)), [node(2)]);
    let effects = leader.handle(&cluster, Event::Tick(Instant(now + STEP)));
    let proposed = proposals(&effects);
    let [Command::Advance(advance)] = proposed.as_slice() else { panic!("{proposed:?}") };
    let back = (Some(Stage::CleanupTarget), Some(EndReason::NodeFenced(node(2))));
    assert_eq!((advance.to, advance.reason), back);
    cluster.apply(Command::Advance(advance.clone())).expect("an edge back");
}

/// B9: the leaving replica dies in `streaming`: a new attempt merges all live old replicas.
#[test]
fn b9_a_leaving_replica_that_dies_in_streaming_is_made_up_for_by_the_others() {
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let id = tablet(1);
    let mut leader = Leader::of(&cluster);
    cluster.fence(1).expect("admitted");
    let committed = |touched: &[migrations::id::TabletId], nodes: &[u64]| Event::Committed {
        touched: touched.iter().copied().collect(),
        nodes: nodes.iter().map(|n| node(*n)).collect(),
        is_for_all: false,
    };
    let effects = leader.handle(&cluster, committed(&[], &[1]));
    let proposed: Vec<Command> = proposals(&effects).into_iter().cloned().collect();
    let [Command::Advance(advance)] = proposed.as_slice() else { panic!("{proposed:?}") };
    assert_eq!(advance.to, Some(Stage::WriteBothReadOld), "with a fresh session");
    assert!(advance.opened.is_some());
    cluster.apply(proposed[0].clone()).expect("an edge back");
    let mut effects = leader.handle(&cluster, committed(&[id], &[]));
    for said in cluster.evidence(id).acknowledged {
        effects.extend(leader.handle(&cluster, Event::Acknowledged { tablet: id, said }));
    }
    let proposed: Vec<Command> = proposals(&effects).into_iter().cloned().collect();
    assert_eq!(proposed.len(), 1, "{proposed:?}");
    cluster.apply(proposed[0].clone()).expect("all that live have acknowledged");
    let pairs = &cluster.transition(id).record.streams;
    let sources: Vec<_> = pairs.iter().map(|pair| (pair.source, pair.receiver)).collect();
    assert_eq!(sources, [(node(2), node(4)), (node(3), node(4))]);
    cluster.forward_to_end(id);
}

/// The pull was ordered and is never heard of; its receiver renews, confirms and acknowledges. One
/// that goes on is left alone, however long it takes, and so is one that a pause has stopped.
#[test]
fn a_stream_that_is_never_heard_of_is_tried_again() {
    for (goes_on, is_paused) in [(false, false), (true, false), (false, true)] {
        let mut run = Run::new(Cluster::in_stage(Stage::Streaming));
        run.attach();
        if is_paused {
            run.cluster.change(Change::Pause { reason: String::new() }).expect("always");
            run.give(Event::Committed {
                touched: Default::default(),
                nodes: Default::default(),
                is_for_all: true,
            });
        }
        let attempt = run.cluster.transition(tablet(1)).record.attempt;
        let pair = run.cluster.transition(tablet(1)).record.streams[0];
        for _ in 0..2 * (DRAIN + LEASE) / LEASE {
            if goes_on {
                run.give(Event::StreamGoesOn { tablet: tablet(1), pair });
            }
            run.pass(LEASE);
        }
        let failed = run.retried.clone();
        assert_eq!(failed.is_empty(), goes_on || is_paused, "{failed:?}");
        assert!(failed.iter().all(|why| *why == (attempt, FailureReason::StreamStalled)));
        assert_eq!(run.fenced, [], "nobody is unfit for that");
    }
}
