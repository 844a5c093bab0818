//! D9: peers of an older protocol version in a stream, made by hand: a receiver that has no last
//! acknowledgement, and sources that have no last message, or don't wait for the answer to it. What
//! nobody can be asked for counts as failed; nothing is guessed.

use crate::harness::middle::{Beat, Middle};
use crate::harness::steps::Switch;
use crate::harness::{Cluster, Shape, soon};
use crate::streams::{failures, fill};
use proto::admin::v1 as pb;
use proto::stream::v1 as stream;
use proto::stream::v1::pull_request::Event as Asks;
use proto::stream::v1::pull_response::Event as Says;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

/// What a source says of a stream that ended unheard, by whom it could be asked for.
const NOT_ASKED: &str = "a stream out ended unheard, and nobody is to be asked";
const CAN_NOT: &str = "a stream out ended unheard, and the receiver can't be asked";
const NOT_COMPLETE: &str =
    "a stream out ended unheard, and is not complete by the receiver's record";

/// Pulls all there is in place of the receiver that has just begun, and hangs up without a word.
async fn pull_in_its_place(cluster: &Cluster, begin: stream::Begin) {
    let mut source = StreamServiceClient::new(cluster.channel("n1", "stream"));
    let (asks, outbox) = tokio::sync::mpsc::channel(1);
    let begin = stream::PullRequest { event: Some(Asks::Begin(begin)) };
    asks.try_send(begin).expect("there is room");
    let outbox = tokio_stream::wrappers::ReceiverStream::new(outbox);
    let mut says = source.pull(outbox).await.expect("it is served").into_inner();
    let mut rows = 0;
    loop {
        let said = soon("all of it", says.message()).await.expect("it goes well");
        match said.expect("it waits for an answer").event.expect("one of them") {
            Says::Chunk(chunk) => rows += chunk.rows.len(),
            Says::Complete(complete) => break assert_eq!(complete.bytes, rows as u64),
            Says::Accepted(_) | Says::KeepAlive(_) => {}
        }
    }
    assert!(rows > 0);
}

/// Where a peer answers that it knows no such call.
async fn knows_nothing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
    let address = listener.local_addr().expect("it is bound").to_string();
    let nothing = tonic::service::Routes::default();
    let serving = tonic::transport::Server::builder().add_routes(nothing);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// Two tablets on n1, n2 and n3, the first with rows; n4 pulls from n1 through who stands between.
async fn with_a_middle() -> (Cluster, [pb::Tablet; 2], Middle) {
    let shape = Shape { agents: 3, has_proxies: true, profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let empty = cluster.create_table("empty", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 100).await;
    let middle = cluster.stand_between("n1").await;
    (cluster, [tablet, empty], middle)
}

/// Moves a tablet away from a source that says nothing at the end of its rows, and ends the call:
/// in order, and all the same.
async fn left_without_a_word(
    cluster: &Cluster,
    middle: &mut Middle,
    tablet: &pb::Tablet,
) -> pb::Migration {
    middle.play(tablet.id, vec![Beat::Accept, Beat::End]);
    let id = cluster.migrate(tablet, "n1", "n4").await;
    cluster.ended(&id).await
}

/// The control of D9: a receiver that guesses that it has all of it ends the move without the rows.
#[tokio::test(flavor = "multi_thread")]
async fn d9_control_a_receiver_that_guesses_the_end_has_no_rows() {
    let (cluster, [tablet, _], mut middle) = with_a_middle().await;
    cluster.switch("n4", tablet.id, Switch::GuessComplete, true).await;
    let ended = left_without_a_word(&cluster, &mut middle, &tablet).await;
    assert_eq!((ended.state(), ended.attempt), (pb::MigrationState::Done, 1), "{ended:#?}");
    let held = cluster.digest(&tablet).await.digests;
    let rows = |node: &str| held.iter().find(|one| one.node == node).expect("a replica").rows;
    assert_eq!(rows("n4"), 0, "{held:#?}");
    assert!(rows("n2").max(rows("n3")) > 0, "{held:#?}");
}

/// Each attempt that ended without the last acknowledgement is a failed one, whatever was sent; where
/// the record can be asked for, it decides.
#[tokio::test(flavor = "multi_thread")]
async fn d9_an_end_without_the_last_acknowledgement_is_never_guessed() {
    let (cluster, [tablet, empty], mut middle) = with_a_middle().await;

    let ended = left_without_a_word(&cluster, &mut middle, &tablet).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    let failed = failures(&ended);
    assert_eq!(failed.len() as u32, ended.attempt, "{ended:#?}");
    assert!(failed.iter().all(|why| *why == "STREAM_PROTOCOL"), "{ended:#?}");

    // One that doesn't wait for the answer to its last message: the receiver's record has the end.
    let complete = stream::Complete { rows: 0, bytes: 0, sum: vec![0; 16].into() };
    let says = Beat::Say(Says::Complete(complete));
    middle.play(empty.id, vec![Beat::Accept, says, Beat::End]);
    let moved = cluster.moved(&empty, "n1", "n4").await;
    assert_eq!(moved.attempt, 1, "{moved:#?}");

    // A receiver that never says that it has all.
    middle.play(tablet.id, vec![Beat::Tell, Beat::Pause(Duration::from_secs(60))]);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let cases = [
        (Some(String::new()), NOT_ASKED),
        (Some(knows_nothing().await), CAN_NOT),
        (None, NOT_COMPLETE),
    ];
    for (case, (address, said)) in cases.into_iter().enumerate() {
        let mut begin = middle.told().await.begin;
        begin.receiver_address = address.unwrap_or(begin.receiver_address);
        pull_in_its_place(&cluster, begin).await;
        cluster.said("n1", said).await;
        // Nothing has come of it but rows that were sent; the one who was asked to pull has none.
        let running = cluster.admin().migration(&id).await.expect("it runs");
        assert_eq!(running.attempt as usize, case + 1, "{running:#?}");
        if case == 2 {
            middle.pass(tablet.id);
        }
        cluster.links().streams("n1").cut_all();
    }
    let ended = cluster.ended(&id).await;
    // Three tries, none of which counts: it goes back.
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert_eq!((ended.attempt, failures(&ended).len()), (3, 3), "{ended:#?}");
    let of_it = format!("\"tablet\":\"{}\"", tablet.id);
    let (log, complete) = (cluster.logged("n1"), "\"stream out complete");
    let mut said = log.lines().filter(|line| line.contains(complete) && line.contains(&of_it));
    assert_eq!(said.next(), None, "nobody said so");
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.replicas_agree(&tablet).await;
}
