//! Streams from one real store into another: to the end, cut short, ordered again, gone on with.

use crate::agents::*;
use crate::gated::Gated;
use futures::poll;
use migrations::evidence::FailureReason;
use migrations::pull::Totals;
use migrations::settings::Settings;
use migrations::stage::Stage;
use palisade_replica::store::StreamState;
use palisade_replica::stream::{Origin, OutcomeQuery, StreamEvent, ask_outcome};
use std::pin::pin;
use tls::{Dial, Kind};

const ROWS: u32 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_equal_sums_on_both_ends() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let rows = rows(ROWS);
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, _) = source.serve().await;
    receiver.puller.pull(order_of_session_1(&address)).await;
    let StreamEvent::Complete { stream, report } = receiver.ended().await else {
        panic!("it should be complete")
    };
    assert_eq!(stream.pair, pair());
    assert_eq!((report.rows, report.sent), (u64::from(ROWS), sum_of(&rows)));
    assert_eq!(report.sent, report.stored);
    assert_eq!(receiver.holds(7), (u64::from(ROWS), sum_of(&rows)));
    let copy = migrations::version::CopyId(version(5));
    let on_record = receiver.store.stream(tablet(), copy, node(SOURCE)).expect("on record");
    assert_eq!(on_record.state, StreamState::Complete);

    // The same order again, also after the receiver was started anew: the same report, no call.
    receiver.puller.pull(order_of_session_1(&address)).await;
    let again = receiver.ended().await;
    assert_eq!(again, StreamEvent::Complete { stream, report });
    receiver.close().await;
    let mut receiver = Agent::open(ours.path(), RECEIVER);
    receiver.take_on(&moving(7, Stage::Streaming, Some(1))).await;
    receiver.puller.pull(order_of_session_1("127.0.0.1:1")).await;
    assert_eq!(receiver.ended().await, StreamEvent::Complete { stream, report });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_tablet_is_a_stream_too() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &[]).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, _) = source.serve().await;
    receiver.puller.pull(order_of_session_1(&address)).await;
    assert!(
        matches!(receiver.ended().await, StreamEvent::Complete { report, .. } if report.rows == 0)
    );
}

/// The receiver's session is closed in the middle of the stream: it ends, and the drain returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_receivers_session_ends_the_pull_and_the_drain_returns() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    receiver.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    let drain = receiver.tablets.drain(tablet(), version(8));
    tokio::time::timeout(PATIENCE, drain).await.expect("the drain returns");
    let failure = receiver.failed().await;
    assert_eq!(failure.reason, FailureReason::SessionClosing);
    assert_eq!(failure.origin, Origin::Session);
    // Both ends had entered: the source's drain returns too, since the call was ended.
    source.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    let drain = source.tablets.drain(tablet(), version(8));
    tokio::time::timeout(PATIENCE, drain).await.expect("the drain returns");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_sources_session_ends_the_pull_with_its_reason() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    source.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    let drain = source.tablets.drain(tablet(), version(8));
    tokio::time::timeout(PATIENCE, drain).await.expect("the drain returns");
    let failure = receiver.failed().await;
    let closing = (FailureReason::SessionClosing, Origin::Peer);
    assert_eq!((failure.reason, failure.origin), closing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_runs_out_ends_the_pull() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    receiver.lease.give_up();
    receiver.sessions.fire_all();
    assert_eq!(receiver.failed().await.reason, FailureReason::LeaseExpired);
}

