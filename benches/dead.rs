//! What a dead agent costs moves: `cargo bench --bench dead [-- ROUNDS]`.
//!
//! Three coordinators and six agents, processes of their own on loopback, the usual durations. In
//! each round a tablet that one agent has nothing to do with moves to and fro; then that agent is
//! killed, and the same tablet goes on moving while a second one, of which the dead agent has a
//! replica that stays, is asked to move: it has to wait until the dead one's lease has surely run
//! out. Beside the medians of the first stands their ratio; beside the waits of the second what the
//! protocol allows.
#![allow(clippy::print_stdout)]

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;

use harness::{Cluster, Shape};
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use std::time::{Duration, Instant};

/// Moves of the tablet that doesn't need the agent, with it and without it, in each round.
const MOVES: usize = 20;
/// What is added to a lease and its drift.
const BEYOND: Duration = Duration::from_secs(1);

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    tokio::runtime::Runtime::new()?.block_on(measure(asked.unwrap_or(5)))
}

async fn measure(rounds: usize) -> Result<(), Failed> {
    let shape = Shape { coordinators: 3, agents: 6, profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablets = cluster.create_table("t", 12).await;
    let mortal = tablets[0].replicas[1].node.clone();
    let has = |tablet: &pb::Tablet| tablet.replicas.iter().any(|one| one.node == mortal);
    let beside = tablets.iter().find(|tablet| !has(tablet)).ok_or("each tablet is on it")?;
    let (mut alive, mut dead, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        for _ in 0..MOVES {
            alive.push(moved(&cluster, beside.id, &mortal).await?);
        }
        cluster.kill(&mortal);
        let needs_it = moved(&cluster, tablets[0].id, &mortal);
        let do_not = async {
            let mut times = Vec::new();
            for _ in 0..MOVES {
                times.push(moved(&cluster, beside.id, &mortal).await?);
            }
            Ok::<_, Failed>(times)
        };
        let (waited, times) = tokio::join!(needs_it, do_not);
        waits.push(waited?);
        dead.extend(times?);
        cluster.restart(&mortal);
        cluster.everybody().await;
    }
    let terms = cluster.admin().settings().await?.lease.ok_or("no terms")?;
    let lease = Duration::from_millis(u64::from(terms.length_ms));
    let most = lease + lease * terms.drift_per_mille / 1_000 + BEYOND;
    let [with, without] = [median(&mut alive), median(&mut dead)];
    println!("a move that doesn't need the agent, median: {with:.1} ms while it is alive");
    println!("  {without:.1} ms while it is dead: {:.2} times as long", without / with);
    let (median, longest) = (median(&mut waits), waits.iter().max().copied().unwrap_or_default());
    println!("a move that needs it: median {median:.0} ms, longest {longest:.2?}");
    println!("  at the most {most:.2?}: its lease, the drift, and a second");
    Ok(())
}

/// Moves a tablet's first replica that is not on this node to another node that has none; how long
/// that takes.
async fn moved(cluster: &Cluster, tablet: u64, not_on: &str) -> Result<Duration, Failed> {
    let id = TabletId::from_u64(tablet).ok_or("no tablet")?;
    let now = cluster.admin().tablet(id, false).await?;
    let nodes: Vec<String> = now.replicas.into_iter().map(|replica| replica.node).collect();
    let from = nodes.iter().find(|node| *node != not_on).ok_or("it is on it alone")?.clone();
    let is_free = |node: &String| !nodes.contains(node) && node != not_on;
    let to = (1..=6).map(|n| format!("n{n}")).find(is_free).ok_or("no node is free")?;
    let request = pb::MigrateRequest { tablet, from, to, ..Default::default() };
    let since = Instant::now();
    let begun = cluster.admin().migrate(request).await?.migration.ok_or("no migration")?;
    let ended = cluster.ended(&begun.id).await;
    if ended.state() != pb::MigrationState::Done {
        return Err(format!("it has not ended as done: {ended:?}").into());
    }
    Ok(since.elapsed())
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
