//! A pull: the one call of a stream, as two machines, one for each end.
//!
//! ```text
//! receiver                       source
//!   Begin            ─────────▶
//!                    ◀─────────   Accepted
//!                    ◀─────────   Chunk 1, 2, 3 …   (and keep-alives in between)
//!                    ◀─────────   Complete
//!   outcome durable
//!   Received         ─────────▶
//! ```
//!
//! What a machine is told is an event, with the time; what is to be done is the step that it
//! returns. It has exactly one end, whatever comes in whichever order, and never leaves it:
//!
//! - An end in order before `Complete` doesn't belong, whether the call had been answered or not:
//!   the same reason, whatever the timing. A connection that goes away is another thing.
//! - From `Complete` on the receiver is deaf: nothing that the source says or does changes the
//!   outcome, which is what the receiver's record says.
//! - The receiver says `Received` only once its outcome is durable.
//!
//! Not here: sockets, checksums, rows; who may pull what (`record`).

use crate::evidence::FailureReason;
use crate::lease::Instant;
use crate::row::RowSum;
use core::time::Duration;

/// What a stream consists of, as one end has counted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Bytes of packed rows.
    pub bytes: u64,
    /// The sum of the rows.
    pub sum: RowSum,
}

/// How long an end waits for the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Without payload for this long a stream has stalled.
    pub stall: Duration,
}

impl Bounds {
    /// How often a source that sends nothing says that it is there.
    pub const fn keep_alive(self) -> Duration {
        Duration::from_nanos(nanos(self.stall) / 4)
    }

    /// Without any message for this long the other end is gone.
    pub const fn silence(self) -> Duration {
        Duration::from_nanos(nanos(self.stall) / 2)
    }

    /// How long a source waits for `Received` after `Complete`: the receiver syncs meanwhile.
    pub const fn outcome(self) -> Duration {
        Duration::from_nanos(nanos(self.stall).saturating_mul(4))
    }
}

const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

const fn after(at: Instant, duration: Duration) -> Instant {
    Instant(at.0.saturating_add(nanos(duration)))
}

/// What a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceSays {
    /// It serves the stream: from where it was asked to go on, or from the first position.
    Accepted {
        /// Whether it goes on.
        is_resumed: bool,
    },
    /// Rows.
    Chunk {
        /// Its place in the call, from 1.
        number: u64,
    },
    /// There are no more.
    Complete(Totals),
    /// It is there.
    KeepAlive {
        /// It stands still by order.
        is_paused: bool,
    },
}

/// What happens to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverEvent {
    /// The source says something.
    Heard(SourceSays),
    /// The source has ended the call in order.
    Ended,
    /// The connection has gone away.
    Lost,
    /// The source has ended the call with a reason.
    Refused(FailureReason),
    /// This end can't go on.
    Failed(FailureReason),
    /// The outcome is durable.
    Recorded,
    /// Time has passed.
    Tick,
}

/// What a receiver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverStep {
    /// Nothing.
    Wait,
    /// Chunks come now.
    Start {
        /// They begin where the receiver asked to go on; if not, at the first position.
        is_resumed: bool,
    },
    /// Check and store the chunk.
    Store,
    /// Once all chunks are stored and durable: compare with these, and make the outcome durable.
    /// Then, and not before, comes [`ReceiverEvent::Recorded`].
    Record(Totals),
    /// Say `Received`, and report.
    SendReceived,
    /// The call has failed: end it, give the guard back, report. Given once.
    Fail(FailureReason),
}

/// Where a receiver stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverState {
    /// `Begin` was sent.
    Asked,
    /// Chunks come.
    Streaming {
        /// The number of the next one.
        next: u64,
    },
    /// `Complete` came. The record decides.
    Recording,
    /// Final: all is durable.
    Complete,
    /// Final.
    Failed(FailureReason),
}

/// The receiver's end of a call.
#[derive(Debug, Clone)]
pub struct Receiver {
    state: ReceiverState,
    bounds: Bounds,
    may_resume: bool,
    /// When anything was heard last.
    heard: Instant,
    /// When payload was heard last, or that there is none by order.
    payload: Instant,
}

impl Receiver {
    /// A receiver that sends `Begin` now; `may_resume` if it asked to go on somewhere.
    pub const fn new(bounds: Bounds, may_resume: bool, now: Instant) -> Receiver {
        let state = ReceiverState::Asked;
        Receiver { state, bounds, may_resume, heard: now, payload: now }
    }

