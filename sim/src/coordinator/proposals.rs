//! Proposals, and how they end: committed, lost with their leadership, or nobody knows.

use crate::event::Duty;
use crate::message::Conn;
use crate::plan::Fault;
use crate::time::{MICRO, MILLI};
use crate::world::World;
use migrations::command::{Command, Outcome};
use migrations::driver::Event as Heard;

/// What was proposed, and waits to be committed.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) by: usize,
    pub(crate) life: u64,
    pub(crate) command: Command,
    /// `None`: its proposer was told that nobody knows.
    pub(crate) then: Option<Then>,
}

/// Who waits for what comes of it.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Nothing,
    Driver(Heard),
    Admission { conn: Conn },
    Asker { number: u64 },
}

/// A proposal has come to an end; without an outcome nobody knows what became of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) then: Then,
    pub(crate) outcome: Option<Outcome>,
    /// Of this leadership.
    pub(crate) term: u64,
}

impl World {
    /// A coordinator that believes that it leads proposes.
    pub(crate) fn propose(&mut self, at: usize, command: Command, then: Then) {
        let Some(leading) = &self.coordinators[at].leading else { return };
        let term = leading.term;
        self.check_proposed(&command);
        if self.group0.leader != Some(at) || self.group0.term != term {
            // Made after a successor's first entry: it is never committed.
            self.mark("a deposed leader proposes");
            let delay = self.random.network.between(50, 1_000) * MILLI;
            let ended = Ended { then, outcome: None, term };
            self.coordinator_after(at, delay, Duty::Ended(ended));
            return;
        }
        let life = self.coordinators[at].life;
        let mut then = Some(then);
        if self.has(Fault::Unknown) && self.random.faults.chance(20) {
            self.mark("nobody knows what became of a proposal");
            if let Some(then) = then.take() {
                let delay = self.random.network.between(1, 100) * MILLI;
                let ended = Ended { then, outcome: None, term };
                self.coordinator_after(at, delay, Duty::Ended(ended));
            }
            self.group0.not_before = self.queue.now + self.random.network.between(0, 800) * MILLI;
        }
        self.group0.pending.push(Proposal { by: at, life, command, then });
        self.commit_soon(at, term);
    }

    /// For the first entries, which nobody outside asks for.
    pub(crate) fn group0_commits_soon(&mut self, at: usize) {
        let term = self.group0.term;
        self.commit_soon(at, term);
    }

    pub(super) fn commit_soon(&mut self, at: usize, term: u64) {
        if !std::mem::replace(&mut self.group0.is_committing, true) {
            let delay = self.random.network.between(300, 5_000) * MICRO;
            let at_least = self.group0.not_before.saturating_sub(self.queue.now);
            self.coordinator_after(at, delay.max(at_least), Duty::Commit { term });
        }
    }

    pub(super) fn proposal_ended(&mut self, at: usize, ended: Ended) {
        let Ended { then, outcome, term } = ended;
        if let Then::Asker { number } = then {
            self.asked(number, outcome);
            return;
        }
        if self.coordinators[at].leading.as_ref().is_none_or(|leading| leading.term != term) {
            return;
        }
        match then {
            Then::Driver(event) => self.lead(at, event),
            Then::Admission { conn } => self.admitted(at, conn, outcome),
            Then::Nothing | Then::Asker { .. } => {}
        }
    }
}
