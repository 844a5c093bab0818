//! Model A: one tablet whose transition opens a session for each attempt; agents that guard,
//! drain, crash, are fenced and admitted; leaders that are deposed; leases by clocks that drift.
//!
//! Messages need no list: what was ever sent may arrive at any time, never, or twice. A barrier is
//! its version, an acknowledgement stays readable, a chunk belongs to its session for ever. So
//! loss, repetition and reordering are all there. A paused agent is one that takes no step.
//!
//! The agent is weaker than the product's: its store doesn't look again inside its transaction.

pub mod bounds;
pub mod rule;
pub mod state;
mod agent;
mod clock;
mod fair;
mod group0;
mod words;

use crate::search::{KnownToEnd, Told};
use migrations::lease::{Instant, LeaseTerms};
use migrations::stage::Stage;
use rule::Rule;
use state::{AGENTS, Agent, Edge, Process, Renewal, State};
use stateright::{Model, Property};
use std::sync::Arc;

/// INV-1.
pub const INV_1: &str = "INV-1 stage and session agree";
/// What INV-1 and INV-3 rest on.
pub const FRESH: &str = "INV-1 a session belongs to one attempt";
/// INV-2.
pub const INV_2: &str = "INV-2 nothing of a closed session after its barrier";
/// INV-3.
pub const INV_3: &str = "INV-3 a closed session never opens again";
/// INV-4.
pub const INV_4: &str = "INV-4 a stage is left only by acknowledgements";
/// INV-5.
pub const INV_5: &str = "INV-5 what was acknowledged is durable";
/// INV-12.
pub const INV_12: &str = "INV-12 only the admitted process counts";
/// INV-13.
pub const INV_13: &str = "INV-13 no fence under a lease";
/// INV-14.
pub const INV_14: &str = "INV-14 without faults everything ends";

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Agents, all with a part in the session.
    pub agents: usize,
    /// Sessions that may be drawn; beyond them no retry and no admission in a session.
    pub sessions: u8,
    /// Crashes in all.
    pub crashes: u8,
    /// Fences in all.
    pub fences: u8,
    /// Leaders that may follow the first.
    pub elections: u8,
    /// Whether leases run by clocks. Without them a fence may come at any time: what holds then
    /// holds whatever clocks do.
    pub clocks: bool,
}

/// Model A within bounds, with all rules or without one.
#[derive(Debug, Clone)]
pub struct Session {
    bounds: Bounds,
    without: Option<Rule>,
    lease: u8,
    wait: u8,
    known: Arc<KnownToEnd>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The leader proposes to leave the stage.
    Propose(Edge),
    /// The proposal is applied, for the first time or again.
    Commit,
    /// An agent takes on the record of a version: floor, close, open.
    Record(usize, u8),
    /// An agent acknowledges its floor's version.
    Acknowledge(usize),
    /// A chunk of a session arrives at an agent and enters.
    Chunk(usize, u8),
    /// A chunk that is held is written.
    Write(usize, u8),
    /// A chunk that is held is given up.
    GiveUp(usize, u8),
    /// An agent's floor reaches its disk (only without [`Rule::DurableFloor`]).
    Sync(usize),
    /// A process ends.
    Crash(usize),
    /// It is started again.
    Start(usize),
    /// The leader decides to fence.
    DecideFence(usize),
    /// The fence is applied.
    Fence(usize),
    /// What the deposed leader decided is lost.
    LoseFence(usize),
    /// A process that isn't the admitted one closes every session.
    CloseAll(usize),
    /// It is admitted.
    Admit(usize),
    /// It works its full state off.
    FullState(usize),
    /// Another coordinator is elected.
    Elect,
    /// The new leader applies an entry of its own.
    Begin,
    /// An agent sends a renewal.
    Renew(usize),
    /// A leader receives it.
    Receive(usize, u8),
    /// That leader answers it.
    Answer(usize),
    /// The answer arrives.
    Renewed(usize),
    /// It is lost.
    LoseRenewal(usize),
    /// Both clocks go on by one tick.
    Tick,
    /// The leader's clock runs ahead by one.
    TickAhead,
}

