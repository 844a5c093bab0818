//! B6: what is refused before anything is done, each with its own reason.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Change, Missing, PlacementRule, Rejected};
use migrations::lease::LeaseTerms;
use migrations::problem::{Field, Problem};
use migrations::settings::Settings;
use migrations::stage::TransitionKind;

fn violation(rule: PlacementRule, n: u64) -> Rejected {
    Rejected::PlacementViolation { rule, node: node(n) }
}

#[test]
fn b6_a_start_that_can_not_be_is_refused_by_name() {
    use TransitionKind::{AddReplica, Migrate, Rebuild, RemoveReplica};
    let id = tablet(1);
    let cases = [
        (Migrate, [1, 2], violation(PlacementRule::OneReplicaPerNode, 2)),
        (Migrate, [1, 1], violation(PlacementRule::OneReplicaPerNode, 1)),
        (AddReplica, [0, 3], violation(PlacementRule::OneReplicaPerNode, 3)),
        (Migrate, [4, 5], violation(PlacementRule::LeavingHoldsReplica, 4)),
        (RemoveReplica, [4, 0], violation(PlacementRule::LeavingHoldsReplica, 4)),
        (Migrate, [1, 77], Rejected::NotFound(Missing::Node(node(77)))),
        (Rebuild, [1, 4], violation(PlacementRule::LeavingIsDead, 1)),
        (Migrate, [1, 6], Rejected::NodeFenced(node(6))),
    ];
    for (kind, [from, to], why) in cases {
        let mut cluster = Cluster::new(6, 3, 1);
        cluster.fence(6).expect("admitted");
        // The kinds without `from` or `to` get a number that is never looked at.
        assert_eq!(cluster.start(id, kind, [from.max(1), to.max(1)]), Err(why), "{kind}");
    }
}

#[test]
fn b6_one_replica_in_a_rack() {
    let mut cluster = Cluster::new(3, 3, 1);
    let mut admit = cluster.admission(4);
    admit.location.rack = "r2".into();
    cluster.apply(migrations::command::Command::Admit(Box::new(admit))).expect("a new node");
    let id = tablet(1);
    let why = violation(PlacementRule::OneReplicaPerRack, 4);
    assert_eq!(cluster.start(id, TransitionKind::Migrate, [1, 4]), Err(why.clone()));
    assert_eq!(cluster.start(id, TransitionKind::AddReplica, [1, 4]), Err(why));
    // Into the rack that is left: one replica there after it.
    cluster.start(id, TransitionKind::Migrate, [2, 4]).expect("n2 makes room in its rack");
}

#[test]
fn b6_a_tablet_in_transition_takes_no_second_one() {
    let id = tablet(1);
    let mut cluster = Cluster::new(6, 3, 1);
    cluster.start(id, TransitionKind::Migrate, [1, 4]).expect("at rest");
    let running = cluster.transition(id).record.migration;
    use TransitionKind::{AddReplica, Migrate, RemoveReplica, Repair};
    for kind in [Migrate, AddReplica, RemoveReplica, Repair] {
        assert_eq!(cluster.start(id, kind, [2, 5]), Err(Rejected::TabletBusy(running)), "{kind}");
    }
}

#[test]
fn the_last_replica_stays() {
    let mut cluster = Cluster::new(2, 1, 1);
    let why = violation(PlacementRule::KeepOneReplica, 1);
    assert_eq!(cluster.start(tablet(1), TransitionKind::RemoveReplica, [1, 0]), Err(why));
}

