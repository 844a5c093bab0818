//! How many small tablets move in a second: `cargo bench --bench migrations [-- TABLETS]`.
//!
//! Three coordinators and four agents, processes of their own on loopback, on one disk. A table of
//! 10,000 empty tablets of one replica each; with the limits on streams lifted, all are asked to
//! move to the next node at once. Each passes all seven stages with five barriers. Beside the rate
//! stand the log's entries, barrier messages and syncs that a tablet costs: what is shared by many.
#![allow(clippy::print_stdout)]

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;
mod scrape;

use harness::{Cluster, Shape};
use proto::admin::v1 as pb;
use scrape::Samples;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Requests under way at a time.
const REQUESTS: usize = 512;
/// Connections that requests share.
const CONNECTIONS: usize = 4;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    tokio::runtime::Runtime::new()?.block_on(measure(asked.unwrap_or(10_000)))
}

/// What all servers have counted.
struct Counted {
    proposals: f64,
    entries: f64,
    messages: f64,
    records: f64,
    store_syncs: f64,
}

impl Counted {
    async fn now(cluster: &Cluster) -> Result<Counted, Failed> {
        let status = cluster.admin().status().await?;
        let mut counted = Counted {
            proposals: 0.0,
            entries: status.committed_index as f64,
            messages: 0.0,
            records: 0.0,
            store_syncs: 0.0,
        };
        for server in ["c1", "c2", "c3", "n1", "n2", "n3", "n4"] {
            let samples = Samples::of(&cluster.agent(server).port("metrics")).await?;
            counted.proposals += samples.sum("palisade_proposals_total");
            counted.messages += samples.sum("palisade_barrier_messages_total");
            counted.records += samples.sum("palisade_barrier_records_total");
            counted.store_syncs += samples.sum("palisade_store_sync_seconds_count");
        }
        Ok(counted)
    }
}

async fn measure(tablets: u32) -> Result<(), Failed> {
    let shape = Shape { coordinators: 3, profile: "standard", ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let admin = cluster.admin();
    let expected = admin.settings().await?;
    let lifted = proto::types::v1::Settings { streams_per_node: 1_000_000, ..expected };
    let set = pb::SetSettingsRequest {
        settings: Some(lifted),
        expected: Some(expected),
        ..Default::default()
    };
    admin.set_settings(set).await?;
    let moved = cluster.create_table_of("t", tablets, 1).await;
    for round in 1..=3 {
        let before = Counted::now(&cluster).await?;
        let began = Instant::now();
        let asked = ask(&cluster, &moved, round).await?;
        let asked_for = began.elapsed();
        drained(&cluster).await?;
        let took = began.elapsed();
        let after = Counted::now(&cluster).await?;
        verify(&cluster, &asked).await?;
        report(tablets, [asked_for, took], &before, &after);
    }
    Ok(())
}

/// Asks for a move of each tablet to the next node; where each has to be in the end.
async fn ask(
    cluster: &Cluster,
    tablets: &[pb::Tablet],
    round: usize,
) -> Result<BTreeMap<u64, String>, Failed> {
    let places = Arc::new(Semaphore::new(REQUESTS));
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| cluster.admin()).collect();
    let (mut asked, mut requests) = (BTreeMap::new(), JoinSet::new());
    for (number, tablet) in tablets.iter().enumerate() {
        let first: usize = tablet.replicas[0].node.trim_start_matches('n').parse()?;
        let node = |round: usize| format!("n{}", (first - 1 + round) % 4 + 1);
        let (from, to) = (node(round - 1), node(round));
        asked.insert(tablet.id, to.clone());
        let request = pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() };
        let client = clients[number % CONNECTIONS].clone();
        let place = Arc::clone(&places).acquire_owned().await?;
        requests.spawn(async move {
            let answered = client.migrate(request).await;
            drop(place);
            answered.map(drop)
        });
    }
    while let Some(answered) = requests.join_next().await {
        answered??;
    }
    Ok(asked)
}

/// Returns once no tablet is in transition.
async fn drained(cluster: &Cluster) -> Result<(), Failed> {
    let admin = cluster.admin();
    while admin.status().await?.migration_count > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn verify(cluster: &Cluster, asked: &BTreeMap<u64, String>) -> Result<(), Failed> {
    for tablet in cluster.admin().list_tablets("t").await? {
        let nodes: Vec<&String> = tablet.replicas.iter().map(|replica| &replica.node).collect();
        if nodes != [&asked[&tablet.id]] {
            let all = cluster.admin().list_migrations(false).await?.into_iter();
            let of_it: Vec<_> = all.filter(|one| one.tablet == tablet.id).collect();
            return Err(format!("{} is on {nodes:?}: {of_it:?}", tablet.name).into());
        }
    }
    Ok(())
}

fn report(tablets: u32, [asked_for, took]: [Duration; 2], before: &Counted, after: &Counted) {
    let count = f64::from(tablets);
    let per = |of: fn(&Counted) -> f64| (of(after) - of(before)) / count;
    println!(
        "{tablets} tablets in {:.1} s: {:.0} a second (all asked for after {:.1} s)",
        took.as_secs_f64(),
        count / took.as_secs_f64(),
        asked_for.as_secs_f64()
    );
    println!(
        "  of each tablet: commands {:.2}, entries {:.3}, barrier records {:.2}, messages {:.3}, \
         syncs of stores {:.3}",
        per(|counted| counted.proposals),
        per(|counted| counted.entries),
        per(|counted| counted.records),
        per(|counted| counted.messages),
        per(|counted| counted.store_syncs),
    );
}
