//! What the driver makes of messages that come late, repeated or out of order.

use super::cluster::{Cluster, node, tablet};
use migrations::command::Command;
use migrations::driver::{Driver, Effect, Event, Ordered};
use migrations::evidence::{Acknowledgement, DropReport, FailureReason};
use migrations::id::SessionId;
use migrations::lease::Instant;
use migrations::settings::Settings;
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::EndReason;
use migrations::version::{Incarnation, TopologyVersion};
use uuid::Uuid;

pub(crate) struct Leader {
    pub(crate) driver: Driver,
    drawn: u128,
}

impl Leader {
    /// A leader to whom all admitted agents are attached.
    pub(crate) fn of(cluster: &Cluster) -> Leader {
        let mut leader = Leader::new(cluster);
        leader.attach_all(cluster);
        leader
    }

    /// A leader to whom nobody is attached yet.
    pub(crate) fn new(cluster: &Cluster) -> Leader {
        Leader { driver: Driver::new(&cluster.topology, Instant(0)), drawn: 0 }
    }

    /// All admitted agents attach; what the leader does then.
    pub(crate) fn attach_all(&mut self, cluster: &Cluster) -> Vec<Effect> {
        let nodes = cluster.topology.state().nodes.iter();
        let admitted = nodes.filter(|(_, found)| found.admitted().is_some());
        let attached = admitted.map(|(id, _)| Event::Attached { node: *id, attachment: 1 });
        attached.flat_map(|event| self.handle(cluster, event)).collect()
    }

    pub(crate) fn handle(&mut self, cluster: &Cluster, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        let drawn = &mut self.drawn;
        let mut fresh = || {
            *drawn += 1;
            SessionId::from_uuid(Uuid::from_u128(0x9_0000 + *drawn)).expect("not nil")
        };
        self.driver.handle(&cluster.topology, event, &mut fresh, &mut out);
        out
    }
}

pub(crate) fn proposals<'a>(effects: &'a [Effect]) -> Vec<&'a Command> {
    let proposed = |effect: &'a Effect| match effect {
        Effect::Propose(command) => Some(command),
        _ => None,
    };
    effects.iter().filter_map(proposed).collect()
}

fn older() -> Incarnation {
    Incarnation(TopologyVersion::from_parts(0, 1))
}

/// C6: an acknowledgement of a process that is out comes after that of the admitted one. It must
/// not take its place: the admitted one is not asked again, so the barrier would never return.
#[test]
fn c6_a_late_acknowledgement_of_an_earlier_process_hides_nothing() {
    let id = tablet(1);
    let cluster = Cluster::in_stage(Stage::UseNew);
    let mut leader = Leader::of(&cluster);
    let said: Vec<Acknowledgement> = cluster.evidence(id).acknowledged;
    let mut proposed = 0;
    for said in &said {
        let late = Acknowledgement { incarnation: older(), ..*said };
        for said in [*said, late] {
            let effects = leader.handle(&cluster, Event::Acknowledged { tablet: id, said });
            proposed += proposals(&effects).len();
        }
    }
    assert_eq!(proposed, 1, "all who are asked have acknowledged");
}

#[test]
fn a_late_drop_report_of_an_earlier_process_or_copy_hides_nothing() {
    let id = tablet(1);
    let cluster = Cluster::in_stage(Stage::Drop);
    let mut leader = Leader::of(&cluster);
    let evidence = cluster.evidence(id);
    for said in evidence.acknowledged {
        leader.handle(&cluster, Event::Acknowledged { tablet: id, said });
    }
    let mut proposed = 0;
    for report in evidence.drops {
        let earlier = DropReport { incarnation: older(), ..report };
        let other = DropReport { copy: migrations::version::CopyId(older().0), ..report };
        for report in [report, earlier, other] {
            let effects = leader.handle(&cluster, Event::Dropped { tablet: id, report });
            proposed += proposals(&effects).len();
        }
    }
    assert_eq!(proposed, 1, "every copy is dropped");
}

/// INV-13: two renewals of one agent are handled out of order. The lease counts from the later.
#[test]
fn inv13_a_renewal_handled_late_does_not_shorten_the_lease() {
    let cluster = Cluster::new(1, 1, 1);
    let mut leader = Leader::of(&cluster);
    let incarnation = cluster.incarnation(1);
    let terms = cluster.topology.state().settings.lease;
    let (first, second) = (Instant(1_000_000_000), Instant(5_000_000_000));
    for (incarnation, at) in [(incarnation, second), (incarnation, first), (older(), first)] {
        leader.handle(&cluster, Event::Renewed { node: node(1), incarnation, at });
    }
    let deadline = terms.leader_deadline(second);
    let effects = leader.handle(&cluster, Event::Tick(deadline));
    assert!(proposals(&effects).is_empty(), "it may be held until then");
    assert!(leader.driver.may_renew(node(1), incarnation));
    let effects = leader.handle(&cluster, Event::Tick(Instant(deadline.0 + 1)));
    let fence = Command::Fence { node: node(1), incarnation };
    assert_eq!(proposals(&effects), [&fence]);
    assert!(!leader.driver.may_renew(node(1), incarnation), "from the decision on");
}

