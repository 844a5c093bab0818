//! All coordinators and all agents are started again, one after the other, under load: nobody sees
//! an error. All of them show certificates.

use crate::harness::load::{Load, share};
use crate::harness::{Cluster, Shape, look_again, soon};
use crate::workload::Workload;
use client::{Router, RouterOptions};
use proto::admin::v1 as pb;
use rustix::process::Signal;
use std::time::Duration;

const AGENTS: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Each coordinator is told to stop and started again, whoever leads last of all, then each agent,
/// which comes back under another address, while clients change and read, rows are written and
/// tablets move. No operation of ten seconds fails, and no write is lost. How long the slowest took
/// is said, not judged.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_all_parts_is_seen_by_nobody() {
    let deadline = Duration::from_secs(10);
    let profile = "standard";
    let shape = Shape { coordinators: 3, profile, has_tls: true, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    cluster.create_table("orders", 3).await;
    let options = RouterOptions { deadline, ..RouterOptions::default() };
    let router = Router::connect(cluster.admin(), options);
    let rows = Workload::start(&router, "orders", 4, 20);
    let load = Load::start(&cluster, 10, deadline);
    soon("the load", load.proceed(200)).await;
    let mut names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    names.sort_by_key(|name| *name == leader);
    names.extend(AGENTS.map(str::to_owned));
    for (round, name) in names.iter().enumerate() {
        let before = cluster.agent(name).port(port(name));
        let id = begin_a_move(&cluster, round).await;
        cluster.agent(name).signal(Signal::TERM);
        assert!(cluster.ends(name).await, "{name} ends in order");
        cluster.restart(name);
        soon("the load", load.proceed(200)).await;
        soon("rows", rows.proceed(50)).await;
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{name}: {ended:#?}");
        // The next one goes once this one is back.
        soon("three of one mind", whole(&cluster)).await;
        cluster.everybody().await;
        let is_elsewhere = cluster.agent(name).port(port(name)) != before;
        assert_eq!(is_elsewhere, name.starts_with('n'), "only agents come back elsewhere");
    }
    let took = load.stop().await.expect("nobody sees an error");
    let (p999, longest) = (share(&took, 0.999), share(&took, 1.0));
    println!("{} operations: p99.9 {p999:?}, longest {longest:?}", took.len());
    let history = rows.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

fn port(name: &str) -> &'static str {
    if name.starts_with('c') { "agents" } else { "data" }
}

/// Has one of the tablets move to the node that has nothing of it.
async fn begin_a_move(cluster: &Cluster, round: usize) -> String {
    let tablets = cluster.admin().list_tablets("orders").await.expect("the tablets");
    let tablet = &tablets[round % tablets.len()];
    let has: Vec<&str> = tablet.replicas.iter().map(|one| one.node.as_str()).collect();
    let free = AGENTS.into_iter().find(|node| !has.contains(node));
    cluster.migrate(tablet, has[0], free.expect("one is free")).await
}

/// Waits until all three have what is committed.
async fn whole(cluster: &Cluster) {
    loop {
        let status = cluster.admin().status().await.expect("a status");
        let alive = |one: &&pb::Coordinator| one.silent_ms.is_some_and(|silent| silent < 1_000);
        let has = |one: &&pb::Coordinator| one.lag.is_some_and(|lag| lag < 100);
        if status.coordinators.iter().filter(alive).filter(has).count() == 3 {
            return;
        }
        look_again().await;
    }
}
