//! A coordinator that gives a topology and answers changes of tables as a test says.

use super::{CLUSTER, TABLE};
use migrations::record::TabletRecord;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_server::{TableService, TableServiceServer};
use proto::admin::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1::TopologyVersion;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// A change that came: its request id, and over which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) request_id: String,
    pub(crate) from: Option<SocketAddr>,
}

/// A fake coordinator.
#[derive(Clone)]
pub(crate) struct Coordinator {
    pub(crate) address: SocketAddr,
    topology: watch::Sender<pb::WatchTopologyResponse>,
    /// How the next changes are answered; with success once there is none left.
    pub(crate) answers: Arc<Mutex<VecDeque<Status>>>,
    changes: Arc<Mutex<Vec<Changed>>>,
    /// After which version each watch was opened: `None` for everything.
    watches: watch::Sender<Vec<Option<TopologyVersion>>>,
    /// How the next watches are refused.
    refusals: Arc<Mutex<VecDeque<Status>>>,
    /// Raised to end all watches.
    ended: watch::Sender<u32>,
    /// Given to watchers once somebody asks for the table by name.
    on_ask: Arc<Mutex<Option<pb::WatchTopologyResponse>>>,
}

/// A whole topology: the table, unless there are no tablets, and nodes numbered from 1.
fn snapshot(tablets: &[TabletRecord], nodes: &[SocketAddr]) -> pb::WatchTopologyResponse {
    let nodes = nodes.iter().zip(1..).map(|(address, id)| pb::Node {
        id,
        name: format!("n{id}"),
        data_address: address.to_string(),
        ..Default::default()
    });
    pb::WatchTopologyResponse {
        cluster_id: convert::bytes(CLUSTER),
        version: tablets.iter().map(|tablet| tablet.version).max().map(Into::into),
        snapshot: true,
        tablets: tablets.iter().map(Into::into).collect(),
        tables: if tablets.is_empty() { Vec::new() } else { vec![table()] },
        nodes: nodes.collect(),
        wider: true,
        last: true,
        ..Default::default()
    }
}

fn table() -> pb::Table {
    let partitioning = proto::types::v1::Partitioning::Range.into();
    pb::Table { id: 1, name: TABLE.to_owned(), partitioning, ..Default::default() }
}

impl Coordinator {
    /// Serves this topology until the runtime ends.
    pub(crate) async fn start(tablets: &[TabletRecord], nodes: &[SocketAddr]) -> Coordinator {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let coordinator = Coordinator {
            address: listener.local_addr().expect("bound"),
            topology: watch::Sender::new(snapshot(tablets, nodes)),
            answers: Arc::default(),
            changes: Arc::default(),
            watches: watch::Sender::default(),
            refusals: Arc::default(),
            ended: watch::Sender::default(),
            on_ask: Arc::default(),
        };
        let server = tonic::transport::Server::builder()
            .add_service(TableServiceServer::new(coordinator.clone()))
            .add_service(TopologyServiceServer::new(coordinator.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        coordinator
    }

    /// From now on the topology is this one, once the table was asked for by name.
    pub(crate) fn publish_on_ask(&self, tablets: &[TabletRecord], nodes: &[SocketAddr]) {
        *self.on_ask.lock().expect("no test panics with it") = Some(snapshot(tablets, nodes));
    }

    /// Answers the changes that come next with these.
    pub(crate) fn answer_with(&self, answers: impl IntoIterator<Item = Status>) {
        self.answers.lock().expect("no test panics with it").extend(answers);
    }

    /// Ends all watches that are open; the next ones are refused with these first.
    pub(crate) fn end_watches(&self, refusals: impl IntoIterator<Item = Status>) {
        self.refusals.lock().expect("no test panics with it").extend(refusals);
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// After which versions watches were opened, once there were so many.
    pub(crate) async fn watches(&self, count: usize) -> Vec<Option<TopologyVersion>> {
        let mut watches = self.watches.subscribe();
        let opened = watches.wait_for(|watches| watches.len() >= count).await;
        opened.expect("it is there").clone()
    }

    /// The changes that came.
    pub(crate) fn changes(&self) -> Vec<Changed> {
        self.changes.lock().expect("no test panics with it").clone()
    }
}

#[tonic::async_trait]
impl TopologyService for Coordinator {
    type WatchTopologyStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchTopologyResponse, Status>> + Send>>;

    async fn watch_topology(
        &self,
        request: Request<pb::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let after = request.into_inner().after;
        let refusal = self.refusals.lock().expect("no test panics with it").pop_front();
        let mut ended = self.ended.subscribe();
        self.watches.send_modify(|watches| watches.push(after));
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        // What there is comes in any case, however soon it ends.
        let mut topology = self.topology.subscribe();
        let now = topology.borrow_and_update().clone();
        let end = async move { ended.changed().await.unwrap_or_default() };
        let changes = WatchStream::from_changes(topology);
        let changes = futures::StreamExt::take_until(changes, Box::pin(end));
        Ok(Response::new(Box::pin(tokio_stream::once(now).chain(changes).map(Ok))))
    }
}

#[tonic::async_trait]
impl TableService for Coordinator {
    async fn create_table(
        &self,
        request: Request<pb::CreateTableRequest>,
    ) -> Result<Response<pb::CreateTableResponse>, Status> {
        let from = request.remote_addr();
        let request_id = request.into_inner().request_id;
        let changed = Changed { request_id, from };
        self.changes.lock().expect("no test panics with it").push(changed);
        match self.answers.lock().expect("no test panics with it").pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(pb::CreateTableResponse { table: Some(table()) })),
        }
    }

    async fn get_table(
        &self,
        _: Request<pb::GetTableRequest>,
    ) -> Result<Response<pb::GetTableResponse>, Status> {
        match self.on_ask.lock().expect("no test panics with it").take() {
            Some(topology) => {
                self.topology.send_replace(topology);
                Ok(Response::new(pb::GetTableResponse { table: Some(table()), version: None }))
            }
            None => Err(Refusal::new(Reason::NotFound, "no such table").into()),
        }
    }

    async fn list_tables(
        &self,
        request: Request<pb::ListTablesRequest>,
    ) -> Result<Response<pb::ListTablesResponse>, Status> {
        // Three pages of one table each.
        let page: u64 = request.into_inner().page_token.parse().unwrap_or(0);
        let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
        let tables = vec![pb::Table { id: page + 1, ..table() }];
        Ok(Response::new(pb::ListTablesResponse { tables, next_page_token, version: None }))
    }

    async fn drop_table(
        &self,
        _: Request<pb::DropTableRequest>,
    ) -> Result<Response<pb::DropTableResponse>, Status> {
        Err(Status::unimplemented("no test drops a table"))
    }
}