    /// Where it stands.
    pub const fn state(&self) -> ReceiverState {
        self.state
    }

    /// It listens again, after it had not for reasons of its own: that time doesn't count against
    /// the source.
    pub fn listen_again(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
        self.payload = self.payload.max(now);
    }

    /// When the next tick is due, if any.
    pub fn deadline(&self) -> Option<Instant> {
        let stalled = after(self.payload, self.bounds.stall);
        match self.state {
            ReceiverState::Asked => Some(stalled),
            ReceiverState::Streaming { .. } => {
                Some(stalled.min(after(self.heard, self.bounds.silence())))
            }
            ReceiverState::Recording | ReceiverState::Complete | ReceiverState::Failed(_) => None,
        }
    }

    /// What happened, and what is to be done.
    pub fn on(&mut self, event: ReceiverEvent, now: Instant) -> ReceiverStep {
        use ReceiverEvent::{Ended, Failed, Heard, Lost, Recorded, Refused, Tick};
        use ReceiverState as State;
        use SourceSays::{Accepted, Chunk, Complete, KeepAlive};
        match (self.state, event) {
            (State::Complete | State::Failed(_), _) => ReceiverStep::Wait,
            (_, Failed(reason)) => self.fail(reason),
            (State::Recording, Recorded) => {
                self.state = State::Complete;
                ReceiverStep::SendReceived
            }
            (State::Recording, Heard(_) | Ended | Lost | Refused(_) | Tick) => ReceiverStep::Wait,
            (State::Asked, Heard(Accepted { is_resumed })) if self.may_resume || !is_resumed => {
                self.state = State::Streaming { next: 1 };
                self.heard_payload(now);
                ReceiverStep::Start { is_resumed }
            }
            (State::Streaming { next }, Heard(Chunk { number })) if number == next => {
                self.state = State::Streaming { next: next.saturating_add(1) };
                self.heard_payload(now);
                ReceiverStep::Store
            }
            (State::Streaming { .. }, Heard(Complete(totals))) => {
                self.state = State::Recording;
                ReceiverStep::Record(totals)
            }
            (State::Streaming { .. }, Heard(KeepAlive { is_paused })) => {
                self.heard = now;
                if is_paused {
                    self.payload = now;
                }
                ReceiverStep::Wait
            }
            (State::Asked | State::Streaming { .. }, Heard(_) | Ended | Recorded) => {
                self.fail(FailureReason::StreamProtocol)
            }
            (State::Asked | State::Streaming { .. }, Lost) => self.fail(FailureReason::PeerClosed),
            (State::Asked | State::Streaming { .. }, Refused(reason)) => self.fail(reason),
            (State::Asked | State::Streaming { .. }, Tick) => match self.overdue(now) {
                Some(reason) => self.fail(reason),
                None => ReceiverStep::Wait,
            },
        }
    }

    fn overdue(&self, now: Instant) -> Option<FailureReason> {
        let is_asked = self.state == ReceiverState::Asked;
        let is_stalled = now >= after(self.payload, self.bounds.stall);
        let is_silent = now >= after(self.heard, self.bounds.silence());
        match (is_asked, is_silent, is_stalled) {
            // The source may have much to look at before it answers.
            (true, _, true) | (false, true, _) => Some(FailureReason::PeerClosed),
            (false, false, true) => Some(FailureReason::StreamStalled),
            (true, _, false) | (false, false, false) => None,
        }
    }

    fn heard_payload(&mut self, now: Instant) {
        self.heard = now;
        self.payload = now;
    }

    fn fail(&mut self, reason: FailureReason) -> ReceiverStep {
        self.state = ReceiverState::Failed(reason);
        ReceiverStep::Fail(reason)
    }
}

/// What a receiver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverSays {
    /// What it wants.
    Begin,
    /// All is durable.
    Received,
}

/// What happens to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceEvent {
    /// The receiver says something.
    Heard(ReceiverSays),
    /// The receiver has ended the call in order.
    Ended,
    /// The connection has gone away, or the receiver has given the call up.
    Lost,
    /// What `Begin` asks for may be served.
    Checked,
    /// A chunk is ready to go out.
    Read,
    /// All rows have gone out.
    ReadAll,
    /// This end can't go on, or refuses what `Begin` asks for.
    Failed(FailureReason),
    /// Time has passed.
    Tick,
}

