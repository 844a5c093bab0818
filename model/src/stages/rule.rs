//! The rules of model B that can be taken out, one at a time, and what is seen without each.

/// One sentence of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// In *both*, a write needs a majority of each set.
    MajorityOfEach,
    /// Reads and writes never flip in one step.
    ReadsFirst,
    /// Nor on the way back.
    ReadsFirstOnTheWayBack,
    /// Those who have not acknowledged contain no majority that an old router could find.
    NoSilentMajority,
    /// A removal merges what the leaving replica holds into all that remain.
    MergeOnRemoval,
    /// A dead leaving replica is stood in for by all live old ones.
    AllLiveSources,
    /// "All live" is enough only if those left out contain no majority of old.
    NoMajorityLeftOut,
    /// A copy that is lost is no source, also of a stream that was ordered before.
    LostIsNoSource,
    /// Acknowledgements under two versions are never added up.
    OneVersion,
    /// A chunk is written only under its open session.
    SessionOfChunk,
    /// Purges only outside transitions, up to T.
    PurgeOutside,
    /// T counts only if all replicas took part.
    AllPromise,
    /// A replica takes no write at or below the T that it has promised.
    PromiseKept,
    /// The leaving copy is dropped after the barrier of `use_new`, at a version that names it.
    DropAfterUseNew,
    /// An agent serves no version below its floor.
    FloorRefuses,
    /// A drop order holds for exactly its version.
    DropAtItsVersion,
    /// What the full state does not give is dropped at the admission.
    CleanupAtAdmission,
    /// A stage is left only when all that are asked have taken its version on.
    Barrier,
    /// The fence of the pending replica takes the transition back: its copy goes, and with it what
    /// it has acknowledged.
    PendingFenceTurnsBack,
}

impl Rule {
    /// All, in the order of the protocol.
    pub const ALL: [Rule; 19] = [
        Rule::MajorityOfEach,
        Rule::ReadsFirst,
        Rule::ReadsFirstOnTheWayBack,
        Rule::NoSilentMajority,
        Rule::MergeOnRemoval,
        Rule::AllLiveSources,
        Rule::NoMajorityLeftOut,
        Rule::LostIsNoSource,
        Rule::OneVersion,
        Rule::SessionOfChunk,
        Rule::PurgeOutside,
        Rule::AllPromise,
        Rule::PromiseKept,
        Rule::DropAfterUseNew,
        Rule::FloorRefuses,
        Rule::DropAtItsVersion,
        Rule::CleanupAtAdmission,
        Rule::Barrier,
        Rule::PendingFenceTurnsBack,
    ];

    /// The mutant: the protocol without this rule, in a few words.
    pub const fn without(self) -> &'static str {
        match self {
            Rule::MajorityOfEach => "majority of old only, in both",
            Rule::ReadsFirst => "flip of reads and writes in one step",
            Rule::ReadsFirstOnTheWayBack => "flip back of reads and writes in one step",
            Rule::NoSilentMajority => "no majority rule",
            Rule::MergeOnRemoval => "removal without merge",
            Rule::AllLiveSources => "one survivor as source",
            Rule::NoMajorityLeftOut => "a majority of old left out of the sources",
            Rule::LostIsNoSource => "a lost copy as source",
            Rule::OneVersion => "acknowledgements of two versions added up",
            Rule::SessionOfChunk => "old chunk after a retry",
            Rule::PurgeOutside => "purge in a transition",
            Rule::AllPromise => "T without all replicas",
            Rule::PromiseKept => "writes at or below the promised T",
            Rule::DropAfterUseNew => "leaving copy dropped before the use_new barrier",
            Rule::FloorRefuses => "source serves after delete",
            Rule::DropAtItsVersion => "delete by tablet id only",
            Rule::CleanupAtAdmission => "admission without cleanup",
            Rule::Barrier => "advance on a timeout",
            Rule::PendingFenceTurnsBack => "forward with a fenced pending replica",
        }
    }

    /// The property that is seen broken without it.
    pub const fn breaks(self) -> &'static str {
        match self {
            Rule::SessionOfChunk | Rule::PurgeOutside | Rule::AllPromise | Rule::PromiseKept => {
                super::INV_7
            }
            Rule::CleanupAtAdmission | Rule::DropAfterUseNew => super::INV_8,
            _ => super::INV_6,
        }
    }
}
