//! E5: "never answers", put into every wait of a coordinator, by the list that it gives itself. Each
//! ends within its bound, with its reason where somebody is told; what follows on it goes on.
//!
//! Not here: those of an agent (`waits.rs`).

use crate::harness::{Cluster, Server, Shape, look_again, soon};
use crate::waits::SLACK;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_client::TableServiceClient;
use proto::admin::v1::tablet_service_client::TabletServiceClient;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::faults::v1::wait_service_client::WaitServiceClient;
use proto::faults::v1::{ListWaitsRequest, SilenceWaitRequest};
use proto::raft::v1 as raft;
use proto::raft::v1::install_snapshot_request::Part;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use proto::reasons::Reason;
use proto::status::Refusal;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

/// Where a wait of a coordinator is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// While it leads two others.
    Leading,
    /// While another one leads it.
    Following,
    /// It can be long until it ends.
    Long,
    /// Before there is a cluster.
    Beginning,
    /// When it is told to stop.
    Ending,
}

fn story(wait: &str) -> Story {
    match wait {
        "peer" | "place" | "commit" | "confirm" | "hello" | "said" => Story::Leading,
        "announced" => Story::Following,
        "snapshot" | "ask" | "watch" | "drained" | "full_state" => Story::Long,
        "identify" => Story::Beginning,
        "under_way" | "hand_over" => Story::Ending,
        new => panic!("the wait {new} has no story here: give it one"),
    }
}

/// The waits of a coordinator that are tried in one story, with their bounds.
async fn waits_of(cluster: &Cluster, name: &str, wanted: Story) -> Vec<(String, Duration)> {
    let mut all = cluster.waits(name).await;
    all.retain(|(wait, _)| story(wait) == wanted);
    assert!(!all.is_empty());
    all
}

/// What brings a leader's wait about, and what a client is told of it in the end.
async fn provoke(cluster: &mut Cluster, leader: &str, wait: &str, number: usize) -> Option<Told> {
    match wait {
        "hello" => cluster.kill_and_restart("n1"),
        "place" | "commit" => {
            let mut tables = TableServiceClient::new(cluster.admin_channel(leader));
            let (name, request_id) =
                (format!("table{number}"), client::new_request_id().to_string());
            let request = pb::CreateTableRequest {
                name,
                request_id,
                replication_factor: 1,
                tablets: 1,
                ..Default::default()
            };
            return Some(tokio::spawn(async move { tables.create_table(request).await.err() }));
        }
        // Asked for all the time; what is said, whenever somebody is asked.
        "confirm" | "peer" => {}
        "said" => {
            let tablet = cluster.create_table_of("moves", 1, 1).await.remove(0);
            let from = tablet.replicas[0].node.clone();
            let to = if from == "n1" { "n2" } else { "n1" };
            cluster.migrate(&tablet, &from, to).await;
        }
        other => panic!("nothing brings {other} about"),
    }
    None
}

/// What comes of a change, told later.
type Told = tokio::task::JoinHandle<Option<tonic::Status>>;

