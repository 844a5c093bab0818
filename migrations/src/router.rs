//! A router's decisions for one operation. One operation is one version: answers that were
//! gathered under different versions of a tablet, or for different timestamps, are never added up.

use crate::clock::HybridTime;
use crate::id::NodeId;
use crate::record::TabletRecord;
use crate::replica_set::ReplicaSet;
use crate::version::TopologyVersion;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Whether an operation reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A majority of the set that is read is needed.
    Read,
    /// A majority of each set that is written is needed.
    Write,
}

/// Why a replica refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The router's version is older than the replica's floor.
    StaleVersion,
    /// The router's version is newer than what the replica could catch up to.
    VersionAhead,
    /// A write's timestamp is not above this time.
    TimestampBehind(HybridTime),
    /// A write's timestamp is too far ahead of the replica's clock, which says this.
    TimestampAhead(HybridTime),
    /// It can't serve now; another attempt may find it able to.
    Unavailable,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Wait for more answers.
    Wait,
    /// A majority of each set has agreed: answer the caller, and send nothing more.
    Done,
    /// Begin anew, once a newer version of the tablet than this is known, with a new timestamp.
    Refresh(TopologyVersion),
    /// Begin anew under a version read again, with a new timestamp above this time.
    GoAbove(HybridTime),
    /// Begin anew after the replica's clock has reached this time.
    WaitUntil(HybridTime),
    /// A majority can't be had of those who are left: begin anew, or give up at the deadline.
    OutOfReach,
}

/// One operation under one version and, for a write, one timestamp.
#[derive(Debug, Clone)]
pub struct Operation {
    version: TopologyVersion,
    sets: Vec<ReplicaSet>,
    agreed: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    behind: Option<HybridTime>,
    ahead: Option<HybridTime>,
    is_version_refused: bool,
}

impl Operation {
    /// An operation under a tablet's record; `None` if the table is being dropped.
    pub fn begin(record: &TabletRecord, access: Access) -> Option<Operation> {
        let sets: Vec<ReplicaSet> = match access {
            Access::Read => record.read_set().into_iter().cloned().collect(),
            Access::Write => record.write_sets().into_iter().cloned().collect(),
        };
        (!sets.is_empty()).then_some(Operation {
            version: record.version,
            sets,
            agreed: BTreeSet::new(),
            refused: BTreeSet::new(),
            behind: None,
            ahead: None,
            is_version_refused: false,
        })
    }

    /// The version that it is under: sent with every request.
    pub fn version(&self) -> TopologyVersion {
        self.version
    }

    /// Whom to ask, each once.
    pub fn targets(&self) -> BTreeSet<NodeId> {
        self.sets.iter().flat_map(ReplicaSet::nodes).collect()
    }

    /// A replica has done it, under exactly this operation's version and timestamp.
    pub fn agreed(&mut self, node: NodeId) -> Step {
        self.agreed.insert(node);
        self.step()
    }

    /// A replica has refused, or could not be reached.
    pub fn refused(&mut self, node: NodeId, why: Refused) -> Step {
        self.refused.insert(node);
        match why {
            Refused::StaleVersion | Refused::VersionAhead => self.is_version_refused = true,
            Refused::TimestampBehind(highest) => self.behind = self.behind.max(Some(highest)),
            Refused::TimestampAhead(clock) => self.ahead = self.ahead.max(Some(clock)),
            Refused::Unavailable => {}
        }
        self.step()
    }

