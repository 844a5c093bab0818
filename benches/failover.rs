//! How long moves stand still when the leader of group0 is killed:
//! `cargo bench --bench failover [-- KILLS]`.
//!
//! Three coordinators with the durations of real clusters (heartbeat 200 ms, election 0.8 to
//! 1.6 s), four agents; a thousand empty tablets move at once. The leader is ended by SIGKILL in
//! the middle. Measured is the time until the first of the moves that were in flight has changed
//! its stage, and until half of them have, as one sees it who watches through the client library.
#![allow(clippy::print_stdout)]

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;

use harness::{Cluster, Shape, soon};
use proto::admin::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Tablets that move at once.
const TABLETS: u32 = 1_000;
/// The leader is killed once so many moves have ended.
const ENDED_BEFORE: usize = 100;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let kills = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    tokio::runtime::Runtime::new()?.block_on(measure(kills.unwrap_or(20)))
}

async fn measure(kills: usize) -> Result<(), Failed> {
    let shape = Shape { coordinators: 3, profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablets = cluster.create_table_of("t", TABLETS, 1).await;
    let (mut firsts, mut halves) = (Vec::new(), Vec::new());
    for round in 1..=kills {
        let (first, half) = kill(&mut cluster, &tablets, round).await?;
        println!(
            "kill {round:>2}: first {:.2} s, half {:.2} s",
            first.as_secs_f64(),
            half.as_secs_f64()
        );
        firsts.push(first);
        halves.push(half);
        soon("all moves to end", none_in_flight(&cluster)).await?;
    }
    line("until the first has changed its stage", firsts);
    line("until half of them have", halves);
    Ok(())
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64);
    let last = times.last().map_or(0.0, Duration::as_secs_f64);
    println!("{what:<40} median {median:.2} s, longest {last:.2} s, of {}", times.len());
}

/// Asks for a move of each tablet to the next node.
fn ask(
    cluster: &Cluster,
    tablets: &[pb::Tablet],
    round: usize,
) -> Result<JoinSet<Result<(), Failed>>, Failed> {
    let mut requests = JoinSet::new();
    for tablet in tablets {
        let first: usize = tablet.replicas[0].node.trim_start_matches('n').parse()?;
        let node = |round: usize| format!("n{}", (first - 1 + round) % 4 + 1);
        let (from, to) = (node(round - 1), node(round));
        let request = pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() };
        let admin = cluster.admin();
        requests.spawn(async move { Ok(admin.migrate(request).await.map(drop)?) });
    }
    Ok(requests)
}

/// Kills the leader in the middle of the moves, and watches until half of those that were in
/// flight have changed their stage.
async fn kill(
    cluster: &mut Cluster,
    tablets: &[pb::Tablet],
    round: usize,
) -> Result<(Duration, Duration), Failed> {
    let admin = cluster.admin();
    let mut watch = admin.watch_migrations("", None);
    let running = pb::MigrationState::Running as i32;
    let earlier: BTreeSet<String> = watch.next().await?.into_iter().map(|one| one.id).collect();
    let mut requests = ask(cluster, tablets, round)?;
    let mut ended = BTreeSet::new();
    while ended.len() < ENDED_BEFORE {
        let seen = watch.next().await?.into_iter();
        let new = seen.filter(|one| one.state != running && !earlier.contains(&one.id));
        ended.extend(new.map(|one| one.id));
    }
    let leader = cluster.leader(&cluster.coordinators()).await;
    let began = Instant::now();
    cluster.kill(&leader);
    // As it stands with those that are left: what was still on its way to us doesn't count.
    let mut left = admin.watch_migrations("", None);
    let mut stages = BTreeMap::new();
    for migration in left.next().await?.into_iter().filter(|one| one.state == running) {
        stages.insert(migration.id, migration.stage);
    }
    let (in_flight, mut changed, mut first) = (stages.len(), 0, None);
    if in_flight < 2 {
        return Err("no moves were in flight any more".into());
    }
    while changed * 2 < in_flight {
        for migration in left.next().await? {
            let stage = if migration.state == running { migration.stage } else { 0 };
            if stages.get(&migration.id).is_some_and(|before| *before != stage) {
                stages.remove(&migration.id);
                changed += 1;
                first.get_or_insert_with(|| began.elapsed());
            }
        }
    }
    let half = began.elapsed();
    cluster.restart(&leader);
    while let Some(answered) = requests.join_next().await {
        answered??;
    }
    Ok((first.ok_or("nothing has changed")?, half))
}

async fn none_in_flight(cluster: &Cluster) -> Result<(), Failed> {
    let admin = cluster.admin();
    while admin.status().await?.migration_count > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
