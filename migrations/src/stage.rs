//! The stage table: one table, total, one function a column. The table in `docs/PROTOCOL.md` is
//! printed from it. After ScyllaDB's tablet transition stages, with the two fallbacks apart.

use core::fmt;

/// What a transition is for. At most one node leaves and one is pending, whatever the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransitionKind {
    /// One replica moves to another node.
    Migrate,
    /// One more replica.
    AddReplica,
    /// One replica fewer; what it holds is merged into those that remain.
    RemoveReplica,
    /// A replica whose node is gone is made anew on another node.
    Rebuild,
    /// The replicas exchange what differs.
    Repair,
    /// The table was dropped: all copies go.
    Drop,
}

/// Where a transition stands. What follows from a stage is derived here, never stored beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The pending replica prepares its copy; nothing is written to it yet.
    AllowWriteBothReadOld,
    /// Writes go to both sets; the session is opened on all.
    WriteBothReadOld,
    /// Data is pulled under the session.
    Streaming,
    /// Reads have moved to the new set.
    WriteBothReadNew,
    /// The way back from `WriteBothReadNew`: reads have moved back.
    WriteBothReadOldFallback,
    /// The point of no return: only the new set is written and read.
    UseNew,
    /// The leaving replica drops its copy.
    Cleanup,
    /// Late drop orders are cut off; then done.
    EndMigration,
    /// The way back: the pending replica drops its copy, after a barrier.
    CleanupTarget,
    /// Late drop orders are cut off; then reverted.
    RevertMigration,
    /// Replicas promise T; the session is opened on all.
    OpenRepair,
    /// Each replica pulls from each other what differs.
    Repair,
    /// The session drains; then T counts, if all took part.
    EndRepair,
    /// Every copy goes.
    Drop,
}

/// Which replica set reads go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// A majority of the old set.
    Old,
    /// A majority of the new set.
    New,
    /// Nobody: the table is being dropped.
    None,
}

/// Which replica sets writes go to. `Both` needs a majority of *each*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// A majority of the old set.
    Old,
    /// A majority of the old **and** a majority of the new set.
    Both,
    /// A majority of the new set.
    New,
    /// Nobody: the table is being dropped.
    None,
}

/// Of which sets those who have not acknowledged a barrier must contain no majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilentRule {
    /// No majority of old.
    Old,
    /// No majority of old and none of new.
    Both,
    /// No majority of new.
    New,
    /// No rule: nothing is read or written.
    Neither,
}

/// What agents do in a stage beside its barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// Receivers pull from sources under the session.
    Stream,
    /// The leaving replica drops its copy.
    DropLeaving,
    /// The pending replica drops its copy.
    DropPending,
    /// Every replica drops its copy.
    DropAll,
}

/// When a stage's barrier stands: the evidence on the edge that leaves it must hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierWhen {
    /// No barrier in this stage.
    Never,
    /// Before the stage is left; there is no work to wait for.
    BeforeLeaving,
    /// Before the work is begun, and so before leaving.
    BeforeWork,
}

/// What an edge does to the session. INV-1, INV-3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOnEdge {
    /// The session goes on.
    Keep,
    /// A session with an id of its own is opened, whatever was there before.
    OpenFresh,
    /// No session.
    Clear,
}

/// Where a stage goes when its work can't be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// To this stage.
    To(Stage),
    /// There is none; the stage's own work is tried again until it is done.
    Retry,
    /// There is none, and the transition only goes forward.
    ForwardOnly,
}

impl TransitionKind {
    /// All kinds, in the order of the documents.
    pub const ALL: [TransitionKind; 6] = [
        TransitionKind::Migrate,
        TransitionKind::AddReplica,
        TransitionKind::RemoveReplica,
        TransitionKind::Rebuild,
        TransitionKind::Repair,
        TransitionKind::Drop,
    ];

    /// The stage that a transition of this kind begins in.
    pub const fn first_stage(self) -> Stage {
        match self {
            TransitionKind::Migrate
            | TransitionKind::AddReplica
            | TransitionKind::RemoveReplica
            | TransitionKind::Rebuild => Stage::AllowWriteBothReadOld,
            TransitionKind::Repair => Stage::OpenRepair,
            TransitionKind::Drop => Stage::Drop,
        }
    }

    /// The name in messages, logs and documents.
    pub const fn name(self) -> &'static str {
        match self {
            TransitionKind::Migrate => "migrate",
            TransitionKind::AddReplica => "add_replica",
            TransitionKind::RemoveReplica => "remove_replica",
            TransitionKind::Rebuild => "rebuild",
            TransitionKind::Repair => "repair",
            TransitionKind::Drop => "drop",
        }
    }
}

