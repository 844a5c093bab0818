//! Each check on a cluster that is well, and on one that is not: every check is seen to find
//! something.

use super::*;
use client::Validity;
use proto::types::v1::{LeaseTerms, Stage};
use std::collections::BTreeSet;

const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: i64 = 1_800_000_000;

fn validity(left_s: i64) -> Validity {
    Validity { from_s: NOW_S + left_s - 86_400, until_s: NOW_S + left_s }
}

fn own(raft_id: u64) -> pb::IntroduceResponse {
    pb::IntroduceResponse {
        name: format!("c{raft_id}"),
        raft_id,
        leader: 1,
        term: 4,
        build: "0.1.0".to_owned(),
        feature_level: 1,
        ..Default::default()
    }
}

fn asked(raft_id: u64) -> Asked {
    let answer = Introduced { own: Some(own(raft_id)), validity: Some(validity(50_000)) };
    let name = Some(format!("c{raft_id}"));
    Asked { address: format!("10.0.0.{raft_id}:7400"), name, answer: Ok(answer) }
}

fn coordinator(raft_id: u64) -> pb::Coordinator {
    pb::Coordinator {
        raft_id,
        name: format!("c{raft_id}"),
        leader: raft_id == 1,
        voter: true,
        lag: Some(0),
        silent_ms: Some(100),
        ..Default::default()
    }
}

fn node(number: u64) -> pb::Node {
    pb::Node {
        id: number,
        name: format!("n{number}"),
        state: pb::NodeState::Admitted.into(),
        attached: true,
        feature_level: 1,
        ..Default::default()
    }
}

fn tablet(id: u64) -> pb::Tablet {
    let replica = |number| pb::TabletReplica {
        node: format!("n{number}"),
        old: true,
        next: true,
        ..Default::default()
    };
    let (table, name) = ("orders".to_owned(), format!("orders/{id}"));
    pb::Tablet { id, table, name, replicas: (1..=3).map(replica).collect(), ..Default::default() }
}

fn table() -> pb::Table {
    pb::Table { name: "orders".to_owned(), replication_factor: 3, ..Default::default() }
}

/// A cluster of three and three, in which all is well.
fn well() -> Seen {
    let status = pb::GetStatusResponse {
        leader: 1,
        term: 4,
        voters: vec![1, 2, 3],
        failure_tolerance: 1,
        coordinators: (1..=3).map(coordinator).collect(),
        nodes: (1..=3).map(node).collect(),
        tables: vec![table()],
        feature_level: 1,
        balancing: Some(pb::GetBalanceStatusResponse::default()),
        ..Default::default()
    };
    let lease = Some(LeaseTerms { length_ms: 6_000, drift_per_mille: 1 });
    let settings = Settings {
        lease,
        drain_deadline_ms: 30_000,
        stall_ms: 5_000,
        backoff_max_ms: 10_000,
        ..Default::default()
    };
    Seen {
        now_ms: NOW_MS,
        asked: (1..=3).map(asked).collect(),
        status: Ok(status),
        settings: Ok(settings),
        tablets: Ok((1..=2).map(tablet).collect()),
        migrations: Ok(Vec::new()),
        barriers: Ok(Vec::new()),
        orphans: Ok(pb::ListOrphansResponse::default()),
        has_tls: true,
        own: Some(validity(50_000)),
        build: "0.1.0",
        feature_level: 1,
    }
}

fn status(seen: &mut Seen) -> &mut pb::GetStatusResponse {
    seen.status.as_mut().expect("it was had")
}

fn introduced(seen: &mut Seen, which: usize) -> &mut Introduced {
    seen.asked[which].answer.as_mut().expect("it answered")
}

/// A migration that entered this stage so many seconds ago.
fn running(stage: Stage, seconds: u64) -> pb::Migration {
    let entered_ms = NOW_MS - seconds * 1_000;
    let entered = pb::StageHistory { stage: stage.into(), entered_ms, ..Default::default() };
    pb::Migration {
        tablet_name: "orders/1".to_owned(),
        stage: stage.into(),
        attempt: 1,
        stages: vec![entered],
        waiting_for: vec!["n3".to_owned()],
        ..Default::default()
    }
}

