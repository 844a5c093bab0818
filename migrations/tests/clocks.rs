//! G7: routers whose clocks are apart write and delete the same key in turn. No acknowledged write
//! is hidden by one that was acknowledged before it; and the control, which shows why a replica
//! refuses a timestamp that is not above the newest it holds.

extern crate palisade_migrations as migrations;

use migrations::clock::{HybridClock, HybridTime, Timestamp};
use migrations::id::{NodeId, RouterId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::TabletRecord;
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::router::{Access, Operation, Refused, Step};
use migrations::row::{Merged, RowVersion, WriteStep, admit_write, merge};
use migrations::version::{CopyId, TopologyVersion};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The bound on skew; the fast router's clock is ahead by as much.
const SKEW_MS: u64 = 500;

fn node(n: u64) -> NodeId {
    NodeId::from_u64(n).expect("not zero")
}

/// A tablet at rest on three nodes.
fn record() -> TabletRecord {
    let version = TopologyVersion::from_parts(0, 1);
    let replica = |n| Replica { node: node(n), copy: CopyId(version), lost: false };
    TabletRecord {
        tablet: TabletId::from_u64(1).expect("not zero"),
        table: TableId::from_u64(1).expect("not zero"),
        range: PositionRange::default(),
        version,
        replicas: ReplicaSet::new((1..=3).map(replica).collect()).expect("distinct"),
        transition: None,
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    }
}

struct Router {
    id: RouterId,
    clock: HybridClock,
    ahead_ms: u64,
}

impl Router {
    fn new(n: u128, ahead_ms: u64) -> Router {
        let id = RouterId::from_uuid(Uuid::from_u128(n)).expect("not nil");
        Router { id, clock: HybridClock::default(), ahead_ms }
    }
}

/// One key on three replicas.
struct Key {
    replicas: BTreeMap<NodeId, RowVersion>,
    /// Whether a replica refuses a timestamp that is not above what it holds: the rule.
    refuses: bool,
    wall_ms: u64,
}

impl Key {
    fn new(refuses: bool) -> Key {
        Key { replicas: BTreeMap::new(), refuses, wall_ms: 10_000 }
    }

    fn write_at(&mut self, node: NodeId, row: &RowVersion) -> Result<(), Refused> {
        let newest = self.replicas.get(&node);
        let is_stored = match self.refuses {
            true => {
                admit_write(newest, HybridTime::ZERO, row)
                    .map_err(|behind| Refused::TimestampBehind(behind.highest))?
                    == WriteStep::Store
            }
            false => merge(newest, row) == Merged::Stored,
        };
        if is_stored {
            self.replicas.insert(node, row.clone());
        }
        Ok(())
    }

    /// Writes until it is acknowledged, with a new timestamp each time; one node is not reached.
    fn write(&mut self, router: &mut Router, value: Option<u8>, missed: u64) -> RowVersion {
        loop {
            self.wall_ms += 1;
            let time = router.clock.now(self.wall_ms + router.ahead_ms);
            let timestamp = Timestamp { time, router: router.id };
            let row = RowVersion { timestamp, value: value.map(|value| vec![value]) };
            let mut operation = Operation::begin(&record(), Access::Write).expect("writable");
            let mut step = operation.refused(node(missed), Refused::Unavailable);
            for to in (1..=3).filter(|n| *n != missed).map(node) {
                step = match self.write_at(to, &row) {
                    Ok(()) => operation.agreed(to),
                    Err(why) => operation.refused(to, why),
                };
            }
            match step {
                Step::Done => return row,
                Step::GoAbove(highest) => {
                    let seen = router.clock.observe(highest, self.wall_ms, SKEW_MS + 1_000);
                    seen.expect("no clock is further ahead");
                }
                other => panic!("a majority was reached: {other:?}"),
            }
        }
    }

    /// What a read gives that does not reach one of the nodes.
    fn read(&self, missed: u64) -> Option<&RowVersion> {
        let reached = self.replicas.iter().filter(|(id, _)| **id != node(missed));
        reached.map(|(_, row)| row).max_by_key(|row| row.timestamp)
    }
}

/// The fast router writes, then the slow one deletes; what reads find then.
fn delete_behind_a_fast_clock(refuses: bool) -> Vec<Option<Vec<u8>>> {
    let mut key = Key::new(refuses);
    let (mut fast, mut slow) = (Router::new(1, SKEW_MS), Router::new(2, 0));
    key.write(&mut fast, Some(1), 3);
    key.write(&mut slow, None, 1);
    (1..=3).map(|missed| key.read(missed).and_then(|row| row.value.clone())).collect()
}

#[test]
fn g7_a_delete_by_a_slow_clock_is_not_hidden_by_an_older_write_of_a_fast_one() {
    assert_eq!(delete_behind_a_fast_clock(true), [None, None, None]);
}

/// Without the refusal the delete is acknowledged, and the key is there as before.
#[test]
fn g7_control_replicas_that_accept_old_timestamps_hide_an_acknowledged_delete() {
    assert!(delete_behind_a_fast_clock(false).contains(&Some(vec![1])));
}

proptest! {
    #[test]
    fn g7_no_acknowledged_write_is_hidden_by_an_older_one(
        ahead in prop::collection::vec(0..=SKEW_MS, 2..4),
        writes in prop::collection::vec((0usize..4, prop::option::of(any::<u8>()), 1u64..4), 1..30),
    ) {
        let mut routers: Vec<Router> =
            (1..).zip(&ahead).map(|(n, ahead)| Router::new(n, *ahead)).collect();
        let mut key = Key::new(true);
        for (by, value, missed) in writes {
            let by = by % routers.len();
            let written = key.write(&mut routers[by], value, missed);
            for left_out in 1..=3 {
                prop_assert_eq!(key.read(left_out), Some(&written));
            }
        }
    }
}
