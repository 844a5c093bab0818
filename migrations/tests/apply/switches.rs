//! What people switch off: balancing, a pause of all transitions, a drain of a node. B6.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Applied, Change, Command, Missing, Outcome, Rejected};
use migrations::id::{NodeId, TableId};
use migrations::problem::{Field, Problem};
use migrations::stage::{Stage, TransitionKind};
use migrations::switch::{BalanceScope, BalanceSwitch, Origin, TEXT_MAX};

const SINCE_MS: u64 = 1_000;
const UNTIL_MS: u64 = 5_000;

fn switch(until_ms: Option<u64>) -> BalanceSwitch {
    BalanceSwitch { reason: "an upgrade".into(), since_ms: SINCE_MS, until_ms }
}

fn disable(cluster: &mut Cluster, scope: BalanceScope, until_ms: Option<u64>) -> Outcome {
    cluster.change(Change::DisableBalancing { scope, switch: switch(until_ms) })
}

/// The balancer's move of tablet 1 from n1 to n4.
fn balance(cluster: &mut Cluster, now_ms: u64) -> Outcome {
    let start = Box::new(cluster.starting(tablet(1), TransitionKind::Migrate, [1, 4]));
    cluster.apply(Command::Balance { start, now_ms })
}

fn the_table(cluster: &Cluster) -> TableId {
    cluster.topology.table_named("t").expect("there").0
}

fn drain(cluster: &mut Cluster, node: NodeId) -> Outcome {
    cluster.change(Change::Drain { node, reason: "a new disk".into() })
}

#[test]
fn a_switch_in_a_scope_of_a_move_stops_the_balancer_and_nobody_else() {
    let at_rest = Cluster::new(5, 3, 2);
    let scopes = [
        BalanceScope::Cluster,
        BalanceScope::Table(the_table(&at_rest)),
        BalanceScope::Node(node(1)),
        BalanceScope::Node(node(4)),
    ];
    for scope in scopes {
        for until_ms in [None, Some(UNTIL_MS)] {
            let mut cluster = at_rest.clone();
            disable(&mut cluster, scope, until_ms).expect("there");
            let refused = Err(Rejected::BalancingDisabled(scope));
            assert_eq!(balance(&mut cluster, UNTIL_MS - 1), refused);
            let mut later = cluster.clone();
            assert_eq!(balance(&mut later, UNTIL_MS).is_ok(), until_ms.is_some(), "{scope:?}");
            let mut asked = cluster.clone();
            asked.start(tablet(1), TransitionKind::Migrate, [1, 4]).expect("somebody asks for it");
            assert_eq!(asked.transition(tablet(1)).origin, Origin::Request);
            cluster.change(Change::EnableBalancing { scope }).expect("there");
            assert!(balance(&mut cluster, SINCE_MS).is_ok());
            assert_eq!(cluster.transition(tablet(1)).origin, Origin::Balancer);
        }
    }
}

#[test]
fn a_switch_elsewhere_stops_no_move() {
    let mut cluster = Cluster::new(5, 3, 2);
    for n in [2, 3, 5] {
        disable(&mut cluster, BalanceScope::Node(node(n)), None).expect("there");
    }
    assert!(balance(&mut cluster, SINCE_MS).is_ok());
    cluster.forward_to_end(tablet(1));
    let finished = cluster.topology.state().finished.back().expect("just ended");
    assert_eq!(finished.origin, Origin::Balancer);
    assert_eq!(finished.started_ms, finished.stages[0].entered_ms);
    assert!(finished.stages[0].acknowledged.iter().all(|(_, at_ms)| *at_ms == 7));
}