impl Stage {
    /// All stages, in the order of the documents.
    pub const ALL: [Stage; 14] = [
        Stage::AllowWriteBothReadOld,
        Stage::WriteBothReadOld,
        Stage::Streaming,
        Stage::WriteBothReadNew,
        Stage::WriteBothReadOldFallback,
        Stage::UseNew,
        Stage::Cleanup,
        Stage::EndMigration,
        Stage::CleanupTarget,
        Stage::RevertMigration,
        Stage::OpenRepair,
        Stage::Repair,
        Stage::EndRepair,
        Stage::Drop,
    ];

    /// The name in messages, logs and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::AllowWriteBothReadOld => "allow_write_both_read_old",
            Stage::WriteBothReadOld => "write_both_read_old",
            Stage::Streaming => "streaming",
            Stage::WriteBothReadNew => "write_both_read_new",
            Stage::WriteBothReadOldFallback => "write_both_read_old_fallback",
            Stage::UseNew => "use_new",
            Stage::Cleanup => "cleanup",
            Stage::EndMigration => "end_migration",
            Stage::CleanupTarget => "cleanup_target",
            Stage::RevertMigration => "revert_migration",
            Stage::OpenRepair => "open_repair",
            Stage::Repair => "repair",
            Stage::EndRepair => "end_repair",
            Stage::Drop => "drop",
        }
    }

    /// Where reads go.
    pub const fn reads(self) -> Reads {
        match self {
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadOld
            | Stage::Streaming
            | Stage::WriteBothReadOldFallback
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::OpenRepair
            | Stage::Repair
            | Stage::EndRepair => Reads::Old,
            Stage::WriteBothReadNew | Stage::UseNew | Stage::Cleanup | Stage::EndMigration => {
                Reads::New
            }
            Stage::Drop => Reads::None,
        }
    }

    /// Where writes go.
    pub const fn writes(self) -> Writes {
        match self {
            Stage::AllowWriteBothReadOld
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::OpenRepair
            | Stage::Repair
            | Stage::EndRepair => Writes::Old,
            Stage::WriteBothReadOld
            | Stage::Streaming
            | Stage::WriteBothReadNew
            | Stage::WriteBothReadOldFallback => Writes::Both,
            Stage::UseNew | Stage::Cleanup | Stage::EndMigration => Writes::New,
            Stage::Drop => Writes::None,
        }
    }

    /// INV-1: a session is open while data moves, and one stage earlier, so that the barrier
    /// between the two has announced it to every agent before the first byte is sent.
    pub const fn has_session(self) -> bool {
        matches!(
            self,
            Stage::WriteBothReadOld | Stage::Streaming | Stage::OpenRepair | Stage::Repair
        )
    }

    /// When the stage's barrier stands.
    pub const fn barrier(self) -> BarrierWhen {
        match self {
            Stage::Streaming | Stage::Cleanup | Stage::Repair => BarrierWhen::Never,
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadOld
            | Stage::WriteBothReadNew
            | Stage::WriteBothReadOldFallback
            | Stage::UseNew
            | Stage::EndMigration
            | Stage::RevertMigration
            | Stage::OpenRepair
            | Stage::EndRepair => BarrierWhen::BeforeLeaving,
            Stage::CleanupTarget | Stage::Drop => BarrierWhen::BeforeWork,
        }
    }

    /// Of which sets the silent ones of the stage's barrier must contain no majority.
    pub const fn silent_rule(self) -> SilentRule {
        match self {
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadOld
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::OpenRepair
            | Stage::EndRepair => SilentRule::Old,
            Stage::WriteBothReadNew | Stage::WriteBothReadOldFallback => SilentRule::Both,
            Stage::UseNew | Stage::EndMigration => SilentRule::New,
            // The first three have no barrier; a dropped table has no readers to protect.
            Stage::Streaming | Stage::Cleanup | Stage::Repair | Stage::Drop => SilentRule::Neither,
        }
    }

    /// What agents do in the stage.
    pub const fn work(self) -> Work {
        match self {
            Stage::Streaming | Stage::Repair => Work::Stream,
            Stage::Cleanup => Work::DropLeaving,
            Stage::CleanupTarget => Work::DropPending,
            Stage::Drop => Work::DropAll,
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadOld
            | Stage::WriteBothReadNew
            | Stage::WriteBothReadOldFallback
            | Stage::UseNew
            | Stage::EndMigration
            | Stage::RevertMigration
            | Stage::OpenRepair
            | Stage::EndRepair => Work::None,
        }
    }

    /// Where a transition goes when the stage's work is done. `None`: it is over.
    pub const fn on_success(self) -> Option<Stage> {
        match self {
            Stage::AllowWriteBothReadOld => Some(Stage::WriteBothReadOld),
            Stage::WriteBothReadOld => Some(Stage::Streaming),
            Stage::Streaming => Some(Stage::WriteBothReadNew),
            Stage::WriteBothReadNew => Some(Stage::UseNew),
            Stage::WriteBothReadOldFallback => Some(Stage::CleanupTarget),
            Stage::UseNew => Some(Stage::Cleanup),
            Stage::Cleanup => Some(Stage::EndMigration),
            Stage::CleanupTarget => Some(Stage::RevertMigration),
            Stage::OpenRepair => Some(Stage::Repair),
            Stage::Repair => Some(Stage::EndRepair),
            Stage::EndMigration | Stage::RevertMigration | Stage::EndRepair | Stage::Drop => None,
        }
    }

    /// Where a transition goes when the stage can't go on.
    pub const fn way_back(self) -> WayBack {
        match self {
            Stage::AllowWriteBothReadOld | Stage::WriteBothReadOld | Stage::Streaming => {
                WayBack::To(Stage::CleanupTarget)
            }
            Stage::WriteBothReadNew => WayBack::To(Stage::WriteBothReadOldFallback),
            Stage::OpenRepair | Stage::Repair => WayBack::To(Stage::EndRepair),
            Stage::WriteBothReadOldFallback
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::EndRepair
            | Stage::Drop => WayBack::Retry,
            Stage::UseNew | Stage::Cleanup | Stage::EndMigration => WayBack::ForwardOnly,
        }
    }

    /// The stage in which a new attempt begins, with a fresh session, if this stage can be tried
    /// again. Also from that stage itself: the admission of a node needs it.
    pub const fn retry_from(self) -> Option<Stage> {
        match self {
            Stage::WriteBothReadOld | Stage::Streaming => Some(Stage::WriteBothReadOld),
            Stage::OpenRepair | Stage::Repair => Some(Stage::OpenRepair),
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadNew
            | Stage::WriteBothReadOldFallback
            | Stage::UseNew
            | Stage::Cleanup
            | Stage::EndMigration
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::EndRepair
            | Stage::Drop => None,
        }
    }

    /// Whether the table has this edge: forward, back, or a new attempt.
    pub fn has_edge(self, to: Stage) -> bool {
        self.on_success() == Some(to)
            || self.way_back() == WayBack::To(to)
            || self.retry_from() == Some(to)
    }

    /// Whether the edge is one that apply refuses once a cancel, or the loss of the pending
    /// replica, is marked: every forward edge up to and into `use_new`.
    pub fn is_guarded_forward(self, to: Stage) -> bool {
        self.on_success() == Some(to)
            && matches!(
                self,
                Stage::AllowWriteBothReadOld
                    | Stage::WriteBothReadOld
                    | Stage::Streaming
                    | Stage::WriteBothReadNew
                    | Stage::OpenRepair
                    | Stage::Repair
            )
    }

    /// Whether a transition may stand here for as long as somebody likes: while the cluster is
    /// paused the driver takes it no further. Reads have not moved yet, every acknowledged write
    /// is on a majority of old, and a cancel is still open; what has gone further, or goes back,
    /// goes to its end.
    pub const fn may_stand(self) -> bool {
        match self {
            Stage::AllowWriteBothReadOld
            | Stage::WriteBothReadOld
            | Stage::Streaming
            | Stage::OpenRepair
            | Stage::Repair => true,
            Stage::WriteBothReadNew
            | Stage::WriteBothReadOldFallback
            | Stage::UseNew
            | Stage::Cleanup
            | Stage::EndMigration
            | Stage::CleanupTarget
            | Stage::RevertMigration
            | Stage::EndRepair
            | Stage::Drop => false,
        }
    }

    /// The point of no return is the commit of `use_new`.
    pub const fn is_past_no_return(self) -> bool {
        matches!(self, Stage::UseNew | Stage::Cleanup | Stage::EndMigration | Stage::Drop)
    }

    /// Whether the transition is on its way back, or at a repair's end, already.
    pub const fn is_going_back(self) -> bool {
        matches!(
            self,
            Stage::WriteBothReadOldFallback
                | Stage::CleanupTarget
                | Stage::RevertMigration
                | Stage::EndRepair
        )
    }
}

/// What an edge does to the session. INV-1, INV-3.
pub const fn session_on_edge(from: Stage, to: Stage) -> SessionOnEdge {
    match (from, to) {
        (Stage::WriteBothReadOld, Stage::Streaming) | (Stage::OpenRepair, Stage::Repair) => {
            SessionOnEdge::Keep
        }
        // Also from `Streaming`: a second attempt never inherits the first one's session.
        (_, Stage::WriteBothReadOld | Stage::OpenRepair) => SessionOnEdge::OpenFresh,
        // Clearing is the safe answer for every other edge, known or not.
        (_, _) => SessionOnEdge::Clear,
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for TransitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
