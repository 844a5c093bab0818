//! One attempt at a stream, and how it ends: whichever of two things comes first, and whoever is
//! gone by then.

use crate::harness::middle::{Beat, Middle};
use crate::harness::steps::{Switch, step};
use crate::harness::{Cluster, Shape, soon};
use crate::streams::failures;
use client::Router;
use proto::admin::v1 as pb;
use proto::faults::v1::Step;
use proto::stream::v1 as stream;
use proto::stream::v1::pull_response::Event as Says;
use proto::types::v1::Stage;
use std::time::Duration;
use tokio::time::Instant;

async fn with_proxies() -> Cluster {
    Cluster::start_as(Shape { has_proxies: true, ..Shape::default() }).await
}

/// A cluster with two tablets on n1, n2 and n3, and a source in between for who pulls from n1.
async fn with_a_middle() -> (Cluster, Vec<pb::Tablet>, Middle) {
    let shape = Shape { agents: 3, has_proxies: true, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablets = cluster.create_table("orders", 2).await;
    cluster.add_agent("n4").await;
    fill(&cluster.router(), 200).await;
    let middle = cluster.stand_between("n1").await;
    (cluster, tablets, middle)
}

async fn fill(router: &Router, keys: u32) {
    for key in 0..keys {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

/// D1: the source has heard the last message, and in that moment the connection is gone. Play it
/// with a receiver as it is, or with one that says `Received` before its outcome is on record.
async fn cut_at_the_last_message(is_early: bool) -> (Cluster, pb::Tablet, pb::Migration) {
    let cluster = with_proxies().await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster.router(), 200).await;
    cluster.switch("n4", tablet.id, Switch::ReceivedBeforeRecord, is_early).await;
    let heard = step("n1", tablet.id, Step::ReceivedHeard);
    cluster.hold(&heard).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&heard).await;
    cluster.links().streams("n1").cut_all();
    // The source still stands where it was when the receiver is through with it.
    cluster.said("n4", if is_early { "stream failed" } else { "stream complete" }).await;
    cluster.let_go(&heard).await;
    let ended = cluster.ended(&id).await;
    (cluster, tablet, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_connection_that_goes_with_the_last_message_harms_neither_end() {
    let (cluster, tablet, ended) = cut_at_the_last_message(false).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!((ended.attempt, failures(&ended)), (1, vec![]), "{ended:#?}");
    cluster.said("n1", "stream out complete").await;
    assert!(cluster.logged("n4").contains("stream complete"));
    for node in ["n1", "n4"] {
        let log = cluster.logged(node);
        assert!(!log.contains("stream failed") && !log.contains("stream out failed"), "{log}");
    }
    cluster.replicas_agree(&tablet).await;
}

/// The control of D1: acknowledged before the terminal state is set, the same cut fails a stream
/// that the source has as complete.
#[tokio::test(flavor = "multi_thread")]
async fn d1_control_received_before_the_record_fails_a_complete_stream() {
    let (cluster, _tablet, ended) = cut_at_the_last_message(true).await;
    assert_eq!(failures(&ended), ["PEER_CLOSED"], "{ended:#?}");
    cluster.said("n1", "stream out complete").await;
}

/// D1 from the other end: the receiver has `Complete`, and the connection is gone before it has
/// its outcome on record. What decides is the record: nothing is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_connection_that_goes_with_complete_leaves_the_outcome_to_the_record() {
    let cluster = with_proxies().await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster.router(), 200).await;
    let record = step("n4", tablet.id, Step::Record);
    cluster.hold(&record).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&record).await;
    cluster.links().streams("n1").cut_all();
    cluster.let_go(&record).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!((ended.attempt, failures(&ended)), (1, vec![]), "{ended:#?}");
    cluster.replicas_agree(&tablet).await;
}

