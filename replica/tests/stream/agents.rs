//! Agents without coordinators, and the records of one move: tablet 7 from node 1 to node 4.

use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{ClusterId, MigrationId, NodeId, RouterId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::pull::Bounds;
use migrations::record::{StreamPair, TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::{RowSum, RowVersion};
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use palisade_replica::clock::NodeClock;
use palisade_replica::lease::{Lease, LeaseTerms, now};
use palisade_replica::limits::CONNECTIONS;
use palisade_replica::sessions::Sessions;
use palisade_replica::store::{Directory, SledStore, StoreOptions, TabletStore};
use palisade_replica::stream::Throttle;
use palisade_replica::stream::rate::RateLimiter;
use palisade_replica::stream::transport;
use palisade_replica::stream::{Failure, Own, PullOrder, Puller, Standing, StreamApi, StreamEvent};
use palisade_replica::tablets::Tablets;
use proto::stream::v1::stream_service_server::{self, StreamService, StreamServiceServer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tls::{Dial, Kind, Tls, incoming};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) const SOURCE: u64 = 1;
pub(crate) const RECEIVER: u64 = 4;
/// Long enough for a machine that is busy with other tests.
pub(crate) const BOUNDS: Bounds = Bounds { stall: Duration::from_secs(6) };
/// Nothing that a test waits for takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::from_u64(id).expect("not zero")
}

pub(crate) fn tablet() -> TabletId {
    TabletId::from_u64(7).expect("not zero")
}

pub(crate) fn version(at: u64) -> TopologyVersion {
    TopologyVersion::from_parts(0, at)
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n)).expect("not nil")
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_uuid(Uuid::from_u128(99)).expect("not nil")
}

pub(crate) fn pair() -> StreamPair {
    StreamPair { source: node(SOURCE), receiver: node(RECEIVER) }
}

pub(crate) fn row(time: u64, value: Option<&[u8]>) -> RowVersion {
    let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    let timestamp = Timestamp { time: HybridTime(time), router };
    RowVersion { timestamp, value: value.map(<[u8]>::to_vec) }
}

/// Rows of a kilobyte each, in order.
pub(crate) fn rows(count: u32) -> Vec<(Vec<u8>, RowVersion)> {
    let one = |n: u32| {
        let value: Vec<u8> = (0..1_000u32).map(|i| (n.wrapping_mul(31) ^ i) as u8).collect();
        (format!("k{n:08}").into_bytes(), row(3, Some(&value)))
    };
    (0..count).map(one).collect()
}

pub(crate) fn sum_of(rows: &[(Vec<u8>, RowVersion)]) -> RowSum {
    let mut sum = RowSum::default();
    rows.iter().for_each(|(position, row)| sum.add(position, row));
    sum
}

fn set(replicas: &[(u64, u64)]) -> ReplicaSet {
    let replica = |(id, at): &(u64, u64)| Replica {
        node: node(*id),
        copy: CopyId(version(*at)),
        lost: false,
    };
    ReplicaSet::new(replicas.iter().map(replica).collect()).expect("distinct nodes")
}

/// The tablet outside transitions, on these nodes with these copies.
pub(crate) fn settled(at: u64, replicas: &[(u64, u64)]) -> Arc<TabletRecord> {
    let incarnation = |id: u64| (node(id), Incarnation(version(id)));
    Arc::new(TabletRecord {
        tablet: tablet(),
        table: TableId::from_u64(1).expect("not zero"),
        range: PositionRange { start: b"a".to_vec(), end: Some(b"z".to_vec()) },
        version: version(at),
        replicas: set(replicas),
        transition: None,
        promise: HybridTime::ZERO,
        incarnations: (1..=4).map(incarnation).collect(),
    })
}

pub(crate) const OLD: [(u64, u64); 3] = [(SOURCE, 1), (2, 1), (3, 1)];
pub(crate) const NEW: [(u64, u64); 3] = [(2, 1), (3, 1), (RECEIVER, 5)];