#[test]
fn the_balancer_begins_what_start_would_begin_moves_and_rebuilds_only() {
    let mut cluster = Cluster::new(5, 3, 2);
    for kind in TransitionKind::ALL {
        let start = Box::new(cluster.starting(tablet(1), kind, [1, 4]));
        let outcome = cluster.apply(Command::Balance { start, now_ms: 0 });
        let not_a_move =
            Err(Rejected::InvalidField { field: Field::Kind, problem: Problem::NotAMove });
        match kind {
            TransitionKind::Migrate => assert!(outcome.is_ok()),
            // As what anybody else begins: the tablet is in a transition.
            TransitionKind::Rebuild => assert!(matches!(outcome, Err(Rejected::TabletBusy(_)))),
            _ => assert_eq!(outcome, not_a_move, "{kind}"),
        }
    }
    assert!(matches!(balance(&mut cluster, 0), Err(Rejected::TabletBusy(_))));
    let start = Box::new(cluster.starting(tablet(2), TransitionKind::Migrate, [1, 2]));
    let outcome = cluster.apply(Command::Balance { start, now_ms: 0 });
    assert!(matches!(outcome, Err(Rejected::PlacementViolation { .. })));
}

#[test]
fn a_newer_switch_takes_the_place_of_an_older_one() {
    let mut cluster = Cluster::new(5, 3, 2);
    let scope = BalanceScope::Cluster;
    for until_ms in [Some(UNTIL_MS), Some(UNTIL_MS), None] {
        disable(&mut cluster, scope, until_ms).expect("always there");
        assert_eq!(cluster.topology.state().balancing[&scope], switch(until_ms));
    }
    for _ in 0..2 {
        cluster.change(Change::EnableBalancing { scope }).expect("always there");
        assert!(cluster.topology.state().balancing.is_empty());
    }
    let version = cluster.topology.version();
    cluster.change(Change::EnableBalancing { scope }).expect("always there");
    assert_eq!(cluster.topology.version(), version, "without effect");
}

#[test]
fn switches_of_what_is_not_there_and_of_no_length_are_refused() {
    let mut cluster = Cluster::new(5, 3, 2);
    let no_table = TableId::from_u64(77).expect("not zero");
    for (scope, missing) in [
        (BalanceScope::Table(no_table), Missing::Table(no_table)),
        (BalanceScope::Node(node(77)), Missing::Node(node(77))),
    ] {
        let refused = Err(Rejected::NotFound(missing));
        assert_eq!(disable(&mut cluster, scope, None), refused);
        assert_eq!(cluster.change(Change::EnableBalancing { scope }), refused);
    }
    let not_ahead = Rejected::InvalidField { field: Field::UntilMs, problem: Problem::NotAhead };
    let outcome = disable(&mut cluster, BalanceScope::Cluster, Some(SINCE_MS));
    assert_eq!(outcome, Err(not_ahead));
}

#[test]
fn the_switch_of_a_dropped_table_goes_with_it() {
    let mut cluster = Cluster::new(5, 3, 2);
    let scope = BalanceScope::Table(the_table(&cluster));
    disable(&mut cluster, scope, None).expect("there");
    disable(&mut cluster, BalanceScope::Cluster, None).expect("there");
    cluster.drop_table().expect("there");
    let left: Vec<_> = cluster.topology.state().balancing.keys().copied().collect();
    assert_eq!(left, [BalanceScope::Cluster]);
    assert!(matches!(disable(&mut cluster, scope, None), Err(Rejected::NotFound(_))));
}

#[test]
fn a_pause_keeps_since_when_it_is_and_stops_the_balancer() {
    let mut cluster = Cluster::new(5, 3, 2);
    for reason in ["a storm", "a worse storm"] {
        cluster.change(Change::Pause { reason: reason.into() }).expect("always");
        let pause = cluster.topology.state().pause.clone().expect("just paused");
        assert_eq!((pause.reason.as_str(), pause.since_ms), (reason, 1));
    }
    assert_eq!(balance(&mut cluster, 0), Err(Rejected::Paused));
    cluster.start(tablet(2), TransitionKind::Migrate, [1, 4]).expect("somebody asks for it");
    for _ in 0..2 {
        cluster.change(Change::Resume).expect("always");
        assert_eq!(cluster.topology.state().pause, None);
    }
    assert!(balance(&mut cluster, 0).is_ok());
}

/// Apply refuses nothing of a running transition because of a pause: the driver holds it.
#[test]
fn a_pause_refuses_no_edge() {
    for stage in Stage::ALL {
        let mut cluster = Cluster::in_stage(stage);
        cluster.change(Change::Pause { reason: String::new() }).expect("always");
        assert_eq!(cluster.forward(tablet(1)), Ok(Applied::Done), "{stage}");
    }
}

