//! Three coordinators: leaders that step down while they are watched, and any one process that is
//! killed at any moment.

use crate::harness::{Cluster, Seed, Shape, look_again, rounds, soon};
use crate::workload::Workload;
use client::{Router, RouterOptions};
use proto::admin::v1 as pb;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::types::v1::TopologyVersion;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;

async fn of_three() -> Cluster {
    // Long leases: a busy machine is not to fence whom nobody has killed.
    let profile = "standard";
    Cluster::start_as(Shape { coordinators: 3, profile, ..Shape::default() }).await
}

/// The nodes of a tablet's replicas now, and one that has none.
async fn places(cluster: &Cluster, tablet: &pb::Tablet) -> (Vec<String>, String) {
    let id = migrations::id::TabletId::from_u64(tablet.id).expect("an id");
    let now = cluster.admin().tablet(id, false).await.expect("the tablet");
    let has: Vec<String> = now.replicas.into_iter().map(|replica| replica.node).collect();
    let free = (1..=4).map(|number| format!("n{number}")).find(|node| !has.contains(node));
    (has, free.expect("one is free"))
}

/// A version, as what it is ordered by.
fn order(version: Option<TopologyVersion>) -> (u32, u64) {
    let version = version.expect("each message bears one");
    (version.era, version.counter)
}

/// What one watcher knows: the newest record of each tablet.
#[derive(Debug, Default)]
struct Seen {
    after: Option<TopologyVersion>,
    tablets: BTreeMap<u64, (u32, u64)>,
    /// How often its watch ended and was opened again.
    resumed: u64,
    snapshots: u64,
}

impl Seen {
    /// Takes a message. What it bears is newer than what was there: nothing comes twice.
    fn take(&mut self, message: pb::WatchTopologyResponse) {
        if message.snapshot {
            self.snapshots += 1;
            self.tablets.clear();
        }
        for record in &message.tablets {
            let version = order(record.version);
            let before = self.tablets.insert(record.tablet, version);
            assert!(before < Some(version), "{record:?} came again, or an older one: {before:?}");
        }
        for gone in &message.gone {
            self.tablets.remove(gone);
        }
        if message.last {
            self.after = message.version;
        }
    }
}

/// Watches from one coordinator to the next, each time from where the last one ended, until it
/// has come to the version that it is told.
async fn follow(
    mut at: usize,
    channels: Arc<Vec<Channel>>,
    goal: watch::Receiver<(u32, u64)>,
) -> Seen {
    let mut seen = Seen::default();
    loop {
        let mut topology = TopologyServiceClient::new(channels[at % channels.len()].clone());
        let request = pb::WatchTopologyRequest { after: seen.after };
        if let Ok(opened) = topology.watch_topology(request).await {
            let mut messages = opened.into_inner();
            while let Ok(Some(message)) = messages.message().await {
                seen.take(message);
                if seen.after.is_some_and(|after| order(Some(after)) >= *goal.borrow()) {
                    return seen;
                }
            }
        }
        seen.resumed += 1;
        at += 1;
        look_again().await;
    }
}

/// F3: the leader steps down under fifty open watches, again and again (`PALISADE_ROUNDS`). No
/// coordinator panics; each watch goes on where it ended, without a gap and without a repeat.
#[tokio::test(flavor = "multi_thread")]
async fn f3_watches_outlive_leaders_without_a_gap_or_a_repeat() {
    let mut seed = Seed::draw("step-downs");
    let mut cluster = of_three().await;
    let tablets = cluster.create_table("orders", 4).await;
    let names = cluster.coordinators();
    let channels = names.iter().map(|name| cluster.admin_channel(name)).collect();
    let (channels, goal) = (Arc::new(channels), watch::Sender::new((u32::MAX, u64::MAX)));
    let mut watchers = JoinSet::new();
    for watcher in 0..50 {
        watchers.spawn(follow(watcher, Arc::clone(&channels), goal.subscribe()));
    }
    let mut killed = 0;
    for round in 0..rounds(5) {
        let tablet = seed.pick(&tablets).clone();
        let (has, free) = places(&cluster, &tablet).await;
        let id = cluster.migrate(&tablet, &has[0], &free).await;
        let leader = cluster.leader(&names).await;
        // Each second time it is gone for good, so that its watches end; else it sleeps, and
        // learns from the others that it leads no longer.
        if round % 2 == 0 {
            cluster.kill(&leader);
            killed += 1;
        } else {
            cluster.pause(&leader);
        }
        let others: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
        assert!(others.contains(&cluster.leader(&others).await));
        match round % 2 {
            0 => cluster.restart(&leader),
            _ => cluster.resume(&leader),
        }
        let ended = cluster.ended(&id).await;
        assert!(ended.state() != pb::MigrationState::Running, "{ended:#?}");
    }
    let last = cluster.create_table("last", 1).await;
    goal.send_replace(order(last[0].version));
    let truth: BTreeMap<u64, (u32, u64)> = cluster
        .admin()
        .list_tablets("")
        .await
        .expect("the tablets")
        .into_iter()
        .map(|tablet| (tablet.id, order(tablet.version)))
        .collect();
    let mut resumed = 0;
    while let Some(seen) = soon("all watchers", watchers.join_next()).await {
        let seen = seen.expect("nothing came twice");
        assert_eq!(seen.tablets, truth, "a watcher has missed something");
        assert_eq!(seen.snapshots, 1, "it went on where it was");
        resumed += seen.resumed;
    }
    assert!(resumed >= killed, "no watch was ended, so that nothing is shown");
    for name in &names {
        assert!(!cluster.logged(name).contains("panicked"), "{name}");
    }
}

/// Any one process is killed at a random moment under load, and started again. The cluster goes
/// on: no operation of ten seconds fails, and no acknowledged write is missing.
#[tokio::test(flavor = "multi_thread")]
async fn any_one_process_may_be_killed_at_any_moment() {
    let mut seed = Seed::draw("kill -9 of any process");
    let mut cluster = of_three().await;
    let tablets = cluster.create_table("orders", 3).await;
    let deadline = Duration::from_secs(10);
    let options = RouterOptions { deadline, ..RouterOptions::default() };
    let router = Router::connect(cluster.admin(), options);
    let writing = Workload::start(&router, "orders", 4, 60);
    soon("writes", writing.proceed(100)).await;
    let mut all = cluster.coordinators();
    all.extend((1..=4).map(|number| format!("n{number}")));
    for round in 0..rounds(6) {
        let tablet = seed.pick(&tablets).clone();
        let (has, free) = places(&cluster, &tablet).await;
        let from = seed.pick(&has).clone();
        let id = cluster.migrate(&tablet, &from, &free).await;
        // Some writes later, wherever the move is by then.
        soon("writes", writing.proceed(seed.below(60))).await;
        let victim = seed.pick(&all).clone();
        cluster.kill(&victim);
        soon("writes while one is dead", writing.proceed(seed.below(60))).await;
        cluster.restart(&victim);
        let ended = cluster.ended(&id).await;
        eprintln!("round {round}: {victim} was killed: {:?} {}", ended.state(), ended.reason);
        cluster.admitted(4).await;
    }
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}
