//! What the balancer plans: that apply takes each move, that it comes to an end, and in balance.

use super::cluster::{Cluster, node, tablet};
use migrations::balancer::{Held, Limits, Move, PASS_OVER_MS, Plan, Why, loads, plan, plan_except};
use migrations::command::{Advance, Change, Command, CreateTable};
use migrations::evidence::FailureReason;
use migrations::id::NodeId;
use migrations::placement::{place, place_except};
use migrations::position::Partitioning;
use migrations::room::Rooms;
use migrations::stage::{Stage, TransitionKind};
use migrations::switch::{BalanceScope, BalanceSwitch};
use migrations::tablet::EndReason;
use proptest::prelude::*;

/// Later than whatever the cluster has seen fail.
const NOW_MS: u64 = 10 * PASS_OVER_MS;

/// Nodes in these racks; the table is made when only the first `early` were there.
fn grown(racks: &[&str], early: usize, rf: u32, tablets: u32) -> Cluster {
    let mut cluster = Cluster::empty();
    for (n, rack) in (1..).zip(racks) {
        if n == early as u64 + 1 {
            create(&mut cluster, rf, tablets);
        }
        let mut admit = cluster.admission(n);
        admit.location.rack = (*rack).into();
        cluster.apply(Command::Admit(Box::new(admit))).expect("a new node");
    }
    if early >= racks.len() {
        create(&mut cluster, rf, tablets);
    }
    cluster
}

fn create(cluster: &mut Cluster, rf: u32, tablets: u32) {
    let placed = place(&cluster.topology, tablets as usize, rf).expect("enough racks");
    let ranges = Partitioning::even_ranges(tablets).into_iter();
    let create = CreateTable {
        name: "t".into(),
        partitioning: Partitioning::Hash,
        replication_factor: rf,
        tablets: ranges.zip(placed).collect(),
    };
    cluster.change(Change::CreateTable(create)).expect("placed by the rules");
}

fn drain(cluster: &mut Cluster, n: u64) {
    let reason = String::new();
    cluster.change(Change::Drain { node: node(n), reason }).expect("there");
}

fn begin(cluster: &mut Cluster, step: &Move) {
    let mut start = cluster.starting(step.tablet, TransitionKind::Migrate, [1, 1]);
    (start.from, start.to) = (Some(step.from), Some(step.to));
    let outcome = cluster.apply(Command::Balance { start: Box::new(start), now_ms: NOW_MS });
    assert!(outcome.is_ok(), "{step:?}: {outcome:?}");
}

/// Plans and moves until nothing is planned any more; how many moves that took.
fn balance(cluster: &mut Cluster, limits: Limits) -> (usize, Plan) {
    let mut made = 0;
    loop {
        let found = plan(&cluster.topology, limits, NOW_MS);
        assert_eq!(found, plan(&cluster.topology, limits, NOW_MS), "the same each time");
        if found.moves.is_empty() {
            return (made, found);
        }
        assert!(found.moves.len() <= limits.moves);
        for step in &found.moves {
            begin(cluster, step);
            made += 1;
            assert!(made < 1_000, "it oscillates");
        }
        for step in &found.moves {
            cluster.forward_to_end(step.tablet);
        }
    }
}

fn load(cluster: &Cluster, n: u64) -> u32 {
    loads(&cluster.topology)[&node(n)]
}

