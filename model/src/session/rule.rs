//! The rules of model A that can be taken out, one at a time, and what is seen without each.

/// One sentence of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A barrier is acknowledged only when nothing of a closed session lives.
    DrainBeforeAcknowledgement,
    /// A guard is held from arrival until the write is over.
    GuardUntilWritten,
    /// Only acknowledgements of exactly the version count.
    ExactVersion,
    /// Only acknowledgements of the admitted incarnation count.
    AdmittedIncarnation,
    /// The way back clears the session.
    ClearOnTheWayBack,
    /// A new attempt has a fresh session.
    FreshOnRetry,
    /// A stage with a barrier is left by acknowledgements, never by a timeout.
    EvidenceNotTime,
    /// Sessions are closed and opened for the version that the floor has now.
    SessionsOfTheFloor,
    /// The floor is durable before anything is acknowledged.
    DurableFloor,
    /// The leader waits longer than the lease, by the drift bound.
    LeaseMargin,
    /// The agent counts from when it sent the renewal.
    LeaseFromSending,
    /// A renewal is answered after a confirmation of leadership that began after it arrived.
    ConfirmedLeadership,
    /// A new leader waits for leases that its predecessor may have given.
    NewLeaderWaits,
    /// A leader answers nothing before it has applied an entry of its own leadership.
    OwnEntryFirst,
    /// From the decision to fence on, no renewal is answered.
    NoAnswerOnceFencing,
    /// A process drains before it is admitted.
    DrainBeforeAdmission,
    /// An admission in a stage with a session brings a fresh one.
    FreshOnAdmission,
    /// A process that was started again takes no orders before it is admitted.
    NothingBeforeAdmission,
    /// A command says which version it expects.
    ExpectedVersion,
    /// A fenced node is not asked.
    FencedNotAsked,
    /// Whoever has nothing to do with the tablet is not asked.
    OnlyConcernedAsked,
}

impl Rule {
    /// All, in the order of the protocol.
    pub const ALL: [Rule; 21] = [
        Rule::DrainBeforeAcknowledgement,
        Rule::GuardUntilWritten,
        Rule::ExactVersion,
        Rule::AdmittedIncarnation,
        Rule::ClearOnTheWayBack,
        Rule::FreshOnRetry,
        Rule::EvidenceNotTime,
        Rule::SessionsOfTheFloor,
        Rule::DurableFloor,
        Rule::LeaseMargin,
        Rule::LeaseFromSending,
        Rule::ConfirmedLeadership,
        Rule::NewLeaderWaits,
        Rule::OwnEntryFirst,
        Rule::NoAnswerOnceFencing,
        Rule::DrainBeforeAdmission,
        Rule::FreshOnAdmission,
        Rule::NothingBeforeAdmission,
        Rule::ExpectedVersion,
        Rule::FencedNotAsked,
        Rule::OnlyConcernedAsked,
    ];

    /// The mutant: the protocol without this rule, in a few words.
    pub const fn without(self) -> &'static str {
        match self {
            Rule::DrainBeforeAcknowledgement => "acknowledge before the drain",
            Rule::GuardUntilWritten => "check at arrival only",
            Rule::ExactVersion => "acknowledgement of an older barrier counted",
            Rule::AdmittedIncarnation => "acknowledgement of an earlier incarnation counted",
            Rule::ClearOnTheWayBack => "session not cleared on rollback",
            Rule::FreshOnRetry => "a new attempt inherits the session",
            Rule::EvidenceNotTime => "advance on a timeout",
            Rule::SessionsOfTheFloor => "session list taken from an old barrier",
            Rule::DurableFloor => "floor not durable when acknowledged",
            Rule::LeaseMargin => "lease without margin",
            Rule::LeaseFromSending => "lease counted from the answer",
            Rule::ConfirmedLeadership => "renewal without confirmed leadership",
            Rule::NewLeaderWaits => "a new leader does not wait out old leases",
            Rule::OwnEntryFirst => "a new leader answers before an entry of its own",
            Rule::NoAnswerOnceFencing => "renewal answered after the decision to fence",
            Rule::DrainBeforeAdmission => "admission without drain",
            Rule::FreshOnAdmission => "admission keeps the session",
            Rule::NothingBeforeAdmission => "orders obeyed before admission",
            Rule::ExpectedVersion => "no expected stage in commands",
            Rule::FencedNotAsked => "a barrier waits for the fenced",
            Rule::OnlyConcernedAsked => "all nodes asked",
        }
    }

    /// The property that is seen broken without it.
    pub const fn breaks(self) -> &'static str {
        match self {
            Rule::ClearOnTheWayBack => super::INV_1,
            Rule::DrainBeforeAcknowledgement
            | Rule::GuardUntilWritten
            | Rule::EvidenceNotTime
            | Rule::ExactVersion
            | Rule::DrainBeforeAdmission => super::INV_2,
            Rule::SessionsOfTheFloor | Rule::FreshOnAdmission | Rule::NothingBeforeAdmission => {
                super::INV_3
            }
            Rule::ExpectedVersion => super::INV_4,
            Rule::DurableFloor => super::INV_5,
            Rule::FencedNotAsked | Rule::OnlyConcernedAsked => super::INV_14,
            Rule::AdmittedIncarnation => super::INV_12,
            Rule::FreshOnRetry => super::FRESH,
            Rule::LeaseMargin
            | Rule::LeaseFromSending
            | Rule::ConfirmedLeadership
            | Rule::NewLeaderWaits
            | Rule::OwnEntryFirst
            | Rule::NoAnswerOnceFencing => super::INV_13,
        }
    }

    /// Whether it takes the clocks of leases to see it.
    pub const fn needs_clocks(self) -> bool {
        matches!(
            self,
            Rule::LeaseMargin
                | Rule::LeaseFromSending
                | Rule::ConfirmedLeadership
                | Rule::NewLeaderWaits
                | Rule::OwnEntryFirst
                | Rule::NoAnswerOnceFencing
        )
    }
}
