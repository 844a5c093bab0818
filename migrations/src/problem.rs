//! What can be wrong with a field of a command. Values, not words: a refusal is remembered in
//! the replicated state, where two builds that word it differently must still agree. INV-16.

use core::fmt;

/// A field of a command, as people know it from the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A table's name.
    Name,
    /// The tablets of a new table.
    Tablets,
    /// How many replicas each tablet gets.
    ReplicationFactor,
    /// The kind of a transition.
    Kind,
    /// The node that loses its replica.
    From,
    /// The node that gets one.
    To,
    /// A fresh session.
    Session,
    /// The id of a migration.
    Migration,
    /// What is the same everywhere.
    Settings,
    /// Why something is asked for, or goes back.
    Reason,
    /// Why a migration is asked for.
    Note,
    /// Until when something holds.
    UntilMs,
}

impl Field {
    /// All fields.
    pub const ALL: [Field; 12] = [
        Field::Name,
        Field::Tablets,
        Field::ReplicationFactor,
        Field::Kind,
        Field::From,
        Field::To,
        Field::Session,
        Field::Migration,
        Field::Settings,
        Field::Reason,
        Field::Note,
        Field::UntilMs,
    ];

    /// The field's name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Name => "name",
            Field::Tablets => "tablets",
            Field::ReplicationFactor => "replication_factor",
            Field::Kind => "kind",
            Field::From => "from",
            Field::To => "to",
            Field::Session => "session",
            Field::Migration => "migration",
            Field::Settings => "settings",
            Field::Reason => "reason",
            Field::Note => "note",
            Field::UntilMs => "until_ms",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// It has to be there.
    Missing,
    /// It is there and may not be, or the other way round.
    DoesNotFitKind,
    /// Something else has this id.
    InUse,
    /// A text is longer than what is kept.
    TooLong,
    /// A table's name is none.
    NotAName,
    /// Too few or too many tablets.
    TabletCount,
    /// Ranges of positions that leave gaps, or overlap.
    Ranges,
    /// It must be at least 1.
    Zero,
    /// A drop begins with its table's.
    DropOfTablet,
    /// A time that has come already.
    NotAhead,
    /// A lease of no length, or clocks that drift too much.
    LeaseOrDrift,
    /// The stall bound is not shorter than the lease.
    StallBound,
    /// The lease is not shorter than the drain deadline.
    DrainDeadline,
    /// No attempts, or no streams.
    NoAttemptsOrStreams,
    /// The first pause between attempts is above its bound, or none.
    Backoff,
    /// The balancer begins migrations and rebuilds only.
    NotAMove,
    /// A lease that agents may hold is longer.
    LeaseShorter,
}

impl Problem {
    /// All problems.
    pub const ALL: [Problem; 17] = [
        Problem::Missing,
        Problem::DoesNotFitKind,
        Problem::InUse,
        Problem::TooLong,
        Problem::NotAName,
        Problem::TabletCount,
        Problem::Ranges,
        Problem::Zero,
        Problem::DropOfTablet,
        Problem::NotAhead,
        Problem::LeaseOrDrift,
        Problem::StallBound,
        Problem::DrainDeadline,
        Problem::NoAttemptsOrStreams,
        Problem::Backoff,
        Problem::NotAMove,
        Problem::LeaseShorter,
    ];

    /// It in words, for people; they may change from build to build.
    pub const fn words(self) -> &'static str {
        match self {
            Problem::Missing => "is missing",
            Problem::DoesNotFitKind => "does not fit the kind",
            Problem::InUse => "is in use",
            Problem::TooLong => "must not be longer than 1024 bytes",
            Problem::NotAName => "must be 1 to 128 letters, digits, '_', '-' or '.'",
            Problem::TabletCount => "must be 1 to 100000",
            Problem::Ranges => "ranges must be in order and cover every position once",
            Problem::Zero => "must be at least 1",
            Problem::DropOfTablet => "a drop begins with its table's",
            Problem::NotAhead => "must be in the future",
            Problem::LeaseOrDrift => "the lease must last, and clocks drift by less than half",
            Problem::StallBound => "the stall bound must be shorter than the lease",
            Problem::DrainDeadline => "the lease must be shorter than the drain deadline",
            Problem::NoAttemptsOrStreams => "attempts and streams per node must be at least 1",
            Problem::Backoff => "the pause between attempts must not be above its bound",
            Problem::NotAMove => "balancing begins migrations and rebuilds only",
            Problem::LeaseShorter => "a lease, with its drift, can only become longer",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
