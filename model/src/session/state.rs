//! The state of model A: group0's view of one tablet, its leaders, the agents, and what only an
//! observer knows. Counters and sets are small numbers; a set of sessions is a bit mask.

use migrations::stage::Stage;

/// The most agents that a bound may ask for.
pub const AGENTS: usize = 2;
/// The versions that the schedule without faults may reach beyond a bound.
pub const VERSIONS: usize = 20;

/// One state of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Where the transition stands.
    pub stage: Stage,
    /// The tablet's version; from 1.
    pub version: u8,
    /// The session that each version names; 0 is none.
    pub named: [u8; VERSIONS],
    /// The session last drawn.
    pub drawn: u8,
    /// Sessions under which data was sent: their chunks may arrive at any time from then on.
    pub streamed: u16,
    /// The admitted incarnation of each agent; 0: fenced.
    pub admitted: [u8; AGENTS],
    /// The version at which each agent was last fenced.
    pub fenced_at: [u8; AGENTS],
    /// The leader, counted from 1. Earlier ones may not know that they are deposed.
    pub leader: u8,
    /// Whether the leader has applied an entry of its own leadership.
    pub has_begun: bool,
    /// For how long the leader still waits for each agent's lease to run out.
    pub wait: [u8; AGENTS],
    /// Agents whose fence is in the log, and not yet applied.
    pub fencing: u8,
    /// The command last proposed: applied, not applied, or coming a second time.
    pub proposal: Option<Proposal>,
    /// Ticks that both clocks must take before the leader's may run ahead by one again.
    pub drift: u8,
    /// The agents.
    pub agents: [Agent; AGENTS],
    /// Crashes so far.
    pub crashes: u8,
    /// Fences so far.
    pub fences: u8,
    /// The observer's knowledge.
    pub seen: Seen,
}

/// A command that leaves a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Which way.
    pub edge: Edge,
    /// The version that it expects.
    pub version: u8,
    /// The incarnation of each agent that its evidence names; 0: none.
    pub evidence: [u8; AGENTS],
}

/// The ways out of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// The stage's work is done.
    Forward,
    /// A new attempt.
    Retry,
    /// The way back.
    Back,
}

/// What a node's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// There is none.
    Gone,
    /// Started again; not admitted.
    Started,
    /// It has closed every session, and drains before it asks for admission.
    Draining,
    /// Admitted; its full state is not worked off.
    Admitted,
    /// It takes orders.
    Attached,
}

/// An agent. `floor` and `incarnation` are what its process believes, `disk` is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    /// The incarnation that its process was admitted under.
    pub incarnation: u8,
    /// The greatest incarnation that was ever given to the node.
    pub greatest: u8,
    /// Nothing older is obeyed.
    pub floor: u8,
    /// The floor that a restart finds.
    pub disk: u8,
    /// The open session; 0: none.
    pub open: u8,
    /// Sessions under which a chunk was received and is not yet written.
    pub held: u8,
    /// The version that it last acknowledged.
    pub acked: u8,
    /// The incarnation under which it did.
    pub acked_by: u8,
    /// Sessions whose stream it has reported complete.
    pub reported: u8,
    /// Ticks of its own clock for which it still holds its lease.
    pub lease: u8,
    /// Its renewal on the way.
    pub renewal: Renewal,
    /// Sessions that were closed here, ever.
    pub closed: u8,
}

/// A renewal of a lease, with the ticks of the agent's clock since it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// None is on the way.
    None,
    /// On its way to a leader.
    Sent {
        /// Ticks since it was sent.
        age: u8,
    },
    /// A leader has it, and has not confirmed its leadership since.
    Received {
        /// Which leader.
        by: u8,
        /// Ticks since it was sent.
        age: u8,
    },
    /// Its answer is on the way.
    Answered {
        /// Ticks since it was sent.
        age: u8,
    },
}

/// What an observer of everything has seen. It changes nothing that anybody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// The version of the last barrier that has completed.
    pub completed: u8,
    /// An admitted agent wrote under a session that a completed barrier had closed.
    pub wrote_after_barrier: bool,
    /// An agent opened a session that it had closed, or that is older than its floor.
    pub opened_again: bool,
    /// A stage with a barrier was left, and a node that had to be asked had not acknowledged.
    pub left_unacknowledged: bool,
    /// An acknowledgement of a process that is not the admitted one was counted.
    pub counted_foreign: bool,
    /// A fence was applied while the agent held its lease.
    pub fenced_under_lease: bool,
}

impl State {
    /// Everything is admitted and nothing has happened: the transition has just entered
    /// `write_both_read_old`, whose first version names the first session.
    pub fn first(lease: u8, wait: u8) -> State {
        let mut named = [0; VERSIONS];
        named[1] = 1;
        State {
            stage: Stage::WriteBothReadOld,
            version: 1,
            named,
            drawn: 1,
            streamed: 0,
            admitted: [1; AGENTS],
            fenced_at: [0; AGENTS],
            leader: 1,
            has_begun: true,
            wait: [wait; AGENTS],
            fencing: 0,
            proposal: None,
            drift: 0,
            agents: [Agent::first(lease); AGENTS],
            crashes: 0,
            fences: 0,
            seen: Seen::default(),
        }
    }

    /// The session that group0 names now; 0: none.
    pub fn session(&self) -> u8 {
        self.named[usize::from(self.version)]
    }

    /// The version that opened a session.
    pub fn opened_by(&self, session: u8) -> u8 {
        let at = self.named.iter().position(|named| *named == session);
        at.map_or(u8::MAX, |at| at as u8)
    }

    /// Whether an agent's process is the one that is admitted.
    pub fn is_admitted(&self, agent: usize) -> bool {
        let process = self.agents[agent].process;
        let lives = matches!(process, Process::Admitted | Process::Attached);
        lives && self.admitted[agent] == self.agents[agent].incarnation
    }

    /// Whether the transition is over, as far as this model goes.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::UseNew | Stage::RevertMigration)
    }
}

impl Agent {
    fn first(lease: u8) -> Agent {
        Agent {
            process: Process::Attached,
            incarnation: 1,
            greatest: 1,
            floor: 0,
            disk: 0,
            open: 0,
            held: 0,
            acked: 0,
            acked_by: 0,
            reported: 0,
            lease,
            renewal: Renewal::None,
            closed: 0,
        }
    }

    /// Whether a chunk of a session other than the open one is still held.
    pub fn drains(&self) -> bool {
        self.held & !(1 << self.open) != 0
    }
}