/// Moves two tablets from the same source at once, one of them against a script; how the attempts
/// at that one failed, and how long after what doesn't belong the first of them was known.
async fn against(
    cluster: &Cluster,
    middle: &mut Middle,
    tablets: &[pb::Tablet],
    script: &[Beat],
) -> (Vec<String>, Duration) {
    let (bad, good) = (&tablets[0], &tablets[1]);
    middle.play(bad.id, script.to_vec());
    let id = cluster.migrate(bad, "n1", "n4").await;
    let other = cluster.migrate(good, "n1", "n4").await;
    let over = middle.told().await.at;
    let admin = cluster.admin();
    let mut known = None;
    let ended = admin.wait_migration(&id, client::WaitFor::End, |migration| {
        if !failures(migration).is_empty() {
            known.get_or_insert_with(Instant::now);
        }
    });
    let ended = soon("the end", ended).await.expect("it is known");
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert!(ended.reason.contains("STREAM_PROTOCOL"), "{}", ended.reason);
    let untouched = cluster.ended(&other).await;
    assert_eq!(untouched.state(), pb::MigrationState::Done, "{untouched:#?}");
    assert_eq!(untouched.attempt, 1, "the other stream was taken along: {untouched:#?}");
    middle.pass(bad.id);
    // Back to where they were, for the next one.
    cluster.moved(good, "n4", "n1").await;
    let known = known.expect("an attempt has failed").saturating_duration_since(over);
    (failures(&ended).into_iter().map(str::to_owned).collect(), known)
}

/// E1: the source's end of the stream comes before its answer. The answer never comes, or comes
/// 200 ms later, or has come before: the same reason each time, within a second; that attempt has
/// failed, nothing hangs, and no other stream on the connection is touched.
#[tokio::test(flavor = "multi_thread")]
async fn e1_a_stream_that_ends_before_it_was_answered_fails_alike_whatever_the_timing() {
    let (cluster, tablets, mut middle) = with_a_middle().await;
    let complete = || Beat::Say(Says::Complete(stream::Complete::default()));
    let later = Beat::Pause(Duration::from_millis(200));
    let scripts = [
        ("never, and the call ends", vec![Beat::Tell, Beat::End]),
        ("never, and it is said to be complete", vec![Beat::Tell, complete(), Beat::Hang]),
        ("later", vec![Beat::Tell, complete(), later, Beat::Accept, Beat::Hang]),
        ("first", vec![Beat::Accept, Beat::Tell, Beat::End]),
    ];
    for (answered, script) in scripts {
        let (failures, known) = against(&cluster, &mut middle, &tablets, &script).await;
        assert!(failures.iter().all(|f| f == "STREAM_PROTOCOL"), "{answered}: {failures:?}");
        assert!(!failures.is_empty(), "{answered}");
        assert!(known < Duration::from_secs(1), "answered {answered}: known after {known:?}");
    }
    // And with the real answer the same tablet moves.
    cluster.moved(&tablets[0], "n1", "n4").await;
    cluster.replicas_agree(&tablets[0]).await;
}

/// E3, at the receiver: what doesn't belong in the state it is in ends that call, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn e3_a_source_that_says_what_does_not_belong_fails_that_call_alone() {
    let (cluster, tablets, mut middle) = with_a_middle().await;
    let chunk = |number| Beat::Say(Says::Chunk(stream::Chunk { number, ..chunk() }));
    let alive = Beat::Say(Says::KeepAlive(stream::KeepAlive { paused: false }));
    let scripts = [
        ("a chunk, unanswered", vec![Beat::Tell, chunk(1), Beat::Hang]),
        ("a sign of life, unanswered", vec![Beat::Tell, alive, Beat::Hang]),
        ("a second answer", vec![Beat::Accept, Beat::Tell, Beat::Accept, Beat::Hang]),
        ("a gap in the chunks", vec![Beat::Accept, Beat::Tell, chunk(2), Beat::Hang]),
    ];
    for (what, script) in scripts {
        let (failures, known) = against(&cluster, &mut middle, &tablets, &script).await;
        assert!(failures.iter().all(|f| f == "STREAM_PROTOCOL"), "{what}: {failures:?}");
        assert!(!failures.is_empty() && known < Duration::from_secs(1), "{what}: {known:?}");
    }
    cluster.moved(&tablets[0], "n1", "n4").await;
}

/// A chunk of no rows.
fn chunk() -> stream::Chunk {
    stream::Chunk { number: 1, checksum: 0, rows: Default::default(), sum: vec![0; 16].into() }
}

