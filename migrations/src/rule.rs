//! Rules of the protocol that a test can undo, one at a time, to see that it would notice. Built
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
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 23] = [
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
        static UNDONE: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Undoes a rule in this thread, or none.
    pub fn undo(rule: Option<Rule>) {
        UNDONE.set(rule);
    }

    /// Whether a rule is undone in this thread.
    pub fn is_undone(rule: Rule) -> bool {
        UNDONE.get() == Some(rule)
    }
}
