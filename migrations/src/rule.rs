//! Rules of the protocol that a test can undo, to see that it would notice. Built
//! only with the feature `mutants`; without it no rule is ever undone, and the question costs
//! nothing.
//!
//! Each rule is one sentence of `docs/PROTOCOL.md`, asked about at exactly one place: in this
//! crate, or in the simulation where what is done around it is modelled.

/// A rule that may be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An edge into a stage that opens a session brings a fresh one.
    FreshSessionOnRetry,
    /// Every other edge clears the session.
    SessionClearedOnWayBack,
    /// Apply checks the evidence.
    EvidenceChecked,
    /// A command carries what it expects.
    ExpectedChecked,
    /// During `both` a write needs a majority of each set.
    MajorityOfBoth,
    /// A removal merges what the leaving replica holds.
    RemovalMerges,
    /// Where the leaving replica is dead, all live ones are sources.
    AllSurvivorsAreSources,
    /// The silent contain no majority.
    NoSilentMajority,
    /// A lease that has run out is waited out with the drift.
    WaitsOutTheDrift,
    /// Fencing or losing the pending replica takes the transition back.
    PendingLossTurnsBack,
    /// The memory of requests is looked up first.
    RequestsRemembered,
    /// T counts only once all replicas have promised and exchanged.
    PromiseOfAll,
    /// A copy that has been here is lost, and is not made anew.
    LostIsNotMadeAnew,
    /// A request older than the floor is refused.
    OlderRefused,
    /// A replica refuses a timestamp that is not above what it holds.
    OldTimestampsRefused,
    /// A replica refuses writes at or below its promise.
    PromiseKept,
    /// Acknowledgements of different attempts are never added up.
    OneVersionPerOperation,
    /// The floor is durable before anything is opened.
    FloorIsDurable,
    /// The floor outlives the copy.
    FloorOutlivesCopy,
    /// Work is admitted where it acts, not where it arrives.
    CheckedWhereItActs,
    /// A renewal is answered only after leadership was confirmed.
    LeadershipConfirmed,
    /// A process drains before it is admitted.
    DrainedBeforeAdmission,
    /// An agent acknowledges only once nothing older is inside.
    DrainedBeforeAcknowledged,
    /// `cleanup_target` is left, and its drop ordered, only after its barrier.
    BarrierBeforeTargetCleanup,
    /// The store checks a session's work in the work's own transaction.
    StoreChecksWork,
    /// A guard travels with its work until that is stored.
    GuardUntilStored,
    /// A call that ends before `Complete` is a failed attempt.
    CompleteIsSaid,
    /// `Received` and the report come once rows and outcome are durable.
    ReceivedOnceDurable,
    /// The receiver sums what its store reports, not what was sent.
    SumOfWhatIsStored,
    /// A drop order names a copy, and no other one goes.
    DroppedByCopy,
    /// A drop order is obeyed at exactly its version.
    DropAtItsVersion,
    /// A purge is made outside of transitions only.
    PurgedAtRest,
    /// Remembered requests are in snapshots.
    RequestsInSnapshot,
    /// Apply reads no clock.
    ClockOfProposer,
    /// Steps 1 to 3 of a barrier are one step, under the tablet's lock.
    StepsAreOne,
    /// The full state is read at or after the admission.
    FullStateAfterAdmission,
    /// What a full state does not list is dropped only if its floor is not above.
    LeftOutByFloor,
    /// One call for each session, source and receiver, for ever.
    OneCallForEver,
    /// What a copy holds is never cleared.
    NeverCleared,
    /// An admission drops nothing that the full state gives.
    AdmissionKeepsGiven,
    /// An operation that begins anew draws a new timestamp.
    FreshTimestamp,
    /// An agent counts its lease from when it sent the renewal.
    LeaseFromSending,
    /// A stage is left by evidence, never because time has passed.
    EvidenceNotTime,
    /// Agents that have nothing to do with a tablet are not asked.
    OnlyConcernedAsked,
    /// A process drops at its admission what the full state does not give it.
    CleanupAtAdmission,
    /// A barrier older than the floor is refused.
    OlderBarrierRefused,
    /// A replica promises nothing that its own clock has not come to.
    PromiseByOwnClock,
    /// The renewals of an unfit node are not answered, nor counted.
    UnfitNotRenewed,
    /// Of a node's directory and its copies only the newest is admitted.
    NewestDirectory,
    /// Reads and writes of rows need no lease.
    RowsNeedNoLease,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 50] = [
        Rule::FreshSessionOnRetry,
        Rule::SessionClearedOnWayBack,
        Rule::EvidenceChecked,
        Rule::ExpectedChecked,
        Rule::MajorityOfBoth,
        Rule::RemovalMerges,
        Rule::AllSurvivorsAreSources,
        Rule::NoSilentMajority,
        Rule::WaitsOutTheDrift,
        Rule::PendingLossTurnsBack,
        Rule::RequestsRemembered,
        Rule::PromiseOfAll,
        Rule::LostIsNotMadeAnew,
        Rule::OlderRefused,
        Rule::OldTimestampsRefused,
        Rule::PromiseKept,
        Rule::OneVersionPerOperation,
        Rule::FloorIsDurable,
        Rule::FloorOutlivesCopy,
        Rule::CheckedWhereItActs,
        Rule::LeadershipConfirmed,
        Rule::DrainedBeforeAdmission,
        Rule::DrainedBeforeAcknowledged,
        Rule::BarrierBeforeTargetCleanup,
        Rule::StoreChecksWork,
        Rule::GuardUntilStored,
        Rule::CompleteIsSaid,
        Rule::ReceivedOnceDurable,
        Rule::SumOfWhatIsStored,
        Rule::DroppedByCopy,
        Rule::DropAtItsVersion,
        Rule::PurgedAtRest,
        Rule::RequestsInSnapshot,
        Rule::ClockOfProposer,
        Rule::StepsAreOne,
        Rule::FullStateAfterAdmission,
        Rule::LeftOutByFloor,
        Rule::OneCallForEver,
        Rule::NeverCleared,
        Rule::AdmissionKeepsGiven,
        Rule::FreshTimestamp,
        Rule::LeaseFromSending,
        Rule::EvidenceNotTime,
        Rule::OnlyConcernedAsked,
        Rule::CleanupAtAdmission,
        Rule::OlderBarrierRefused,
        Rule::PromiseByOwnClock,
        Rule::UnfitNotRenewed,
        Rule::NewestDirectory,
        Rule::RowsNeedNoLease,
    ];
}

/// Whether a rule is undone in this thread: never, in this build.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn is_undone(_: Rule) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{is_undone, undo};

#[cfg(feature = "mutants")]
mod chosen {
    extern crate std;
    use super::Rule;
    use core::cell::Cell;

    std::thread_local! {
        static UNDONE: Cell<u64> = const { Cell::new(0) };
    }

    const _: () = assert!(Rule::ALL.len() <= 64);

    /// Undoes these rules in this thread, and no other: one, several where each covers for the
    /// other, or none.
    pub fn undo(rules: impl IntoIterator<Item = Rule>) {
        UNDONE.set(rules.into_iter().fold(0, |undone, rule| undone | 1 << rule as u64));
    }

    /// Whether a rule is undone in this thread.
    pub fn is_undone(rule: Rule) -> bool {
        UNDONE.get() & 1 << rule as u64 != 0
    }
}
