//! Callers who take what they can get: connections without end, that say nothing, or a byte at a
//! time; calls and messages that don't end. Who keeps to the rules notices nothing.

use crate::harness::{Cluster, Shape, soon};
use crate::signals::{code, samples, value};
use crate::workload::Workload;
use bytes::Bytes;
use client::Tls;
use http_body::Frame;
use proto::admin::v1 as pb;
use proto::types::v1::TopologyVersion;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tls::{Dial, Kind, Role};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How many connections that say nothing a port keeps, at most.
const STRANGERS: usize = 1_024;
/// How many the port of metrics and health keeps.
const SIGNALS: usize = 64;
/// Connections, and calls, of each other kind at each port.
const STAYING: usize = 40;
/// How slow those are that say something.
const PACE: Duration = Duration::from_millis(500);
/// Bytes of a message without end.
const ENDLESS: u32 = 1 << 30;
/// How much more memory a server may take than before, whatever is done to it here. 1,024 strangers
/// at each of three ports take up to 64 KiB each: buffers of the handshake, a frame of 16 KiB,
/// tables of HPACK. Of each call that doesn't end a few bytes have come; of a message that is too
/// long a window of 1 MiB. The rest is what the allocator keeps for itself.
const MEMORY: u64 = 256 << 20;
/// Renewals of leases that are seen meanwhile: each of four agents has renewed its own.
const RENEWALS: f64 = 12.0;

/// What is attacked: a process, its port, a method there, and who may call it.
const PORTS: [(&str, &str, &str, Kind); 5] = [
    ("c1", "admin", "/palisade.admin.v1.TableService/CreateTable", Kind::User(Role::Admin)),
    ("c1", "agents", "/palisade.agent.v1.AgentService/RenewLease", Kind::Agent),
    ("c1", "raft", "/palisade.raft.v1.RaftService/Vote", Kind::Coordinator),
    ("n1", "data", "/palisade.data.v1.DataService/Put", Kind::Router),
    ("n1", "stream", "/palisade.stream.v1.StreamService/GetOutcome", Kind::Agent),
];

/// A message that is announced with 1 GiB.
struct Announced {
    prefix: Option<Bytes>,
    /// None: not one byte of it comes.
    piece: Option<Bytes>,
    left: usize,
}

impl Announced {
    fn sent() -> Announced {
        let piece = Bytes::from(vec![0; 64 << 10]);
        Announced { piece: Some(piece), ..Announced::of(ENDLESS) }
    }

    fn of(length: u32) -> Announced {
        let prefix = [&[0], &length.to_be_bytes()[..]].concat();
        Announced { prefix: Some(prefix.into()), piece: None, left: length as usize }
    }
}

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(prefix) = self.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(prefix))));
        }
        // Nobody wakes it: nothing comes ever.
        let Some(piece) = self.piece.clone() else { return Poll::Pending };
        self.left = self.left.saturating_sub(piece.len());
        Poll::Ready((self.left > 0).then(|| Ok(Frame::data(piece))))
    }
}

/// Calls with a body as it is; what is answered.
async fn call(mut channel: Channel, path: &str, body: Announced) -> Status {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(Body::new(body)).expect("a request");
    let answer = async {
        poll_fn(|context| channel.poll_ready(context)).await?;
        channel.call(request).await
    };
    match answer.await {
        Ok(answer) => Status::from_header_map(answer.headers()).expect("it is refused at once"),
        Err(error) => Status::unavailable(format!("{error:?}")),
    }
}

/// Reads until the server ends the connection.
async fn end(mut stream: impl AsyncRead + Unpin) {
    while matches!(stream.read(&mut [0; 1_024]).await, Ok(1..)) {}
}

