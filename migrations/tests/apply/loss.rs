//! A majority is gone for good: what may be given up, for which transition, and what still holds.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Applied, Change, Outcome, Rejected, Start};
use migrations::problem::{Field, Problem};
use migrations::stage::{Stage, TransitionKind};
use migrations::tablet::Ending;

fn accept_of(cluster: &mut Cluster, start: Option<Start>, named: &[u64]) -> Outcome {
    let (tablet, note) = (tablet(1), "both burnt".into());
    let nodes = named.iter().map(|n| node(*n)).collect();
    cluster.change(Change::AcceptLoss { tablet, start: start.map(Box::new), nodes, note })
}

/// By somebody who has just looked: all that are dead are named.
fn accept(cluster: &mut Cluster, start: Option<Start>) -> Outcome {
    let id = tablet(1);
    let held = cluster.topology.tablet(id).expect("there");
    let is_dead = |n: &u64| cluster.topology.is_dead(held, node(*n));
    let both = cluster.topology.record(id).expect("there").both();
    let dead: Vec<u64> = both.iter().map(|node| node.as_u64()).filter(is_dead).collect();
    accept_of(cluster, start, &dead)
}

fn rebuild(cluster: &mut Cluster, from: u64, to: u64) -> Start {
    cluster.starting(tablet(1), TransitionKind::Rebuild, [from, to])
}

/// RF 3, n1 and n2 gone, a rebuild of n1 on n4 that the rule on majorities holds.
fn held() -> Cluster {
    let mut cluster = Cluster::new(6, 3, 2);
    for n in [1, 2] {
        cluster.fence(n).expect("admitted");
    }
    cluster.start(tablet(1), TransitionKind::Rebuild, [1, 4]).expect("n1 is dead");
    assert_eq!(cluster.forward(tablet(1)), Err(Rejected::SilentMajority));
    cluster
}

#[test]
fn a_held_transition_goes_on_once_the_dead_are_given_up() {
    let mut cluster = held();
    let other = cluster.topology.tablet(tablet(2)).cloned();
    let migration = cluster.transition(tablet(1)).record.migration;
    assert_eq!(accept(&mut cluster, None), Ok(Applied::Migration(migration)));
    let loss = cluster.transition(tablet(1)).accepted_loss.clone().expect("it is in the record");
    assert_eq!((loss.nodes, loss.note.as_str()), (vec![node(1), node(2)], "both burnt"));
    let record = cluster.topology.record(tablet(1)).expect("there");
    let lost = |n| record.replicas.on(node(n)).is_some_and(|replica| replica.lost);
    assert_eq!([lost(1), lost(2), lost(3)], [true, true, false], "agents and routers are told");
    cluster.forward_until(tablet(1), Stage::Streaming);
    let pairs = &cluster.transition(tablet(1)).record.streams;
    let sources: Vec<_> = pairs.iter().map(|pair| pair.source).collect();
    assert_eq!(sources, [node(3)], "from all that is left");
    cluster.forward_to_end(tablet(1));
    let held = cluster.topology.tablet(tablet(1)).expect("there");
    assert_eq!(held.replicas.nodes().collect::<Vec<_>>(), [node(2), node(3), node(4)]);
    assert!(held.replicas.on(node(2)).is_some_and(|replica| replica.lost), "to be rebuilt");
    let over = cluster.topology.state().finished.back().expect("it ended");
    assert_eq!(over.ending, Ending::Done);
    assert!(over.accepted_loss.is_some(), "it is kept for those who look later");
    assert_eq!(cluster.topology.tablet(tablet(2)).cloned(), other, "no other tablet is touched");
}

/// What is given up is given up for one transition: the next one is held again.
#[test]
fn the_next_transition_of_the_tablet_is_not_covered() {
    let mut cluster = held();
    accept(&mut cluster, None).expect("a majority is dead");
    cluster.forward_to_end(tablet(1));
    cluster.fence(3).expect("admitted");
    cluster.start(tablet(1), TransitionKind::Rebuild, [2, 5]).expect("n2 is dead");
    assert_eq!(cluster.forward(tablet(1)), Err(Rejected::SilentMajority));
}

/// The rule is asked of those that are left: they are waited for as ever.
#[test]
fn those_that_are_left_have_to_acknowledge() {
    let mut cluster = held();
    accept(&mut cluster, None).expect("a majority is dead");
    let mut advance = cluster.forward_command(tablet(1));
    advance.evidence.acknowledged.retain(|said| said.node != node(3));
    assert_eq!(cluster.advance(advance), Err(Rejected::EvidenceMissing(node(3))));
    cluster.fence(3).expect("admitted");
    assert_eq!(cluster.forward(tablet(1)), Err(Rejected::NoLiveMajority));
    cluster.back(tablet(1)).expect("an edge back");
    assert_eq!(cluster.forward(tablet(1)), Err(Rejected::SilentMajority), "n3 was not given up");
}

/// A node that was given up comes back: it takes part in barriers again, and its copy stays lost,
/// for what it holds may be older than what was read since.
#[test]
fn one_that_comes_back_is_asked_and_stays_lost() {
    let mut cluster = held();
    accept(&mut cluster, None).expect("a majority is dead");
    cluster.admit(2).expect("fenced");
    let mut advance = cluster.forward_command(tablet(1));
    advance.evidence.acknowledged.retain(|said| said.node != node(2));
    assert_eq!(cluster.advance(advance), Err(Rejected::EvidenceMissing(node(2))));
    cluster.forward_until(tablet(1), Stage::Streaming);
    let pairs = &cluster.transition(tablet(1)).record.streams;
    assert!(pairs.iter().all(|pair| pair.source == node(3)), "{pairs:?}");
    cluster.forward_to_end(tablet(1));
    let held = cluster.topology.tablet(tablet(1)).expect("there");
    assert!(held.replicas.on(node(2)).is_some_and(|replica| replica.lost));
}

