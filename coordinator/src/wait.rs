//! What a coordinator waits for outside of itself, by name, and for how long at the most.
//!
//! Every such wait goes through `process::wait`; `process/tests/waits.rs` looks that none goes past.

use crate::limits::{
    ANNOUNCE_DEADLINE, ASK_DEADLINE, FULL_STATE_DEADLINE, HELLO_DEADLINE, IDENTIFY_DEADLINE,
    PROPOSAL_DEADLINE, SHUTDOWN_PATIENCE, SNAPSHOT_DEADLINE, TRANSFER_PATIENCE, WATCH_PATIENCE,
};
use process::wait::Named;
use std::time::Duration;

/// One kind of wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// For another coordinator to say who it is.
    Identify,
    /// For whoever leads to take note of where this one is.
    Announced,
    /// For another voter's answer: a vote, an append, a transfer of leadership.
    Peer,
    /// For the rest of a snapshot.
    Snapshot,
    /// For a place among the proposals.
    Place,
    /// For a proposal's commit.
    Commit,
    /// For a quorum to confirm the leadership.
    Confirm,
    /// For proposals that are under way, at the end.
    UnderWay,
    /// For another one to lead, at the end.
    HandOver,
    /// For an agent to say who it is.
    Hello,
    /// For an agent that is to be admitted to drain.
    Drained,
    /// For an agent to work off its full state.
    FullState,
    /// For what an attached agent says next. There may be nothing for long; that nothing comes
    /// through is found out by what was asked of it.
    Said,
    /// For the answer to a question to an agent.
    Ask,
    /// For a watcher, or whoever saves a snapshot, to take what there is.
    Watch,
}

impl Wait {
    /// All of them.
    #[cfg(feature = "faults")]
    pub(crate) const ALL: [Wait; 15] = [
        Wait::Identify,
        Wait::Announced,
        Wait::Peer,
        Wait::Snapshot,
        Wait::Place,
        Wait::Commit,
        Wait::Confirm,
        Wait::UnderWay,
        Wait::HandOver,
        Wait::Hello,
        Wait::Drained,
        Wait::FullState,
        Wait::Said,
        Wait::Ask,
        Wait::Watch,
    ];

    /// For how long at the most; group0's own waits are shorter where its elections are.
    pub(crate) const fn bound(self) -> Duration {
        match self {
            Wait::Identify => IDENTIFY_DEADLINE,
            Wait::Announced => ANNOUNCE_DEADLINE,
            Wait::Peer | Wait::Confirm | Wait::Place | Wait::Commit => PROPOSAL_DEADLINE,
            Wait::Snapshot => SNAPSHOT_DEADLINE,
            Wait::UnderWay => SHUTDOWN_PATIENCE,
            Wait::HandOver => TRANSFER_PATIENCE,
            Wait::Hello => HELLO_DEADLINE,
            Wait::Drained | Wait::FullState | Wait::Said => FULL_STATE_DEADLINE,
            Wait::Ask => ASK_DEADLINE,
            Wait::Watch => WATCH_PATIENCE,
        }
    }
}

impl Named for Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Identify => "identify",
            Wait::Announced => "announced",
            Wait::Peer => "peer",
            Wait::Snapshot => "snapshot",
            Wait::Place => "place",
            Wait::Commit => "commit",
            Wait::Confirm => "confirm",
            Wait::UnderWay => "under_way",
            Wait::HandOver => "hand_over",
            Wait::Hello => "hello",
            Wait::Drained => "drained",
            Wait::FullState => "full_state",
            Wait::Said => "said",
            Wait::Ask => "ask",
            Wait::Watch => "watch",
        }
    }
}
