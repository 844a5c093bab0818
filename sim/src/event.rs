//! Everything that can happen.

use crate::agent::work::Work;
use crate::coordinator::proposals::Ended;
use crate::message::Packet;
use migrations::id::{DirectoryId, NodeId};
use migrations::lease::Instant;
use migrations::version::Incarnation;

#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Deliver(Packet),
    /// Something of an agent's process; nothing, once that process is gone.
    Agent { at: usize, process: u64, work: Work },
    /// Something of a coordinator's process.
    Coordinator { at: usize, life: u64, work: Duty },
    /// An agent's process starts.
    StartAgent(usize),
    /// An agent's process crashes.
    CrashAgent(usize),
    /// A machine gets an empty directory.
    NewDirectory { at: usize, instead_of: DirectoryId },
    /// A coordinator's process starts.
    StartCoordinator(usize),
    /// A router does its next operation, or polls, or gives an attempt up.
    Router { at: usize, what: RouterWork },
    /// The operator and the balancer ask for something.
    Ask,
    /// Whatever was switched off is switched on again, until it is.
    Lift,
    /// The leader is looked at: whether another one is needed.
    Watch,
    /// A fault happens.
    Fault,
    /// A cut heals.
    Heal { number: u64 },
    /// Expensive properties are checked.
    Check,
    /// Faults stop.
    Calm,
}

/// What a coordinator's process does when its time has come.
#[derive(Debug)]
pub(crate) enum Duty {
    /// Entries are applied.
    Apply,
    /// The leader's proposals are committed.
    Commit { term: u64 },
    /// The driver hears of what was applied.
    CatchUp { term: u64 },
    /// Time passes for the driver.
    Tick { term: u64 },
    /// A proposal of this coordinator has come to an end.
    Ended(Ended),
    /// It hears that it leads no more.
    Deposed { term: u64 },
    /// Its leadership was asked to be confirmed.
    Confirm { term: u64, then: Confirmed },
}

/// What waits for a confirmation of leadership.
#[derive(Debug)]
pub(crate) enum Confirmed {
    Renewal { agent: usize, node: NodeId, incarnation: Incarnation, sent: Instant, at: Instant },
    Attachment { conn: u64 },
}

#[derive(Debug)]
pub(crate) enum RouterWork {
    Begin,
    Poll,
    Again { operation: u64 },
    TimedOut { attempt: u64 },
    GiveUp { operation: u64 },
}