#[tokio::test(flavor = "multi_thread")]
async fn e5_the_waits_of_a_leader_and_of_who_follows_end_within_their_bounds() {
    let shape = Shape { coordinators: 3, agents: 2, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    for (number, (wait, bound)) in
        waits_of(&cluster, &leader, Story::Leading).await.into_iter().enumerate()
    {
        let leader = cluster.leader(&names).await;
        cluster.silence(&leader, &wait, true).await;
        let told = provoke(&mut cluster, &leader, &wait, number).await;
        let since = Instant::now();
        cluster.met(&leader, &wait, 1).await;
        cluster.over(&leader, &wait).await;
        assert!(since.elapsed() < bound + SLACK, "{wait}: {:?}", since.elapsed());
        if let Some(told) = told {
            let status = soon("an answer", told).await.expect("no panic").expect("it is refused");
            let reason = Refusal::from_status(&status).expect("typed").reason;
            let expected = match wait.as_str() {
                "place" => Reason::QueueTimeout,
                _ => Reason::CommitTimeout,
            };
            assert_eq!(reason, expected, "{status:?}");
        }
        cluster.silence(&leader, &wait, false).await;
        cluster.everybody().await;
        let table = format!("after{number}");
        cluster.create_table_of(&table, 1, 1).await;
        let running = async {
            while !cluster.admin().list_migrations(true).await.expect("a list").is_empty() {
                look_again().await;
            }
        };
        soon(&format!("what stood still for {wait}"), running).await;
    }
    for (wait, bound) in waits_of(&cluster, &leader, Story::Following).await {
        let leader = cluster.leader(&names).await;
        let follower = names.iter().find(|name| **name != leader).expect("two follow");
        cluster.silence(follower, &wait, true).await;
        let since = Instant::now();
        // The first has ended when there is a second one.
        cluster.met(follower, &wait, 2).await;
        assert!(since.elapsed() < 2 * bound + SLACK, "{wait}: {:?}", since.elapsed());
        cluster.silence(follower, &wait, false).await;
    }
}

/// Agents that never have drained, or worked off what they were given, or answer a question, a
/// watcher that never takes, and a leader that never sends a snapshot: at one time, as each has long.
#[tokio::test(flavor = "multi_thread")]
async fn e5_the_long_waits_of_a_coordinator_end_within_their_bounds() {
    let mut cluster = Cluster::start(3).await;
    let tablet = cluster.create_table_of("orders", 1, 1).await.remove(0);
    let waits = waits_of(&cluster, "c1", Story::Long).await;
    let bound = |name: &str| waits.iter().find(|(wait, _)| wait == name).expect("it is long").1;
    let asked = &tablet.replicas[0].node;
    let mut others = ["n1", "n2", "n3"].into_iter().filter(|node| node != asked);
    for wait in ["drained", "full_state"] {
        let node = others.next().expect("two have nothing");
        cluster.silence("c1", wait, true).await;
        cluster.kill_and_restart(node);
        cluster.met("c1", wait, 1).await;
        cluster.silence("c1", wait, false).await;
    }
    let since = Instant::now();
    for wait in ["ask", "watch", "snapshot"] {
        cluster.silence("c1", wait, true).await;
    }
    let back = async {
        let most = bound("full_state").max(bound("drained")) + SLACK;
        tokio::time::timeout(most, attached(&cluster)).await.expect("they are let in again");
    };
    let ask = async {
        // Who is not attached just then is not asked, or hears of it by the end of its attachment.
        while !cluster.is_over("c1", "ask").await {
            let digests = digest(&cluster, &tablet).await;
            assert!(digests.iter().all(|one| !one.error.is_empty()), "{digests:#?}");
            assert!(since.elapsed() < bound("ask") + SLACK, "{:?}", since.elapsed());
        }
    };
    let watch = async {
        let mut topology = TopologyServiceClient::new(cluster.admin_channel("c1"));
        let opened = topology.watch_topology(pb::WatchTopologyRequest { after: None }).await;
        let mut messages = opened.expect("a watch").into_inner();
        while let Ok(Some(_)) = messages.message().await {}
        assert!(since.elapsed() < bound("watch") + SLACK, "{:?}", since.elapsed());
    };
    let snapshot = async {
        let refused = half_a_snapshot(&cluster).await;
        let why = refused.message();
        assert!(why.contains("snapshot: nothing came within"), "{refused}");
        assert!(since.elapsed() < bound("snapshot") + SLACK, "{:?}", since.elapsed());
    };
    tokio::join!(back, ask, watch, snapshot);
    for (wait, _) in &waits {
        cluster.met("c1", wait, 1).await;
        cluster.over("c1", wait).await;
        cluster.silence("c1", wait, false).await;
    }
    let digests = digest(&cluster, &tablet).await;
    assert!(digests.iter().all(|one| one.error.is_empty()), "{digests:#?}");
}

/// Until all nodes are admitted and attached.
async fn attached(cluster: &Cluster) {
    let is_in = |n: &pb::Node| n.attached && n.state() == pb::NodeState::Admitted;
    while !cluster.admin().list_nodes().await.expect("a list").iter().all(is_in) {
        look_again().await;
    }
}

/// What each replica of a tablet says it holds, asked for without a client's own deadlines.
async fn digest(cluster: &Cluster, tablet: &pb::Tablet) -> Vec<pb::ReplicaDigest> {
    let mut tablets = TabletServiceClient::new(cluster.admin_channel("c1"));
    let request =
        pb::GetTabletRequest { tablet: tablet.id, with_digest: true, ..Default::default() };
    let got = tablets.get_tablet(request).await.expect("an answer").into_inner();
    got.tablet.expect("the tablet").digests
}

/// Sends nothing of a snapshot, and no end: what the coordinator says to that.
async fn half_a_snapshot(cluster: &Cluster) -> tonic::Status {
    let address = format!("http://{}", cluster.raft_address("c1"));
    let channel = Endpoint::from_shared(address).expect("an address").connect_lazy();
    let mut c1 = RaftServiceClient::new(channel);
    let own = c1.identify(raft::IdentifyRequest {}).await.expect("it says who it is").into_inner();
    let to = Some(raft::Addressee { cluster_id: own.cluster_id, raft_id: own.raft_id });
    let head = raft::SnapshotHead { to, length: 1_000, ..Default::default() };
    let head = raft::InstallSnapshotRequest { part: Some(Part::Head(head)) };
    let parts = tokio_stream::iter([head]).chain(tokio_stream::pending());
    c1.install_snapshot(parts).await.expect_err("it never came")
}

/// Those that it expects a cluster to begin with never say who they are: it asks again and again,
/// and says that it waits.
#[tokio::test(flavor = "multi_thread")]
async fn e5_the_waits_of_a_beginning_end_within_their_bounds() {
    let directory = tempfile::tempdir().expect("a directory");
    let ports = ::process::free_ports(3).expect("there are some");
    let peers = format!("c1={},c2={},c3={}", ports[0], ports[1], ports[2]);
    let (data, log) = (directory.path().join("c1"), directory.path().join("c1.log"));
    let own = ports[0].to_string();
    let args = [
        "coordinator",
        "--name=c1",
        "--bootstrap-expect=3",
        "--data",
        data.to_str().expect("text"),
        "--raft-listen",
        &own,
        "--peers",
        &peers,
        "--admin-listen=127.0.0.1:0",
        "--agents-listen=127.0.0.1:0",
        "--faults",
    ];
    let alone = Server::start(&log, &args).expect("it waits for others");
    let address = format!("http://{}", alone.port("agents"));
    let channel = Endpoint::from_shared(address).expect("an address").connect_lazy();
    let mut waits = WaitServiceClient::new(channel);
    let all = waits.list_waits(ListWaitsRequest {}).await.expect("a list").into_inner().waits;
    let meant = all.iter().filter(|wait| story(&wait.name) == Story::Beginning);
    for wait in meant {
        let name = || wait.name.clone();
        waits.silence_wait(SilenceWaitRequest { name: name(), on: true }).await.expect("set");
        let since = Instant::now();
        // One has ended, and is told of: what is asked meanwhile was refused before.
        let overdue = format!("{}: nothing came within", wait.name);
        let over = async {
            loop {
                let now = waits.list_waits(ListWaitsRequest {}).await.expect("a list").into_inner();
                let now = now.waits.iter().find(|one| one.name == wait.name).expect("as before");
                let said = std::fs::read_to_string(&log).expect("a log");
                if now.ended > 0 && said.contains(&overdue) {
                    return;
                }
                look_again().await;
            }
        };
        soon(&format!("{} to end", wait.name), over).await;
        let bound = Duration::from_millis(wait.bound_ms);
        assert!(since.elapsed() < 2 * bound + SLACK, "{}: {:?}", wait.name, since.elapsed());
        waits.silence_wait(SilenceWaitRequest { name: name(), on: false }).await.expect("set");
    }
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("waits to begin a cluster"), "{said}");
}

/// A leader that is told to stop, where nobody takes leadership over, or where what is under way
/// never comes to its end: it ends all the same, and in order.
#[tokio::test(flavor = "multi_thread")]
async fn e5_the_waits_of_an_ending_end_within_their_bounds() {
    let shape = Shape { coordinators: 3, agents: 1, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    for (wait, bound) in waits_of(&cluster, &leader, Story::Ending).await {
        let leader = cluster.leader(&names).await;
        cluster.silence(&leader, &wait, true).await;
        let since = Instant::now();
        cluster.agent(&leader).signal(Signal::TERM);
        assert!(cluster.ends(&leader).await, "{wait}: {}", cluster.logged(&leader));
        let took = since.elapsed();
        assert!(bound <= took && took < bound + SLACK, "{wait}: {took:?}");
        let given_up = format!("{wait}: nothing came within");
        let is_told = cluster.logged(&leader).contains(&given_up);
        assert!(is_told || wait == "under_way", "it says why: {}", cluster.logged(&leader));
        cluster.restart(&leader);
        cluster.create_table_of(&format!("after-{wait}"), 1, 1).await;
    }
}
