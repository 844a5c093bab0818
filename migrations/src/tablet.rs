//! A tablet and its transition as group0 holds them, and what is kept when it is over.

use crate::clock::HybridTime;
use crate::evidence::{FailureReason, StreamReport};
use crate::id::{MigrationId, NodeId, TableId, TabletId};
use crate::position::{Partitioning, PositionRange};
use crate::record::TransitionRecord;
use crate::replica_set::ReplicaSet;
use crate::stage::{Stage, TransitionKind};
use crate::switch::Origin;
use crate::version::{Incarnation, TopologyVersion};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// A table: a name, and how its keys become positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Unique among tables that are not being dropped.
    pub name: String,
    /// How keys become positions.
    pub partitioning: Partitioning,
    /// How many replicas each tablet was made with.
    pub replication_factor: u32,
    /// Its tablets, in order of position.
    pub tablets: Vec<TabletId>,
    /// Dropped, but not every copy is gone yet.
    pub is_dropping: bool,
}

/// One range of a table's positions, kept by its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablet {
    /// Of which table.
    pub table: TableId,
    /// Which positions.
    pub range: PositionRange,
    /// The old set while there is a transition.
    pub replicas: ReplicaSet,
    /// Of its last change.
    pub version: TopologyVersion,
    /// T.
    pub promise: HybridTime,
    /// At most one. INV-1.
    pub transition: Option<Box<Transition>>,
}

/// Why a transition goes back or ended short of its aim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// Somebody asked for it.
    Cancelled,
    /// A node whose part is needed was fenced.
    NodeFenced(NodeId),
    /// A replica whose part is needed has lost its data.
    ReplicaLost(NodeId),
    /// The new set has no live majority.
    NoLiveMajority,
    /// Those left out of the sources contain a majority of old.
    NoSources,
    /// The last attempt failed for this reason.
    Failed(FailureReason),
    /// The table was dropped.
    TableDropped,
}

/// One stage of a migration, kept for those who look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRecord {
    /// Which stage.
    pub stage: Stage,
    /// The tablet's version while it lasted.
    pub version: TopologyVersion,
    /// Which attempt.
    pub attempt: u32,
    /// When it was entered: the proposer's clock, milliseconds since 1970.
    pub entered_ms: u64,
    /// Who acknowledged its barrier, and when the leader heard of it: its clock, milliseconds
    /// since 1970.
    pub acknowledged: Vec<(NodeId, u64)>,
    /// What its streams reported.
    pub streams: Vec<StreamReport>,
    /// Why the attempt failed, if it did.
    pub failure: Option<FailureReason>,
}

/// Somebody has given up replicas that are gone, so that a transition is not held by them any more.
/// Of this tablet and this transition alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// On these nodes. Their copies are marked as lost in the same command: they answer nothing and
    /// are no source, should their nodes come back.
    pub nodes: Vec<NodeId>,
    /// Why, in the caller's words; at most `TEXT_MAX` bytes.
    pub note: String,
    /// When: the proposer's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// What is happening to a tablet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What agents and routers are told.
    pub record: TransitionRecord,
    /// A mark: somebody asked for an end. Apply then refuses every forward edge into `use_new`.
    pub is_cancelled: bool,
    /// A mark: the pending replica is fenced or lost. The same.
    pub is_pending_lost: bool,
    /// Why it goes back.
    pub reason: Option<EndReason>,
    /// What each replica promised at `open_repair`, under which incarnation.
    pub promised: Vec<(NodeId, Incarnation, HybridTime)>,
    /// All ordered pairs of replicas have reported.
    pub is_fully_exchanged: bool,
    /// Why it was asked for, in the caller's words; at most `TEXT_MAX` bytes.
    pub note: String,
    /// Who began it.
    pub origin: Origin,
    /// How many attempts have failed. Fewer than have begun, if nodes died or were admitted: such
    /// an attempt was begun anew because of them, and costs the transition no try.
    pub failures: u32,
    /// When it began: the proposer's clock, milliseconds since 1970.
    pub started_ms: u64,
    /// Replicas that were given up for its sake.
    pub accepted_loss: Option<AcceptedLoss>,
    /// Its stages so far, the running one last. Bounded by `STAGE_RECORDS`.
    pub stages: Vec<StageRecord>,
}

/// How many stages of one migration are kept; the first ones go first.
pub const STAGE_RECORDS: usize = 64;

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// It reached its aim.
    Done,
    /// The replicas stayed as they were.
    Reverted,
    /// The same, because somebody asked for it.
    Cancelled,
}

/// A migration that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedMigration {
    /// Which.
    pub migration: MigrationId,
    /// Of what kind.
    pub kind: TransitionKind,
    /// Of which table.
    pub table: TableId,
    /// The table's name when it ended.
    pub table_name: String,
    /// Of which tablet.
    pub tablet: TabletId,
    /// The set before.
    pub replicas: ReplicaSet,
    /// The set that it led to.
    pub next: ReplicaSet,
    /// How it ended.
    pub ending: Ending,
    /// Why, where it did not reach its aim.
    pub reason: Option<EndReason>,
    /// How many attempts had begun.
    pub attempt: u32,
    /// When it ended: the proposer's clock, milliseconds since 1970.
    pub ended_ms: u64,
    /// The version of its end.
    pub version: TopologyVersion,
    /// Why it was asked for.
    pub note: String,
    /// Who began it.
    pub origin: Origin,
    /// When it began: the proposer's clock, milliseconds since 1970.
    pub started_ms: u64,
    /// Replicas that were given up for its sake.
    pub accepted_loss: Option<AcceptedLoss>,
    /// Its stages with their evidence.
    pub stages: Vec<StageRecord>,
}

impl Transition {
    /// A transition in the first stage of its kind, in its first attempt, without a session.
    pub(crate) fn begin(
        migration: MigrationId,
        kind: TransitionKind,
        next: ReplicaSet,
        note: String,
        (origin, started_ms): (Origin, u64),
    ) -> Transition {
        let record = TransitionRecord {
            migration,
            kind,
            stage: kind.first_stage(),
            next,
            session: None,
            attempt: 1,
            streams: Vec::new(),
            proposed_promise: None,
        };
        Transition {
            record,
            is_cancelled: false,
            is_pending_lost: false,
            reason: None,
            promised: Vec::new(),
            is_fully_exchanged: false,
            note,
            origin,
            failures: 0,
            started_ms,
            accepted_loss: None,
            stages: Vec::new(),
        }
    }

    /// A set without the replicas that were given up: what the rules on majorities are asked of.
    pub fn remaining(&self, set: &ReplicaSet) -> ReplicaSet {
        let given_up = self.accepted_loss.iter().flat_map(|loss| loss.nodes.iter());
        given_up.fold(set.clone(), |set, node| set.without(*node))
    }

    /// Notes that a stage was entered. Old ones go once there are too many. INV-15.
    pub(crate) fn note_stage(&mut self, version: TopologyVersion, entered_ms: u64) {
        if self.stages.len() >= STAGE_RECORDS {
            self.stages.remove(0);
        }
        self.stages.push(StageRecord {
            stage: self.record.stage,
            version,
            attempt: self.record.attempt,
            entered_ms,
            acknowledged: Vec::new(),
            streams: Vec::new(),
            failure: None,
        });
    }
}