/// The move, at a stage.
pub(crate) fn moving(at: u64, stage: Stage, open: Option<u128>) -> Arc<TabletRecord> {
    let streams = if stage == Stage::Streaming { vec![pair()] } else { Vec::new() };
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(77)).expect("not nil"),
        kind: TransitionKind::Migrate,
        stage,
        next: set(&NEW),
        session: open.map(session),
        attempt: 1,
        streams,
        proposed_promise: None,
    };
    let old = settled(at, &OLD);
    Arc::new(TabletRecord { transition: Some(transition), ..TabletRecord::clone(&old) })
}

/// As whom an agent of a test was admitted.
#[derive(Debug)]
struct Admitted(Own, Option<Tls>);

impl Standing for Admitted {
    fn own(&self) -> Option<Own> {
        Some(self.0)
    }

    fn bounds(&self) -> Bounds {
        BOUNDS
    }

    fn dial(&self, _node: NodeId) -> Dial {
        Dial::new(self.1.clone(), Kind::Agent)
    }
}

pub(crate) fn own(id: u64) -> Own {
    Own { cluster: cluster(), node: node(id), incarnation: Incarnation(version(id)) }
}

/// An agent that pulls and is pulled from.
pub(crate) struct Agent {
    tls: Option<Tls>,
    pub(crate) node: u64,
    pub(crate) store: Arc<dyn TabletStore>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) tablets: Arc<Tablets>,
    pub(crate) puller: Puller,
    pub(crate) throttle: Throttle,
    pub(crate) events: mpsc::Receiver<StreamEvent>,
}

impl Agent {
    pub(crate) fn open(path: &Path, id: u64) -> Agent {
        Agent::over(path, id, |store| store)
    }

    /// An agent whose store is seen through something.
    pub(crate) fn over(
        path: &Path,
        id: u64,
        through: impl FnOnce(Arc<dyn TabletStore>) -> Arc<dyn TabletStore>,
    ) -> Agent {
        Agent::over_as(path, id, None, through)
    }

    /// The same, that shows a certificate.
    fn over_as(
        path: &Path,
        id: u64,
        tls: Option<Tls>,
        through: impl FnOnce(Arc<dyn TabletStore>) -> Arc<dyn TabletStore>,
    ) -> Agent {
        let lease = Arc::new(Lease::new());
        lease.renewed(LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 }, now());
        let options = StoreOptions { cache_bytes: 16 << 20, ..StoreOptions::default() };
        let store = through(take(path, &lease, options));
        let sessions = Arc::new(Sessions::new(Arc::clone(&lease)));
        let clock = Arc::new(NodeClock::new());
        let (own_store, own_sessions) = (Arc::clone(&store), Arc::clone(&sessions));
        let tablets = Arc::new(Tablets::open(own_store, own_sessions, clock, Some(node(id))));
        let (report, events) = mpsc::channel(64);
        let throttle = Throttle::default();
        let puller = Puller::new(
            Arc::new(Admitted(own(id), tls.clone())),
            Arc::clone(&tablets),
            report,
            throttle.into.clone(),
        );
        Agent { tls, node: id, store, lease, sessions, tablets, puller, throttle, events }
    }

    pub(crate) async fn take_on(&self, record: &Arc<TabletRecord>) {
        self.tablets.take_on(record, node(self.node)).await.expect("not stale");
    }

    /// Ends its calls and the agent.
    pub(crate) async fn close(self) {
        self.puller.stop_all().await;
    }

    /// Serves streams; the address, and the bound on bytes a second out of it.
    pub(crate) async fn serve(&self) -> (String, RateLimiter) {
        let api = StreamApi::new(
            Arc::new(Admitted(own(self.node), None)),
            Arc::clone(&self.tablets),
            self.throttle.out.clone(),
        );
        (serve_as(api.into_service(), self.tls.clone()).await, self.throttle.out.clone())
    }

    /// What has come of a pull.
    pub(crate) async fn ended(&mut self) -> StreamEvent {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            match event.expect("in time").expect("the puller is there") {
                StreamEvent::Progress { .. } => {}
                event => return event,
            }
        }
    }

    pub(crate) async fn failed(&mut self) -> Failure {
        match self.ended().await {
            StreamEvent::Failed { failure, .. } => failure,
            other => panic!("it should have failed: {other:?}"),
        }
    }

    /// Waits until the source has said that it stands still by order, before any row.
    pub(crate) async fn is_paused(&mut self) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            match event.expect("in time").expect("the puller is there") {
                StreamEvent::Progress { is_paused: true, rows: 0, .. } => return,
                StreamEvent::Progress { rows: 0, .. } => {}
                other => panic!("it should stand still: {other:?}"),
            }
        }
    }

    /// Waits until some rows are stored.
    pub(crate) async fn has_begun(&mut self) {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            match event.expect("in time").expect("the puller is there") {
                StreamEvent::Progress { rows, .. } if rows > 0 => return,
                StreamEvent::Progress { .. } => {}
                other => panic!("it should go on: {other:?}"),
            }
        }
    }

    /// The rows that its copy holds at a version, and their sum.
    pub(crate) fn holds(&self, at: u64) -> (u64, RowSum) {
        let guard = self.tablets.version_guard(tablet(), version(at)).expect("current");
        let digest = self.store.digest(&guard).expect("it reads");
        (digest.rows + digest.tombstones, digest.sum)
    }

    pub(crate) fn put_all(&self, at: u64, rows: &[(Vec<u8>, RowVersion)]) {
        let guard = self.tablets.version_guard(tablet(), version(at)).expect("current");
        for (position, row) in rows {
            self.store.put(&guard, position, row).expect("newer");
        }
    }
}

