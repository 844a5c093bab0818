//! What an event costs when very many tablets are in transition at once: looks at tablets are
//! counted, since all that the driver does is done in one.

use super::cluster::{Cluster, tablet};
use super::driver::Leader;
use migrations::command::{Change, Command};
use migrations::driver::{Effect, Event};
use migrations::evidence::StreamReport;
use migrations::id::TabletId;
use migrations::settings::Settings;
use migrations::stage::TransitionKind;

/// All tablets on their way from n1 to n4 at once, each in `streaming`.
fn streaming(tablets: u32, streams_per_node: u32) -> Cluster {
    let mut cluster = Cluster::new(5, 3, tablets);
    let settings = Settings { streams_per_node, ..Settings::DEFAULT };
    cluster
        .change(Change::Configure { settings, expected: Settings::DEFAULT })
        .expect("it agrees with itself");
    let starts = (1..=u64::from(tablets)).map(|n| {
        let start = cluster.starting(tablet(n), TransitionKind::Migrate, [1, 4]);
        Command::Balance { start: Box::new(start), now_ms: 0 }
    });
    let starts = starts.collect();
    assert!(cluster.apply_all(starts).iter().all(Result::is_ok));
    for _ in 0..2 {
        let forward = (1..=u64::from(tablets))
            .map(|n| Command::Advance(Box::new(cluster.forward_command(tablet(n)))));
        let forward = forward.collect();
        assert!(cluster.apply_all(forward).iter().all(Result::is_ok));
    }
    cluster
}

fn pulled(effects: &[Effect]) -> Vec<TabletId> {
    let pulled = effects.iter().filter_map(|effect| match effect {
        Effect::Pull { record, .. } => Some(record.tablet),
        _ => None,
    });
    pulled.collect()
}

fn report(cluster: &Cluster, id: TabletId) -> StreamReport {
    cluster.evidence(id).streams[0]
}

/// The most looks that one event of a whole stage costs.
fn looks_an_event(tablets: u32) -> u64 {
    let cluster = streaming(tablets, 1_000_000);
    let mut leader = Leader::new(&cluster);
    assert_eq!(pulled(&leader.attach_all(&cluster)).len(), tablets as usize, "all at once");
    let mut most = 0;
    for n in 1..=u64::from(tablets) {
        let before = leader.driver.looks();
        let (id, report) = (tablet(n), report(&cluster, tablet(n)));
        let effects = leader.handle(&cluster, Event::Streamed { tablet: id, report });
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Propose(_))));
        most = most.max(leader.driver.looks() - before);
    }
    most
}

#[test]
fn an_event_costs_the_same_however_many_are_in_transition() {
    assert_eq!(looks_an_event(20), 1);
    assert_eq!(looks_an_event(400), 1);
}

/// With places for four: when a stream ends one other begins, and no more are looked at.
#[test]
fn a_free_place_wakes_one_that_waits() {
    let tablets = 300;
    let cluster = streaming(tablets, 4);
    let mut leader = Leader::new(&cluster);
    let mut running = pulled(&leader.attach_all(&cluster));
    let mut pulls = running.len();
    assert_eq!(pulls, 4);
    while let Some(id) = running.pop() {
        let before = leader.driver.looks();
        let report = report(&cluster, id);
        let effects = leader.handle(&cluster, Event::Streamed { tablet: id, report });
        let began = pulled(&effects);
        pulls += began.len();
        assert!(began.len() <= 1);
        assert!(leader.driver.looks() - before <= 2);
        running.extend(began);
        assert!(running.len() <= 4);
    }
    assert_eq!(pulls, tablets as usize, "nobody waits for ever");
}

/// An agent's coming and going concerns the tablets that it has to do with, and no others.
#[test]
fn an_attachment_concerns_its_own_tablets() {
    let cluster = streaming(100, 4);
    let mut leader = Leader::of(&cluster);
    let before = leader.driver.looks();
    let idle = super::cluster::node(5);
    leader.handle(&cluster, Event::Detached { node: idle, attachment: 1 });
    leader.handle(&cluster, Event::Attached { node: idle, attachment: 2 });
    let nodes = [idle].into();
    leader.handle(&cluster, Event::Committed { touched: [].into(), nodes, is_for_all: false });
    assert_eq!(leader.driver.looks(), before);
}

/// A place may be free at one node of a stream and not at the other: the next that fits is taken.
#[test]
fn who_waits_for_another_node_keeps_nobody_waiting() {
    let mut cluster = Cluster::new(6, 3, 6);
    let settings = Settings { streams_per_node: 2, ..Settings::DEFAULT };
    cluster
        .change(Change::Configure { settings, expected: Settings::DEFAULT })
        .expect("it agrees with itself");
    let ways = [[1, 4], [1, 4], [1, 5], [2, 4], [2, 5], [3, 6]];
    for (n, way) in (1..).zip(ways) {
        cluster.start(tablet(n), TransitionKind::Migrate, way).expect("at rest");
    }
    for n in 1..=6 {
        cluster.forward(tablet(n)).expect("nothing is in its way");
        cluster.forward(tablet(n)).expect("nothing is in its way");
    }
    let mut leader = Leader::new(&cluster);
    // n1 is full with the first two, and so is n4: the third and the fourth wait.
    let running = pulled(&leader.attach_all(&cluster));
    assert_eq!(running, [1, 2, 5, 6].map(tablet));
    let finish = |leader: &mut Leader, n| {
        let (id, report) = (tablet(n), report(&cluster, tablet(n)));
        pulled(&leader.handle(&cluster, Event::Streamed { tablet: id, report }))
    };
    assert_eq!(finish(&mut leader, 1), [3, 4].map(tablet));
    assert!(finish(&mut leader, 6).is_empty());
}