/// What a source does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStep {
    /// Nothing.
    Wait,
    /// Look whether what `Begin` asks for may be served.
    Check,
    /// Say `Accepted`, then read.
    SendAccepted,
    /// Send the chunk under this number.
    SendChunk {
        /// Its place in the call.
        number: u64,
    },
    /// Say that there are no more.
    SendComplete,
    /// Say that it is there.
    SendKeepAlive,
    /// The stream is complete: end the call.
    Done,
    /// The call ended between `Complete` and `Received`: the receiver's record says how.
    Ask,
    /// The call has failed: end it with this reason. Given once.
    Fail(FailureReason),
}

/// Where a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// The call was made.
    Called,
    /// `Begin` came.
    Checking,
    /// Chunks go out.
    Streaming {
        /// The number of the next one.
        next: u64,
    },
    /// `Complete` went out.
    Completing,
    /// Final: the receiver has all of it, durably.
    Complete,
    /// Final for the call: how it stands is on the receiver's record.
    Undecided,
    /// Final.
    Failed(FailureReason),
}

/// The source's end of a call.
#[derive(Debug, Clone)]
pub struct Source {
    state: SourceState,
    bounds: Bounds,
    /// When something was sent last; before that, when the call came.
    sent: Instant,
}

impl Source {
    /// A source that was called now.
    pub const fn new(bounds: Bounds, now: Instant) -> Source {
        Source { state: SourceState::Called, bounds, sent: now }
    }

    /// Where it stands.
    pub const fn state(&self) -> SourceState {
        self.state
    }

    /// When the next tick is due, if any.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            SourceState::Called => Some(after(self.sent, self.bounds.stall)),
            SourceState::Streaming { .. } => Some(after(self.sent, self.bounds.keep_alive())),
            SourceState::Completing => Some(after(self.sent, self.bounds.outcome())),
            SourceState::Checking
            | SourceState::Complete
            | SourceState::Undecided
            | SourceState::Failed(_) => None,
        }
    }

    /// What happened, and what is to be done.
    pub fn on(&mut self, event: SourceEvent, now: Instant) -> SourceStep {
        use ReceiverSays::{Begin, Received};
        use SourceEvent::{Checked, Ended, Failed, Heard, Lost, Read, ReadAll, Tick};
        use SourceState as State;
        let is_due = self.deadline().is_some_and(|deadline| now >= deadline);
        match (self.state, event) {
            (State::Complete | State::Undecided | State::Failed(_), _) => SourceStep::Wait,
            (State::Called, Heard(Begin)) => self.goes_on(State::Checking, SourceStep::Check, now),
            (State::Checking, Checked) => {
                self.goes_on(State::Streaming { next: 1 }, SourceStep::SendAccepted, now)
            }
            (State::Streaming { next: number }, Read) => {
                let next = number.saturating_add(1);
                self.goes_on(State::Streaming { next }, SourceStep::SendChunk { number }, now)
            }
            (State::Streaming { .. }, ReadAll) => {
                self.goes_on(State::Completing, SourceStep::SendComplete, now)
            }
            (State::Completing, Heard(Received)) => {
                self.goes_on(State::Complete, SourceStep::Done, now)
            }
            // The receiver may have all of it by now, whatever happens to this end.
            (State::Completing, Ended | Lost | Failed(_)) => {
                self.goes_on(State::Undecided, SourceStep::Ask, now)
            }
            (State::Completing, Tick) if is_due => {
                self.goes_on(State::Undecided, SourceStep::Ask, now)
            }
            (State::Streaming { .. }, Tick) if is_due => {
                self.goes_on(self.state, SourceStep::SendKeepAlive, now)
            }
            (State::Called, Tick) if is_due => self.fail(FailureReason::PeerClosed),
            (_, Tick) => SourceStep::Wait,
            (_, Failed(reason)) => self.fail(reason),
            (_, Lost) => self.fail(FailureReason::PeerClosed),
            (_, Heard(_) | Ended | Checked | Read | ReadAll) => {
                self.fail(FailureReason::StreamProtocol)
            }
        }
    }

    fn goes_on(&mut self, to: SourceState, step: SourceStep, now: Instant) -> SourceStep {
        self.state = to;
        self.sent = now;
        step
    }

    fn fail(&mut self, reason: FailureReason) -> SourceStep {
        self.state = SourceState::Failed(reason);
        SourceStep::Fail(reason)
    }
}
