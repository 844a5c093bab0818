//! A schedule without faults, one next step for each state: INV-14 is that it ends from wherever
//! faults have led. Bounds bind faults only, so it may draw what sessions it needs.

use super::state::{Edge, Process, Renewal, State};
use super::{Action, Session};
use migrations::stage::Stage;

/// More steps than any way to an end has taken.
const BOUND: usize = 120;

/// INV-14 from one state.
pub(super) fn ends(model: &Session, s: &State) -> bool {
    model.known.ends(s, BOUND, is_end, |s| model.next_fair(s))
}

fn is_end(s: &State) -> bool {
    s.is_over()
}

impl Session {
    /// The first of these that can be done, in an order that starves nobody: leaders first, then
    /// processes, then what the stage waits for. Time passes only when nothing else can be done.
    fn next_fair(&self, s: &State) -> Option<State> {
        let of_group0 = [Action::Commit, Action::Begin, Action::Propose(Edge::Forward)];
        let mut order: Vec<Action> = self.agents().map(Action::Fence).collect();
        if !self.bounds.clocks {
            // Without clocks a fence is the world's whim; here only the dead are fenced.
            order.retain(|action| {
                matches!(action, Action::Fence(a) if s.agents[*a].process == Process::Gone)
            });
        }
        let ripe = s.proposal.is_some_and(|proposal| proposal.version == s.version);
        order.extend(of_group0.into_iter().filter(|a| *a != Action::Commit || ripe));
        for agent in self.agents() {
            self.fair_for(s, agent, &mut order);
        }
        let stuck = self.agents().any(|agent| s.admitted[agent] == 0);
        if stuck && s.stage == Stage::Streaming {
            order.push(Action::Propose(Edge::Back));
        }
        order.extend(self.agents().filter(|_| self.bounds.clocks).map(Action::DecideFence));
        if self.bounds.clocks {
            order.push(Action::Tick);
        }
        order.into_iter().find_map(|action| self.step(s, action))
    }

    fn fair_for(&self, s: &State, agent: usize, order: &mut Vec<Action>) {
        order.push(Action::CloseAll(agent));
        order.extend((1..=s.drawn).map(|session| Action::Write(agent, session)));
        order.extend([Action::Admit(agent), Action::FullState(agent)]);
        if s.agents[agent].floor < s.version {
            order.push(Action::Record(agent, s.version));
        }
        order.push(Action::Acknowledge(agent));
        if self.bounds.clocks && s.agents[agent].process != Process::Gone {
            self.fair_lease(s, agent, order);
        }
        let session = s.session();
        if session != 0 && s.agents[agent].reported & (1 << session) == 0 {
            order.push(Action::Chunk(agent, session));
        }
    }

    fn fair_lease(&self, s: &State, agent: usize, order: &mut Vec<Action>) {
        match s.agents[agent].renewal {
            Renewal::None if s.agents[agent].lease < self.lease => order.push(Action::Renew(agent)),
            Renewal::None => {}
            Renewal::Received { by, .. } if by < s.leader => order.push(Action::LoseRenewal(agent)),
            Renewal::Sent { age } | Renewal::Received { age, .. } | Renewal::Answered { age } => {
                if age > 0 {
                    order.push(Action::LoseRenewal(agent));
                }
                order.push(Action::Receive(agent, s.leader));
                order.extend([Action::Answer(agent), Action::Renewed(agent)]);
            }
        }
    }
}