    fn step(&self) -> Step {
        if self.sets.iter().all(|set| set.has_majority(|node| self.agreed.contains(&node))) {
            return Step::Done;
        }
        let can_agree = |node| !self.refused.contains(&node);
        if self.sets.iter().all(|set| set.has_majority(can_agree)) {
            return Step::Wait;
        }
        // One who has refused the version speaks of a newer one; what others say of timestamps
        // is of no use under a version that is over.
        match (self.is_version_refused, self.behind, self.ahead) {
            (true, _, _) => Step::Refresh(self.version),
            (false, Some(highest), _) => Step::GoAbove(highest),
            (false, None, Some(clock)) => Step::WaitUntil(clock),
            (false, None, None) => Step::OutOfReach,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{MigrationId, TableId, TabletId};
    use crate::position::PositionRange;
    use crate::record::TransitionRecord;
    use crate::replica_set::Replica;
    use crate::stage::{Stage, TransitionKind};
    use crate::version::CopyId;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn node(n: u32) -> NodeId {
        NodeId::mint(0, n)
    }

    fn set(nodes: &[u32]) -> ReplicaSet {
        let copy = CopyId(TopologyVersion::from_parts(0, 1));
        let replica = |n: &u32| Replica { node: node(*n), copy, lost: false };
        ReplicaSet::new(nodes.iter().map(replica).collect()).expect("distinct")
    }

    fn record(stage: Option<Stage>) -> TabletRecord {
        let transition = stage.map(|stage| TransitionRecord {
            migration: MigrationId::from_uuid(Uuid::from_u128(1)).expect("not nil"),
            kind: TransitionKind::Migrate,
            stage,
            next: set(&[2, 3, 4]),
            session: None,
            attempt: 1,
            streams: Vec::new(),
            proposed_promise: None,
        });
        TabletRecord {
            tablet: TabletId::mint(0, 1),
            table: TableId::mint(0, 1),
            range: PositionRange::default(),
            version: TopologyVersion::from_parts(0, 9),
            replicas: set(&[1, 2, 3]),
            transition,
            promise: HybridTime::ZERO,
            incarnations: Vec::new(),
        }
    }

    #[test]
    fn a_write_during_both_needs_a_majority_of_each_set() {
        let record = record(Some(Stage::Streaming));
        let mut write = Operation::begin(&record, Access::Write).expect("writable");
        assert_eq!(write.agreed(node(1)), Step::Wait);
        // 1 and 2 are a majority of {1,2,3}, but 2 alone is none of {2,3,4}.
        assert_eq!(write.agreed(node(2)), Step::Wait);
        assert_eq!(write.agreed(node(4)), Step::Done);
    }

    #[test]
    fn one_slow_replica_with_an_older_version_does_not_fail_an_operation() {
        let mut read = Operation::begin(&record(None), Access::Read).expect("readable");
        assert_eq!(read.refused(node(3), Refused::VersionAhead), Step::Wait);
        assert_eq!(read.agreed(node(1)), Step::Wait);
        assert_eq!(read.agreed(node(2)), Step::Done);
    }

    #[test]
    fn g4_a_stale_version_is_refreshed_not_added_up() {
        let mut write = Operation::begin(&record(None), Access::Write).expect("writable");
        assert_eq!(write.agreed(node(1)), Step::Wait);
        assert_eq!(write.refused(node(2), Refused::StaleVersion), Step::Wait);
        let step = write.refused(node(3), Refused::TimestampBehind(HybridTime(7)));
        assert_eq!(step, Step::Refresh(write.version()));
    }

    #[test]
    fn a_dropped_table_takes_no_operation() {
        assert!(Operation::begin(&record(Some(Stage::Drop)), Access::Read).is_none());
        assert!(Operation::begin(&record(Some(Stage::Drop)), Access::Write).is_none());
    }

    proptest! {
        /// Whatever the answers, `Done` is said exactly when each set has an agreeing majority,
        /// and when all have answered it is never `Wait`.
        #[test]
        fn done_is_a_majority_of_each_set(answers in prop::collection::vec(any::<bool>(), 4)) {
            let record = record(Some(Stage::WriteBothReadNew));
            let mut write = Operation::begin(&record, Access::Write).expect("writable");
            let mut last = Step::Wait;
            for (n, agrees) in (1..=4).zip(&answers) {
                last = match agrees {
                    true => write.agreed(node(n)),
                    false => write.refused(node(n), Refused::Unavailable),
                };
            }
            let agreed = |n: NodeId| answers[n.as_u64() as usize - 1];
            let enough = [&record.replicas, record.next()].iter().all(|s| s.has_majority(agreed));
            prop_assert_eq!(last, if enough { Step::Done } else { Step::OutOfReach });
        }
    }
}
