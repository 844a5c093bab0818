//! What a stream gives, beside what the machine gives: `cargo bench -p palisade-replica --bench
//! stream`, with `-- memory` or `-- disk` one part of it. Both numbers of a line are taken in the
//! same run; the ratio is what counts.
//!
//! - memory: rows through codec, sums, checksums and gRPC, without TLS beside a bare TCP copy of the
//!   same bytes, with TLS beside a bare copy through rustls; and, on one thread, what the parts of
//!   it cost
//! - disk: a pull from one store into another, without TLS and with, beside bulk insertion of its
//!   rows into sled
//!
//! Rounds of both take turns; a number is the median of them, in brackets the best.
#![allow(clippy::print_stdout)]

#[path = "../tests/stream/agents.rs"]
#[allow(dead_code)]
mod agents;

use agents::*;
use bytes::Bytes;
use futures::StreamExt as _;
use migrations::position::Position;
use migrations::pull::Totals;
use migrations::row::{RowSum, RowVersion};
use palisade_replica::limits::CONNECTIONS;
use palisade_replica::store::TabletStore;
use palisade_replica::stream::codec::{self, CHUNK_BYTES};
use palisade_replica::stream::{StreamEvent, transport};
use proto::convert;
use proto::stream::v1 as pb;
use proto::stream::v1::pull_response::Event as Says;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use proto::stream::v1::stream_service_server::{StreamService, StreamServiceServer};
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tls::authority::{Authority, Issued};
use tls::{Dial, Kind, Tls, TlsArgs, incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::Service as _;
use tonic::transport::server::Connected as _;
use tonic::{Request, Response, Status, Streaming};

/// Rows that the memory part sends over and over.
const PAGE_ROWS: u32 = 16_000;
const TIMES: usize = 64;
/// Rows of the disk part.
const DISK_ROWS: u32 = 60_000;
const BATCH_ROWS: usize = 1_500;
/// Rounds of each measurement.
const ROUNDS: usize = 9;

type Failed = Box<dyn Error + Send + Sync>;
type Rows = Vec<(Position, RowVersion)>;

fn main() -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if only.as_deref() != Some("disk") {
        runtime.block_on(runtime.spawn(memory()))??;
    }
    if only.as_deref() != Some("memory") {
        runtime.block_on(runtime.spawn(disk()))??;
    }
    Ok(())
}

/// Certificates for both ends.
struct Papers {
    _directory: tempfile::TempDir,
    authority: Authority,
}

impl Papers {
    fn new() -> Result<Papers, Failed> {
        let directory = tempfile::tempdir()?;
        let authority = Authority::new(directory.path())?;
        Ok(Papers { _directory: directory, authority })
    }

    fn of(&self, agent: &str) -> Result<Tls, Failed> {
        let identity = format!("spiffe://bench/agent/{agent}").parse()?;
        let Issued { cacert, cert, key } = self.authority.issue(&identity)?;
        let args = TlsArgs { cacert: Some(cacert), cert: Some(cert), key: Some(key) };
        Ok(args.load()?.ok_or("three files were named")?)
    }
}

/// What rounds took of so many bytes: the median in MiB a second, and the line that says so.
fn report(what: &str, bytes: u64, rounds: &mut [Duration]) -> f64 {
    rounds.sort_unstable();
    #[allow(clippy::cast_precision_loss)] // For people.
    let mib = bytes as f64 / f64::from(1 << 20);
    let [best, median] = [0, rounds.len() / 2].map(|round| mib / rounds[round].as_secs_f64());
    println!("  {what:<24} {median:>6.0} MiB/s  ({best:.0})");
    median
}

/// The memory part.
async fn memory() -> Result<(), Failed> {
    let rows = Arc::new(rows(PAGE_ROWS));
    let chunks = chunks(&rows);
    let papers = Papers::new()?;
    let mut ways = Vec::new();
    for tls in [None, Some(papers.of("n1")?)] {
        let source = Memory { rows: Arc::clone(&rows) };
        let address = serve_as(StreamServiceServer::new(source), tls.clone()).await;
        ways.push((address, tls, [Vec::new(), Vec::new()]));
    }
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        for (address, tls, [stream, copy]) in &mut ways {
            let began = Instant::now();
            bytes = pull_memory(address, tls.clone()).await?;
            stream.push(began.elapsed());
            copy.push(copy_over_tcp(&chunks, bytes, tls.clone()).await?);
        }
    }
    println!("memory, {} MiB", bytes >> 20);
    for (_, tls, [stream, copy]) in &mut ways {
        let with = if tls.is_some() { ", TLS" } else { "" };
        let stream = report(&format!("stream with sums{with}"), bytes, stream);
        let copy = report(&format!("TCP copy{with}"), bytes, copy);
        println!("  {:<24} {:>6.2}", "ratio", stream / copy);
    }
    println!("parts of it, each on one thread");
    parts(&rows, &chunks);
    Ok(())
}

