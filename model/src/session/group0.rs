//! What group0 does to the transition: commands with evidence, admissions.

use super::Session;
use super::rule::Rule;
use super::state::{AGENTS, Edge, Process, Proposal, State, VERSIONS};
use migrations::stage::{BarrierWhen, SessionOnEdge, Stage, WayBack, session_on_edge};

impl Session {
    /// The leader proposes to leave the stage, with what it has heard as evidence. The proposal
    /// stays in the log's way until a newer one takes its place: it may be applied twice.
    pub(super) fn propose(&self, s: &mut State, edge: Edge) -> bool {
        if s.is_over() || !self.leads(s) || target(s.stage, edge).is_none() {
            return false;
        }
        let evidence = match edge {
            Edge::Forward => std::array::from_fn(|agent| self.heard(s, agent)),
            Edge::Retry | Edge::Back => [0; AGENTS],
        };
        let proposal = Proposal { edge, version: s.version, evidence };
        if !self.is_enough(s, &proposal) {
            return false;
        }
        s.proposal = Some(proposal);
        true
    }

    /// Whether the leader orders and answers: it has applied an entry of its own leadership.
    pub(super) fn leads(&self, s: &State) -> bool {
        s.has_begun || !self.holds(Rule::OwnEntryFirst)
    }

    /// Under which incarnation the leader has the acknowledgement, or the report, of an agent.
    fn heard(&self, s: &State, agent: usize) -> u8 {
        let a = s.agents[agent];
        if s.stage == Stage::Streaming {
            let has_reported = a.reported & (1 << s.session()) != 0;
            return if has_reported { s.admitted[agent] } else { 0 };
        }
        let counts = match self.holds(Rule::ExactVersion) {
            true => a.acked == s.version,
            false => a.acked > 0,
        };
        if counts { a.acked_by } else { 0 }
    }

    /// Whether apply finds the evidence complete: for each node that it asks itself.
    fn is_enough(&self, s: &State, proposal: &Proposal) -> bool {
        let needs_work = s.stage == Stage::Streaming && proposal.edge == Edge::Forward;
        let has_barrier = s.stage.barrier() != BarrierWhen::Never;
        let needs_barrier = has_barrier && proposal.edge == Edge::Forward;
        if !needs_work && (!needs_barrier || !self.holds(Rule::EvidenceNotTime)) {
            return true;
        }
        if !needs_work && !self.holds(Rule::OnlyConcernedAsked) {
            // There is a node without a part in the tablet that has been dead all the time. Nobody
            // fences it, since nothing needs it: its word never comes.
            return false;
        }
        self.agents().all(|agent| {
            let (said, admitted) = (proposal.evidence[agent], s.admitted[agent]);
            let goes_without = !needs_work && self.holds(Rule::FencedNotAsked);
            match admitted {
                0 => goes_without,
                _ if self.holds(Rule::AdmittedIncarnation) => said == admitted,
                _ => said != 0,
            }
        })
    }

    /// Applies the proposal, if all that it expects still holds.
    pub(super) fn commit(&self, s: &mut State) -> bool {
        let Some(proposal) = s.proposal else { return false };
        let is_late = proposal.version != s.version;
        if is_late && self.holds(Rule::ExpectedVersion) {
            return false;
        }
        let Some(to) = target(s.stage, proposal.edge) else { return false };
        if s.is_over() || usize::from(s.version) + 1 == VERSIONS {
            return false;
        }
        // Evidence for another version is checked against what its own stage needed.
        if !is_late && !self.is_enough(s, &proposal) {
            return false;
        }
        self.watch_barrier(s, &proposal);
        self.enter(s, to, proposal.edge);
        true
    }

    /// What an observer makes of a stage that is left.
    fn watch_barrier(&self, s: &mut State, proposal: &Proposal) {
        if s.stage.barrier() == BarrierWhen::Never || proposal.edge != Edge::Forward {
            return;
        }
        for agent in self.agents() {
            let (a, admitted) = (s.agents[agent], s.admitted[agent]);
            if admitted == 0 {
                continue;
            }
            if proposal.evidence[agent] != 0 && proposal.evidence[agent] != admitted {
                s.seen.counted_foreign = true;
            }
            if a.acked != s.version || a.acked_by != admitted {
                s.seen.left_unacknowledged = true;
            }
        }
        s.seen.completed = s.version;
    }

    fn enter(&self, s: &mut State, to: Stage, edge: Edge) {
        let before = s.session();
        let mut rule = session_on_edge(s.stage, to);
        if edge == Edge::Back && !self.holds(Rule::ClearOnTheWayBack) {
            rule = SessionOnEdge::Keep;
        }
        if edge == Edge::Retry && !self.holds(Rule::FreshOnRetry) {
            rule = SessionOnEdge::Keep;
        }
        let session = match rule {
            SessionOnEdge::Keep => before,
            SessionOnEdge::Clear => 0,
            SessionOnEdge::OpenFresh => {
                s.drawn += 1;
                s.drawn
            }
        };
        s.stage = to;
        s.version += 1;
        s.named[usize::from(s.version)] = session;
        if to == Stage::Streaming {
            s.streamed |= 1 << session;
        }
        // Reports of other sessions are of no more use to anybody.
        for a in &mut s.agents {
            a.reported &= 1 << session;
        }
    }

    /// A drained process is admitted under a new incarnation; in a stage with a session the same
    /// command brings a fresh one.
    pub(super) fn admit(&self, s: &mut State, agent: usize) -> bool {
        let a = s.agents[agent];
        let has_drained = a.held == 0 || !self.holds(Rule::DrainBeforeAdmission);
        if a.process != Process::Draining || !has_drained || !self.leads(s) {
            return false;
        }
        let incarnation = a.greatest + 1;
        s.agents[agent].process = Process::Admitted;
        s.agents[agent].incarnation = incarnation;
        s.agents[agent].greatest = incarnation;
        s.admitted[agent] = incarnation;
        s.fencing &= !(1 << agent);
        s.fenced_at[agent] = 0;
        s.wait[agent] = if self.bounds.clocks { self.wait } else { s.wait[agent] };
        if let Some(stage) = s.stage.retry_from()
            && self.holds(Rule::FreshOnAdmission)
        {
            self.enter(s, stage, Edge::Forward);
        }
        true
    }

    /// Another coordinator is elected. The one before need not know.
    pub(super) fn elect(&self, s: &mut State) -> bool {
        s.leader += 1;
        s.has_begun = false;
        if self.bounds.clocks {
            let wait = if self.holds(Rule::NewLeaderWaits) { self.wait } else { 0 };
            s.wait = [wait; AGENTS];
        }
        true
    }

    /// The new leader's first entry is applied: what its predecessor left in the log was applied
    /// before it, or is gone.
    pub(super) fn begin(&self, s: &mut State) -> bool {
        let may = !s.has_begun && s.fencing == 0;
        if may {
            s.has_begun = true;
            s.proposal = None;
        }
        may
    }
}

/// Where an edge leads.
pub(super) fn target(stage: Stage, edge: Edge) -> Option<Stage> {
    match edge {
        Edge::Forward => stage.on_success(),
        Edge::Retry if stage == Stage::Streaming => stage.retry_from(),
        Edge::Retry => None,
        Edge::Back => match stage.way_back() {
            WayBack::To(back) => Some(back),
            WayBack::Retry | WayBack::ForwardOnly => None,
        },
    }
}
