//! How long one round of a barrier takes, on real processes: `cargo bench --bench barrier`.
//!
//! Three coordinators and four agents; an empty tablet of three replicas moves to the free node and
//! on, so that four agents are asked in every round. A round is what lies between two stages as
//! one who watches sees them: the record goes out, agents make it durable, drain what is older and
//! acknowledge; the stage is left by one proposal, which is synced on a majority. Beside it, in the
//! same run:
//!
//! - a proposal that changes nothing: a move to a node that has the tablet, which is committed,
//!   synced, and refused only when it is applied
//! - a call that does nothing but read
#![allow(clippy::print_stdout)]

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;

use client::MigrationWatch;
use harness::{Cluster, Shape, soon};
use migrations::stage::BarrierWhen;
use proto::admin::v1 as pb;
use proto::types::v1::Stage;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Moves; each has five barriers.
const MOVES: usize = 60;
/// Proposals, and calls, beside each move.
const BESIDE: usize = 5;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// All that was measured.
#[derive(Default)]
struct Measured {
    moves: Vec<Duration>,
    rounds: Vec<Duration>,
    by_stage: BTreeMap<Stage, Vec<Duration>>,
    works: Vec<Duration>,
    proposals: Vec<Duration>,
    calls: Vec<Duration>,
}

fn main() -> Result<(), Failed> {
    let measured = tokio::runtime::Runtime::new()?.block_on(measure())?;
    println!("{:<40} {:>9} {:>9}  count", "milliseconds", "median", "p99");
    let medians =
        [&measured.rounds, &measured.proposals, &measured.calls].map(|times| median(times));
    let [round, proposal, call] = medians;
    println!("a round is {:.2} times a proposal and a call", round / (proposal + call));
    line("one round of a barrier", measured.rounds);
    for (stage, rounds) in measured.by_stage {
        line(&format!("  {}", stage.as_str_name().to_lowercase()), rounds);
    }
    line("a stage of work instead, with no rows", measured.works);
    line("a proposal that changes nothing", measured.proposals);
    line("a call that only reads", measured.calls);
    line("a whole move of an empty tablet", measured.moves);
    Ok(())
}

/// In milliseconds.
fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!("{what:<40} {:>9.2} {:>9.2}  {}", at(50), at(99), times.len());
}

async fn measure() -> Result<Measured, Failed> {
    let shape = Shape { coordinators: 3, profile: "standard", ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let admin = cluster.admin();
    let tablet = cluster.create_table("t", 1).await.remove(0);
    let mut holders: Vec<String> = tablet.replicas.iter().map(|r| r.node.clone()).collect();
    let nodes = admin.list_nodes().await?.into_iter().map(|node| node.name);
    let mut free = nodes.into_iter().find(|name| !holders.contains(name)).ok_or("no free node")?;
    let mut watch = admin.watch_migrations("", None);
    let mut measured = Measured::default();
    for _ in 0..MOVES {
        let began = Instant::now();
        let id = cluster.migrate(&tablet, &holders[0], &free).await;
        soon("the move", follow(&mut watch, &id, &mut measured)).await?;
        measured.moves.push(began.elapsed());
        free = std::mem::replace(&mut holders[0], free);
        holders.rotate_left(1);
        for _ in 0..BESIDE {
            let began = Instant::now();
            let request = pb::MigrateRequest {
                tablet: tablet.id,
                from: holders[0].clone(),
                to: holders[1].clone(),
                ..Default::default()
            };
            admin.migrate(request).await.err().ok_or("it should have been refused")?;
            measured.proposals.push(began.elapsed());
            let began = Instant::now();
            admin.list_nodes().await?;
            measured.calls.push(began.elapsed());
        }
    }
    Ok(measured)
}

/// Watches a migration to its end, and takes the times of its stages.
async fn follow(
    watch: &mut MigrationWatch,
    id: &str,
    measured: &mut Measured,
) -> Result<(), Failed> {
    let mut seen: Option<(Stage, Instant)> = None;
    let mut took = Vec::new();
    loop {
        for migration in watch.next().await?.into_iter().filter(|migration| migration.id == id) {
            let (now, has_ended) =
                (Instant::now(), migration.state() != pb::MigrationState::Running);
            if let Some((stage, since)) = seen {
                if stage == migration.stage() && !has_ended {
                    continue;
                }
                took.push((stage, now - since));
            }
            seen = Some((migration.stage(), now));
            if has_ended {
                if migration.state() != pb::MigrationState::Done {
                    return Err(format!("{migration:#?}").into());
                }
                return sort(took, measured);
            }
        }
    }
}

/// Tells the stages that have barriers from the others.
fn sort(took: Vec<(Stage, Duration)>, measured: &mut Measured) -> Result<(), Failed> {
    for (stage, time) in took {
        match proto::convert::stage("stage", stage.into())?.barrier() {
            BarrierWhen::Never => measured.works.push(time),
            _ => {
                measured.rounds.push(time);
                measured.by_stage.entry(stage).or_default().push(time);
            }
        }
    }
    Ok(())
}
