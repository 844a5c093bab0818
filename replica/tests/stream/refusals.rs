//! A4: who pulls what isn't theirs is refused, typed, before a row is read; nothing is written.

use crate::agents::*;
use migrations::evidence::FailureReason;
use migrations::record::TabletRecord;
use migrations::stage::Stage;
use palisade_replica::stream::{Origin, PullOrder, transport};
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_request::Event as Asks;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use std::sync::Arc;

/// What session 1's receiver asks for, with everything right.
fn begin() -> pb::Begin {
    pb::Begin {
        cluster_id: convert::bytes(cluster().as_uuid()),
        tablet: tablet().as_u64(),
        version: Some(version(7).into()),
        session: convert::bytes(session(1).as_uuid()),
        source: SOURCE,
        receiver: RECEIVER,
        source_incarnation: Some(version(SOURCE).into()),
        receiver_incarnation: Some(version(RECEIVER).into()),
        copy: Some(version(5).into()),
        resume: None,
        receiver_address: String::new(),
    }
}

type Case = (&'static str, fn(&mut pb::Begin), Reason);

const CASES: [Case; 11] = [
    (
        "another session",
        |begin| begin.session = convert::bytes(session(2).as_uuid()),
        Reason::SessionUnknown,
    ),
    ("session zero", |begin| begin.session = vec![0; 16].into(), Reason::InvalidField),
    ("no session", |begin| begin.session = Vec::new().into(), Reason::InvalidField),
    ("the session of another tablet", |begin| begin.tablet = 8, Reason::SessionUnknown),
    ("tablet zero", |begin| begin.tablet = 0, Reason::InvalidField),
    ("another receiver", |begin| begin.receiver = 3, Reason::NodeFenced),
    (
        "a receiver that the transition doesn't name",
        |begin| {
            begin.receiver = 3;
            begin.receiver_incarnation = Some(version(3).into());
        },
        Reason::NotReplica,
    ),
    (
        "a fenced incarnation of the receiver",
        |begin| begin.receiver_incarnation = Some(version(3).into()),
        Reason::NodeFenced,
    ),
    (
        "an earlier incarnation of the source",
        |begin| begin.source_incarnation = Some(version(9).into()),
        Reason::NodeFenced,
    ),
    (
        "another cluster",
        |begin| begin.cluster_id = convert::bytes(session(5).as_uuid()),
        Reason::ClusterMismatch,
    ),
    ("an older version", |begin| begin.version = Some(version(5).into()), Reason::StaleVersion),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_what_isnt_theirs_is_refused_and_typed() {
    let theirs = tempfile::tempdir().expect("dir");
    let source = source(theirs.path(), &rows(10)).await;
    let (address, _) = source.serve().await;
    let channel = transport::endpoint(&address).expect("an address").connect().await;
    let mut client = StreamServiceClient::new(channel.expect("it serves"));
    let ask = |begin: pb::Begin| {
        let begin = pb::PullRequest { event: Some(Asks::Begin(begin)) };
        tokio_stream::iter([begin])
    };
    for (case, change, reason) in CASES {
        let mut begin = begin();
        change(&mut begin);
        let refused = client.pull(ask(begin)).await.expect_err(case);
        let refusal = Refusal::from_status(&refused).expect("typed");
        assert_eq!(refusal.reason, reason, "{case}");
    }
    let received = pb::PullRequest { event: Some(Asks::Received(pb::Received {})) };
    for first in [vec![received], vec![pb::PullRequest { event: None }], Vec::new()] {
        let refused = client.pull(tokio_stream::iter(first)).await.expect_err("no begin");
        let refusal = Refusal::from_status(&refused).expect("typed");
        assert_eq!(refusal.reason, Reason::StreamProtocol);
    }
    client.pull(ask(begin())).await.expect("the right one is served, on the same connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_receiver_with_the_wrong_session_writes_nothing() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(10)).await;
    let mut receiver = Agent::open(ours.path(), RECEIVER);
    receiver.take_on(&moving(5, Stage::AllowWriteBothReadOld, None)).await;
    receiver.take_on(&moving(7, Stage::Streaming, Some(3))).await;
    let (address, _) = source.serve().await;
    // The source has session 1 open, the receiver session 3: refused there.
    receiver.puller.pull(order(moving(7, Stage::Streaming, Some(3)), &address)).await;
    let failure = receiver.failed().await;
    let unknown = (FailureReason::SessionUnknown, Origin::Peer);
    assert_eq!((failure.reason, failure.origin), unknown);
    // An order of a session that is not open here isn't even called out.
    receiver.puller.pull(order(moving(7, Stage::Streaming, Some(1)), &address)).await;
    let failure = receiver.failed().await;
    let unknown = (FailureReason::SessionUnknown, Origin::Session);
    assert_eq!((failure.reason, failure.origin), unknown);
    assert_eq!(receiver.holds(7).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_pulls_only_what_the_transition_names() {
    let ours = tempfile::tempdir().expect("dir");
    let mut receiver = receiver(ours.path()).await;
    let named = moving(7, Stage::Streaming, Some(1));
    let mut unnamed = TabletRecord::clone(&named);
    unnamed.transition.as_mut().expect("moving").streams.clear();
    receiver.puller.pull(order(Arc::new(unnamed), "127.0.0.1:1")).await;
    assert_eq!(receiver.failed().await.reason, FailureReason::StreamProtocol);
    let from_another =
        PullOrder { source: node(2), ..order(moving(7, Stage::Streaming, Some(1)), "127.0.0.1:1") };
    receiver.puller.pull(from_another).await;
    assert_eq!(receiver.failed().await.reason, FailureReason::StreamProtocol);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_isnt_there_is_a_peer_that_closed() {
    let ours = tempfile::tempdir().expect("dir");
    let mut receiver = receiver(ours.path()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    receiver.puller.pull(order_of_session_1(&address)).await;
    let failure = receiver.failed().await;
    assert_eq!((failure.reason, failure.origin), (FailureReason::PeerClosed, Origin::Network));
}

/// D6, half open, on the wire: who is reached and never says anything is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_peer_that_says_nothing_is_gone_within_the_bound() {
    let ours = tempfile::tempdir().expect("dir");
    let mut receiver = receiver(ours.path()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let began = tokio::time::Instant::now();
    receiver.puller.pull(order_of_session_1(&address)).await;
    assert_eq!(receiver.failed().await.reason, FailureReason::PeerClosed);
    assert!(began.elapsed() < 2 * BOUNDS.stall, "{:?}", began.elapsed());
}