/// D3, the network's half: the source is killed in the middle. A failure of the network, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_source_that_is_killed_is_a_peer_that_closed() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let mut receiver = receiver(ours.path()).await;
    let (say_address, address) = tokio::sync::oneshot::channel();
    let (kill, killed) = tokio::sync::oneshot::channel::<()>();
    let path = theirs.path().to_owned();
    let thread = std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let source = source(&path, &rows(ROWS)).await;
            let (address, limiter) = source.serve().await;
            limiter.set(1);
            say_address.send(address).expect("the test waits");
            killed.await.expect("the test kills it");
        });
        // All its tasks and connections go with the runtime, in the middle of what they do.
    });
    receiver.puller.pull(order_of_session_1(&address.await.expect("it serves"))).await;
    receiver.has_begun().await;
    kill.send(()).expect("it runs");
    let failure = receiver.failed().await;
    assert_eq!((failure.reason, failure.origin), (FailureReason::PeerClosed, Origin::Network));
    thread.join().expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_while_the_call_runs_is_answered_with_its_state() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    let counted = crate::faulty::counting(&address).await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&counted.address)).await;
    receiver.has_begun().await;
    receiver.puller.pull(order_of_session_1(&counted.address)).await;
    receiver.has_begun().await; // The answer: it goes on.
    limiter.set(0);
    assert!(matches!(receiver.ended().await, StreamEvent::Complete { .. }));
    assert!(receiver.events.try_recv().is_err(), "reported once");
    assert_eq!(counted.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_stream_says_so_and_goes_on_afterwards() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    source.throttle.set(&Settings::FAST, true);
    let (address, _) = source.serve().await;
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.is_paused().await;
    source.throttle.set(&Settings::FAST, false);
    assert!(matches!(receiver.ended().await, StreamEvent::Complete { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_all_calls_ends_them_and_later_orders_are_obeyed() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(ROWS)).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    tokio::time::timeout(PATIENCE, receiver.puller.stop_all()).await.expect("they end");
    assert_eq!(receiver.failed().await.reason, FailureReason::NodeFenced);
    limiter.set(0);
    for agent in [&source, &receiver] {
        agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    }
    receiver.take_on(&moving(9, Stage::Streaming, Some(2))).await;
    receiver.puller.pull(order(moving(9, Stage::Streaming, Some(2)), &address)).await;
    assert!(matches!(receiver.ended().await, StreamEvent::Complete { .. }));
}

/// D10, on one pair of agents: the receiver is started anew in the middle, and the same source
/// goes on from where it durably was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d10_a_receiver_started_anew_goes_on_where_it_was() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let rows = rows(ROWS);
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    receiver.puller.stop_all().await;
    receiver.store.durable().wait().await.expect("the disk is well");
    let copy = migrations::version::CopyId(version(5));
    let stored = receiver.store.stream(tablet(), copy, node(SOURCE)).expect("on record").progress;
    assert!(stored.rows > 0 && stored.rows < u64::from(ROWS));
    receiver.close().await;

    // What was stored is sent no more: the bound on bytes counts what is.
    let mut receiver = Agent::open(ours.path(), RECEIVER);
    // The session that the process before had is not open in this one.
    receiver.take_on(&moving(7, Stage::Streaming, Some(1))).await;
    receiver.puller.pull(order_of_session_1(&address)).await;
    assert_eq!(receiver.failed().await.reason, FailureReason::PeerClosed, "no second call");
    for agent in [&source, &receiver] {
        agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    }
    receiver.take_on(&moving(9, Stage::Streaming, Some(2))).await;
    let counted = crate::faulty::counting(&address).await;
    limiter.set(0);
    receiver.puller.pull(order(moving(9, Stage::Streaming, Some(2)), &counted.address)).await;
    let StreamEvent::Complete { report, .. } = receiver.ended().await else {
        panic!("it should be complete")
    };
    assert_eq!((report.rows, report.stored), (u64::from(ROWS), sum_of(&rows)));
    assert_eq!(counted.bytes(), report.bytes - stored.bytes, "the rest, and nothing twice");
    assert_eq!(receiver.holds(9), (u64::from(ROWS), sum_of(&rows)));
}

/// Rows that changed since make the sums differ: then it begins at the first position.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_has_changed_begins_at_the_first_position() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let mut rows = rows(ROWS);
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, limiter) = source.serve().await;
    limiter.set(1);
    receiver.puller.pull(order_of_session_1(&address)).await;
    receiver.has_begun().await;
    receiver.puller.stop_all().await;
    assert_eq!(receiver.failed().await.reason, FailureReason::NodeFenced);
    rows[0].1 = row(9, Some(b"changed"));
    source.put_all(6, &rows[..1]);
    for agent in [&source, &receiver] {
        agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    }
    receiver.take_on(&moving(9, Stage::Streaming, Some(2))).await;
    limiter.set(0);
    let counted = crate::faulty::counting(&address).await;
    receiver.puller.pull(order(moving(9, Stage::Streaming, Some(2)), &counted.address)).await;
    let StreamEvent::Complete { report, .. } = receiver.ended().await else {
        panic!("it should be complete")
    };
    assert_eq!(counted.bytes(), report.bytes, "all of it");
    assert_eq!(receiver.holds(9), (u64::from(ROWS), sum_of(&rows)));
}

/// A7, the write path: the call is gone while its write runs. The write has a guard of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_the_drain_waits_for_a_write_whose_call_is_gone() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let source = source(theirs.path(), &rows(10)).await;
    let (gated, gate) = Gated::new();
    let mut receiver = Agent::over(ours.path(), RECEIVER, |store| gated.over(store));
    prepare(&receiver).await;
    let (address, _) = source.serve().await;
    receiver.puller.pull(order_of_session_1(&address)).await;
    let gate = gate.entered().await;
    receiver.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
    // The call ends and is reported, though its write hangs.
    assert_eq!(receiver.failed().await.reason, FailureReason::SessionClosing);
    let mut drain = pin!(receiver.tablets.drain(tablet(), version(8)));
    assert!(poll!(&mut drain).is_pending(), "the write runs: the barrier waits for it");
    gate.open();
    tokio::time::timeout(PATIENCE, drain).await.expect("the drain returns");
    assert_eq!(receiver.holds(8).0, 0, "and the store refused it: its session was closed");
}

/// D2: what a source asks that never heard `Received`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_the_receivers_record_can_be_asked_for() {
    let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let rows = rows(10);
    let source = source(theirs.path(), &rows).await;
    let mut receiver = receiver(ours.path()).await;
    let (address, _) = source.serve().await;
    let (receivers, _) = receiver.serve().await;
    let query =
        OutcomeQuery { cluster: cluster(), tablet: tablet(), session: session(1), pair: pair() };
    let plain = Dial::new(None, Kind::Agent);
    assert_eq!(ask_outcome(&plain, &receivers, query).await, Ok(None), "not on record yet");
    receiver.puller.pull(order_of_session_1(&address)).await;
    let StreamEvent::Complete { report, .. } = receiver.ended().await else {
        panic!("it should be complete")
    };
    let outcome =
        ask_outcome(&plain, &receivers, query).await.expect("answered").expect("on record");
    assert_eq!(outcome.state, StreamState::Complete);
    let stored = Totals { rows: 10, bytes: report.bytes, sum: sum_of(&rows) };
    assert_eq!(outcome.stored, stored);
}