/// The difference between the fullest and the emptiest of the nodes that are not drained.
fn spread(cluster: &Cluster) -> u32 {
    let loads = loads(&cluster.topology).into_iter().filter(|(id, _)| {
        cluster.topology.node(*id).is_some_and(|node| node.drain.is_none() && !node.is_fenced)
    });
    let loads: Vec<u32> = loads.map(|(_, load)| load).collect();
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

#[test]
fn new_nodes_get_their_share() {
    let mut cluster = grown(&["", "", "", "", "", ""], 3, 3, 8);
    let (made, last) = balance(&mut cluster, Limits { moves: 16, per_node: 4 });
    assert_eq!((made, last), (12, Plan::default()));
    assert_eq!(spread(&cluster), 0);
}

#[test]
fn a_drain_comes_first_and_empties_the_node() {
    let mut cluster = grown(&["", "", "", "", ""], 4, 3, 8);
    drain(&mut cluster, 1);
    let first = plan(&cluster.topology, Limits { moves: 3, per_node: 4 }, NOW_MS);
    assert!(first.moves.iter().all(|step| step.why == Why::Drain && step.from == node(1)));
    assert_eq!((first.moves.len(), first.held_by), (3, Some(Held::Limits)));
    let (_, last) = balance(&mut cluster, Limits { moves: 3, per_node: 4 });
    assert_eq!(last.held_by, None);
    assert_eq!(load(&cluster, 1), 0);
    assert!(spread(&cluster) <= 1);
}

/// Also of a node that is dead: the others have what it has.
#[test]
fn a_fenced_node_is_emptied_if_it_is_drained_and_not_otherwise() {
    let mut cluster = grown(&["", "", "", ""], 3, 3, 4);
    cluster.fence(1).expect("admitted");
    let found = plan(&cluster.topology, Limits::NONE, NOW_MS);
    assert!(found.moves.iter().all(|step| step.from != node(1) && step.to != node(1)));
    drain(&mut cluster, 1);
    balance(&mut cluster, Limits::NONE);
    assert_eq!(load(&cluster, 1), 0);
}

#[test]
fn one_rack_alone_has_nowhere_to_put_what_is_drained() {
    let mut cluster = grown(&["x", "y", "z", "z"], 4, 3, 4);
    drain(&mut cluster, 1);
    let found = plan(&cluster.topology, Limits::NONE, NOW_MS);
    assert_eq!(found, Plan { moves: Vec::new(), held_by: Some(Held::NoRoom(node(1))) });
    cluster.change(Change::Undrain { node: node(1) }).expect("there");
    assert_eq!(plan(&cluster.topology, Limits::NONE, NOW_MS), Plan::default());
}

#[test]
fn switches_and_a_pause_hold_it() {
    let at_rest = grown(&["", "", "", ""], 3, 3, 6);
    let now = |cluster: &Cluster| plan(&cluster.topology, Limits::NONE, NOW_MS);
    assert!(!now(&at_rest).moves.is_empty());
    let nothing = |held_by| Plan { moves: Vec::new(), held_by };
    let mut paused = at_rest.clone();
    paused.change(Change::Pause { reason: String::new() }).expect("always");
    assert_eq!(now(&paused), nothing(Some(Held::Paused)));
    let (table, _) = at_rest.topology.table_named("t").expect("there");
    let everywhere = Some(Held::Disabled(BalanceScope::Cluster));
    for (scope, held_by) in [
        (BalanceScope::Cluster, everywhere),
        (BalanceScope::Table(table), None),
        (BalanceScope::Node(node(4)), None),
    ] {
        let mut cluster = at_rest.clone();
        let (reason, until_ms) = (String::new(), Some(NOW_MS + 1));
        let switch = BalanceSwitch { reason, since_ms: 0, until_ms };
        cluster.change(Change::DisableBalancing { scope, switch }).expect("there");
        assert_eq!(now(&cluster), nothing(held_by), "{scope:?}");
        let later = plan(&cluster.topology, Limits::NONE, NOW_MS + 1);
        assert!(!later.moves.is_empty(), "{scope:?}");
    }
}

/// A switch on a node holds the moves of its own drain too, and says so.
#[test]
fn a_switch_holds_a_drain() {
    let mut cluster = grown(&["", "", "", ""], 4, 3, 4);
    drain(&mut cluster, 1);
    let scope = BalanceScope::Node(node(1));
    let switch = BalanceSwitch { reason: String::new(), since_ms: 0, until_ms: None };
    cluster.change(Change::DisableBalancing { scope, switch }).expect("there");
    let found = plan(&cluster.topology, Limits::NONE, NOW_MS);
    assert_eq!(found.held_by, Some(Held::Disabled(scope)));
    assert!(found.moves.iter().all(|step| step.from != node(1)));
}

#[test]
fn what_runs_counts_against_the_limits_and_is_not_moved_again() {
    let mut cluster = grown(&["", "", "", "", ""], 3, 3, 9);
    let limits = Limits { moves: 100, per_node: 2 };
    let first = plan(&cluster.topology, limits, NOW_MS);
    assert_eq!((first.moves.len(), first.held_by), (4, Some(Held::Limits)));
    first.moves.iter().for_each(|step| begin(&mut cluster, step));
    let second = plan(&cluster.topology, limits, NOW_MS);
    assert_eq!((second.moves.len(), second.held_by), (0, Some(Held::Limits)));
    cluster.forward_to_end(first.moves[0].tablet);
    let third = plan(&cluster.topology, limits, NOW_MS);
    assert_eq!(third.moves.len(), 1);
    let running: Vec<_> = first.moves[1..].iter().map(|step| step.tablet).collect();
    assert!(third.moves.iter().all(|step| !running.contains(&step.tablet)));
}

/// A move of tablet 1 to n4 that has gone back for this reason.
fn gone_back(reason: EndReason) -> Cluster {
    let mut cluster = grown(&["", "", "", "", ""], 3, 3, 6);
    let (why, kind) = (Why::Level, TransitionKind::Migrate);
    begin(&mut cluster, &Move { tablet: tablet(1), from: node(1), to: node(4), why, kind });
    cluster.forward_until(tablet(1), Stage::Streaming);
    let back = Advance { reason: Some(reason), ..cluster.back_command(tablet(1)) };
    cluster.advance(back).expect("it can go back");
    cluster.forward_to_end(tablet(1));
    cluster
}

/// B4: a move that somebody has cancelled, or that a disk has failed, which may be a source's, says
/// nothing of its target. (Whoever's disk it is says so.) The tablet is left alone for a while.
#[test]
fn b4_a_target_that_nothing_is_held_against_is_not_passed_over() {
    for reason in [EndReason::Cancelled, EndReason::Failed(FailureReason::DiskError)] {
        let cluster = gone_back(reason);
        let planned = plan(&cluster.topology, Limits::NONE, PASS_OVER_MS);
        assert!(planned.moves.iter().any(|step| step.to == node(4)), "{reason:?}");
        assert!(planned.moves.iter().all(|step| step.tablet != tablet(1)), "{reason:?}");
    }
}

/// B4: a target that has just failed is passed over, for a while.
#[test]
fn b4_a_node_on_which_a_move_has_failed_is_passed_over() {
    let ended_ms = 1;
    let cluster = gone_back(EndReason::Failed(FailureReason::NodeFull));
    let soon = plan(&cluster.topology, Limits::NONE, ended_ms + PASS_OVER_MS - 1);
    assert!(!soon.moves.is_empty());
    assert!(soon.moves.iter().all(|step| step.to == node(5) && step.tablet != tablet(1)));
    let later = plan(&cluster.topology, Limits::NONE, ended_ms + PASS_OVER_MS);
    assert!(later.moves.iter().any(|step| step.to == node(4)));
}

/// A node of which something outside of group0 is known, a bad disk say, is given nothing; what it
/// holds may go.
#[test]
fn b4_a_node_that_is_to_get_nothing_gets_nothing() {
    let cluster = grown(&["", "", "", "", ""], 3, 3, 6);
    let except = [node(4)].into();
    let planned = plan_except(&cluster.topology, Limits::NONE, NOW_MS, &except, &Rooms::default());
    assert!(!planned.moves.is_empty());
    assert!(planned.moves.iter().all(|step| step.to == node(5)));
    let without = plan(&cluster.topology, Limits::NONE, NOW_MS);
    assert!(without.moves.iter().any(|step| step.to == node(4)), "else it would get some");
    let except = [node(1)].into();
    let planned = plan_except(&cluster.topology, Limits::NONE, NOW_MS, &except, &Rooms::default());
    assert!(planned.moves.iter().any(|step| step.from == node(1)));
    let placed = place_except(&cluster.topology, 6, 4, &except).expect("four are left");
    assert!(placed.iter().flatten().all(|id| *id != node(1)));
    place_except(&cluster.topology, 1, 5, &except).expect_err("one too few");
}

/// Whether a single move, as apply would take it, still takes from one that holds two more.
fn has_a_move_left(cluster: &mut Cluster) -> bool {
    let loads = loads(&cluster.topology);
    let is_open = |id: &NodeId| cluster.topology.node(*id).is_some_and(|n| n.drain.is_none());
    let nodes: Vec<NodeId> = loads.keys().copied().filter(is_open).collect();
    let tablets: Vec<_> = cluster.topology.state().tablets.keys().copied().collect();
    for from in &nodes {
        for to in nodes.iter().filter(|to| loads[from] >= loads[*to] + 2) {
            for id in &tablets {
                let mut start = cluster.starting(*id, TransitionKind::Migrate, [1, 1]);
                (start.from, start.to) = (Some(*from), Some(*to));
                let change = Change::Start(start);
                if migrations::apply::check(&cluster.topology, &change).is_ok() {
                    return true;
                }
            }
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_in_balance_and_apply_takes_each_move(
        racks in prop::collection::vec(prop::sample::select(vec!["", "", "x", "y", "z"]), 1..5),
        rf in 1u32..4,
        tablets in 1u32..9,
        drained in prop::option::of(0usize..7),
        moves in 1usize..6,
        per_node in 1u32..3,
    ) {
        let racks: Vec<&str> = ["x", "y", "z"].into_iter().chain(racks).collect();
        let mut cluster = grown(&racks, 3, rf, tablets);
        let drained = drained.filter(|n| *n < racks.len()).map(|n| n as u64 + 1);
        if let Some(n) = drained {
            drain(&mut cluster, n);
        }
        let (_, last) = balance(&mut cluster, Limits { moves, per_node });
        prop_assert!(!has_a_move_left(&mut cluster));
        if let Some(n) = drained {
            let is_empty = load(&cluster, n) == 0;
            prop_assert_eq!(is_empty, last.held_by.is_none());
            prop_assert!(is_empty || last.held_by == Some(Held::NoRoom(node(n))));
        } else {
            prop_assert_eq!(last.held_by, None);
        }
    }

    /// Where no rule of racks is in the way, nothing but a rest of one is left.
    #[test]
    fn without_racks_the_spread_ends_at_one(
        nodes in 3usize..7,
        early in 3usize..5,
        rf in 1u32..4,
        tablets in 1u32..12,
        moves in 1usize..6,
    ) {
        let racks = vec![""; nodes.max(early)];
        let mut cluster = grown(&racks, early, rf, tablets);
        balance(&mut cluster, Limits { moves, per_node: 4 });
        prop_assert!(spread(&cluster) <= 1);
    }
}

/// n1 and n2 are gone, and n1 is to be emptied. Of the tablets that both had nothing can move: they
/// neither are begun nor take the places of those that can.
#[test]
fn what_a_dead_majority_holds_takes_no_place() {
    let mut cluster = Cluster::empty();
    for n in 1..=6 {
        cluster.admit(n).expect("a new node");
    }
    let sets = [[1, 2, 3], [1, 2, 4], [1, 3, 4], [1, 4, 5]];
    let ranges = Partitioning::even_ranges(4).into_iter();
    let create = CreateTable {
        name: "t".into(),
        partitioning: Partitioning::Hash,
        replication_factor: 3,
        tablets: ranges.zip(sets.map(|set| set.map(node).into())).collect(),
    };
    cluster.change(Change::CreateTable(create)).expect("a new table");
    cluster.fence(1).expect("admitted");
    cluster.start(tablet(2), TransitionKind::Rebuild, [1, 3]).expect("n1 is dead");
    cluster.fence(2).expect("admitted");
    drain(&mut cluster, 1);
    let limits = Limits { moves: 8, per_node: 1 };
    let found = plan(&cluster.topology, limits, NOW_MS);
    let moved: Vec<_> = found.moves.iter().map(|step| (step.tablet, step.kind)).collect();
    assert_eq!(moved, [(tablet(3), TransitionKind::Rebuild)], "the second one waits for it");
    let (_, last) = balance(&mut cluster, limits);
    assert_eq!(last.held_by, Some(Held::NoMajority(tablet(1))), "with all else done");
    assert_eq!(load(&cluster, 1), 1, "but for the tablet that is held");
    cluster.admit(2).expect("fenced");
    cluster.forward_to_end(tablet(2));
    balance(&mut cluster, limits);
    assert_eq!(load(&cluster, 1), 0);
}
