//! What group0 says of one tablet at one version. Barriers, full states, catching-up agents and
//! routers carry this and nothing else, so that what holds at a version is written once.

use crate::clock::HybridTime;
use crate::id::{MigrationId, NodeId, SessionId, TableId, TabletId};
use crate::position::PositionRange;
use crate::replica_set::{Replica, ReplicaSet};
use crate::rule::{Rule, is_undone};
use crate::stage::{Reads, Stage, TransitionKind, Writes};
use crate::version::{CopyId, Incarnation, TopologyVersion};
use alloc::vec::Vec;

/// One stream of a session: the receiver pulls from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamPair {
    /// Who has the data.
    pub source: NodeId,
    /// Who pulls it.
    pub receiver: NodeId,
}

/// The part of a record that speaks of the transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRecord {
    /// Which migration it is.
    pub migration: MigrationId,
    /// What it is for.
    pub kind: TransitionKind,
    /// Where it stands.
    pub stage: Stage,
    /// The set that it leads to.
    pub next: ReplicaSet,
    /// The open session, in the stages that have one.
    pub session: Option<SessionId>,
    /// How many attempts have begun, the running one included.
    pub attempt: u32,
    /// The streams of the running attempt; empty before the stage that streams.
    pub streams: Vec<StreamPair>,
    /// The T that the replicas are asked to promise, in a repair.
    pub proposed_promise: Option<HybridTime>,
}

/// A tablet at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TabletRecord {
    /// Which tablet.
    pub tablet: TabletId,
    /// Of which table.
    pub table: TableId,
    /// Which positions it owns.
    pub range: PositionRange,
    /// The version of the tablet's last change.
    pub version: TopologyVersion,
    /// The old set.
    pub replicas: ReplicaSet,
    /// What is happening to it.
    pub transition: Option<TransitionRecord>,
    /// T: tombstones at or below it may be purged, router writes at or below it are refused.
    pub promise: HybridTime,
    /// The admitted incarnation of each node of old ∪ new that has one that is not fenced.
    pub incarnations: Vec<(NodeId, Incarnation)>,
}

impl TabletRecord {
    /// The stage, if the tablet is in a transition.
    pub fn stage(&self) -> Option<Stage> {
        self.transition.as_ref().map(|transition| transition.stage)
    }

    /// The session that is open at this version.
    pub fn session(&self) -> Option<SessionId> {
        self.transition.as_ref().and_then(|transition| transition.session)
    }

    /// The new set: the old one where there is no transition.
    pub fn next(&self) -> &ReplicaSet {
        self.transition.as_ref().map_or(&self.replicas, |transition| &transition.next)
    }

    /// The T that each replica is asked to promise at this version, if it is asked.
    pub fn asked_promise(&self) -> Option<HybridTime> {
        let transition = self.transition.as_ref()?;
        transition.proposed_promise.filter(|_| transition.stage == Stage::OpenRepair)
    }

    /// Where reads go at this version; `None` for a dropped table.
    pub fn read_set(&self) -> Option<&ReplicaSet> {
        match self.stage().map_or(Reads::Old, Stage::reads) {
            Reads::Old => Some(&self.replicas),
            Reads::New => Some(self.next()),
            Reads::None => None,
        }
    }

    /// Where writes go at this version: a majority of each of these is needed. Empty for a
    /// dropped table.
    pub fn write_sets(&self) -> Vec<&ReplicaSet> {
        match self.stage().map_or(Writes::Old, Stage::writes) {
            Writes::Old => alloc::vec![&self.replicas],
            Writes::Both if is_undone(Rule::MajorityOfBoth) => alloc::vec![&self.replicas],
            Writes::Both => alloc::vec![&self.replicas, self.next()],
            Writes::New => alloc::vec![self.next()],
            Writes::None => Vec::new(),
        }
    }

    /// The node that loses its replica.
    pub fn leaving(&self) -> Option<Replica> {
        self.replicas.minus(self.next()).next()
    }

    /// The node that gets one.
    pub fn pending(&self) -> Option<Replica> {
        self.next().minus(&self.replicas).next()
    }

    /// old ∪ new, in order.
    pub fn both(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.replicas.nodes().chain(self.next().nodes()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The copy that is *given* to a node at this version: it must keep it. Every drop order is
    /// obeyed only for a copy that is not.
    pub fn given(&self, node: NodeId) -> Option<CopyId> {
        let old = self.replicas.on(node).map(|replica| replica.copy);
        let pending = self.pending().filter(|p| p.node == node).map(|replica| replica.copy);
        let is_leaving = self.leaving().is_some_and(|replica| replica.node == node);
        match self.stage() {
            Some(Stage::Drop) => None,
            Some(Stage::Cleanup | Stage::EndMigration) if is_leaving => None,
            Some(Stage::CleanupTarget | Stage::RevertMigration) => old,
            _ => old.or(pending),
        }
    }

    /// The admitted incarnation of a node of old ∪ new, as of this version.
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.incarnations.iter().find(|(n, _)| *n == node).map(|(_, incarnation)| *incarnation)
    }

    /// Whether the transition can ever name this stream. A source asks this, since it may not
    /// have heard yet which streams were chosen when the receiver calls.
    pub fn may_stream(&self, pair: StreamPair) -> bool {
        let Some(transition) = &self.transition else { return false };
        let is_old = self.replicas.contains(pair.source);
        let is_receiver = match transition.kind {
            TransitionKind::Migrate | TransitionKind::AddReplica | TransitionKind::Rebuild => {
                self.pending().is_some_and(|pending| pending.node == pair.receiver)
            }
            TransitionKind::RemoveReplica => transition.next.contains(pair.receiver),
            TransitionKind::Repair => self.replicas.contains(pair.receiver),
            TransitionKind::Drop => false,
        };
        is_old && is_receiver && pair.source != pair.receiver
    }
}
