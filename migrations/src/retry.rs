//! What a client does with the outcome of a change, decided by how far the request got and not by
//! which error came up. INV-11.

/// What became of a change: the trailer `palisade-outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeOutcome {
    /// It took effect, now or before under the same request id.
    Applied,
    /// The state machine refused it.
    Rejected,
    /// It was never proposed.
    NotApplied,
    /// Nobody knows.
    Unknown,
}

/// What the client does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTry {
    /// Tell the caller.
    Tell,
    /// Try again with the same id, at another coordinator where one is hinted.
    Again,
    /// Try again with the same id on a new connection: the old one may hold a late answer.
    AgainOnNewConnection,
}

impl ChangeOutcome {
    /// The name in the trailer.
    pub const fn name(self) -> &'static str {
        match self {
            ChangeOutcome::Applied => "applied",
            ChangeOutcome::Rejected => "rejected",
            ChangeOutcome::NotApplied => "not_applied",
            ChangeOutcome::Unknown => "unknown",
        }
    }

    /// The outcome of this name.
    pub fn from_name(name: &str) -> Option<ChangeOutcome> {
        let all = [
            ChangeOutcome::Applied,
            ChangeOutcome::Rejected,
            ChangeOutcome::NotApplied,
            ChangeOutcome::Unknown,
        ];
        all.into_iter().find(|outcome| outcome.name() == name)
    }

    /// What to do next. `is_final`: the server has said that no further try can tell more
    /// (`REQUEST_ID_EXPIRED`).
    pub const fn next_try(self, is_final: bool) -> NextTry {
        match self {
            ChangeOutcome::Applied | ChangeOutcome::Rejected => NextTry::Tell,
            ChangeOutcome::NotApplied if is_final => NextTry::Tell,
            ChangeOutcome::NotApplied => NextTry::Again,
            ChangeOutcome::Unknown if is_final => NextTry::Tell,
            ChangeOutcome::Unknown => NextTry::AgainOnNewConnection,
        }
    }
}