impl Session {
    /// The model within these bounds, without one rule if one is named.
    pub fn new(bounds: Bounds, without: Option<Rule>) -> Session {
        // The core's arithmetic, a tick a millisecond: two for the agent, three for the leader.
        let terms = LeaseTerms { length_ms: 2, drift_per_mille: 500 };
        let ticks = |instant: Instant| (instant.0 / 1_000_000) as u8;
        let lease = ticks(terms.agent_deadline(Instant(0)));
        let margin = !matches!(without, Some(Rule::LeaseMargin));
        let wait = if margin { ticks(terms.leader_deadline(Instant(0))) } else { lease };
        Session { bounds, without, lease, wait, known: Arc::default() }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn agents(&self) -> std::ops::Range<usize> {
        0..self.bounds.agents
    }

    /// The step, or `None` if it can't be taken or changes nothing.
    fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut s = *before;
        let taken = match action {
            Action::Propose(edge) => self.propose(&mut s, edge),
            Action::Commit => self.commit(&mut s),
            Action::Record(agent, version) => self.record(&mut s, agent, version),
            Action::Acknowledge(agent) => self.acknowledge(&mut s, agent),
            Action::Chunk(agent, session) => self.chunk(&mut s, agent, session),
            Action::Write(agent, session) => self.write(&mut s, agent, session),
            Action::GiveUp(agent, session) => agent::give_up(&mut s, agent, session),
            Action::Sync(agent) => agent::sync(&mut s, agent),
            Action::Crash(agent) => agent::crash(&mut s, agent),
            Action::Start(agent) => agent::start(&mut s, agent),
            Action::DecideFence(agent) => self.decide_fence(&mut s, agent),
            Action::Fence(agent) => self.fence(&mut s, agent),
            Action::LoseFence(agent) => clock::lose_fence(&mut s, agent),
            Action::CloseAll(agent) => agent::close_all(&mut s, agent),
            Action::Admit(agent) => self.admit(&mut s, agent),
            Action::FullState(agent) => agent::full_state(&mut s, agent),
            Action::Elect => self.elect(&mut s),
            Action::Begin => self.begin(&mut s),
            Action::Renew(agent) => clock::renew(&mut s, agent),
            Action::Receive(agent, by) => self.receive(&mut s, agent, by),
            Action::Answer(agent) => self.answer(&mut s, agent),
            Action::Renewed(agent) => self.renewed(&mut s, agent),
            Action::LoseRenewal(agent) => clock::lose_renewal(&mut s, agent),
            Action::Tick => self.tick(&mut s),
            Action::TickAhead => self.tick_ahead(&mut s),
        };
        (taken && s != *before).then_some(s)
    }

    fn within(&self, before: &State, action: Action) -> bool {
        let fresh_left = before.drawn < self.bounds.sessions;
        match action {
            Action::Propose(Edge::Retry) => fresh_left,
            Action::Admit(_) => fresh_left || !before.stage.has_session(),
            Action::Crash(_) => before.crashes < self.bounds.crashes,
            Action::DecideFence(_) => before.fences < self.bounds.fences,
            Action::Fence(_) => self.bounds.clocks || before.fences < self.bounds.fences,
            Action::Elect => before.leader <= self.bounds.elections,
            _ => true,
        }
    }

    fn actions_of_agent(&self, s: &State, agent: usize, into: &mut Vec<Action>) {
        into.extend((1..=s.version).map(|version| Action::Record(agent, version)));
        into.push(Action::Acknowledge(agent));
        for session in 1..=s.drawn {
            into.push(Action::Chunk(agent, session));
            into.push(Action::Write(agent, session));
            into.push(Action::GiveUp(agent, session));
        }
        into.extend([Action::Sync(agent), Action::Crash(agent), Action::Start(agent)]);
        into.extend([Action::Fence(agent), Action::CloseAll(agent), Action::Admit(agent)]);
        into.push(Action::FullState(agent));
        if self.bounds.clocks {
            into.extend([Action::DecideFence(agent), Action::LoseFence(agent)]);
            into.push(Action::Renew(agent));
            into.extend((1..=s.leader).map(|by| Action::Receive(agent, by)));
            into.extend([Action::Answer(agent), Action::Renewed(agent)]);
            into.push(Action::LoseRenewal(agent));
        }
    }
}

impl Model for Session {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(self.lease, self.wait)]
    }

    fn actions(&self, s: &State, into: &mut Vec<Action>) {
        if s.is_over() && s.agents.iter().all(|a| a.held == 0) {
            return;
        }
        into.extend([Edge::Forward, Edge::Retry, Edge::Back].map(Action::Propose));
        into.push(Action::Commit);
        for agent in self.agents() {
            self.actions_of_agent(s, agent, into);
        }
        into.extend([Action::Elect, Action::Begin]);
        if self.bounds.clocks {
            into.extend([Action::Tick, Action::TickAhead]);
        }
    }

    fn next_state(&self, s: &State, action: Action) -> Option<State> {
        if self.within(s, action) { self.step(s, action) } else { None }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = promises();
        all.extend(sights(self.bounds));
        all
    }
}