/// E2: the report of an older attempt arrives while a new one runs.
#[test]
fn e2_a_report_of_an_older_attempt_is_ignored() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let old = cluster.evidence(id).streams[0];
    cluster.retry(id).expect("a new attempt");
    cluster.forward(id).expect("its barrier has returned");
    let mut leader = Leader::of(&cluster);
    let effects = leader.handle(&cluster, Event::Streamed { tablet: id, report: old });
    assert!(proposals(&effects).is_empty());
    let failed = Event::StreamFailed {
        tablet: id,
        session: old.session,
        pair: old.pair,
        reason: migrations::evidence::FailureReason::DiskFull,
    };
    assert!(proposals(&leader.handle(&cluster, failed)).is_empty());
    let report = cluster.evidence(id).streams[0];
    let effects = leader.handle(&cluster, Event::Streamed { tablet: id, report });
    assert_eq!(proposals(&effects).len(), 1);
}

/// C3: a node that has nothing to do with the tablet is not asked and not waited for.
#[test]
fn c3_a_bystander_is_not_asked() {
    let id = tablet(1);
    let mut cluster = Cluster::new(6, 3, 1);
    cluster.start(id, TransitionKind::Migrate, [1, 4]).expect("at rest");
    let mut leader = Leader { driver: Driver::new(&cluster.topology, Instant(0)), drawn: 0 };
    let mut told = Vec::new();
    for n in 1..=6 {
        let attached = Event::Attached { node: node(n), attachment: 1 };
        told.extend(leader.handle(&cluster, attached));
    }
    let barriers = told.iter().filter_map(|effect| match effect {
        Effect::Barrier { node, .. } => Some(*node),
        Effect::Confirm { .. } => None,
        other => panic!("{other:?}"),
    });
    assert_eq!(barriers.collect::<Vec<_>>(), [node(1), node(2), node(3), node(4)]);
    assert_eq!(leader.driver.waiting_for(&cluster.topology, id).len(), 4);
}

/// The end of an old connection is heard of after the begin of the next one: the node is still
/// there, and is told what it has to do.
#[test]
fn the_late_end_of_an_earlier_attachment_is_not_the_end_of_the_newest() {
    let cluster = Cluster::new(6, 3, 1);
    let mut leader = Leader::of(&cluster);
    leader.handle(&cluster, Event::Attached { node: node(1), attachment: 2 });
    leader.handle(&cluster, Event::Detached { node: node(1), attachment: 1 });
    assert!(leader.driver.is_attached(node(1)));
    leader.handle(&cluster, Event::Detached { node: node(1), attachment: 2 });
    assert!(!leader.driver.is_attached(node(1)));
}

/// Tablet 1's barrier, refused by the admitted process of a node.
fn refused(cluster: &Cluster, n: u64, reason: FailureReason) -> Event {
    let (tablet, node, incarnation) = (tablet(1), node(n), cluster.incarnation(n));
    let (version, order) = (cluster.version(tablet), Ordered::Barrier);
    Event::Refused { tablet, version, node, incarnation, order, reason: Some(reason) }
}

/// A refusal that another try can't mend takes the transition back, while it can go back.
#[test]
fn b4_a_full_disk_in_a_barrier_takes_the_transition_back() {
    for (reason, goes_back) in
        [(FailureReason::DiskFull, true), (FailureReason::StaleVersion, false)]
    {
        let cluster = Cluster::in_stage(Stage::AllowWriteBothReadOld);
        let mut leader = Leader::of(&cluster);
        leader.handle(&cluster, refused(&cluster, 4, reason));
        let told = leader.handle(&cluster, Event::Tick(Instant(1_000_000_000)));
        let back = proposals(&told).iter().any(|command| match command {
            Command::Advance(advance) => {
                advance.to == Some(Stage::CleanupTarget)
                    && advance.reason == Some(EndReason::Failed(reason))
            }
            _ => false,
        });
        assert_eq!(back, goes_back, "{reason}");
    }
}

