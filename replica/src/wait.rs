//! What an agent waits for outside of itself, by name, and for how long at the most.
//!
//! Every such wait goes through [`bounded`], or, where a machine keeps the time, through
//! `process::wait::watched`; `tests/waits.rs` looks that none goes past them.

use crate::limits::{
    CONNECT_DEADLINE, GREETING_PATIENCE, NOTE_PATIENCE, OUTCOME_DEADLINE, SHUTDOWN_PATIENCE,
};
use migrations::pull::Bounds;
use migrations::settings::Settings;
use process::wait::Overdue;
use std::time::Duration;

process::waits! {
    /// One kind of wait.
    pub enum Wait {
        /// For a connection to a coordinator.
        Dial = "dial",
        /// For a coordinator to take the attachment.
        Attach = "attach",
        /// For the next message of a greeting: it stands for a commit of group0.
        Greeting = "greeting",
        /// For the next order. There may be none for long; that none comes through is found out by the
        /// leader, that nobody is there by the renewals.
        Order = "order",
        /// For a coordinator to take what the agent says.
        Say = "say",
        /// For the answer to a renewal.
        Renewal = "renewal",
        /// For a newer version of a tablet, that a router has come with.
        CatchUp = "catch_up",
        /// For a sync that makes a floor durable.
        Floor = "floor",
        /// For the drop of a copy.
        Drop = "drop",
        /// For guards, before they are forced out.
        Drain = "drain",
        /// For guards that were forced out.
        Forced = "forced",
        /// For a source to answer a call.
        StreamOpen = "stream_open",
        /// For the next message of a source.
        StreamNext = "stream_next",
        /// For the first, or the last, message of a receiver.
        StreamHeard = "stream_heard",
        /// For the outcome of a stream to be durable at its receiver.
        StreamRecord = "stream_record",
        /// For the note that a call has failed.
        StreamNote = "stream_note",
        /// For room for the last word to a receiver.
        StreamLastWord = "stream_last_word",
        /// For a source to end a call that is complete.
        StreamGoodbye = "stream_goodbye",
        /// For a receiver's word on how a stream stands.
        Outcome = "outcome",
        /// For streams and the last sync, when the process is told to stop.
        Stop = "stop",
    }
}

impl Wait {
    /// For how long at the most.
    pub fn bound(self, settings: &Settings) -> Duration {
        let lease = Duration::from_millis(u64::from(settings.lease.length_ms));
        let drain = Duration::from_millis(u64::from(settings.drain_deadline_ms));
        let streams = Bounds { stall: Duration::from_millis(u64::from(settings.stall_ms)) };
        match self {
            Wait::Dial | Wait::Attach => CONNECT_DEADLINE,
            // The leader's part of an admission waits for older leases to run out.
            Wait::Greeting => drain + 2 * lease + GREETING_PATIENCE,
            Wait::Order => lease + drain,
            Wait::Say => lease,
            Wait::Renewal => lease / 4,
            Wait::CatchUp => crate::limits::CATCH_UP_MAX,
            Wait::Floor | Wait::Drop | Wait::Drain | Wait::StreamRecord => drain,
            Wait::Forced => lease / 2,
            Wait::StreamOpen | Wait::StreamNext => streams.stall,
            Wait::StreamHeard => streams.outcome(),
            Wait::StreamNote | Wait::StreamLastWord => NOTE_PATIENCE,
            Wait::StreamGoodbye => streams.silence(),
            Wait::Outcome => OUTCOME_DEADLINE,
            Wait::Stop => SHUTDOWN_PATIENCE,
        }
    }
}

/// Waits for no longer than the kind's own bound. As cancel safe as the future is.
///
/// # Errors
///
/// [`Overdue`] once the bound is over.
pub async fn bounded<T>(
    wait: Wait,
    settings: &Settings,
    future: impl Future<Output = T>,
) -> Result<T, Overdue> {
    process::wait::bounded(wait, wait.bound(settings), future).await
}