#[test]
fn b6_a_draining_node_gets_no_replica() {
    let mut cluster = Cluster::new(5, 3, 2);
    drain(&mut cluster, node(4)).expect("there");
    let refused = Err(Rejected::NodeDraining(node(4)));
    for kind in [TransitionKind::Migrate, TransitionKind::AddReplica] {
        assert_eq!(cluster.start(tablet(1), kind, [1, 4]), refused, "{kind}");
    }
    assert_eq!(balance(&mut cluster, 0), refused);
    cluster.start(tablet(2), TransitionKind::Migrate, [1, 5]).expect("another node");
    cluster.fence(1).expect("admitted");
    assert_eq!(cluster.start(tablet(1), TransitionKind::Rebuild, [1, 4]), refused);
    cluster.change(Change::Undrain { node: node(4) }).expect("there");
    assert!(cluster.start(tablet(1), TransitionKind::Rebuild, [1, 4]).is_ok());
}

#[test]
fn b6_a_new_table_has_nothing_on_a_draining_node() {
    let mut cluster = Cluster::new(4, 3, 1);
    drain(&mut cluster, node(2)).expect("there");
    let placed = migrations::placement::place(&cluster.topology, 6, 3).expect("three are left");
    assert!(placed.iter().all(|nodes| !nodes.contains(&node(2))));
    assert!(migrations::placement::place(&cluster.topology, 1, 4).is_err());
    let ranges = migrations::position::Partitioning::Hash;
    let create = |on: Vec<NodeId>| {
        let mut tablets = migrations::position::Partitioning::even_ranges(1);
        Change::CreateTable(migrations::command::CreateTable {
            name: "u".into(),
            partitioning: ranges,
            replication_factor: 2,
            tablets: vec![(tablets.remove(0), on)],
        })
    };
    let outcome = cluster.change(create(vec![node(1), node(2)]));
    assert_eq!(outcome, Err(Rejected::NodeDraining(node(2))));
    cluster.change(create(vec![node(1), node(3)])).expect("neither is drained");
}

#[test]
fn a_drain_stays_over_fences_and_admissions() {
    let mut cluster = Cluster::new(5, 3, 2);
    for _ in 0..2 {
        drain(&mut cluster, node(4)).expect("there");
    }
    cluster.fence(4).expect("admitted");
    cluster.admit(4).expect("fenced");
    let drained = cluster.topology.node(node(4)).and_then(|node| node.drain.clone());
    assert_eq!(drained.map(|drain| (drain.reason, drain.since_ms)), Some(("a new disk".into(), 1)));
    for _ in 0..2 {
        cluster.change(Change::Undrain { node: node(4) }).expect("there");
        assert!(cluster.topology.node(node(4)).is_some_and(|node| node.drain.is_none()));
    }
    let missing = Err(Rejected::NotFound(Missing::Node(node(77))));
    assert_eq!(drain(&mut cluster, node(77)), missing);
    assert_eq!(cluster.change(Change::Undrain { node: node(77) }), missing);
}

#[test]
fn texts_are_kept_up_to_a_bound() {
    let at_rest = Cluster::new(5, 3, 2);
    let text = |len: usize| "x".repeat(len);
    let changes = |len: usize, cluster: &mut Cluster| {
        let mut start = cluster.starting(tablet(1), TransitionKind::Migrate, [1, 4]);
        start.note = text(len);
        let switch = BalanceSwitch { reason: text(len), ..switch(None) };
        [
            (Field::Reason, Change::Pause { reason: text(len) }),
            (Field::Reason, Change::Drain { node: node(1), reason: text(len) }),
            (Field::Reason, Change::DisableBalancing { scope: BalanceScope::Cluster, switch }),
            (Field::Note, Change::Start(start)),
        ]
    };
    for (len, is_kept) in [(TEXT_MAX, true), (TEXT_MAX + 1, false)] {
        let mut cluster = at_rest.clone();
        for (field, change) in changes(len, &mut cluster) {
            let outcome = cluster.change(change);
            let too_long = Err(Rejected::InvalidField { field, problem: Problem::TooLong });
            assert_eq!(outcome.is_ok(), is_kept);
            assert!(is_kept || outcome == too_long);
        }
    }
}
