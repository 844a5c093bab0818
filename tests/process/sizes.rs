//! Sets of replicas that shrink: each write was acknowledged by a bare majority, and the replicas
//! that were left out are never repaired.

use crate::harness::Cluster;
use crate::harness::steps::Switch;
use client::Router;
use proto::admin::v1 as pb;

/// Keys that are written while the same replicas are left out.
const KEYS: u32 = 12;

fn key(left_out: &[&str], number: u32) -> Vec<u8> {
    format!("{}-{number}", left_out.join("+")).into_bytes()
}

/// Writes some keys while these nodes take no write: what is acknowledged is on the others alone.
async fn write_without(cluster: &Cluster, router: &Router, tablet: &pb::Tablet, out: &[&str]) {
    for node in out {
        cluster.switch(node, tablet.id, Switch::SwallowWrites, true).await;
    }
    for number in 0..KEYS {
        router.put("orders", &key(out, number), b"value").await.expect("a majority takes it");
    }
    for node in out {
        cluster.switch(node, tablet.id, Switch::SwallowWrites, false).await;
    }
}

/// How many of the keys are not found.
async fn missing(router: &Router, sets: &[Vec<&str>]) -> usize {
    let mut missing = 0;
    for out in sets {
        for number in 0..KEYS {
            let read = router.get("orders", &key(out, number)).await.expect("a read");
            missing += usize::from(read.is_none());
        }
    }
    missing
}

/// Shrinks a tablet's replicas, one after the other. Before each step every minority was left out
/// of some writes. How many of the keys are missing at the end.
async fn shrink(from: u8, to: u8, skips_streams: bool) -> usize {
    let cluster = Cluster::start(from).await;
    let tablet = cluster.create_table_of("orders", 1, u32::from(from)).await.remove(0);
    let router = cluster.router();
    let mut nodes: Vec<String> = (1..=from).map(|number| format!("n{number}")).collect();
    for node in &nodes {
        cluster.switch(node, tablet.id, Switch::SkipPulls, skips_streams).await;
    }
    let all = nodes.clone();
    let mut written = Vec::new();
    while nodes.len() > usize::from(to) {
        let minority = (nodes.len() - 1) / 2;
        for first in 0..nodes.len() {
            let out: Vec<&str> = (0..minority)
                .map(|next| {
                    let node = &nodes[(first + next) % nodes.len()];
                    all.iter().find(|name| *name == node).expect("one of all").as_str()
                })
                .collect();
            write_without(&cluster, &router, &tablet, &out).await;
            written.push(out);
        }
        let leaving = nodes.pop().expect("more than there will be");
        let removed = cluster.remove_replica(&tablet, &leaving).await;
        assert_eq!(removed.state(), pb::MigrationState::Done, "{removed:#?}");
    }
    missing(&router, &written).await
}

#[tokio::test(flavor = "multi_thread")]
async fn g6_three_replicas_shrink_to_one_and_nothing_is_lost() {
    assert_eq!(shrink(3, 1, false).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g6_five_replicas_shrink_to_three_and_nothing_is_lost() {
    assert_eq!(shrink(5, 3, false).await, 0);
}

/// The control of G6: a removal that streams nothing loses what the replicas that stay were left
/// out of.
#[tokio::test(flavor = "multi_thread")]
async fn g6_control_a_removal_without_streams_loses_writes() {
    assert!(shrink(3, 1, true).await > 0);
}