/// H13: RF 1, and its only replica is gone. Nothing is left to read from: an empty copy.
#[test]
fn h13_the_only_replica_is_given_up_with_a_rebuild_that_begins() {
    let mut cluster = Cluster::new(2, 1, 1);
    cluster.fence(1).expect("admitted");
    let start = rebuild(&mut cluster, 1, 2);
    accept(&mut cluster, Some(start)).expect("it is dead");
    cluster.forward_until(tablet(1), Stage::Streaming);
    assert!(cluster.transition(tablet(1)).record.streams.is_empty());
    cluster.forward_to_end(tablet(1));
    let held = cluster.topology.tablet(tablet(1)).expect("there");
    assert_eq!(held.replicas.nodes().collect::<Vec<_>>(), [node(2)]);
}

/// Copies are lost and their nodes live: nobody is silent, and without the mark it goes back.
#[test]
fn lost_copies_on_live_nodes_are_given_up_with_a_rebuild_that_begins() {
    let mut cluster = Cluster::new(5, 3, 1);
    for n in [1, 2] {
        cluster.mark_lost(n, tablet(1)).expect("admitted");
    }
    let mut without = cluster.clone();
    without.start(tablet(1), TransitionKind::Rebuild, [1, 4]).expect("n1 is dead");
    without.forward(tablet(1)).expect("all acknowledge");
    assert_eq!(without.forward(tablet(1)), Err(Rejected::NoSources));
    let start = rebuild(&mut cluster, 1, 4);
    accept(&mut cluster, Some(start)).expect("two of three are lost");
    cluster.forward_to_end(tablet(1));
}

/// A majority of the new set dies after the point of no return.
#[test]
fn a_majority_of_new_is_given_up_past_the_point_of_no_return() {
    let mut cluster = Cluster::in_stage(Stage::UseNew);
    assert_eq!(accept(&mut cluster, None), Err(Rejected::NothingLost(tablet(1))));
    for n in [2, 4] {
        cluster.fence(n).expect("admitted");
    }
    assert_eq!(cluster.forward(tablet(1)), Err(Rejected::SilentMajority));
    accept(&mut cluster, None).expect("n2 and n4 of the new set are dead");
    cluster.forward_to_end(tablet(1));
}

/// n3 dies after the operator has looked, and before what he has typed is applied: with it all
/// that is left of the tablet would be given up, and nobody has said so.
#[test]
fn a_replica_that_died_since_is_not_given_up_unseen() {
    let mut cluster = held();
    cluster.fence(3).expect("admitted");
    let refused = accept_of(&mut cluster, None, &[1, 2]);
    assert_eq!(refused, Err(Rejected::LossNotNamed(node(3))));
    assert_eq!(cluster.transition(tablet(1)).accepted_loss, None);
    accept_of(&mut cluster, None, &[1, 2, 3]).expect("all are named");
}

/// What is alive again is not given up, and where no majority is dead any more, nothing is.
#[test]
fn one_that_lives_again_is_named_for_nothing() {
    let mut cluster = held();
    cluster.admit(2).expect("fenced");
    let refused = accept_of(&mut cluster, None, &[1, 2]);
    assert_eq!(refused, Err(Rejected::NothingLost(tablet(1))));
    cluster.fence(3).expect("admitted");
    accept_of(&mut cluster, None, &[1, 2, 3]).expect("n1 and n3 are dead");
    let loss = cluster.transition(tablet(1)).accepted_loss.clone().expect("it is in the record");
    assert_eq!(loss.nodes, [node(1), node(3)], "n2 lives");
    let record = cluster.topology.record(tablet(1)).expect("there");
    assert!(record.replicas.on(node(2)).is_some_and(|replica| !replica.lost));
}

#[test]
fn what_can_not_be_accepted_is_refused_by_name() {
    let fits = |field| Rejected::InvalidField { field, problem: Problem::DoesNotFitKind };
    let mut cluster = Cluster::new(6, 3, 2);
    assert_eq!(accept(&mut cluster, None), Err(Rejected::NotInTransition(tablet(1))));
    cluster.fence(1).expect("admitted");
    let start = rebuild(&mut cluster, 1, 4);
    let refused = accept(&mut cluster, Some(start));
    assert_eq!(refused, Err(Rejected::NothingLost(tablet(1))), "one of three is not a majority");
    cluster.fence(2).expect("admitted");
    let start = cluster.starting(tablet(1), TransitionKind::AddReplica, [0, 4]);
    assert_eq!(accept(&mut cluster, Some(start)), Err(fits(Field::Kind)));
    let start = cluster.starting(tablet(2), TransitionKind::Rebuild, [1, 4]);
    assert_eq!(accept(&mut cluster, Some(start)), Err(fits(Field::Migration)));
    let mut dropped = cluster.clone();
    dropped.drop_table().expect("there");
    assert_eq!(accept(&mut dropped, None), Err(Rejected::NotInTransition(tablet(1))));
    let running = held().transition(tablet(1)).record.migration;
    let mut busy = held();
    let start = rebuild(&mut busy, 1, 4);
    assert_eq!(accept(&mut busy, Some(start)), Err(Rejected::TabletBusy(running)));
}
