//! Room: what is known of it, what is kept of it for moves under way, and what is planned by it.

use super::cluster::{Cluster, node, tablet};
use migrations::balancer::{Held, Limits, PASS_OVER_MS, plan_except};
use migrations::command::Change;
use migrations::id::TabletId;
use migrations::room::{CopySize, Rooms, TooLittleRoom};
use migrations::stage::{Stage, TransitionKind};
use migrations::version::CopyId;
use std::collections::BTreeSet;

/// Later than whatever the cluster has seen fail.
const NOW_MS: u64 = 10 * PASS_OVER_MS;

/// The copy of a tablet on a node, pending or not.
fn copy_on(cluster: &Cluster, n: u64, id: TabletId) -> CopyId {
    let found = cluster.topology.tablet(id).expect("it is there");
    let next = found.transition.as_ref().map(|transition| &transition.record.next);
    let on = |set: &migrations::replica_set::ReplicaSet| set.on(node(n)).copied();
    on(&found.replicas).or(next.and_then(on)).expect("a replica there").copy
}

/// A node says its room, and that its copy of a tablet holds so much.
fn says(rooms: &mut Rooms, cluster: &Cluster, n: u64, room: u64, of: TabletId, bytes: u64) {
    let copy = copy_on(cluster, n, of);
    rooms.said(node(n), Some(room), [(of, CopySize { copy, bytes })]);
}

/// Five nodes, three tablets of three replicas on nodes 1 to 3, each of 100 bytes.
fn of_100_bytes() -> (Cluster, Rooms) {
    let (cluster, mut rooms) = (Cluster::new(5, 3, 3), Rooms::default());
    for id in 1..=3 {
        for n in 1..=3 {
            says(&mut rooms, &cluster, n, 1_000, tablet(id), 100 - n);
        }
    }
    (cluster, rooms)
}

#[test]
fn a_tablet_that_is_larger_than_the_room_is_refused() {
    let (cluster, mut rooms) = of_100_bytes();
    let check = |rooms: &Rooms| rooms.check(&cluster.topology, tablet(1), node(4));
    assert_eq!(check(&rooms), Ok(()), "the node has said nothing");
    rooms.said(node(4), Some(99), []);
    assert_eq!(check(&rooms), Ok(()), "the largest of its copies just goes in");
    rooms.said(node(4), Some(98), []);
    assert_eq!(check(&rooms), Err(TooLittleRoom { needed: 99, room: 98, kept: 0 }));
    rooms.said(node(4), None, []);
    assert_eq!(check(&rooms), Ok(()), "it doesn't say any more");
    let mut knows_room_alone = Rooms::default();
    knows_room_alone.said(node(4), Some(0), []);
    assert_eq!(check(&knows_room_alone), Ok(()), "nobody has said how large the tablet is");
}

#[test]
fn what_is_on_its_way_is_kept_until_it_is_there() {
    let (mut cluster, mut rooms) = of_100_bytes();
    rooms.said(node(4), Some(150), []);
    cluster.start(tablet(1), TransitionKind::Migrate, [1, 4]).expect("it begins");
    let kept = |rooms: &Rooms, cluster: &Cluster| {
        rooms.kept(&cluster.topology).get(&node(4)).copied().unwrap_or_default()
    };
    let little = TooLittleRoom { needed: 99, room: 150, kept: 99 };
    assert_eq!(rooms.check(&cluster.topology, tablet(2), node(4)), Err(little));
    assert_eq!(rooms.check(&cluster.topology, tablet(2), node(5)), Ok(()));
    cluster.forward_until(tablet(1), Stage::Streaming);
    says(&mut rooms, &cluster, 4, 110, tablet(1), 40);
    assert_eq!(kept(&rooms, &cluster), 59, "what has come is gone from the room already");
    // What another copy of the tablet held, an attempt before say, is not this one's.
    let copy = copy_on(&cluster, 1, tablet(1));
    rooms.said(node(4), Some(150), [(tablet(1), CopySize { copy, bytes: 40 })]);
    assert_eq!(kept(&rooms, &cluster), 99);
    cluster.forward(tablet(1)).expect("all has come");
    assert_eq!(kept(&rooms, &cluster), 0);
    assert_eq!(rooms.check(&cluster.topology, tablet(2), node(4)), Ok(()));
}

