//! D8, E1, E3: between a receiver and its source somebody loses, doubles, swaps and bends
//! messages. Each is found and typed, and the connection that all cases share stays.

use crate::agents::*;
use futures::StreamExt;
use migrations::evidence::FailureReason;
use migrations::stage::Stage;
use palisade_replica::stream::{StreamEvent, transport};
use proto::stream::v1 as pb;
use proto::stream::v1::pull_response::Event as Says;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use proto::stream::v1::stream_service_server::{StreamService, StreamServiceServer};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status, Streaming};

type Answers = Vec<Result<pb::PullResponse, Status>>;
/// What is made of all that a source says in one call.
type Tamper = fn(Answers) -> Answers;
type Responses = Pin<Box<dyn futures::Stream<Item = Result<pb::PullResponse, Status>> + Send>>;

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    calls: AtomicU64,
}

/// Stands in front of a source.
struct Between {
    source: StreamServiceClient<tonic::transport::Channel>,
    tamper: Arc<Mutex<Option<Tamper>>>,
    counts: Arc<Counts>,
}

/// One who only counts.
pub(crate) struct Counted {
    pub(crate) address: String,
    counts: Arc<Counts>,
}

impl Counted {
    /// Bytes of rows that went through.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::SeqCst)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.counts.calls.load(Ordering::SeqCst)
    }
}

pub(crate) async fn counting(source: &str) -> Counted {
    let (address, counts, _) = between(source).await;
    Counted { address, counts }
}

async fn between(source: &str) -> (String, Arc<Counts>, Arc<Mutex<Option<Tamper>>>) {
    let channel = transport::endpoint(source).expect("an address").connect().await;
    let source = StreamServiceClient::new(channel.expect("it serves"));
    let (counts, tamper) = (Arc::<Counts>::default(), Arc::default());
    let service = Between { source, tamper: Arc::clone(&tamper), counts: Arc::clone(&counts) };
    (serve(StreamServiceServer::new(service)).await, counts, tamper)
}

#[tonic::async_trait]
impl StreamService for Between {
    type PullStream = Responses;

    async fn pull(
        &self,
        request: Request<Streaming<pb::PullRequest>>,
    ) -> Result<Response<Responses>, Status> {
        self.counts.calls.fetch_add(1, Ordering::SeqCst);
        let asked = request.into_inner().filter_map(|asked| std::future::ready(asked.ok()));
        let mut said = self.source.clone().pull(asked).await?.into_inner();
        let tamper = self.tamper.lock().expect("no panic").take();
        let Some(tamper) = tamper else {
            let counts = Arc::clone(&self.counts);
            let counted = said.inspect(move |said| {
                if let Ok(pb::PullResponse { event: Some(Says::Chunk(chunk)) }) = said {
                    counts.bytes.fetch_add(chunk.rows.len() as u64, Ordering::SeqCst);
                }
            });
            return Ok(Response::new(Box::pin(counted)));
        };
        let mut all = Answers::new();
        while let Some(answer) = said.message().await.transpose() {
            let is_last =
                answer.as_ref().map_or(true, |a| matches!(a.event, Some(Says::Complete(_))));
            all.push(answer);
            if is_last {
                break;
            }
        }
        Ok(Response::new(Box::pin(futures::stream::iter(tamper(all)))))
    }

    async fn get_outcome(
        &self,
        _request: Request<pb::GetOutcomeRequest>,
    ) -> Result<Response<pb::GetOutcomeResponse>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }
}

fn chunk(answers: &mut Answers, at: usize) -> &mut pb::Chunk {
    match &mut answers[at] {
        Ok(pb::PullResponse { event: Some(Says::Chunk(chunk)) }) => chunk,
        other => panic!("no chunk: {other:?}"),
    }
}

/// Flips a bit in the last value of a chunk.
fn bend(chunk: &mut pb::Chunk) {
    let mut rows = chunk.rows.to_vec();
    *rows.last_mut().expect("rows") ^= 1;
    chunk.rows = rows.into();
}

fn said(event: Says) -> Result<pb::PullResponse, Status> {
    Ok(pb::PullResponse { event: Some(event) })
}