/// What holds in every state.
fn promises() -> Vec<Property<Session>> {
    vec![
        Property::always(INV_1, |_: &Session, s: &State| {
            s.stage.has_session() == (s.session() != 0)
        }),
        Property::always(FRESH, |_: &Session, s: &State| {
            (1..=s.drawn).all(|id| s.named.iter().filter(|named| **named == id).count() <= 2)
        }),
        Property::always(INV_2, |_: &Session, s: &State| !s.seen.wrote_after_barrier),
        Property::always(INV_3, |_: &Session, s: &State| !s.seen.opened_again),
        Property::always(INV_4, |_: &Session, s: &State| !s.seen.left_unacknowledged),
        Property::always(INV_5, |_: &Session, s: &State| {
            s.agents.iter().all(|a| a.disk >= a.acked)
        }),
        Property::always(INV_12, |_: &Session, s: &State| !s.seen.counted_foreign),
        Property::always(INV_13, |_: &Session, s: &State| !s.seen.fenced_under_lease),
        Property::always(INV_14, fair::ends),
    ]
}

/// What is seen in some state: so nothing holds for want of a case.
fn sights(bounds: Bounds) -> Vec<Property<Session>> {
    let mut all = vec![
        Property::sometimes("done", |_: &Session, s: &State| s.stage == Stage::UseNew),
        Property::sometimes("reverted", |_: &Session, s: &State| s.stage == Stage::RevertMigration),
        Property::sometimes("a second attempt streams", |_: &Session, s: &State| {
            s.streamed & !3 != 0
        }),
        Property::sometimes("a guard of a closed session lives", |m: &Session, s: &State| {
            m.agents().any(|a| s.agents[a].drains() && s.agents[a].floor == s.version)
        }),
        Property::sometimes(
            "an old chunk waits while a new session is open",
            |m: &Session, s: &State| {
                m.agents().any(|a| s.agents[a].drains() && s.agents[a].open != 0)
            },
        ),
        Property::sometimes("a late barrier finds a floor above it", |_: &Session, s: &State| {
            s.agents[0].process == Process::Attached && s.agents[0].floor > 1
        }),
        Property::sometimes("a command comes again and too late", |_: &Session, s: &State| {
            s.proposal.is_some_and(|proposal| proposal.version + 1 < s.version)
        }),
        Property::sometimes("a fenced process still holds a chunk", |m: &Session, s: &State| {
            m.agents().any(|a| !s.is_admitted(a) && s.agents[a].held != 0)
        }),
        Property::sometimes("an admission draws a session", |_: &Session, s: &State| {
            let adds = |a: &Agent| a.process == Process::Admitted;
            s.stage == Stage::WriteBothReadOld && s.version > 1 && s.agents.iter().any(adds)
        }),
        Property::sometimes(
            "a barrier completes beside a fenced agent",
            |m: &Session, s: &State| s.seen.completed > 0 && m.agents().any(|a| s.admitted[a] == 0),
        ),
    ];
    if bounds.crashes > 0 {
        all.push(Property::sometimes(
            "a restarted process has a floor",
            |m: &Session, s: &State| {
                m.agents().any(|a| s.agents[a].process == Process::Started && s.agents[a].floor > 0)
            },
        ));
    }
    if bounds.clocks {
        all.extend(sights_by_clocks());
    }
    all
}

fn sights_by_clocks() -> [Property<Session>; 3] {
    [
        Property::sometimes("a lease ends under a guard", |m: &Session, s: &State| {
            m.agents().any(|a| s.agents[a].lease == 0 && s.agents[a].held != 0)
        }),
        Property::sometimes("a deposed leader has a renewal", |m: &Session, s: &State| {
            let by =
                |renewal| if let Renewal::Received { by, .. } = renewal { by } else { u8::MAX };
            m.agents().any(|a| by(s.agents[a].renewal) < s.leader)
        }),
        Property::sometimes("a new leader finds a fence in the log", |_: &Session, s: &State| {
            !s.has_begun && s.fencing != 0
        }),
    ]
}

impl Told for Session {
    fn tell(&self, before: &State, action: &Action) -> String {
        words::tell(before, *action)
    }
}

const _: () = assert!(AGENTS <= 8, "fences are a mask of eight bits");