#[test]
fn a_move_that_goes_back_keeps_nothing() {
    let (mut cluster, mut rooms) = of_100_bytes();
    rooms.said(node(4), Some(150), []);
    cluster.start(tablet(1), TransitionKind::Migrate, [1, 4]).expect("it begins");
    rooms.check(&cluster.topology, tablet(2), node(4)).expect_err("as long as it goes on");
    cluster.back(tablet(1)).expect("an edge");
    assert_eq!(cluster.stage(tablet(1)), Some(Stage::CleanupTarget));
    assert_eq!(rooms.check(&cluster.topology, tablet(2), node(4)), Ok(()));
}

/// What is known is bounded by what is there.
#[test]
fn what_is_gone_is_forgotten() {
    let (mut cluster, mut rooms) = of_100_bytes();
    rooms.said(node(9), Some(1), []);
    let on_5 = CopySize { copy: copy_on(&cluster, 1, tablet(1)), bytes: 1 };
    rooms.said(node(5), Some(1), [(tablet(1), on_5)]);
    rooms.forget_gone(&cluster.topology);
    assert_eq!((rooms.of(node(9)), rooms.of(node(5))), (None, Some(1)));
    assert_eq!(rooms.copy(node(5), tablet(1), on_5.copy), None, "no replica of it is there");
    let on_1 = copy_on(&cluster, 1, tablet(1));
    assert_eq!(rooms.copy(node(1), tablet(1), on_1), Some(99));
    cluster.start(tablet(1), TransitionKind::Migrate, [1, 4]).expect("it begins");
    says(&mut rooms, &cluster, 4, 150, tablet(1), 7);
    rooms.forget_gone(&cluster.topology);
    let pending = copy_on(&cluster, 4, tablet(1));
    assert_eq!(rooms.copy(node(4), tablet(1), pending), Some(7), "it is on its way");
}

/// The balancer gives a node no more than it has room for, what it plans itself included, and says
/// so where nobody else is left.
#[test]
fn b4_a_plan_stays_within_the_room() {
    let (mut cluster, mut rooms) = of_100_bytes();
    let reason = String::new();
    cluster.change(Change::Drain { node: node(1), reason }).expect("there");
    let plan = |rooms: &Rooms| {
        let (topology, except) = (&cluster.topology, BTreeSet::new());
        let planned = plan_except(topology, Limits::NONE, NOW_MS, &except, rooms);
        let to = |n| planned.moves.iter().filter(|step| step.to == node(n)).count();
        assert!(planned.moves.iter().all(|step| step.from == node(1)), "nothing to level");
        (to(4), to(5), planned.held_by)
    };
    let (to_4, to_5, held_by) = plan(&rooms);
    assert_eq!((to_4 + to_5, held_by), (3, None));
    assert!(to_4.min(to_5) == 1, "what nobody limits is spread");
    rooms.said(node(4), Some(98), []);
    assert_eq!(plan(&rooms), (0, 3, None));
    rooms.said(node(5), Some(2 * 99 + 98), []);
    assert_eq!(plan(&rooms), (0, 2, Some(Held::TooLarge(tablet(3), node(1)))));
}

/// Levelling says so too, if it is the room alone that it lacks.
#[test]
fn b4_levelling_that_lacks_room_says_so() {
    let (cluster, mut rooms) = of_100_bytes();
    let plan = |rooms: &Rooms| {
        plan_except(&cluster.topology, Limits::NONE, NOW_MS, &BTreeSet::new(), rooms)
    };
    assert_eq!(plan(&rooms).held_by, None);
    for n in [4, 5] {
        rooms.said(node(n), Some(98), []);
    }
    let held = plan(&rooms);
    assert!(held.moves.is_empty(), "{held:?}");
    assert!(matches!(held.held_by, Some(Held::TooLarge(_, _))), "{held:?}");
}
