//! Routers whose clocks are apart.

use crate::harness::Cluster;
use crate::harness::steps::Switch;
use client::{Router, RouterOptions};

/// Within the bound on skew of the agents, in both directions; apart by more than it.
const OFFSET_MS: i64 = 400;

fn router(cluster: &Cluster, clock_offset_ms: i64) -> Router {
    Router::connect(cluster.admin(), RouterOptions { clock_offset_ms, ..Default::default() })
}

/// A router whose clock is ahead and one whose clock is behind write and delete the same keys in
/// turn, each after the other one was acknowledged. How many acknowledged writes were hidden by an
/// older one: a read right after them found something else.
async fn hidden(takes_old_timestamps: bool) -> usize {
    let cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    for node in ["n1", "n2", "n3"] {
        cluster.switch(node, tablet.id, Switch::TakeOldTimestamps, takes_old_timestamps).await;
    }
    let (fast, slow) = (router(&cluster, OFFSET_MS), router(&cluster, -OFFSET_MS));
    let reader = cluster.router();
    let mut hidden = 0;
    for round in 0..6u32 {
        let key = (round % 2).to_be_bytes();
        let value = round.to_be_bytes();
        fast.put("orders", &key, &value).await.expect("a put");
        slow.delete("orders", &key).await.expect("a delete");
        let read = reader.get("orders", &key).await.expect("a read");
        hidden += usize::from(read.is_some());
        fast.delete("orders", &key).await.expect("a delete");
        slow.put("orders", &key, &value).await.expect("a put");
        let read = reader.get("orders", &key).await.expect("a read").map(|found| found.value);
        hidden += usize::from(read.as_deref() != Some(&value[..]));
    }
    hidden
}

/// G7: no acknowledged write is hidden by an older one, whatever the clocks say.
#[tokio::test(flavor = "multi_thread")]
async fn g7_no_acknowledged_write_is_hidden_by_an_older_one() {
    assert_eq!(hidden(false).await, 0);
}

/// The control of G7: replicas that don't refuse old timestamps acknowledge what nobody will read.
#[tokio::test(flavor = "multi_thread")]
async fn g7_control_old_timestamps_taken_hide_acknowledged_writes() {
    assert!(hidden(true).await > 0);
}
