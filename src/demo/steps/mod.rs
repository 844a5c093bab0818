//! What a demonstration does to a cluster, one file a step.

mod accident;
mod held_up;
mod leader;
mod moves;
mod target;

use super::Demo;
use proto::admin::v1 as pb;

/// One step. Steps run one after the other, beside the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Tablets move one by one, and many at once.
    Moves,
    /// A chunk of a failed attempt comes late.
    Accident,
    /// The leader of group0 is killed in the middle of moves.
    LeaderKilled,
    /// An agent that tablets move to is killed.
    TargetKilled,
    /// An agent that takes part in a move is stopped beyond its lease, and goes on later.
    AgentHeldUp,
}

impl Step {
    /// The steps of the whole demonstration, or of its short form.
    pub(super) fn all(is_quick: bool) -> Vec<Step> {
        if is_quick {
            return vec![Step::Moves, Step::Accident];
        }
        use Step::{Accident, AgentHeldUp, LeaderKilled, Moves, TargetKilled};
        vec![Moves, Accident, LeaderKilled, TargetKilled, AgentHeldUp]
    }

    /// The fault that it plays, if it plays one.
    pub(super) fn fault(self) -> Option<&'static str> {
        match self {
            Step::Moves => None,
            Step::Accident => Some("stale_chunk"),
            Step::LeaderKilled => Some("leader_killed"),
            Step::TargetKilled => Some("target_killed"),
            Step::AgentHeldUp => Some("agent_held_up"),
        }
    }

    /// What a person is told of it before it begins.
    pub(super) fn title(self) -> &'static str {
        match self {
            Step::Moves => "tablets move, one by one and many at once",
            Step::Accident => "the accident: a chunk of a failed attempt comes late",
            Step::LeaderKilled => "the leader is killed in the middle of moves",
            Step::TargetKilled => "an agent is killed in the middle of moves to it",
            Step::AgentHeldUp => "an agent is stopped in the middle of a move",
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(self, demo: &mut Demo) -> anyhow::Result<()> {
        match self {
            Step::Moves => moves::run(demo).await,
            Step::Accident => accident::run(demo).await,
            Step::LeaderKilled => leader::run(demo).await,
            Step::TargetKilled => target::run(demo).await,
            Step::AgentHeldUp => held_up::run(demo).await,
        }
    }
}

/// In words.
fn how_they_ended(migrations: &[pb::Migration]) -> String {
    let is_done = |migration: &&pb::Migration| migration.state() == pb::MigrationState::Done;
    let done = migrations.iter().filter(is_done).count();
    match migrations.len() - done {
        0 => format!("all {done} moves are done"),
        back => format!("{done} moves are done, {back} have gone back"),
    }
}
