//! Tables: a drop from every stage, and what a new table has to be.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Applied, Change, CreateTable, PlacementRule, Rejected};
use migrations::position::{Partitioning, PositionRange, ranges_between};
use migrations::problem::Field;
use migrations::stage::Stage;
use migrations::tablet::EndReason;

/// A6: the session is cleared in the same command, and both sets drop their copies.
#[test]
fn a6_a_table_is_dropped_from_every_stage() {
    let id = tablet(1);
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Drop) {
        let mut cluster = Cluster::in_stage(stage);
        let before = cluster.transition(id).record.clone();
        let late = cluster.forward_command(id);
        cluster.drop_table().expect("there");
        assert_eq!(cluster.stage(id), Some(Stage::Drop), "{stage}");
        assert!(before.session.is_none_or(|session| !cluster.topology.has_session(session)));
        let ended = cluster.topology.state().finished.back().expect("kept");
        assert_eq!(ended.migration, before.migration);
        assert_eq!(ended.reason, Some(EndReason::TableDropped));
        assert!(matches!(cluster.advance(late), Err(Rejected::Moved { .. })));
        let record = cluster.topology.record(id).expect("until every copy is gone");
        for n in 1..=5 {
            assert_eq!(record.given(node(n)), None, "{stage}");
        }
        let drops = cluster.evidence(id).drops.len();
        assert_eq!(drops, record.both().len(), "{stage}: also who was pending holds a copy");
        cluster.forward(id).expect("all have dropped");
        assert!(cluster.topology.tablet(id).is_none());
        assert!(cluster.topology.state().tables.is_empty());
    }
}

#[test]
fn a_dropped_table_is_not_dropped_twice_and_its_name_is_free() {
    let mut cluster = Cluster::new(3, 3, 2);
    let (table, _) = cluster.topology.table_named("t").expect("there");
    cluster.drop_table().expect("there");
    let migration = cluster.migration();
    assert!(cluster.change(Change::DropTable { table, migration }).is_err());
    assert!(cluster.topology.table_named("t").is_none());
    let create = creation(vec![(PositionRange::default(), vec![1, 2, 3])]);
    assert!(matches!(cluster.change(Change::CreateTable(create)), Ok(Applied::Table(_))));
    cluster.forward(tablet(1)).expect("dropped");
    assert!(cluster.topology.state().tables.contains_key(&table), "until its last tablet is gone");
    cluster.forward(tablet(2)).expect("dropped");
    assert!(!cluster.topology.state().tables.contains_key(&table));
}

/// Nothing is read or written there, so nobody is protected by waiting: fenced is enough.
#[test]
fn a_drop_waits_for_nobody_who_is_fenced() {
    let mut cluster = Cluster::in_stage(Stage::Drop);
    for n in 1..=3 {
        cluster.fence(n).expect("admitted");
    }
    cluster.forward(tablet(1)).expect("all are fenced");
    assert!(cluster.topology.tablet(tablet(1)).is_none());
}

fn creation(tablets: Vec<(PositionRange, Vec<u64>)>) -> CreateTable {
    let tablets = tablets.into_iter();
    CreateTable {
        name: "t".into(),
        partitioning: Partitioning::Range,
        replication_factor: 3,
        tablets: tablets
            .map(|(range, nodes)| (range, nodes.into_iter().map(node).collect()))
            .collect(),
    }
}

#[test]
fn a_table_that_can_not_be_is_refused_by_name() {
    let whole = PositionRange::default();
    let ranges = ranges_between(&[b"m".to_vec()]);
    let violation = |rule, n| Rejected::PlacementViolation { rule, node: node(n) };
    let mut cluster = Cluster::new(4, 1, 1);
    cluster.drop_table().expect("there");
    cluster.fence(4).expect("admitted");
    let cases = [
        (vec![(whole.clone(), vec![1, 2, 2])], violation(PlacementRule::OneReplicaPerNode, 2)),
        (vec![(whole.clone(), vec![1, 2])], violation(PlacementRule::ReplicationFactor, 1)),
        (vec![(whole.clone(), vec![1, 2, 4])], Rejected::NodeFenced(node(4))),
    ];
    for (tablets, why) in cases {
        assert_eq!(cluster.change(Change::CreateTable(creation(tablets))), Err(why));
    }
    let all = vec![1, 2, 3];
    let malformed = [
        vec![],
        vec![(ranges[0].clone(), all.clone())],
        vec![(ranges[1].clone(), all.clone())],
        vec![(ranges[1].clone(), all.clone()), (ranges[0].clone(), all.clone())],
        vec![(whole.clone(), all.clone()), (whole.clone(), all.clone())],
    ];
    for tablets in malformed {
        let outcome = cluster.change(Change::CreateTable(creation(tablets)));
        assert!(matches!(outcome, Err(Rejected::InvalidField { field: Field::Tablets, .. })));
    }
    for name in ["", "a/b", "é", &"x".repeat(129)] {
        let mut create = creation(vec![(whole.clone(), all.clone())]);
        create.name = name.into();
        let outcome = cluster.change(Change::CreateTable(create));
        assert!(matches!(outcome, Err(Rejected::InvalidField { field: Field::Name, .. })));
    }
    let create = creation(vec![(whole, all)]);
    assert!(matches!(cluster.change(Change::CreateTable(create.clone())), Ok(Applied::Table(_))));
    assert!(matches!(cluster.change(Change::CreateTable(create)), Err(Rejected::TableExists(_))));
}
