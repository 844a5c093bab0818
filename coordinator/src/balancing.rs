//! The loop around the balancer: plans by the newest state, proposes, looks again. It decides
//! nothing, and keeps nothing: a new leader begins with the next plan.

use crate::driving::fresh_migration;
use crate::group0::Group0;
use crate::limits::{BALANCE_AGAIN, BALANCE_INTERVAL, BALANCE_MOVES};
use crate::machine::Machine;
use crate::now::wall_millis;
use crate::observed::Observed;
use crate::proposer::Proposer;
use migrations::balancer::{self, Limits, Move, Plan};
use migrations::command::{Command, Start};
use migrations::topology::Topology;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What the balancer would begin now.
pub(crate) fn plan(topology: &Topology, observed: &Observed) -> Plan {
    let limits =
        Limits { moves: BALANCE_MOVES, per_node: topology.state().settings.streams_per_node };
    let (except, rooms) = (observed.with_disk_trouble(), observed.rooms());
    balancer::plan_except(topology, limits, wall_millis(), &except, &rooms)
}

/// What it would begin in the end, were there no limits at a time.
pub(crate) fn whole_plan(topology: &Topology, observed: &Observed) -> Plan {
    let (except, rooms) = (observed.with_disk_trouble(), observed.rooms());
    balancer::plan_except(topology, Limits::NONE, wall_millis(), &except, &rooms)
}

/// Balances while this coordinator leads, until `stop`.
pub(crate) async fn run(
    group0: Group0<Machine>,
    proposer: Proposer,
    observed: Observed,
    stop: CancellationToken,
) {
    let balancing = async {
        let mut leadership = group0.leadership();
        loop {
            let Ok(leads) = leadership.wait_for(Option::is_some).await.map(|leads| *leads) else {
                return;
            };
            tokio::select! {
                _ = leadership.wait_for(|now| *now != leads) => {}
                () = lead(&group0, &proposer, &observed) => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = balancing => {}
    }
}

/// Balances as long as one leadership lasts: it is dropped with it.
async fn lead(group0: &Group0<Machine>, proposer: &Proposer, observed: &Observed) {
    let mut applied = group0.applied();
    loop {
        let began = Instant::now();
        let (moves, emptied) = group0.read(|machine| {
            let topology = &machine.topology;
            observed.forget_gone(topology);
            (plan(topology, observed).moves, balancer::emptied(topology))
        });
        let took = began.elapsed();
        let commands = moves.into_iter().map(command);
        let forgotten = emptied.into_iter().map(|node| Command::Forget { node });
        let begun = propose(proposer, commands.chain(forgotten).collect()).await;
        // However large the cluster, planning takes a tenth of a core at the most.
        sleep_until(began + BALANCE_AGAIN.max(10 * took)).await;
        if begun == 0 {
            // Room comes with a change, if any; a switch that has expired comes with time alone.
            tokio::select! {
                () = tokio::time::sleep(BALANCE_INTERVAL) => {}
                _ = applied.changed() => {}
            }
        }
    }
}

/// Proposes all of them at once, so that they go into one entry; how many have begun.
async fn propose(proposer: &Proposer, commands: Vec<Command>) -> usize {
    let mut proposals = JoinSet::new();
    for command in commands {
        let proposer = proposer.clone();
        proposals.spawn(async move { proposer.submit(command).await });
    }
    let mut begun = 0;
    while let Some(proposed) = proposals.join_next().await {
        match proposed {
            Ok(Ok(committed)) => match committed.outcome {
                Ok(_) => begun += 1,
                Err(rejected) => tracing::debug!(%rejected, "a move of the balancer was refused"),
            },
            Ok(Err(error)) => tracing::debug!(%error, "a move of the balancer came to nothing"),
            Err(error) => tracing::warn!(%error, "a move of the balancer was not proposed"),
        }
    }
    begun
}

fn command(planned: Move) -> Command {
    let start = Start {
        migration: fresh_migration(),
        tablet: planned.tablet,
        kind: planned.kind,
        from: Some(planned.from),
        to: Some(planned.to),
        session: None,
        proposed_promise: None,
        note: planned.why.to_string(),
    };
    Command::Balance { start: Box::new(start), now_ms: wall_millis() }
}