/// Says the begin of a connection byte by byte.
async fn drip(mut stream: TcpStream, has_tls: bool) {
    let begin: &[u8] = match has_tls {
        true => &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        false => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    for byte in begin.iter().chain(std::iter::repeat(&0)) {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(PACE).await;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Opens a call whose header has no end, after one that is whole or not, and sees the end.
async fn open(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, after_a_call: bool) {
    let (headers, end_of_headers, settings) = (1, 4, 4);
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    said.extend(frame(settings, 0, 0, &[]));
    if after_a_call {
        // POST, http, and by their numbers in the table of HPACK: path, authority, content type.
        let mut block = vec![0x83, 0x86];
        for (name, text) in [(&[0x04][..], path), (&[0x01], "x"), (&[0x0f, 16], "application/grpc")]
        {
            block.extend(name);
            block.push(u8::try_from(text.len()).expect("it is short"));
            block.extend(text.as_bytes());
        }
        said.extend(frame(headers, end_of_headers, 1, &block));
    }
    said.extend(frame(headers, 0, 3, &[0x83]));
    if stream.write_all(&said).await.is_ok() && stream.flush().await.is_ok() {
        end(stream).await;
    }
}

/// Everything at once but what ends at once: connections that are to be ended by the server, and
/// calls that outlast the test.
async fn besiege(cluster: &Cluster) -> (JoinSet<()>, JoinSet<Status>) {
    let (mut connections, mut calls) = (JoinSet::new(), JoinSet::new());
    for (process, port, path, kind) in PORTS {
        let address = cluster.agent(process).port(port);
        let caller = of(cluster, kind);
        let channel = cluster.channel_as(caller.clone(), process, port);
        let server = if process == "c1" { Kind::Coordinator } else { Kind::Agent };
        let has_tls = caller.is_some();
        let mut dial = Dial::new(caller, server);
        for number in 0..STAYING {
            connections.spawn(end(connect(&address).await));
            connections.spawn(drip(connect(&address).await, has_tls));
            let uri = format!("http://{address}").parse().expect("an address");
            let dialled = dial.call(uri).await.expect("it may call").into_inner();
            connections.spawn(open(dialled, path, number % 2 == 0));
            let channel = channel.clone();
            calls.spawn(async move { call(channel, path, Announced::of(1_000)).await });
        }
    }
    (connections, calls)
}

fn of(cluster: &Cluster, kind: Kind) -> Option<Tls> {
    cluster.has_tls().then(|| cluster.papers().of(kind, "n1"))
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

/// More connections than a port keeps, which are ended but for those.
async fn flood(address: &str, count: usize, kept: usize) -> JoinSet<()> {
    let mut silent = JoinSet::new();
    for _ in 0..count {
        silent.spawn(end(connect(address).await));
    }
    let ended = async {
        for _ in 0..count - kept {
            silent.join_next().await.expect("there are more").expect("it reads");
        }
    };
    soon("the end of those that are too many", ended).await;
    silent
}

async fn incarnations(cluster: &Cluster) -> Vec<Option<TopologyVersion>> {
    let nodes = cluster.admin().list_nodes().await.expect("the nodes");
    nodes.into_iter().map(|node| node.incarnation).collect()
}

/// While all of it goes on leases are renewed, a tablet moves, rows are read and written, health is
/// told; messages of 1 GiB are refused, and memory stays within its bound. In the end every
/// connection that never came to a point has been ended.
async fn nobody_notices(has_tls: bool, connections: usize) {
    let bound = ::process::descriptors();
    assert!(bound > connections + 5_000, "this test needs more open files than {bound}");
    let profile = "standard";
    let cluster = Cluster::start_as(Shape { profile, has_tls, ..Shape::default() }).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    let workload = Workload::start(&router, "orders", 2, 20);
    soon("writes", workload.proceed(20)).await;
    let (c1, n1) = (cluster.agent("c1"), cluster.agent("n1"));
    let memory = [c1, n1].map(|server| server.most_memory());
    let renewed =
        async || value(&samples(c1).await, "palisade_lease_renewals_total{result=\"renewed\"}");
    let before = renewed().await;
    let admitted = incarnations(&cluster).await;

    let (mut besieging, calls) = besiege(&cluster).await;
    let silent = flood(&c1.port("agents"), connections, STRANGERS).await;
    let at_health = flood(&c1.port("metrics"), 2 * SIGNALS, SIGNALS).await;
    assert_eq!(soon("health", code(c1, "/livez")).await, 200);
    for (process, port, path, kind) in PORTS {
        let channel = cluster.channel_as(of(&cluster, kind), process, port);
        let refused = soon(path, call(channel, path, Announced::sent())).await;
        assert_eq!(refused.code(), Code::OutOfRange, "{port}: {refused:?}");
    }
    let to =
        ["n1", "n2", "n3", "n4"].iter().find(|n| tablet.replicas.iter().all(|r| r.node != **n));
    let from = &tablet.replicas[0].node;
    let id = cluster.migrate(&tablet, from, to.expect("one is free")).await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    soon("leases", async { while renewed().await < before + RENEWALS {} }).await;
    soon("writes go on", workload.proceed(50)).await;

    let all = async { while besieging.join_next().await.is_some() {} };
    soon("the end of every connection that asks nothing", all).await;
    drop((silent, at_health, calls));
    for (server, before) in [c1, n1].into_iter().zip(memory) {
        let now = server.most_memory();
        println!("TLS: {has_tls}: from {} MiB to {} MiB", before >> 20, now >> 20);
        assert!(now < before + MEMORY, "from {before} bytes to {now}");
    }
    assert_eq!(incarnations(&cluster).await, admitted, "nobody was fenced");
    let history = workload.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_without_tls_is_bounded_and_nobody_notices() {
    nobody_notices(false, 10_000).await;
}

/// The two run beside each other in one process, which may not open 20,000 files everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn abuse_with_tls_is_bounded_and_nobody_notices() {
    nobody_notices(true, 3_000).await;
}
