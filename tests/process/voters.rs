//! Coordinators that go: one that is told to stop, and as many as five can lose.

use crate::harness::{Cluster, Shape, look_again, soon};
use client::AdminClient;
use proto::admin::v1 as pb;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use rustix::process::Signal;

async fn of(coordinators: u8) -> Cluster {
    let profile = "standard";
    Cluster::start_as(Shape { coordinators, profile, ..Shape::default() }).await
}

/// A leader that is told to stop has another one lead before anything of it ends; its watches
/// say why they end; and no change fails meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut cluster = of(3).await;
    cluster.create_table("orders", 1).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let mut topology = TopologyServiceClient::new(cluster.admin_channel(&leader));
    let opened = topology.watch_topology(pb::WatchTopologyRequest { after: None }).await;
    let mut messages = opened.expect("a watch").into_inner();
    messages.message().await.expect("its snapshot");
    cluster.agent(&leader).signal(Signal::TERM);
    let ended = async {
        loop {
            match messages.message().await {
                Ok(Some(_)) => {}
                ended => return ended,
            }
        }
    };
    let ended = soon("the watch to end", ended).await.expect_err("it says why");
    let refusal = Refusal::from_status(&ended).expect("a reason");
    assert_eq!(refusal.reason, Reason::ShuttingDown, "{ended}");
    assert!(cluster.logged(&leader).contains("leadership was handed over"), "it ended first");
    cluster.create_table("after", 1).await;
    cluster.kill(&leader);
    cluster.restart(&leader);
    let all = AdminClient::connect(cluster.admin_addresses()).list_tables().await;
    assert_eq!(all.expect("the tables").len(), 2);
}

/// Five coordinators go on with three; the other two catch up when they are back.
#[tokio::test(flavor = "multi_thread")]
async fn five_voters_bear_the_loss_of_two() {
    let mut cluster = of(5).await;
    let tablets = cluster.create_table("orders", 2).await;
    let names = cluster.coordinators();
    let first = cluster.leader(&names).await;
    cluster.kill(&first);
    let four: Vec<String> = names.iter().filter(|name| **name != first).cloned().collect();
    let second = cluster.leader(&four).await;
    cluster.kill(&second);
    let has: Vec<String> = tablets[0].replicas.iter().map(|one| one.node.clone()).collect();
    let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n)).expect("one is free");
    let moved = cluster.moved(&tablets[0], &has[0], &free).await;
    assert_eq!(moved.state(), pb::MigrationState::Done, "{moved:#?}");
    cluster.restart(&first);
    cluster.restart(&second);
    let caught_up = async {
        loop {
            let status = cluster.admin().status().await.expect("a status");
            let behind = |one: &&pb::Coordinator| one.matched_index < status.committed_index;
            if !status.coordinators.iter().any(|one| behind(&one)) {
                return status;
            }
            look_again().await;
        }
    };
    let status = soon("five equal logs", caught_up).await;
    assert_eq!(status.coordinators.len(), 5);
}
