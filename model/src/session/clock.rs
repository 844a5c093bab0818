//! Leases and fences, by clocks of whole ticks. The leader's clock may run ahead of the agent's by
//! one tick in every two: the drift bound of one half that the terms of the model name.

use super::Session;
use super::rule::Rule;
use super::state::{Process, Renewal, State};

impl Session {
    /// The lease has surely run out, or there are no clocks here: the fence goes into the log.
    pub(super) fn decide_fence(&self, s: &mut State, agent: usize) -> bool {
        let may = s.has_begun && s.wait[agent] == 0 && s.admitted[agent] != 0;
        let is_new = s.fencing & (1 << agent) == 0;
        if may && is_new {
            s.fencing |= 1 << agent;
        }
        may && is_new
    }

    /// The fence is applied.
    pub(super) fn fence(&self, s: &mut State, agent: usize) -> bool {
        let is_decided = !self.bounds.clocks || s.fencing & (1 << agent) != 0;
        if !is_decided || s.admitted[agent] == 0 {
            return false;
        }
        if self.bounds.clocks && s.is_admitted(agent) && s.agents[agent].lease > 0 {
            s.seen.fenced_under_lease = true;
        }
        s.fences += 1;
        s.fencing &= !(1 << agent);
        s.admitted[agent] = 0;
        s.fenced_at[agent] = s.version;
        true
    }

    /// A leader receives a renewal, and counts from now, if it may answer it.
    pub(super) fn receive(&self, s: &mut State, agent: usize, by: u8) -> bool {
        let Renewal::Sent { age } = s.agents[agent].renewal else { return false };
        if by == s.leader {
            // It knows what it has decided, and of its predecessor what it has applied.
            let is_fencing = s.has_begun && s.fencing & (1 << agent) != 0;
            let refuses = is_fencing && self.holds(Rule::NoAnswerOnceFencing);
            if !self.leads(s) || refuses || s.admitted[agent] != s.agents[agent].incarnation {
                return false;
            }
            s.wait[agent] = self.wait;
        }
        s.agents[agent].renewal = Renewal::Received { by, age };
        true
    }

    /// It answers, once a quorum has confirmed that it leads.
    pub(super) fn answer(&self, s: &mut State, agent: usize) -> bool {
        let Renewal::Received { by, age } = s.agents[agent].renewal else { return false };
        let is_confirmed = by == s.leader || !self.holds(Rule::ConfirmedLeadership);
        s.agents[agent].renewal = Renewal::Answered { age };
        is_confirmed
    }

    /// The answer arrives: the lease counts from when its renewal was sent.
    pub(super) fn renewed(&self, s: &mut State, agent: usize) -> bool {
        let a = &mut s.agents[agent];
        let Renewal::Answered { age } = a.renewal else { return false };
        let gone = if self.holds(Rule::LeaseFromSending) { age } else { 0 };
        a.renewal = Renewal::None;
        a.lease = a.lease.max(self.lease - gone);
        true
    }

    /// Both clocks go on.
    pub(super) fn tick(&self, s: &mut State) -> bool {
        for agent in self.agents() {
            s.wait[agent] = s.wait[agent].saturating_sub(1);
            let a = &mut s.agents[agent];
            a.lease = a.lease.saturating_sub(1);
            let older = |age: u8| (age + 1).min(self.lease);
            a.renewal = match a.renewal {
                Renewal::None => Renewal::None,
                Renewal::Sent { age } => Renewal::Sent { age: older(age) },
                Renewal::Received { by, age } => Renewal::Received { by, age: older(age) },
                Renewal::Answered { age } => Renewal::Answered { age: older(age) },
            };
        }
        s.drift = s.drift.saturating_sub(1);
        true
    }

    /// The leader's clock takes a tick that the agents' do not: no two of them within the two
    /// ticks that a lease lasts.
    pub(super) fn tick_ahead(&self, s: &mut State) -> bool {
        let may = s.drift == 0;
        if may {
            s.drift = self.lease;
            for agent in self.agents() {
                s.wait[agent] = s.wait[agent].saturating_sub(1);
            }
        }
        may
    }
}

/// What a deposed leader had decided did not reach a quorum.
pub(super) fn lose_fence(s: &mut State, agent: usize) -> bool {
    let may = !s.has_begun && s.fencing & (1 << agent) != 0;
    if may {
        s.fencing &= !(1 << agent);
    }
    may
}

/// An agent sends a renewal; one at a time is on the way.
pub(super) fn renew(s: &mut State, agent: usize) -> bool {
    let a = &mut s.agents[agent];
    let lives = matches!(a.process, Process::Attached | Process::Admitted);
    if !lives || a.renewal != Renewal::None {
        return false;
    }
    a.renewal = Renewal::Sent { age: 0 };
    true
}

/// A renewal or its answer is lost.
pub(super) fn lose_renewal(s: &mut State, agent: usize) -> bool {
    s.agents[agent].renewal = Renewal::None;
    true
}