/// The same past the point of no return: nothing goes back, the order is repeated, and once the
/// node can obey again the transition goes on.
#[test]
fn a_full_disk_past_the_point_of_no_return_is_waited_out() {
    let id = tablet(1);
    let cluster = Cluster::in_stage(Stage::UseNew);
    let mut leader = Leader::of(&cluster);
    let reason = FailureReason::DiskFull;
    leader.handle(&cluster, refused(&cluster, 2, reason));
    let told = leader.handle(&cluster, Event::Tick(Instant(1_000_000_000)));
    assert!(told.iter().any(|e| matches!(e, Effect::Barrier { node: n, .. } if *n == node(2))));
    let mut told = Vec::new();
    for said in cluster.evidence(id).acknowledged {
        told.extend(leader.handle(&cluster, Event::Acknowledged { tablet: id, said }));
    }
    assert_eq!(proposals(&told).len(), 1, "it goes on: {told:?}");
}

/// C2: one node's agent says nothing of one tablet; what it says of the others counts.
#[test]
fn c2_a_tablet_that_is_stuck_holds_up_no_other() {
    let mut cluster = Cluster::new(4, 3, 5);
    for n in 1..=5 {
        cluster.start(tablet(n), TransitionKind::Migrate, [1, 4]).expect("at rest");
    }
    let mut leader = Leader::of(&cluster);
    let stuck = (tablet(3), node(2));
    let mut went_on = Vec::new();
    for n in 1..=5 {
        for said in cluster.evidence(tablet(n)).acknowledged {
            if (tablet(n), said.node) != stuck {
                let effects =
                    leader.handle(&cluster, Event::Acknowledged { tablet: tablet(n), said });
                went_on.extend(proposals(&effects).iter().map(|_| n));
            }
        }
    }
    assert_eq!(went_on, [1, 2, 4, 5]);
    assert_eq!(leader.driver.waiting_for(&cluster.topology, stuck.0), [stuck.1]);
}

/// A stream of tablet 1 fails; what the leader does once the pause is over, and where that leads.
fn fail(cluster: &mut Cluster, reason: FailureReason) -> Option<Stage> {
    let mut leader = Leader::of(cluster);
    let record = &cluster.transition(tablet(1)).record;
    let (session, pair) = (record.session.expect("open"), record.streams[0]);
    let failed = Event::StreamFailed { tablet: tablet(1), session, pair, reason };
    let mut told = leader.handle(cluster, failed);
    told.extend(leader.handle(cluster, Event::Tick(Instant(3_600_000_000_000))));
    let told = proposals(&told);
    let [Command::Advance(advance)] = told.as_slice() else { panic!("{told:?}") };
    let mut advance = (**advance).clone();
    advance.opened = advance.opened.map(|_| cluster.session());
    let to = advance.to;
    cluster.advance(advance).expect("an edge");
    to
}

/// Whoever restarts a node, or all of them one after the other, takes no try from the moves that
/// run: only attempts that have failed are counted.
#[test]
fn a_restart_costs_a_move_none_of_its_tries() {
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let attempts = Settings::DEFAULT.attempts;
    for _ in 0..2 * attempts {
        cluster.admit(2).expect("it proves that the earlier one is gone");
        cluster.forward_until(tablet(1), Stage::Streaming);
        // And one whose machine restarts is fenced first.
        let source = cluster.transition(tablet(1)).record.streams[0].source;
        let n = (1..=9).find(|n| node(*n) == source).expect("one of them");
        cluster.fence(n).expect("it is admitted");
        let mut died = cluster.retry_command(tablet(1));
        died.failure = Some(FailureReason::NodeFenced);
        cluster.advance(died).expect("an edge");
        cluster.admit(n).expect("it is fenced");
        cluster.forward_until(tablet(1), Stage::Streaming);
    }
    for failed in 1..attempts {
        let to = fail(&mut cluster, FailureReason::PeerClosed);
        assert_eq!(to, Some(Stage::WriteBothReadOld), "failure {failed} of {attempts}");
        cluster.forward_until(tablet(1), Stage::Streaming);
    }
    assert_eq!(fail(&mut cluster, FailureReason::PeerClosed), Some(Stage::CleanupTarget));
}

/// An agent that says of a peer that it is fenced, which group0 doesn't know of, as one does at whose
/// address another process answers, uses up the tries of its move as any other failure does.
#[test]
fn a_fence_that_nobody_decided_on_is_a_failure_as_others_are() {
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    for _ in 1..Settings::DEFAULT.attempts {
        assert_eq!(fail(&mut cluster, FailureReason::NodeFenced), Some(Stage::WriteBothReadOld));
        cluster.forward_until(tablet(1), Stage::Streaming);
    }
    assert_eq!(fail(&mut cluster, FailureReason::NodeFenced), Some(Stage::CleanupTarget));
}
