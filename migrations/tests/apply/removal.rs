//! A node goes for good, and what becomes of its replicas, its name and its directory.

use super::cluster::{Cluster, node, tablet};
use migrations::balancer::{Limits, Why, emptied, plan};
use migrations::command::{Applied, Change, Command, Missing, Outcome, PlacementRule, Rejected};
use migrations::id::DirectoryId;
use migrations::stage::TransitionKind;
use migrations::switch::{BalanceScope, BalanceSwitch};
use uuid::Uuid;

fn remove(cluster: &mut Cluster, n: u64) -> Outcome {
    cluster.change(Change::RemoveNode { node: node(n), reason: "it burnt".into() })
}

fn holds_something(n: u64) -> Rejected {
    let rule = PlacementRule::RemovedHoldsNothing;
    Rejected::PlacementViolation { rule, node: node(n) }
}

#[test]
fn one_that_is_alive_and_holds_replicas_is_not_removed() {
    let mut cluster = Cluster::new(5, 3, 2);
    assert_eq!(remove(&mut cluster, 1), Err(holds_something(1)));
    assert_eq!(remove(&mut cluster, 77), Err(Rejected::NotFound(Missing::Node(node(77)))));
    cluster.start(tablet(1), TransitionKind::Migrate, [1, 4]).expect("at rest");
    assert_eq!(remove(&mut cluster, 4), Err(holds_something(4)), "it is to get one");
}

#[test]
fn one_that_holds_nothing_goes_at_once_with_its_switch() {
    for is_fenced in [false, true] {
        let mut cluster = Cluster::new(5, 3, 2);
        let scope = BalanceScope::Node(node(5));
        let switch = BalanceSwitch { reason: String::new(), since_ms: 0, until_ms: None };
        cluster.change(Change::DisableBalancing { scope, switch }).expect("there");
        if is_fenced {
            cluster.fence(5).expect("admitted");
        }
        remove(&mut cluster, 5).expect("it holds nothing");
        assert!(cluster.topology.node(node(5)).is_none());
        assert!(cluster.topology.state().balancing.is_empty());
    }
}

/// Its replicas are rebuilt elsewhere by the balancer, and its record goes with the last one.
#[test]
fn a_dead_one_goes_once_its_replicas_are_rebuilt() {
    let mut cluster = Cluster::new(5, 3, 2);
    cluster.fence(1).expect("admitted");
    remove(&mut cluster, 1).expect("it is dead");
    assert!(cluster.topology.node(node(1)).is_some_and(|node| node.is_leaving));
    for _ in 0..2 {
        remove(&mut cluster, 1).expect("the same again changes nothing");
        assert_eq!(emptied(&cluster.topology), []);
        let forget = Command::Forget { node: node(1) };
        assert_eq!(cluster.apply(forget), Err(holds_something(1)));
        let step = plan(&cluster.topology, Limits::NONE, 1).moves[0];
        assert_eq!(
            (step.from, step.why, step.kind),
            (node(1), Why::Remove, TransitionKind::Rebuild)
        );
        let to = step.to.as_u64();
        let start = cluster.starting(step.tablet, step.kind, [1, to]);
        let begin = Command::Balance { start: Box::new(start), now_ms: 1 };
        cluster.apply(begin).expect("planned");
        cluster.forward_to_end(step.tablet);
    }
    assert_eq!(emptied(&cluster.topology), [node(1)]);
    assert_eq!(cluster.apply(Command::Forget { node: node(1) }), Ok(Applied::Done));
    assert!(cluster.topology.node(node(1)).is_none());
    let again = cluster.apply(Command::Forget { node: node(1) });
    assert_eq!(again, Err(Rejected::NotFound(Missing::Node(node(1)))));
}

/// A record goes only if its node was to go.
#[test]
fn a_node_that_nobody_removes_is_not_forgotten() {
    let mut cluster = Cluster::new(5, 3, 1);
    assert_eq!(emptied(&cluster.topology), []);
    assert_eq!(cluster.apply(Command::Forget { node: node(5) }), Err(holds_something(5)));
}

/// It comes back while it is being removed: it is drained like one that is alive, by moves from
/// it, unless somebody wants it back.
#[test]
fn one_that_comes_back_meanwhile_is_drained_unless_it_is_wanted_back() {
    let mut cluster = Cluster::new(5, 3, 1);
    cluster.fence(1).expect("admitted");
    remove(&mut cluster, 1).expect("it is dead");
    cluster.admit(1).expect("fenced");
    let step = plan(&cluster.topology, Limits::NONE, 1).moves[0];
    assert_eq!((step.why, step.kind), (Why::Remove, TransitionKind::Migrate));
    cluster.change(Change::Undrain { node: node(1) }).expect("there");
    assert!(cluster.topology.node(node(1)).is_some_and(|node| !node.is_leaving));
    assert!(plan(&cluster.topology, Limits::NONE, 1).moves.is_empty());
}

/// The directory of a node that was removed stays out; its name is free for a new one, which is
/// another node. Before the removal neither is so.
#[test]
fn the_directory_of_a_removed_node_stays_out_and_its_name_is_free() {
    let mut cluster = Cluster::new(4, 3, 1);
    let old = cluster.admission(4);
    let mut new = cluster.admission(4);
    new.known_incarnation = None;
    new.directory = DirectoryId::from_uuid(Uuid::from_u128(0x999)).expect("not nil");
    let ask = |cluster: &mut Cluster, admit: &migrations::command::Admit| {
        cluster.apply(Command::Admit(Box::new(admit.clone())))
    };
    assert_eq!(ask(&mut cluster, &new), Err(Rejected::NodeMismatch), "the name is taken");
    remove(&mut cluster, 4).expect("it holds nothing");
    assert_eq!(ask(&mut cluster, &old), Err(Rejected::NodeRemoved));
    let admitted = ask(&mut cluster, &new).expect("the name is free");
    assert!(
        matches!(admitted, Applied::Admitted { node: id, .. } if id == node(5)),
        "{admitted:?}"
    );
    assert_eq!(ask(&mut cluster, &old), Err(Rejected::NodeMismatch), "the name is another's");
}
