//! Requests of routers on real agents: versions, malformed messages, wrong sessions.

use crate::harness::{Cluster, Shape, look_again, soon};
use client::{Router, RouterOptions};
use proto::admin::v1 as pb;
use proto::data::v1 as data;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::faults::v1 as faults;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::stream::v1 as stream;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use std::time::Duration;
use tonic::Status;

fn reason(status: &Status) -> Option<Reason> {
    Refusal::from_status(status).map(|refusal| refusal.reason)
}

async fn cluster_id(cluster: &Cluster) -> bytes::Bytes {
    let status = cluster.admin().status().await.expect("a status");
    let id = uuid::Uuid::parse_str(&status.cluster_id).expect("a UUID");
    bytes::Bytes::copy_from_slice(id.as_bytes())
}

fn put(cluster_id: bytes::Bytes, tablet: &pb::Tablet, position: &[u8]) -> data::PutRequest {
    let millis = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    data::PutRequest {
        header: Some(data::RequestHeader {
            cluster_id,
            tablet: tablet.id,
            version: tablet.version,
            clock: (millis as u64) << 16,
            // Nodes are numbered as they are admitted: n1 is the first.
            node: 1,
        }),
        position: position.to_vec().into(),
        time: (millis as u64) << 16,
        router: vec![7; 16].into(),
        value: b"value".to_vec().into(),
    }
}

/// G4: a router with an old map is told so, with the tablet's newer record; through the client
/// library the write takes effect once.
#[tokio::test(flavor = "multi_thread")]
async fn g4_a_write_with_an_old_map_is_refused_and_retried_inside() {
    let cluster = Cluster::start(4).await;
    let before = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    router.put("orders", b"key", b"1").await.expect("a put");
    let id = cluster.migrate(&before, "n1", "n4").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    let mut direct = DataServiceClient::new(cluster.channel("n2", "data"));
    let mut old = put(cluster_id(&cluster).await, &before, b"12345678key");
    old.header.as_mut().expect("it has one").node = 2;
    let refused = direct.put(old).await.expect_err("the map is old");
    assert_eq!(reason(&refused), Some(Reason::StaleVersion));
    let refusal = Refusal::from_status(&refused).expect("ours");
    let record = refusal.record.expect("with the newer record");
    assert!(record.next().nodes().any(|node| node.as_u64() == 4), "{record:?}");
    router.put("orders", b"key", b"2").await.expect("the same router goes on");
    let read = router.get("orders", b"key").await.expect("a read").expect("a value");
    assert_eq!(read.value, b"2");
}

/// C1: a read that was admitted under the old version is slow. The barrier waits for it and names
/// it; once it is over, the move goes on.
#[tokio::test(flavor = "multi_thread")]
async fn c1_a_slow_read_of_the_old_version_is_waited_for_and_named() {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    router.put("orders", b"key", b"value").await.expect("a put");
    let slow = cluster.stuck_read("n2", &tablet).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let admin = cluster.admin();
    let named = async {
        loop {
            let barriers = admin.list_barriers(tablet.id).await.expect("the barriers");
            let held = barriers.iter().flat_map(|barrier| &barrier.holders);
            let mut held =
                held.filter_map(|held| Some((held.node.as_str(), held.holder.as_ref()?)));
            if let Some((node, holder)) = held.next() {
                assert_eq!((node, holder.operation.as_str()), ("n2", "get"));
                assert_eq!(holder.version, tablet.version);
                assert_eq!(barriers[0].waiting_for, ["n2"]);
                return;
            }
            look_again().await;
        }
    };
    soon("the holder to be named", named).await;
    let waiting = admin.migration(&id).await.expect("it runs");
    assert_eq!(waiting.stage(), proto::types::v1::Stage::AllowWriteBothReadOld);
    let release = faults::ReleaseDataRequest { tablet: tablet.id };
    cluster.faults("n2").release_data(release).await.expect("released");
    slow.await.expect("no panic").expect("the read is served, under the version it came with");
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
}

/// A version that the agent has not heard of: it asks for it, and gives up within the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_from_the_future_is_refused_within_its_deadline() {
    let cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let mut direct = DataServiceClient::new(cluster.channel("n1", "data"));
    let mut ahead = put(cluster_id(&cluster).await, &tablet, b"12345678key");
    if let Some(header) = &mut ahead.header {
        let version = header.version.as_mut().expect("a version");
        version.counter += 1_000;
    }
    let refused = soon("an answer", direct.put(ahead)).await.expect_err("nobody has it");
    assert_eq!(reason(&refused), Some(Reason::VersionAhead));
}

