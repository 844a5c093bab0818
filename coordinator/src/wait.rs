//! What a coordinator waits for outside of itself, by name, and for how long at the most.
//!
//! Every such wait goes through `process::wait`; `process/tests/waits.rs` looks that none goes past.

use crate::limits::{
    ANNOUNCE_DEADLINE, ASK_DEADLINE, FULL_STATE_DEADLINE, HELLO_DEADLINE, IDENTIFY_DEADLINE,
    PROPOSAL_DEADLINE, SHUTDOWN_PATIENCE, SNAPSHOT_DEADLINE, TRANSFER_PATIENCE, WATCH_PATIENCE,
};
use std::time::Duration;

process::waits! {
    /// One kind of wait.
    pub(crate) enum Wait {
        /// For another coordinator to say who it is.
        Identify = "identify",
        /// For whoever leads to take note of where this one is.
        Announced = "announced",
        /// For another voter's answer: a vote, an append, a transfer of leadership.
        Peer = "peer",
        /// For the rest of a snapshot.
        Snapshot = "snapshot",
        /// For a place among the proposals.
        Place = "place",
        /// For a proposal's commit.
        Commit = "commit",
        /// For a quorum to confirm the leadership.
        Confirm = "confirm",
        /// For what is under way, at the end: calls, proposals, and writes.
        UnderWay = "under_way",
        /// For another one to lead, at the end.
        HandOver = "hand_over",
        /// For an agent to say who it is.
        Hello = "hello",
        /// For an agent that is to be admitted to drain.
        Drained = "drained",
        /// For an agent to take its full state, and to work it off.
        FullState = "full_state",
        /// For what an attached agent says next. There may be nothing for long; that nothing comes
        /// through is found out by what was asked of it.
        Said = "said",
        /// For the answer to a question to an agent.
        Ask = "ask",
        /// For a watcher, or whoever saves a snapshot, to take what there is.
        Watch = "watch",
    }
}

impl Wait {
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
