//! An agent, and a coordinator that answers when the test says so.

use super::*;
use crate::clock::NodeClock;
use crate::lease::Lease;
use crate::sessions::Sessions;
use crate::store::{Directory, SledStore, StoreOptions, TabletStore};
use crate::stream::{Own, Standing};
use crate::tablets::Tablets;
use migrations::clock::HybridTime;
use migrations::id::{ClusterId, NodeId, TableId, TabletId};
use migrations::node::NodeLocation;
use migrations::position::PositionRange;
use migrations::record::TabletRecord;
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::settings::Settings;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use proto::agent::v1::attach_response::Order;
use proto::convert;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Streaming};
use uuid::Uuid;

const OWN: u64 = 4;

pub(super) fn version(at: u64) -> TopologyVersion {
    TopologyVersion::from_parts(0, at)
}

/// A tablet of which the agent has the only replica.
pub(super) fn record(tablet: u64, at: u64) -> Arc<TabletRecord> {
    let node = NodeId::from_u64(OWN).expect("not zero");
    let replica = Replica { node, copy: CopyId(version(1)), lost: false };
    Arc::new(TabletRecord {
        tablet: TabletId::from_u64(tablet).expect("not zero"),
        table: TableId::from_u64(1).expect("not zero"),
        range: PositionRange { start: Vec::new(), end: None },
        version: version(at),
        replicas: ReplicaSet::new(vec![replica]).expect("one"),
        transition: None,
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    })
}

/// An agent over a directory, and as whom it is to be admitted.
pub(super) fn agent(path: &Path) -> (Arc<Agent>, Puller, Own) {
    let directory = Arc::new(Directory::open(path, "n4").expect("it is free"));
    let lease = Arc::new(Lease::new());
    let options = StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() };
    let store = SledStore::open(Arc::clone(&directory), Arc::clone(&lease), options);
    let store: Arc<dyn TabletStore> = Arc::new(store.expect("it opens"));
    let (sessions, clock) = (Arc::new(Sessions::new(lease)), Arc::new(NodeClock::new()));
    let own = NodeId::from_u64(OWN).expect("not zero");
    let tablets = Arc::new(Tablets::open(store, sessions, Arc::clone(&clock), Some(own)));
    let (data_address, stream_address, rack) = Default::default();
    let location = NodeLocation { data_address, stream_address, rack };
    let agent = Arc::new(Agent::new(directory, Arc::clone(&tablets), clock, location));
    let standing: Arc<dyn Standing> = Arc::clone(&agent) as Arc<dyn Standing>;
    let (events, _reports) = mpsc::channel(1);
    let puller = Puller::new(standing, tablets, events, agent.throttle().into.clone());
    let cluster = ClusterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    (agent, puller, Own { cluster, node: own, incarnation: Incarnation(version(1)) })
}

/// Admits whoever comes, and answers one renewal for each word of the test.
struct Coordinator {
    admitted: Own,
    said: mpsc::Sender<Event>,
    renewals: mpsc::Sender<()>,
    answers: Mutex<mpsc::Receiver<()>>,
}

#[tonic::async_trait]
impl AgentService for Coordinator {
    type AttachStream = ReceiverStream<Result<pb::AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (orders, given) = mpsc::channel(16);
        let Own { cluster, node, incarnation } = self.admitted;
        let welcome = pb::Welcome {
            cluster_id: convert::bytes(cluster.as_uuid()),
            node_id: node.as_u64(),
            incarnation: Some(incarnation.0.into()),
            settings: Some((&Settings::DEFAULT).into()),
            ..Default::default()
        };
        let all = pb::FullState { version: Some(version(2).into()), records: vec![], last: true };
        for order in [Order::Welcome(welcome), Order::FullState(all)] {
            let order = pb::AttachResponse { order: Some(order) };
            orders.send(Ok(order)).await.expect("there is room");
        }
        let (said, mut heard) = (self.said.clone(), request.into_inner());
        tokio::spawn(async move {
            let _open = orders;
            while let Ok(Some(AttachRequest { event: Some(event) })) = heard.message().await {
                if said.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(given)))
    }

    async fn renew_lease(
        &self,
        _request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        self.renewals.send(()).await.map_err(|_| Status::cancelled("the test is over"))?;
        self.answers.lock().await.recv().await;
        Ok(Response::new(pb::RenewLeaseResponse::default()))
    }
}

/// Serves as a coordinator: what the agent says, its renewals, and where it serves.
async fn coordinator(
    admitted: Own,
    answers: mpsc::Receiver<()>,
) -> (mpsc::Receiver<Event>, mpsc::Receiver<()>, String) {
    let ((said, heard), (renewals, asked)) = (mpsc::channel(64), mpsc::channel(64));
    let answers = Mutex::new(answers);
    let coordinator = Coordinator { admitted, said, renewals, answers };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let serving = tonic::transport::Server::builder()
        .add_service(AgentServiceServer::new(coordinator))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (heard, asked, address)
}

/// What leads to a pull comes after the lease: the leader orders nothing before the full state is
/// said to be worked off.
#[tokio::test]
async fn an_agent_is_ready_for_orders_once_it_holds_its_lease() {
    let dir = tempfile::tempdir().expect("a directory");
    let (agent, puller, admitted) = agent(dir.path());
    let (answer, answers) = mpsc::channel(64);
    let (mut heard, mut asked, address) = coordinator(admitted, answers).await;
    let stop = CancellationToken::new();
    let attachments = Attachments::new(Arc::clone(&agent), puller, vec![address]);
    let attached = tokio::spawn(attachments.run(stop.clone()));
    let mut next = async || heard.recv().await.expect("it lives");
    assert!(matches!(next().await, Event::Hello(_)));
    assert!(matches!(next().await, Event::Received(_)), "it has the full state");
    asked.recv().await.expect("it asks for its lease");
    let early = tokio::time::timeout(Duration::from_millis(300), next()).await;
    assert!(early.is_err(), "{early:?}, without a lease");
    answer.send(()).await.expect("it waits");
    assert!(matches!(next().await, Event::FullStateDone(_)));
    assert!(agent.sessions().lease().is_held());
    stop.cancel();
    attached.await.expect("no panic");
}

/// A leader that hears nobody keeps its connections, and answers no renewal. Also who is unfit,
/// and asks for no lease, leaves it for another one.
#[tokio::test]
async fn an_unfit_agent_leaves_a_coordinator_that_is_silent() {
    let dir = tempfile::tempdir().expect("a directory");
    let (agent, puller, admitted) = agent(dir.path());
    // The first answers nothing.
    let ((_silent, answers), (other, others)) = (mpsc::channel(1), mpsc::channel(64));
    let (mut heard, mut asked, first) = coordinator(admitted, answers).await;
    let (mut elsewhere, _asked, second) = coordinator(admitted, others).await;
    agent.tablets.fitness().found_unfit(Reason::DiskError, "a probe has failed");
    let stop = CancellationToken::new();
    let attachments = Attachments::new(Arc::clone(&agent), puller, vec![first, second]);
    let attached = tokio::spawn(attachments.run(stop.clone()));
    let said = heard.recv().await.expect("it attaches");
    assert!(matches!(said, Event::Hello(_)), "{said:?}");
    asked.recv().await.expect("it asks");
    let said = elsewhere.recv().await.expect("it goes to the other one");
    assert!(matches!(said, Event::Hello(_)), "{said:?}");
    other.send(()).await.expect("it is served");
    stop.cancel();
    attached.await.expect("no panic");
    assert!(!agent.sessions().lease().is_held());
}
