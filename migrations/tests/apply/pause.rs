//! A pause, as the driver keeps it: each transition stands still at its next safe stage.

use super::cluster::{Cluster, node, tablet};
use super::driver::{Leader, proposals};
use migrations::command::{Advance, Change, Command};
use migrations::driver::{Effect, Event};
use migrations::evidence::FailureReason;
use migrations::lease::Instant;
use migrations::record::StreamPair;
use migrations::stage::Stage;
use migrations::tablet::EndReason;

fn pause(cluster: &mut Cluster) {
    cluster.change(Change::Pause { reason: "a storm".into() }).expect("always");
}

fn for_all() -> Event {
    Event::Committed { touched: [].into(), nodes: [].into(), is_for_all: true }
}

/// Tells the leader all that the agents have to say in the stage; what it does then.
fn say_all(leader: &mut Leader, cluster: &Cluster) -> Vec<Effect> {
    let id = tablet(1);
    let evidence = cluster.evidence(id);
    let mut out = Vec::new();
    for said in evidence.acknowledged {
        out.extend(leader.handle(cluster, Event::Acknowledged { tablet: id, said }));
    }
    for report in evidence.streams {
        out.extend(leader.handle(cluster, Event::Streamed { tablet: id, report }));
    }
    for report in evidence.drops {
        out.extend(leader.handle(cluster, Event::Dropped { tablet: id, report }));
    }
    out
}

fn advances(effects: &[Effect]) -> Vec<&Advance> {
    let advance = |command: &&Command| matches!(command, Command::Advance(_));
    let found = proposals(effects).into_iter().filter(advance);
    found
        .filter_map(|command| match command {
            Command::Advance(advance) => Some(advance.as_ref()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_transition_stands_in_safe_stages_and_goes_on_in_all_others() {
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        pause(&mut cluster);
        let mut leader = Leader::of(&cluster);
        let effects = say_all(&mut leader, &cluster);
        let goes_on = advances(&effects).iter().any(|advance| advance.to == stage.on_success());
        assert_eq!(goes_on, !stage.may_stand(), "{stage}");
        cluster.change(Change::Resume).expect("always");
        let effects = leader.handle(&cluster, for_all());
        assert_eq!(!advances(&effects).is_empty(), stage.may_stand(), "{stage}, after it");
    }
}

/// What is safe about these: reads go to old, nothing is past the point of no return, and the
/// stage can be left backwards.
#[test]
fn safe_stages_are_those_before_reads_move() {
    for stage in Stage::ALL {
        let reads_old = stage.reads() == migrations::stage::Reads::Old;
        let forward = !stage.is_going_back() && !stage.is_past_no_return();
        assert_eq!(stage.may_stand(), reads_old && forward, "{stage}");
    }
}

fn pulls(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Pull { .. })).count()
}

#[test]
fn no_pull_is_ordered_until_it_is_over() {
    for stage in [Stage::Streaming, Stage::Repair] {
        let mut cluster = Cluster::in_stage(stage);
        pause(&mut cluster);
        let mut leader = Leader::new(&cluster);
        assert_eq!(pulls(&leader.attach_all(&cluster)), 0, "{stage}");
        cluster.change(Change::Resume).expect("always");
        let effects = leader.handle(&cluster, for_all());
        let streams = cluster.transition(tablet(1)).record.streams.len();
        assert_eq!(pulls(&effects), streams, "{stage}");
    }
}

#[test]
fn no_attempt_is_begun_until_it_is_over() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    let mut leader = Leader::of(&cluster);
    pause(&mut cluster);
    leader.handle(&cluster, for_all());
    let session = cluster.transition(id).record.session.expect("open");
    let pair = StreamPair { source: node(1), receiver: node(4) };
    let reason = FailureReason::PeerClosed;
    let failed = Event::StreamFailed { tablet: id, session, pair, reason };
    assert!(proposals(&leader.handle(&cluster, failed)).is_empty());
    // Long after its time has come.
    let later = Event::Tick(Instant(5_000_000_000));
    assert!(advances(&leader.handle(&cluster, later)).is_empty());
    cluster.change(Change::Resume).expect("always");
    let effects = leader.handle(&cluster, for_all());
    let retried = advances(&effects);
    assert_eq!(retried.len(), 1);
    assert_eq!(retried[0].to, Some(Stage::WriteBothReadOld));
}

#[test]
fn a_cancel_and_a_fence_take_it_back_during_a_pause() {
    let id = tablet(1);
    for stage in Stage::ALL.into_iter().filter(|stage| stage.may_stand()) {
        let mut cluster = Cluster::in_stage(stage);
        pause(&mut cluster);
        let mut leader = Leader::of(&cluster);
        cluster.cancel(id).expect("not too late");
        let touched =
            Event::Committed { touched: [id].into(), nodes: [].into(), is_for_all: false };
        let effects = leader.handle(&cluster, touched);
        let back: Vec<_> = advances(&effects).iter().map(|advance| advance.reason).collect();
        assert_eq!(back, [Some(EndReason::Cancelled)], "{stage}");
        let advance = advances(&effects)[0].clone();
        cluster.advance(advance).expect("an edge");
        cluster.forward_to_end(id);
    }
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    pause(&mut cluster);
    cluster.fence(4).expect("admitted");
    assert_eq!(cluster.stage(id), Some(Stage::CleanupTarget));
}

/// Out of tries, it need not wait: nothing that goes back is held.
#[test]
fn what_can_t_go_on_goes_back_during_a_pause() {
    let id = tablet(1);
    let mut cluster = Cluster::in_stage(Stage::Streaming);
    pause(&mut cluster);
    let mut leader = Leader::of(&cluster);
    let session = cluster.transition(id).record.session.expect("open");
    let pair = StreamPair { source: node(1), receiver: node(4) };
    let reason = FailureReason::DiskFull;
    let failed = Event::StreamFailed { tablet: id, session, pair, reason };
    let effects = leader.handle(&cluster, failed);
    let back: Vec<_> = advances(&effects).iter().map(|advance| advance.to).collect();
    assert_eq!(back, [Some(Stage::CleanupTarget)]);
}
