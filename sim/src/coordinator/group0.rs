//! group0 as an ideal log: one leader a term, entries in order, each committed by a majority. What
//! may go wrong around it goes wrong: leaders that are deposed and don't know, proposals of theirs
//! that a successor commits, followers that are late.

use super::proposals::{Ended, Proposal};
use crate::event::{Duty, Event};
use crate::message::Place;
use crate::plan::Fault;
use crate::time::{MICRO, MILLI, Time};
use crate::world::World;
use migrations::command::Entry;
use std::rc::Rc;

#[derive(Debug, Default)]
pub(crate) struct Group0 {
    pub(crate) log: Vec<Rc<Entry>>,
    pub(crate) term: u64,
    pub(crate) leader: Option<usize>,
    /// The leader's, in order.
    pub(crate) pending: Vec<Proposal>,
    pub(crate) is_committing: bool,
    /// When the next entry may be committed.
    pub(crate) not_before: Time,
    /// Since when the leader has no majority.
    lost_since: Option<Time>,
}

impl World {
    fn can_vote(&self, at: usize) -> bool {
        let coordinator = &self.coordinators[at];
        coordinator.is_up && coordinator.paused_until <= self.queue.now
    }

    /// Whether a coordinator hears, and is heard by, a majority with itself.
    fn has_majority(&self, at: usize) -> bool {
        let reaches = |other: &usize| {
            let (a, b) = (Place::Coordinator(at), Place::Coordinator(*other));
            self.can_vote(*other) && (*other == at || self.reaches(a, b))
        };
        let all = self.coordinators.len();
        self.can_vote(at) && (0..all).filter(reaches).count() * 2 > all
    }

    /// Whether a confirmation of leadership that began earlier in this event's life ends well.
    pub(crate) fn is_confirmed(&self, at: usize, term: u64) -> bool {
        self.group0.leader == Some(at) && self.group0.term == term && self.has_majority(at)
    }

    /// Commits what the leader has proposed, as one entry.
    pub(super) fn commit(&mut self, at: usize, term: u64) {
        if self.group0.leader != Some(at) || self.group0.term != term {
            return;
        }
        self.group0.is_committing = false;
        if !self.has_majority(at) {
            self.group0.is_committing = true;
            self.coordinator_after(at, 50 * MILLI, Duty::Commit { term });
            return;
        }
        let proposals = std::mem::take(&mut self.group0.pending);
        if !proposals.is_empty() {
            self.append(at, proposals, term);
        }
    }

    /// Appends an entry; the leader applies it at once, the others in their time.
    fn append(&mut self, at: usize, proposals: Vec<Proposal>, term: u64) {
        let proposed_ms = self.coordinators[at].clock.wall_ms(self.queue.now);
        let commands = proposals.iter().map(|proposal| proposal.command.clone()).collect();
        let entry = self.through_the_log(&Entry { proposed_ms, commands });
        self.group0.log.push(Rc::clone(&entry));
        let outcomes = self.check_committed(&entry);
        for other in 0..self.coordinators.len() {
            let is_late = self.has(Fault::Delay) && self.random.network.chance(50);
            let delay = match is_late {
                _ if other == at => 0,
                true => self.random.network.between(100, 4_000) * MILLI,
                false => self.random.network.between(1, 20_000) * MICRO,
            };
            self.coordinator_after(other, delay, Duty::Apply);
        }
        self.apply_up_to_date(at);
        for (proposal, outcome) in proposals.into_iter().zip(outcomes) {
            let Proposal { by, life, then, .. } = proposal;
            let (Some(then), true) = (then, by == at && life == self.coordinators[at].life) else {
                continue;
            };
            let delay = self.random.network.between(1, 500) * MICRO;
            let ended = Ended { then, outcome: Some(outcome), term };
            self.coordinator_after(at, delay, Duty::Ended(ended));
        }
    }

    /// Looks whether the leader still is one, and chooses another one if not.
    pub(crate) fn watch_leader(&mut self) {
        self.queue.after(100 * MILLI, Event::Watch);
        let now = self.queue.now;
        let is_well = self.group0.leader.is_some_and(|leader| self.has_majority(leader));
        if is_well {
            self.group0.lost_since = None;
            return;
        }
        let since = *self.group0.lost_since.get_or_insert(now);
        if now >= since + 400 * MILLI {
            self.elect();
        }
    }

    /// Another coordinator leads, or the same one in another term.
    pub(crate) fn elect(&mut self) {
        let able = (0..self.coordinators.len()).filter(|at| self.has_majority(*at));
        let able: Vec<usize> = able.collect();
        let Some(new) = self.random.network.pick(&able) else { return };
        self.lead_next(new, None);
    }

    /// This one leads from now on, in a term of its own. What the one before has proposed and not
    /// committed is in its log, or is not; without a word on that, it is drawn for each.
    pub(crate) fn lead_next(&mut self, new: usize, inherits: Option<bool>) {
        let (before, old_term) = (self.group0.leader, self.group0.term);
        let term = old_term + 1;
        self.group0.term = term;
        self.group0.leader = Some(new);
        self.group0.lost_since = None;
        self.group0.is_committing = false;
        let mut inherited = Vec::new();
        for mut proposal in std::mem::take(&mut self.group0.pending) {
            if let Some(then) = proposal.then.take() {
                let delay = self.random.network.between(1, 1_000) * MILLI;
                let ended = Ended { then, outcome: None, term: old_term };
                let (at, life) = (proposal.by, proposal.life);
                let work = Duty::Ended(ended);
                self.queue.after(delay, Event::Coordinator { at, life, work });
            }
            // It had reached the new leader's log, or it had not.
            if inherits.unwrap_or_else(|| self.random.network.chance(500)) {
                self.mark("a successor commits what a deposed leader has proposed");
                inherited.push(proposal);
            }
        }
        self.append(new, inherited, term);
        if let Some(before) = before {
            self.mark("leadership changes");
            let is_slow = self.has(Fault::Elect) || self.has(Fault::CutLeader);
            let longest = if is_slow { 4_000 } else { 300 };
            let delay = self.random.network.between(0, longest) * MILLI;
            match before == new {
                true => self.step_down(before),
                false => self.coordinator_after(before, delay, Duty::Deposed { term: old_term }),
            }
        }
        self.begin_to_lead(new, term);
    }
}
