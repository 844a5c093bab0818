//! INV-11 in `apply`: a request takes effect once, and its retry gets what came of it.

use super::cluster::{Cluster, tablet};
use migrations::command::{Change, Command, Rejected};
use migrations::stage::{Stage, TransitionKind};

/// H14: the retry of a migration while its own move runs is not refused because of itself.
#[test]
fn h14_a_retry_gets_the_stored_outcome_and_not_tablet_busy() {
    let id = tablet(1);
    let mut cluster = Cluster::new(5, 3, 1);
    let start = cluster.starting(id, TransitionKind::Migrate, [1, 4]);
    let stamp = cluster.stamp();
    let migrate = Command::Change { stamp, change: Change::Start(start) };
    let first = cluster.apply(migrate.clone());
    assert!(first.is_ok());
    for _ in 0..Stage::ALL.len() {
        let before = cluster.topology.state().clone();
        assert_eq!(cluster.apply(migrate.clone()), first);
        assert_eq!(cluster.topology.state(), &before, "an entry applied again is harmless");
        if cluster.topology.transition(id).is_some() {
            cluster.forward(id).expect("nothing is in its way");
        }
    }
    assert_eq!(cluster.topology.state().finished.len(), 1, "one migration");
}

#[test]
fn refusals_are_kept_like_successes() {
    let id = tablet(1);
    let mut cluster = Cluster::new(5, 3, 1);
    cluster.start(id, TransitionKind::Migrate, [1, 4]).expect("at rest");
    let start = cluster.starting(id, TransitionKind::Migrate, [2, 5]);
    let stamp = cluster.stamp();
    let busy = Command::Change { stamp, change: Change::Start(start) };
    let first = cluster.apply(busy.clone());
    assert!(matches!(first, Err(Rejected::TabletBusy(_))));
    cluster.forward_to_end(id);
    assert_eq!(cluster.apply(busy), first, "the tablet is free, and the answer is the same");
    assert!(cluster.topology.transition(id).is_none());
}

#[test]
fn an_id_used_for_something_else_is_refused() {
    let mut cluster = Cluster::new(5, 3, 1);
    let start = cluster.starting(tablet(1), TransitionKind::Migrate, [1, 4]);
    let mut stamp = cluster.stamp();
    let change = Change::Start(start);
    cluster.apply(Command::Change { stamp: stamp.clone(), change: change.clone() }).expect("new");
    stamp.digest += 1;
    let outcome = cluster.apply(Command::Change { stamp: stamp.clone(), change: change.clone() });
    assert_eq!(outcome, Err(Rejected::RequestIdReused));
    stamp.digest -= 1;
    stamp.caller = "somebody else".into();
    assert_eq!(cluster.apply(Command::Change { stamp, change }), Err(Rejected::RequestIdReused));
}

#[test]
fn nothing_is_done_before_bootstrap() {
    let mut cluster = Cluster::new(1, 1, 1);
    let start = cluster.starting(tablet(1), TransitionKind::Repair, [0, 0]);
    let stamp = cluster.stamp();
    cluster.topology = migrations::topology::Topology::default();
    let command = Command::Change { stamp: stamp.clone(), change: Change::Start(start) };
    assert_eq!(cluster.apply(command), Err(Rejected::NotBootstrapped));
    assert_eq!(cluster.topology.state().requests.remembered().len(), 0);
}