fn waits(waiting_ms: u64) -> pb::Barrier {
    let holder = proto::agent::v1::Holder {
        operation: "stream chunk 7".to_owned(),
        peer: "n1".to_owned(),
        ..Default::default()
    };
    pb::Barrier {
        tablet_name: "orders/1".to_owned(),
        waiting_ms,
        waiting_for: vec!["n3".to_owned()],
        holders: vec![pb::BarrierHolder {
            node: "n3".to_owned(),
            holder: Some(holder),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What is done to a cluster that is well, which check sees it, and what it says.
type Bad = (&'static str, Verdict, &'static str, fn(&mut Seen));

use Verdict::{Fail, Unknown, Warn};

const BAD: &[Bad] = &[
    ("coordinators", Fail, "2 of 3 answer; not c2 (10.0.0.2:7400): refused", |seen| {
        seen.asked[1].answer = Err("refused".to_owned());
    }),
    ("leader", Fail, "no quorum; c1 takes nobody", |seen| {
        seen.status = Err("no quorum".to_owned());
        seen.asked.truncate(1);
        introduced(seen, 0).own.as_mut().expect("new enough").leader = 0;
    }),
    ("leader", Warn, "c3 takes itself for the leader", |seen| {
        introduced(seen, 2).own.as_mut().expect("new enough").leader = 3;
    }),
    ("leader", Fail, "nobody leads", |seen| status(seen).leader = 0),
    ("quorum", Fail, "1 of 3 coordinators that are known of answer: no majority", |seen| {
        seen.status = Err("no leader".to_owned());
        seen.asked[0].answer = Err("refused".to_owned());
        seen.asked[1].answer = Err("refused".to_owned());
    }),
    ("quorum", Unknown, "3 of 3", |seen| seen.status = Err("no leader".to_owned())),
    ("quorum", Fail, "the loss of 0 more", |seen| status(seen).failure_tolerance = 0),
    ("quorum", Warn, "5 vote, the loss of 1 more", |seen| {
        status(seen).voters = vec![1, 2, 3, 4, 5]
    }),
    ("quorum", Warn, "1 vote", |seen| status(seen).voters = vec![1]),
    ("members", Fail, "c2 was not heard for 9 s", |seen| {
        status(seen).coordinators[1].silent_ms = Some(9_500);
    }),
    ("members", Warn, "c3 lacks 6000 entries", |seen| {
        status(seen).coordinators[2].lag = Some(6_000);
    }),
    ("members", Warn, "not heard since this leader", |seen| {
        status(seen).coordinators[2].silent_ms = None;
    }),
    ("members", Warn, "c3 has no vote yet", |seen| status(seen).coordinators[2].voter = false),
    ("states", Fail, "c2 has another state than the leader as of entry 8192", |seen| {
        status(seen).coordinators[1].state_differs_at = Some(8_192);
    }),
    ("clocks", Fail, "c2's clock is 1800 ms behind the leader's, or more", |seen| {
        status(seen).coordinators[1].clock_ahead_ms = Some(-1_800);
    }),
    ("nodes", Fail, "2 of 3 are up; n2 is fenced", |seen| {
        status(seen).nodes[1].set_state(pb::NodeState::Fenced);
    }),
    ("nodes", Fail, "n3 is not attached", |seen| status(seen).nodes[2].attached = false),
    ("nodes", Warn, "n3 goes for good", |seen| {
        status(seen).nodes[2].attached = false;
        status(seen).nodes[2].leaving = true;
    }),
    ("nodes", Warn, "n1 is being drained and holds 4", |seen| {
        status(seen).nodes[0].draining = true;
        status(seen).nodes[0].replica_count = 4;
    }),
    ("nodes", Warn, "there are none", |seen| status(seen).nodes.clear()),
    ("fitness", Fail, "n1: can't keep a floor", |seen| {
        status(seen).nodes[0].unfit = "can't keep a floor".to_owned();
    }),
    ("disks", Fail, "n1: NODE_FULL", |seen| {
        status(seen).nodes[0].disk_trouble = "NODE_FULL: no room".to_owned();
    }),
    ("majorities", Fail, "orders/1 (1 of 3), orders/2 (1 of 3)", |seen| {
        status(seen).nodes[0].attached = false;
        status(seen).nodes[1].set_state(pb::NodeState::Fenced);
    }),
    ("copies", Fail, "lost: orders/2 on n2", |seen| {
        seen.tablets.as_mut().expect("had")[1].replicas[1].lost = true;
    }),
    ("replicas", Warn, "orders/1 (2 of 3)", |seen| {
        seen.tablets.as_mut().expect("had")[0].replicas.pop();
    }),
    ("orphans", Warn, "set aside after a restore: tablet 7 on n1", |seen| {
        let (node, aside) = ("n1".to_owned(), true);
        let copy = pb::OrphanCopy { node, tablet: 7, aside, ..Default::default() };
        seen.orphans.as_mut().expect("had").orphans.push(copy);
    }),
    ("orphans", Warn, "not known: n2: away", |seen| {
        let (node, why) = ("n2".to_owned(), "away".to_owned());
        seen.orphans.as_mut().expect("had").unknown.push(pb::UnknownHoldings { node, why });
    }),
    ("migrations", Fail, "orders/1 in use_new for 60 s, waits for n3", |seen| {
        seen.migrations = Ok(vec![running(Stage::UseNew, 60)]);
    }),
    ("migrations", Fail, "orders/1 in streaming for 90 s", |seen| {
        seen.migrations = Ok(vec![running(Stage::Streaming, 90)]);
    }),
    ("attempts", Warn, "orders/1 in attempt 3, the last: PEER_CLOSED", |seen| {
        let mut again = running(Stage::Streaming, 1);
        again.attempt = 3;
        again.stages[0].failure = "PEER_CLOSED".to_owned();
        seen.migrations = Ok(vec![again]);
    }),
    ("barriers", Fail, "orders/1 waits for n3 for 50 s (stream chunk 7 for n1)", |seen| {
        seen.barriers = Ok(vec![waits(50_000)]);
    }),
    ("barriers", Warn, "for 9 s", |seen| seen.barriers = Ok(vec![waits(9_000)])),
    ("pause", Warn, "paused since 2027-01-15T08:00:00Z: switch", |seen| {
        status(seen).pause = Some(pb::Pause { reason: "switch".to_owned(), since_ms: NOW_MS });
    }),
    ("balancing", Warn, "disabled for table orders since 2027-01-15T08:00:00Z: nobody", |seen| {
        let scope = pb::BalanceScope { table: "orders".to_owned(), ..Default::default() };
        let switch =
            pb::BalanceSwitch { scope: Some(scope), since_ms: NOW_MS, ..Default::default() };
        status(seen).balancing.get_or_insert_default().switches.push(switch);
    }),
    ("balancing", Warn, "4 moves are due and none begins: it is paused", |seen| {
        let held_by = "it is paused".to_owned();
        let held = pb::GetBalanceStatusResponse { planned: 4, held_by, ..Default::default() };
        status(seen).balancing = Some(held);
    }),
    ("builds", Warn, "c3 is of 0.2.0", |seen| {
        introduced(seen, 2).own.as_mut().expect("new enough").build = "0.2.0".to_owned();
    }),
    ("builds", Warn, "coordinators are of 0.1.0, this program is of 0.2.0", |seen| {
        seen.build = "0.2.0";
    }),
    ("builds", Warn, "c1 is too old to say", |seen| introduced(seen, 0).own = None),
    ("feature level", Warn, "1; some read 2, not yet c2 (1)", |seen| {
        for which in [0, 2] {
            introduced(seen, which).own.as_mut().expect("new enough").feature_level = 2;
        }
        seen.feature_level = 2;
    }),
    ("feature level", Warn, "3; this program reads 1", |seen| status(seen).feature_level = 3),
    ("certificates", Warn, "asked in the clear", |seen| seen.has_tls = false),
    ("certificates", Warn, "that of c2 ends in 5 h", |seen| {
        introduced(seen, 1).validity = Some(validity(20_000));
    }),
    ("certificates", Fail, "that of one's own ends in 0 h", |seen| {
        seen.own = Some(validity(1_000));
    }),
    ("certificates", Fail, "2 h ago", |seen| {
        introduced(seen, 1).validity = Some(validity(-8_000));
    }),
    ("certificates", Warn, "that of c1 can't be read", |seen| introduced(seen, 0).validity = None),
];

#[test]
fn a_cluster_that_is_well_passes_each_check() {
    for check in examine(&well()) {
        assert_eq!(check.finding.verdict, Verdict::Ok, "{check:?}");
        assert!(check.finding.remedy.is_empty(), "{check:?}");
    }
}

#[test]
fn each_check_finds_what_it_is_there_for() {
    for (name, verdict, words, harm) in BAD {
        let mut seen = well();
        harm(&mut seen);
        let check = examine(&seen).into_iter().find(|check| check.name == *name);
        let Finding { verdict: found, seen: said, remedy } = check.expect("a check").finding;
        assert_eq!(found, *verdict, "{name}: {said}");
        assert!(said.contains(words), "{name}: {said:?} has no {words:?}");
        assert!(!remedy.is_empty(), "{name}: {said}: and now?");
    }
    let harmed: BTreeSet<&str> = BAD.iter().map(|(name, ..)| *name).collect();
    let all: BTreeSet<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(harmed, all, "no check is there that was never seen to find something");
}

/// What begins like the tablet that is meant is another one.
#[test]
fn the_remedy_names_a_tablet_that_needs_it() {
    let mut seen = well();
    let mut harmed = tablet(10);
    harmed.replicas.iter_mut().for_each(|replica| replica.lost = true);
    seen.tablets.as_mut().expect("had").push(harmed);
    let check = examine(&seen).into_iter().find(|check| check.name == "majorities");
    let remedy = check.expect("a check").finding.remedy;
    assert!(remedy.starts_with("palisade tablet explain orders/10;"), "{remedy}");
}

#[test]
fn what_the_leader_has_not_said_is_unknown_and_not_well() {
    let mut seen = well();
    let no = || "no leader".to_owned();
    (seen.status, seen.settings, seen.tablets) = (Err(no()), Err(no()), Err(no()));
    (seen.migrations, seen.barriers, seen.orphans) = (Err(no()), Err(no()), Err(no()));
    for check in examine(&seen) {
        let by_itself = ["coordinators", "builds", "certificates"].contains(&check.name);
        assert_eq!(check.finding.verdict == Verdict::Ok, by_itself, "{check:?}");
    }
}

#[test]
fn a_long_stream_that_flows_and_a_pause_are_no_standstill() {
    let mut seen = well();
    let mut flowing = running(Stage::Streaming, 9_000);
    flowing.streams.push(pb::StreamProgress { bytes: 1, ..Default::default() });
    seen.migrations = Ok(vec![flowing]);
    let standing = |seen: &Seen| moves::migrations(seen).verdict;
    assert_eq!(standing(&seen), Verdict::Ok);
    seen.migrations = Ok(vec![running(Stage::UseNew, 9_000)]);
    assert_eq!(standing(&seen), Verdict::Fail);
    status(&mut seen).pause = Some(pb::Pause::default());
    assert_eq!(standing(&seen), Verdict::Ok);
}

#[test]
fn each_page_that_is_named_is_there() {
    let mut pages = BTreeSet::new();
    for (.., harm) in BAD {
        let mut seen = well();
        harm(&mut seen);
        for check in examine(&seen) {
            let words = check.finding.remedy.split([' ', ';']).map(str::to_owned);
            pages.extend(words.filter(|word| word.starts_with("docs/")));
        }
    }
    assert!(pages.len() > 8, "{pages:?}");
    for page in pages {
        assert!(std::path::Path::new(&page).exists(), "{page}");
    }
}

#[test]
fn of_many_things_the_first_are_named() {
    let all: Vec<String> = (1..=10).map(|number| number.to_string()).collect();
    assert_eq!(named(&all), "1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
    assert_eq!(named(&all[..2]), "1, 2");
}
