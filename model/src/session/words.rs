//! The steps of model A in the protocol's words.

use super::Action;
use super::group0::target;
use super::state::{Edge, State};

const NAMES: [&str; 2] = ["a", "b"];

/// What a step is, seen from the state before it.
pub(super) fn tell(s: &State, action: Action) -> String {
    match action {
        Action::Propose(edge) => {
            let to = target(s.stage, edge).map_or("?", |to| to.name());
            format!("the leader proposes {} → {to}, expecting v{}", s.stage, s.version)
        }
        Action::Commit => tell_commit(s),
        Action::Record(a, v) => {
            let session = s.named[usize::from(v)];
            let floor = s.agents[a].floor;
            let name = if session == 0 { "no session".into() } else { format!("s{session}") };
            let late = if v < floor { " (late)" } else { "" };
            format!("{} receives the barrier of v{v}{late}, which names {name}", NAMES[a])
        }
        Action::Acknowledge(a) => format!("{} acknowledges v{}", NAMES[a], s.agents[a].floor),
        Action::Chunk(a, id) => {
            format!("{} receives a chunk of s{id}: its session is open", NAMES[a])
        }
        Action::Write(a, id) => format!("{} writes the chunk of s{id}", NAMES[a]),
        Action::GiveUp(a, id) => format!("{} gives the chunk of s{id} up", NAMES[a]),
        Action::Sync(a) => format!("{} syncs its disk", NAMES[a]),
        Action::Crash(a) => format!("{} crashes", NAMES[a]),
        Action::Start(a) => {
            format!("{} is started again, with floor v{}", NAMES[a], s.agents[a].disk)
        }
        Action::DecideFence(a) => format!("the leader decides to fence {}", NAMES[a]),
        Action::Fence(a) => format!("{} is fenced (incarnation {})", NAMES[a], s.admitted[a]),
        Action::LoseFence(a) => format!("the fence of {} is lost with its leader", NAMES[a]),
        Action::CloseAll(a) => format!("{} closes every session, to be admitted", NAMES[a]),
        Action::Admit(a) => tell_admit(s, a),
        Action::FullState(a) => format!("{} works off its full state at v{}", NAMES[a], s.version),
        Action::Elect => format!("leader {} is elected", s.leader + 1),
        Action::Begin => format!("leader {} applies an entry of its own", s.leader),
        Action::Renew(a) => format!("{} sends a renewal", NAMES[a]),
        Action::Receive(a, by) => {
            let deposed = if by < s.leader { " (deposed)" } else { "" };
            format!("leader {by}{deposed} receives the renewal of {}", NAMES[a])
        }
        Action::Answer(a) => format!("the renewal of {} is answered", NAMES[a]),
        Action::Renewed(a) => format!("the answer arrives at {}", NAMES[a]),
        Action::LoseRenewal(a) => format!("the renewal of {} is lost", NAMES[a]),
        Action::Tick => "a tick passes".into(),
        Action::TickAhead => "the leader's clock runs ahead by a tick".into(),
    }
}

fn tell_commit(s: &State) -> String {
    let Some(proposal) = s.proposal else { return "nothing is applied".into() };
    let to = target(s.stage, proposal.edge).map_or("?", |to| to.name());
    let way = match proposal.edge {
        Edge::Forward => "",
        Edge::Retry => ", a new attempt",
        Edge::Back => ", the way back",
    };
    if proposal.version == s.version {
        return format!("applied: {} → {to}{way}; the tablet is at v{}", s.stage, s.version + 1);
    }
    let expected = proposal.version;
    format!("the command that expected v{expected} comes again, in {} at v{}", s.stage, s.version)
}

fn tell_admit(s: &State, agent: usize) -> String {
    let incarnation = s.agents[agent].greatest + 1;
    format!("{} is admitted (incarnation {incarnation}) in {}", NAMES[agent], s.stage)
}