/// The rows, as the chunks that bring them.
fn chunks(mut rows: &[(Position, RowVersion)]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while !rows.is_empty() {
        let packed = codec::pack(rows, &mut RowSum::default());
        rows = &rows[packed.rows..];
        chunks.push(packed.bytes);
    }
    chunks
}

/// What is done for each byte besides sending it.
fn parts(rows: &Rows, chunks: &[Bytes]) {
    let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    let part = |what: &str, act: &dyn Fn()| {
        let mut rounds = [Duration::ZERO; ROUNDS];
        for round in &mut rounds {
            let began = Instant::now();
            act();
            *round = began.elapsed();
        }
        report(what, bytes, &mut rounds);
    };
    part("pack and sum", &|| {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            rest = &rest[black_box(codec::pack(rest, &mut RowSum::default())).rows..];
        }
    });
    part("unpack and sum", &|| {
        let mut sum = RowSum::default();
        let rows = chunks.iter().flat_map(|chunk| codec::unpack(chunk)).flatten();
        rows.for_each(|row| sum.add_encoded(row.encoded));
        black_box(sum);
    });
    part("checksum, at each end", &|| {
        chunks.iter().for_each(|chunk| _ = black_box(crc32fast::hash(chunk)));
    });
    part("copy, by gRPC, each end", &|| {
        chunks.iter().for_each(|chunk| drop(black_box(chunk.to_vec())));
    });
}

/// A source whose rows are in memory.
struct Memory {
    rows: Arc<Rows>,
}

#[tonic::async_trait]
impl StreamService for Memory {
    type PullStream = ReceiverStream<Result<pb::PullResponse, Status>>;

    async fn pull(
        &self,
        _request: Request<Streaming<pb::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let (out, responses) = mpsc::channel(8);
        let rows = Arc::clone(&self.rows);
        tokio::task::spawn_blocking(move || send_memory(&rows, &out));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn get_outcome(
        &self,
        _request: Request<pb::GetOutcomeRequest>,
    ) -> Result<Response<pb::GetOutcomeResponse>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }
}

fn send_memory(rows: &Rows, out: &mpsc::Sender<Result<pb::PullResponse, Status>>) {
    let (mut totals, mut number) = (Totals::default(), 0);
    for _ in 0..TIMES {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let packed = codec::pack(rest, &mut totals.sum);
            rest = &rest[packed.rows..];
            totals.rows += packed.rows as u64;
            totals.bytes += packed.bytes.len() as u64;
            number += 1;
            let checksum = crc32fast::hash(&packed.bytes);
            let sum = convert::sum_bytes(totals.sum.0);
            let chunk = pb::Chunk { number, checksum, rows: packed.bytes, sum };
            let said = pb::PullResponse { event: Some(Says::Chunk(chunk)) };
            if out.blocking_send(Ok(said)).is_err() {
                return;
            }
        }
    }
    let sum = convert::sum_bytes(totals.sum.0);
    let complete = pb::Complete { rows: totals.rows, bytes: totals.bytes, sum };
    let _gone = out.blocking_send(Ok(pb::PullResponse { event: Some(Says::Complete(complete)) }));
}

/// Receives all of it, checked and summed; how many bytes of rows it was.
async fn pull_memory(address: &str, tls: Option<Tls>) -> Result<u64, Failed> {
    let channel = Dial::new(tls, Kind::Agent).connect(&transport::endpoint(address)?).await?;
    let mut client = StreamServiceClient::new(channel);
    let begin = pb::PullRequest { event: None };
    let mut said = client.pull(tokio_stream::iter([begin])).await?.into_inner();
    let (chunks, mut checked) = mpsc::channel::<pb::Chunk>(8);
    let checking = tokio::task::spawn_blocking(move || {
        let mut totals = Totals::default();
        while let Some(chunk) = checked.blocking_recv() {
            if crc32fast::hash(&chunk.rows) != chunk.checksum {
                return Err("a checksum is wrong");
            }
            for row in codec::unpack(&chunk.rows) {
                let row = row.map_err(|_| "no rows")?;
                totals.sum.add_encoded(row.encoded);
                totals.rows += 1;
            }
            totals.bytes += chunk.rows.len() as u64;
        }
        Ok(totals)
    });
    let mut sent = Totals::default();
    while let Some(message) = said.message().await? {
        match message.event {
            Some(Says::Chunk(chunk)) => chunks.send(chunk).await?,
            Some(Says::Complete(pb::Complete { rows, bytes, sum })) => {
                sent = Totals { rows, bytes, sum: RowSum(convert::sum("sum", &sum)?) };
            }
            _ => return Err("a message that doesn't belong".into()),
        }
    }
    drop(chunks);
    let stored = checking.await??;
    if stored != sent || sent.rows == 0 {
        return Err("the sums differ".into());
    }
    Ok(sent.bytes)
}

