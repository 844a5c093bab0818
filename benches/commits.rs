//! How many changes group0 commits in a second, beside an etcd on the same machine in the same
//! run: `cargo bench --bench commits`. Needs Debian's `etcd-server`.
//!
//! Three coordinators and three members of etcd, each in processes of its own on loopback, all of
//! them with their logs on the same disk and synced before an answer. They take turns, so that a
//! noisy machine disturbs both. A writer sends its next change when the one before is answered.
//!
//! - ours: a move to a node that holds the tablet: committed, synced on a majority, remembered
//!   under its request id, and refused only when it is applied
//! - etcd: a put of a small value under one of 10,000 keys
#![allow(clippy::print_stdout)]

mod etcd;
#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;

use client::AdminClient;
use etcd::Etcd;
use harness::{Cluster, Shape};
use proto::admin::v1 as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const WRITERS: [usize; 4] = [1, 16, 64, 256];
/// Turns of each, at each number of writers.
const TURNS: usize = 5;
/// How long a turn lasts.
const TURN: Duration = Duration::from_secs(3);
/// Connections that the writers share.
const CONNECTIONS: usize = 8;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Where changes go.
#[derive(Clone)]
enum Target {
    Ours { admin: AdminClient, request: pb::MigrateRequest },
    Etcd(Channel),
}

impl Target {
    async fn change(&self, number: usize) -> Result<(), Failed> {
        match self {
            Target::Ours { admin, request } => match admin.migrate(request.clone()).await {
                Err(client::ClientError::Refused(_)) => Ok(()),
                Err(error) => Err(error.into()),
                Ok(_) => Err("it should have been refused".into()),
            },
            Target::Etcd(channel) => {
                let key = format!("key-{:06}", number % 10_000).into_bytes();
                Ok(etcd::put(channel.clone(), key, b"a small value of 32 bytes or so".to_vec())
                    .await?)
            }
        }
    }
}

/// What a turn has shown.
#[derive(Default, Clone)]
struct Turn {
    per_second: f64,
    latencies: Vec<Duration>,
}

fn main() -> Result<(), Failed> {
    if !Etcd::is_installed() {
        return Err("etcd is not installed: apt-get install etcd-server".into());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let etcd = Etcd::start(directory.path())?;
    let leader = etcd.leader().await?;
    let cluster = Cluster::start_as(Shape {
        coordinators: 3,
        agents: 3,
        profile: "standard",
        ..Shape::default()
    })
    .await;
    let tablet = cluster.create_table("t", 1).await.remove(0);
    let request = pb::MigrateRequest {
        tablet: tablet.id,
        from: tablet.replicas[0].node.clone(),
        to: tablet.replicas[1].node.clone(),
        ..Default::default()
    };
    let ours =
        (0..CONNECTIONS).map(|_| Target::Ours { admin: cluster.admin(), request: request.clone() });
    let ours: Vec<Target> = ours.collect();
    let mut theirs = vec![Target::Etcd(leader)];
    while theirs.len() < CONNECTIONS {
        theirs.push(Target::Etcd(etcd.leader().await?));
    }
    println!(
        "{:>7} {:>24} {:>24} {:>7}   changes/s (p50, p99 in ms)",
        "writers", "ours", "etcd", "ratio"
    );
    for writers in WRITERS {
        let (mut our_turns, mut their_turns) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            our_turns.push(turn(&ours, writers).await?);
            their_turns.push(turn(&theirs, writers).await?);
        }
        let ratio = median(&our_turns).0 / median(&their_turns).0;
        println!("{writers:>7} {:>24} {:>24} {ratio:>7.2}", shown(&our_turns), shown(&their_turns));
    }
    Ok(())
}

/// All writers for one turn.
async fn turn(targets: &[Target], writers: usize) -> Result<Turn, Failed> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for writer in 0..writers {
        let (target, is_over) = (targets[writer % targets.len()].clone(), Arc::clone(&is_over));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut number = writer;
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                target.change(number).await?;
                latencies.push(began.elapsed());
                number += writers;
            }
            Ok::<_, Failed>(latencies)
        });
    }
    tokio::time::sleep(TURN).await;
    is_over.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    while let Some(written) = tasks.join_next().await {
        latencies.extend(written??);
    }
    latencies.sort_unstable();
    let per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
    Ok(Turn { per_second, latencies })
}

/// Of several turns the median rate, and the latencies of all.
fn median(turns: &[Turn]) -> (f64, Vec<Duration>) {
    let mut rates: Vec<f64> = turns.iter().map(|turn| turn.per_second).collect();
    rates.sort_unstable_by(f64::total_cmp);
    let mut latencies: Vec<_> = turns.iter().flat_map(|turn| turn.latencies.clone()).collect();
    latencies.sort_unstable();
    (rates[rates.len() / 2], latencies)
}

fn shown(turns: &[Turn]) -> String {
    let (rate, latencies) = median(turns);
    let at = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    format!("{rate:.0} ({:.2}, {:.2})", at(50), at(99))
}