/// Takes a directory, from which the last writes of the agent before it may still have to go.
fn take(path: &Path, lease: &Arc<Lease>, options: StoreOptions) -> Arc<dyn TabletStore> {
    let began = std::time::Instant::now();
    loop {
        let directory = Directory::open(path, "n");
        let open =
            |directory| SledStore::open(Arc::new(directory), Arc::clone(lease), options.clone());
        match directory.and_then(open) {
            Err(_) if began.elapsed() < PATIENCE => std::thread::yield_now(),
            opened => return Arc::new(opened.expect("the store opens")),
        }
    }
}

pub(crate) async fn serve<S: StreamService>(service: StreamServiceServer<S>) -> String {
    serve_as(service, None).await
}

/// The same, to those who show a certificate.
pub(crate) async fn serve_as<S: StreamService>(
    service: StreamServiceServer<S>,
    tls: Option<Tls>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let router = transport::server(&[stream_service_server::SERVICE_NAME]).add_service(service);
    tokio::spawn(router.serve_with_incoming(incoming(listener, tls, CONNECTIONS)));
    address
}

/// An agent that holds these rows, with session 1 open.
pub(crate) async fn source(path: &Path, rows: &[(Vec<u8>, RowVersion)]) -> Agent {
    source_as(path, rows, None).await
}

/// The same, that shows a certificate.
pub(crate) async fn source_as(
    path: &Path,
    rows: &[(Vec<u8>, RowVersion)],
    tls: Option<Tls>,
) -> Agent {
    let agent = Agent::over_as(path, SOURCE, tls, |store| store);
    agent.take_on(&settled(1, &OLD)).await;
    agent.put_all(1, rows);
    agent.take_on(&moving(6, Stage::WriteBothReadOld, Some(1))).await;
    agent
}

/// Readies an agent to pull under session 1.
pub(crate) async fn prepare(agent: &Agent) {
    agent.take_on(&moving(5, Stage::AllowWriteBothReadOld, None)).await;
    agent.take_on(&moving(6, Stage::WriteBothReadOld, Some(1))).await;
    agent.take_on(&moving(7, Stage::Streaming, Some(1))).await;
}

/// An agent that may pull, with session 1 open.
pub(crate) async fn receiver(path: &Path) -> Agent {
    receiver_as(path, None).await
}

/// The same, that shows a certificate.
pub(crate) async fn receiver_as(path: &Path, tls: Option<Tls>) -> Agent {
    let agent = Agent::over_as(path, RECEIVER, tls, |store| store);
    prepare(&agent).await;
    agent
}

/// The order to pull at this record.
pub(crate) fn order(record: Arc<TabletRecord>, address: &str) -> PullOrder {
    PullOrder {
        record,
        source: node(SOURCE),
        source_address: address.to_owned(),
        source_incarnation: Incarnation(version(SOURCE)),
    }
}

pub(crate) fn order_of_session_1(address: &str) -> PullOrder {
    order(moving(7, Stage::Streaming, Some(1)), address)
}
