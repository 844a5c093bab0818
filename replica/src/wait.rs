//! What an agent waits for outside of itself, by name, and for how long at the most.
//!
//! Every such wait goes through [`bounded`], or, where a machine keeps the time, through
//! `process::wait::watched`; `tests/waits.rs` looks that none goes past them.

use crate::limits::{CONNECT_DEADLINE, GREETING_PATIENCE, NOTE_PATIENCE, OUTCOME_DEADLINE};
use migrations::pull::Bounds;
use migrations::settings::Settings;
use process::wait::{Named, Overdue};
use std::time::Duration;

/// One kind of wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// For a connection to a coordinator.
    Dial,
    /// For a coordinator to take the attachment.
    Attach,
    /// For the next message of a greeting: it stands for a commit of group0.
    Greeting,
    /// For the next order. There may be none for long; that none comes through is found out by the
    /// leader, that nobody is there by the renewals.
    Order,
    /// For a coordinator to take what the agent says.
    Say,
    /// For the answer to a renewal.
    Renewal,
    /// For a newer version of a tablet, that a router has come with.
    CatchUp,
    /// For a sync that makes a floor durable.
    Floor,
    /// For the drop of a copy.
    Drop,
    /// For guards, before they are forced out.
    Drain,
    /// For guards that were forced out.
    Forced,
    /// For a source to answer a call.
    StreamOpen,
    /// For the next message of a source.
    StreamNext,
    /// For the first, or the last, message of a receiver.
    StreamHeard,
    /// For the outcome of a stream to be durable at its receiver.
    StreamRecord,
    /// For the note that a call has failed.
    StreamNote,
    /// For room for the last word to a receiver.
    StreamLastWord,
    /// For a source to end a call that is complete.
    StreamGoodbye,
    /// For a receiver's word on how a stream stands.
    Outcome,
}

impl Wait {
    /// All of them.
    pub const ALL: [Wait; 19] = [
        Wait::Dial,
        Wait::Attach,
        Wait::Greeting,
        Wait::Order,
        Wait::Say,
        Wait::Renewal,
        Wait::CatchUp,
        Wait::Floor,
        Wait::Drop,
        Wait::Drain,
        Wait::Forced,
        Wait::StreamOpen,
        Wait::StreamNext,
        Wait::StreamHeard,
        Wait::StreamRecord,
        Wait::StreamNote,
        Wait::StreamLastWord,
        Wait::StreamGoodbye,
        Wait::Outcome,
    ];

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
        }
    }
}

impl Named for Wait {
    fn name(self) -> &'static str {
        match self {
            Wait::Dial => "dial",
            Wait::Attach => "attach",
            Wait::Greeting => "greeting",
            Wait::Order => "order",
            Wait::Say => "say",
            Wait::Renewal => "renewal",
            Wait::CatchUp => "catch_up",
            Wait::Floor => "floor",
            Wait::Drop => "drop",
            Wait::Drain => "drain",
            Wait::Forced => "forced",
            Wait::StreamOpen => "stream_open",
            Wait::StreamNext => "stream_next",
            Wait::StreamHeard => "stream_heard",
            Wait::StreamRecord => "stream_record",
            Wait::StreamNote => "stream_note",
            Wait::StreamLastWord => "stream_last_word",
            Wait::StreamGoodbye => "stream_goodbye",
            Wait::Outcome => "outcome",
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