/// Malformed and foreign requests get a typed answer, and the agent goes on.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_foreign_requests_are_refused_typed() {
    let cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let own = cluster_id(&cluster).await;
    let mut direct = DataServiceClient::new(cluster.channel("n1", "data"));
    let good = put(own.clone(), &tablet, b"12345678key");
    let header = good.header.clone().expect("a header");
    let with =
        |header: data::RequestHeader| data::PutRequest { header: Some(header), ..good.clone() };
    let cases = [
        ("no header", data::PutRequest { header: None, ..good.clone() }, Reason::InvalidField),
        (
            "nil cluster",
            with(data::RequestHeader { cluster_id: vec![0; 16].into(), ..header.clone() }),
            Reason::InvalidField,
        ),
        (
            "another cluster",
            with(data::RequestHeader { cluster_id: vec![9; 16].into(), ..header.clone() }),
            Reason::ClusterMismatch,
        ),
        (
            "another node",
            with(data::RequestHeader { node: 2, ..header.clone() }),
            Reason::NodeMismatch,
        ),
        ("no node", with(data::RequestHeader { node: 0, ..header.clone() }), Reason::InvalidField),
        (
            "tablet 0",
            with(data::RequestHeader { tablet: 0, ..header.clone() }),
            Reason::InvalidField,
        ),
        (
            "no version",
            with(data::RequestHeader { version: None, ..header.clone() }),
            Reason::InvalidField,
        ),
        (
            "a router of 3 bytes",
            data::PutRequest { router: vec![1; 3].into(), ..good.clone() },
            Reason::InvalidField,
        ),
        (
            "a time far ahead",
            data::PutRequest { time: good.time + (3_600_000 << 16), ..good.clone() },
            Reason::TimestampAhead,
        ),
        (
            "a value above the limit",
            data::PutRequest { value: vec![0; (1 << 20) + 1].into(), ..good.clone() },
            Reason::InvalidField,
        ),
    ];
    for (what, request, expected) in cases {
        let refused = direct.put(request).await.expect_err(what);
        assert_eq!(reason(&refused), Some(expected), "{what}: {refused}");
    }
    // A message above the bound is refused by the transport, before it is read whole.
    let large = data::PutRequest { value: vec![0; 5 << 20].into(), ..good.clone() };
    let refused = direct.put(large).await.expect_err("too large");
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    direct.put(good).await.expect("the agent goes on");
}

/// A4: a stream under a wrong session, a nil one, or one of another tablet, is refused typed.
#[tokio::test(flavor = "multi_thread")]
async fn a4_a_stream_without_its_session_is_refused() {
    let cluster = Cluster::start(4).await;
    let tablets = cluster.create_table("orders", 2).await;
    let own = cluster_id(&cluster).await;
    let nodes = cluster.admin().list_nodes().await.expect("the nodes");
    let incarnation =
        |name: &str| nodes.iter().find(|node| node.name == name).and_then(|node| node.incarnation);
    let begin = |session: &[u8], tablet: u64| stream::Begin {
        cluster_id: own.clone(),
        tablet,
        version: tablets[0].version,
        session: session.to_vec().into(),
        source: 1,
        receiver: 4,
        source_incarnation: incarnation("n1"),
        receiver_incarnation: incarnation("n4"),
        copy: tablets[0].version,
        resume: None,
        receiver_address: String::new(),
    };
    for (session, expected) in [([9; 16], Reason::SessionUnknown), ([0; 16], Reason::InvalidField)]
    {
        let mut source = StreamServiceClient::new(cluster.channel("n1", "stream"));
        let begin = begin(&session, tablets[0].id);
        let event = Some(stream::pull_request::Event::Begin(begin));
        let requests = tokio_stream::iter([stream::PullRequest { event }]);
        let refused = match source.pull(requests).await {
            Err(refused) => refused,
            Ok(answer) => answer.into_inner().message().await.expect_err("no session"),
        };
        assert_eq!(reason(&refused), Some(expected), "{refused}");
    }
}

/// INV-6: an address that has come to lead to another node does not make one replica's answer count
/// twice. Two of three are gone, the address of one of them leads to the third: no majority.
#[tokio::test(flavor = "multi_thread")]
async fn one_replica_under_two_addresses_is_no_majority() {
    let shape = Shape { agents: 3, has_proxies: true, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    cluster.create_table("orders", 1).await;
    let router = cluster.router();
    router.put("orders", b"key", b"1").await.expect("a put");
    cluster.kill("n2");
    cluster.kill("n3");
    let n1 = cluster.agent("n1").port("data");
    cluster.links().data("n2").set_upstream(&n1);
    let options = RouterOptions { deadline: Duration::from_secs(3), ..RouterOptions::default() };
    let router = Router::connect(cluster.admin(), options);
    let put = router.put("orders", b"key", b"2").await.expect_err("one replica has it");
    assert!(put.to_string().contains("NODE_MISMATCH"), "{put}");
    let read = router.get("orders", b"key").await.expect_err("one replica answers");
    assert!(read.to_string().contains("NODE_MISMATCH"), "{read}");
}