#[test]
fn a_start_has_the_fields_of_its_kind_and_no_others() {
    for kind in TransitionKind::ALL {
        let mut cluster = Cluster::new(5, 3, 1);
        let right = cluster.starting(tablet(1), kind, [1, 4]);
        let mut wrong = Vec::new();
        let mut spoil = |change: &dyn Fn(&mut migrations::command::Start)| {
            let mut start = right.clone();
            change(&mut start);
            wrong.push(start);
        };
        spoil(&|s| s.from = if s.from.is_some() { None } else { Some(node(1)) });
        spoil(&|s| s.to = if s.to.is_some() { None } else { Some(node(4)) });
        spoil(&|s| {
            s.proposed_promise = match s.proposed_promise {
                Some(_) => None,
                None => Some(migrations::clock::HybridTime(1)),
            };
        });
        for start in wrong {
            let outcome = cluster.change(Change::Start(start));
            assert!(matches!(outcome, Err(Rejected::InvalidField { .. })), "{kind}: {outcome:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut cluster = Cluster::new(4, 3, 1);
    let unknown = tablet(99);
    let why = Rejected::NotFound(Missing::Tablet(unknown));
    assert_eq!(cluster.start(unknown, TransitionKind::Migrate, [1, 4]), Err(why));
    let migration = cluster.migration();
    let why = Rejected::NotFound(Missing::Migration(migration));
    assert_eq!(cluster.change(Change::Cancel { migration }), Err(why));
    let table = migrations::id::TableId::from_u64(99).expect("not zero");
    let why = Rejected::NotFound(Missing::Table(table));
    assert_eq!(cluster.change(Change::DropTable { table, migration }), Err(why));
}

#[test]
fn a_session_or_migration_in_use_is_not_taken_twice() {
    let mut cluster = Cluster::new(4, 3, 2);
    cluster.start(tablet(1), TransitionKind::Repair, [0, 0]).expect("at rest");
    let open = cluster.transition(tablet(1)).record.clone();
    let mut start = cluster.starting(tablet(2), TransitionKind::Repair, [0, 0]);
    start.session = open.session;
    let session = open.session.expect("open");
    assert_eq!(cluster.change(Change::Start(start.clone())), Err(Rejected::SessionInUse(session)));
    start.session = Some(cluster.session());
    start.migration = open.migration;
    let outcome = cluster.change(Change::Start(start));
    assert!(matches!(outcome, Err(Rejected::InvalidField { field: Field::Migration, .. })));
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let mut cluster = Cluster::new(1, 1, 1);
    let settings = Settings { stall_ms: 60_000, ..Settings::DEFAULT };
    let outcome = cluster.configure(settings);
    assert!(matches!(outcome, Err(Rejected::InvalidField { field: Field::Settings, .. })));
    let settings = Settings { attempts: 9, ..Settings::DEFAULT };
    cluster.configure(settings).expect("they agree");
    assert_eq!(cluster.topology.state().settings, settings);
}

#[test]
fn settings_that_somebody_else_has_changed_meanwhile_are_refused() {
    let mut cluster = Cluster::new(1, 1, 1);
    let ours = Settings { attempts: 9, ..Settings::DEFAULT };
    let theirs = Settings { backoff_ms: 100, ..Settings::DEFAULT };
    cluster.configure(theirs).expect("they agree");
    let change = Change::Configure { expected: Settings::DEFAULT, settings: ours };
    assert_eq!(cluster.change(change), Err(Rejected::SettingsChanged));
    assert_eq!(cluster.topology.state().settings, theirs);
}

#[test]
fn a_lease_that_agents_may_hold_does_not_become_shorter() {
    let mut cluster = Cluster::new(1, 1, 1);
    let with = |lease| Settings { lease, ..Settings::DEFAULT };
    let shorter = |length_ms, drift_per_mille| with(LeaseTerms { length_ms, drift_per_mille });
    for settings in [shorter(5_999, 20), shorter(6_000, 19), shorter(5_900, 30)] {
        let outcome = cluster.configure(settings);
        let refused =
            Rejected::InvalidField { field: Field::Settings, problem: Problem::LeaseShorter };
        assert_eq!(outcome, Err(refused));
    }
    cluster.configure(shorter(7_000, 20)).expect("longer");
}