/// Copies the chunks over and over through a bare connection, so many bytes in all. With TLS it is
/// rustls with tokio's hands, as it comes.
async fn copy_over_tcp(chunks: &[Bytes], bytes: u64, tls: Option<Tls>) -> Result<Duration, Failed> {
    let chunks = chunks.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut dialling = Dial::new(tls.clone(), Kind::Agent);
    let sending = tokio::spawn(async move {
        let mut arrived = Box::pin(incoming(listener, tls, CONNECTIONS));
        let mut socket = arrived.next().await.ok_or(std::io::ErrorKind::NotConnected)??;
        socket.connect_info().make_known();
        for chunk in std::iter::repeat_n(&chunks, TIMES).flatten() {
            socket.write_all(chunk).await?;
        }
        socket.shutdown().await
    });
    let began = Instant::now();
    let mut socket = dialling.call(format!("http://{address}").parse()?).await?.into_inner();
    let mut block = vec![0u8; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        let read = socket.read(&mut block).await?;
        if read == 0 {
            break;
        }
        copied += read as u64;
    }
    let took = began.elapsed();
    sending.await??;
    if copied != bytes {
        return Err("the copy is short".into());
    }
    Ok(took)
}

/// The disk part.
async fn disk() -> Result<(), Failed> {
    let rows = rows(DISK_ROWS);
    let papers = Papers::new()?;
    let mut ways = Vec::new();
    for with in [false, true] {
        let theirs = tempfile::tempdir()?;
        let [at_source, at_receiver] = match with {
            true => [Some(papers.of("n1")?), Some(papers.of("n4")?)],
            false => [None, None],
        };
        let source = source_as(theirs.path(), &rows, at_source).await;
        let (address, _) = source.serve().await;
        ways.push((theirs, source, address, at_receiver, Vec::new()));
    }
    let (mut bulk, mut bytes) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        for (.., address, tls, pull) in &mut ways {
            let ours = tempfile::tempdir()?;
            let mut receiver = receiver_as(ours.path(), tls.clone()).await;
            let began = Instant::now();
            receiver.puller.pull(order_of_session_1(address)).await;
            let ended = receiver.ended().await;
            let StreamEvent::Complete { report, .. } = ended else {
                return Err(format!("{ended:?}").into());
            };
            pull.push(began.elapsed());
            bytes = report.bytes;
            close(receiver.store).await?;
        }
        bulk.push(bulk_insert(&rows)?);
    }
    println!("disk, {DISK_ROWS} rows, {} MiB", bytes >> 20);
    let [plain, with] = [("pull, durable", 0), ("pull, durable, TLS", 1)]
        .map(|(what, way)| report(what, bytes, &mut ways[way].4));
    let bulk = report("bulk insert, durable", bytes, &mut bulk);
    println!("  {:<24} {:>6.2}", "ratio", plain / bulk);
    println!("  {:<24} {:>6.2}", "with TLS to without", with / plain);
    Ok(())
}

/// So that one round's syncs don't fall into the next one's time.
async fn close(store: Arc<dyn TabletStore>) -> Result<(), Failed> {
    Ok(store.durable().wait().await?)
}

/// The same rows in the same stored form, into a sled configured as the agents' stores are here,
/// and as durable in the end.
fn bulk_insert(rows: &Rows) -> Result<Duration, Failed> {
    let dir = tempfile::tempdir()?;
    let config = sled::Config::new().path(dir.path()).cache_capacity(16 << 20);
    let db = config.segment_size(2 << 20).flush_every_ms(None).open()?;
    let tree = db.open_tree("rows")?;
    let began = Instant::now();
    for rows in rows.chunks(BATCH_ROWS) {
        let mut batch = sled::Batch::default();
        for (position, row) in rows {
            let time = row.timestamp.time.0.to_be_bytes();
            let router = row.timestamp.router.as_uuid();
            let value = row.value.as_deref().unwrap_or_default();
            batch.insert(position.as_slice(), [&time[..], router.as_bytes(), &[1], value].concat());
        }
        tree.apply_batch(batch)?;
    }
    db.flush()?;
    File::open(dir.path().join("db"))?.sync_data()?;
    Ok(began.elapsed())
}