/// Answers are: accepted, chunks 1 to n, complete.
const CASES: [(&str, Tamper, FailureReason); 17] = [
    (
        "d8 a bit is flipped",
        |mut all| {
            bend(chunk(&mut all, 2));
            all
        },
        FailureReason::ChecksumMismatch,
    ),
    (
        "d8 a bit is flipped before the checksum was made",
        |mut all| {
            let chunk = chunk(&mut all, 2);
            bend(chunk);
            chunk.checksum = crc32fast::hash(&chunk.rows);
            all
        },
        FailureReason::DigestMismatch,
    ),
    (
        "d8 a chunk is lost",
        |mut all| {
            drop(all.remove(2));
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "d8 a chunk is lost, and the others are numbered without it",
        |mut all| {
            drop(all.remove(2));
            let last = all.len() - 1;
            (2..last).for_each(|at| chunk(&mut all, at).number -= 1);
            all
        },
        FailureReason::DigestMismatch,
    ),
    (
        "d8 the last chunk is lost",
        |mut all| {
            let last = all.len() - 2;
            drop(all.remove(last));
            all
        },
        FailureReason::DigestMismatch,
    ),
    (
        "d8 a chunk is doubled",
        |mut all| {
            let double = chunk(&mut all, 2).clone();
            all.insert(2, said(Says::Chunk(double)));
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "d8 two chunks are swapped",
        |mut all| {
            all.swap(1, 2);
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "d8 two chunks are swapped, and numbered as they come",
        |mut all| {
            all.swap(1, 2);
            (chunk(&mut all, 1).number, chunk(&mut all, 2).number) = (1, 2);
            all
        },
        FailureReason::DigestMismatch,
    ),
    (
        "e3 rows that are none",
        |mut all| {
            let chunk = chunk(&mut all, 1);
            chunk.rows = vec![7; 100].into();
            chunk.checksum = crc32fast::hash(&chunk.rows);
            all
        },
        FailureReason::StreamProtocol,
    ),
    ("e1 the end comes before the answer", |_| Answers::new(), FailureReason::StreamProtocol),
    (
        "e1 the answer comes, then the end",
        |mut all| {
            all.truncate(1);
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "e1 complete comes before the answer",
        |mut all| {
            let last = all.len() - 1;
            all.swap(0, last);
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "e3 a second answer",
        |mut all| {
            let accepted = all[0].clone();
            all.insert(1, accepted);
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "e3 a keep-alive before the answer",
        |mut all| {
            all.insert(0, said(Says::KeepAlive(pb::KeepAlive { paused: true })));
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "e3 a message of no known kind",
        |mut all| {
            all.insert(1, Ok(pb::PullResponse { event: None }));
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "e3 it goes on where it wasn't asked to",
        |mut all| {
            if let Ok(pb::PullResponse { event: Some(Says::Accepted(accepted)) }) = &mut all[0] {
                accepted.resumed = true;
            }
            all
        },
        FailureReason::StreamProtocol,
    ),
    (
        "d3 the network resets the call",
        |mut all| {
            all.truncate(2);
            all.push(Err(Status::unavailable("connection reset by peer")));
            all
        },
        FailureReason::PeerClosed,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_doubled_swapped_or_bent_is_found_and_typed() {
    for (index, (case, tamper, reason)) in CASES.into_iter().enumerate() {
        let (theirs, ours) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let rows = rows(1_000);
        let source = source(theirs.path(), &rows).await;
        let mut receiver = receiver(ours.path()).await;
        let (address, _) = source.serve().await;
        let (address, counts, tampering) = between(&address).await;
        *tampering.lock().expect("no panic") = Some(tamper);
        receiver.puller.pull(order_of_session_1(&address)).await;
        assert_eq!(receiver.failed().await.reason, reason, "case {index}: {case}");

        // The next attempt, over the same connection, is a call like any other.
        for agent in [&source, &receiver] {
            agent.take_on(&moving(8, Stage::WriteBothReadOld, Some(2))).await;
            let drain = agent.tablets.drain(tablet(), version(8));
            tokio::time::timeout(PATIENCE, drain).await.expect("guards were given back");
        }
        receiver.take_on(&moving(9, Stage::Streaming, Some(2))).await;
        receiver.puller.pull(order(moving(9, Stage::Streaming, Some(2)), &address)).await;
        let ended = receiver.ended().await;
        assert!(matches!(ended, StreamEvent::Complete { .. }), "case {index}: {case}: {ended:?}");
        assert_eq!(counts.calls.load(Ordering::SeqCst), 2);
        let held = (1_000, sum_of(&rows));
        assert_eq!(receiver.holds(9), held, "case {index}: {case}: nothing bent is stored");
    }
}