/// E3, at the source: a foreign receiver says what doesn't belong. Its call ends with the same
/// reason whatever the state; another call on the same connection goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn e3_a_receiver_that_says_what_does_not_belong_fails_that_call_alone() {
    use stream::pull_request::Event as Asks;
    let cluster = with_proxies().await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    // More than fits on the way: a stream that nobody listens to is not at its end.
    let router = cluster.router();
    for key in 0..128u32 {
        router.put("orders", &key.to_be_bytes(), &[7; 64 << 10]).await.expect("a put");
    }
    let mut middle = cluster.stand_between("n1").await;
    // The real receiver is kept waiting; what it asked for is asked for here.
    middle.play(tablet.id, vec![Beat::Accept, Beat::Tell, Beat::Hang]);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let begin = middle.told().await.begin;
    let channel = cluster.channel("n1", "stream");
    let mut whole = foreign::Call::start(&channel, Some(Asks::Begin(begin.clone()))).await;
    let accepted = whole.hear().await.expect("it is served");
    assert!(matches!(accepted, Says::Accepted(_)), "{accepted:?}");
    let received = || Asks::Received(stream::Received {});
    let again = || Asks::Begin(begin.clone());
    // Before begin: anything else. After it, while rows come: a second begin, an early received.
    for (state, first, then) in [
        ("called", Some(received()), None),
        ("called, a message of no known kind", None, None),
        ("streaming", Some(again()), Some(Some(again()))),
        ("streaming, early", Some(again()), Some(Some(received()))),
        ("streaming, a message of no known kind", Some(again()), Some(None)),
    ] {
        let mut call = foreign::Call::start(&channel, first).await;
        if let Some(then) = then {
            call.say(then).await;
        }
        let refused = call.refused().await;
        assert_eq!(refused.as_deref(), Some("STREAM_PROTOCOL"), "{state}");
    }
    // The call beside them is complete, and ended in order.
    assert!(whole.rows_to_complete().await > 0);
    whole.say(Some(received())).await;
    assert_eq!(whole.refused().await, None, "it ends in order");
    let running = cluster.admin().migration(&id).await.expect("it runs");
    assert_eq!(running.stage(), Stage::Streaming, "{running:#?}");
    drop(middle);
}

mod foreign {
    //! A receiver that says what it is told, over a bare channel.

    use crate::harness::soon;
    use proto::status::Refusal;
    use proto::stream::v1 as pb;
    use proto::stream::v1::pull_request::Event as Asks;
    use proto::stream::v1::pull_response::Event as Says;
    use proto::stream::v1::stream_service_client::StreamServiceClient;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::transport::Channel;
    use tonic::{Status, Streaming};

    pub(super) struct Call {
        asks: mpsc::Sender<pb::PullRequest>,
        responses: Result<Streaming<pb::PullResponse>, Status>,
    }

    impl Call {
        pub(super) async fn start(channel: &Channel, first: Option<Asks>) -> Call {
            let (asks, outbox) = mpsc::channel(4);
            asks.send(pb::PullRequest { event: first }).await.expect("there is room");
            let mut source = StreamServiceClient::new(channel.clone());
            let called = soon("an answer", source.pull(ReceiverStream::new(outbox))).await;
            Call { asks, responses: called.map(tonic::Response::into_inner) }
        }

        pub(super) async fn say(&self, event: Option<Asks>) {
            // A call that is over doesn't hear it.
            let _over = self.asks.send(pb::PullRequest { event }).await;
        }

        /// The next word; `Err(None)` for an end in order.
        pub(super) async fn hear(&mut self) -> Result<Says, Option<Status>> {
            let responses = self.responses.as_mut().map_err(|status| Some(status.clone()))?;
            match soon("a word", responses.message()).await {
                Ok(Some(response)) => Ok(response.event.expect("of a known kind")),
                Ok(None) => Err(None),
                Err(status) => Err(Some(status)),
            }
        }

        /// Listens to the end; the reason of a refusal.
        pub(super) async fn refused(&mut self) -> Option<String> {
            loop {
                match self.hear().await {
                    Ok(_) => {}
                    Err(None) => return None,
                    Err(Some(status)) => {
                        let refusal = Refusal::from_status(&status);
                        let reason = refusal.map(|refusal| refusal.reason.name().to_owned());
                        return Some(reason.unwrap_or_else(|| format!("{status:?}")));
                    }
                }
            }
        }

        /// Listens until all rows came; how many were said.
        pub(super) async fn rows_to_complete(&mut self) -> u64 {
            loop {
                match self.hear().await.expect("it goes on") {
                    Says::Complete(complete) => return complete.rows,
                    Says::Accepted(_) | Says::Chunk(_) | Says::KeepAlive(_) => {}
                }
            }
        }
    }
}
