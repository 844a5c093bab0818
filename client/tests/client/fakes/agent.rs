//! An agent's data service that answers as a test says, and keeps what it was asked.

use migrations::clock::HybridTime;
use migrations::version::TopologyVersion;
use proto::convert;
use proto::data::v1 as pb;
use proto::data::v1::data_service_server::{DataService, DataServiceServer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Delete,
    Get,
    Scan,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) tablet: u64,
    pub(crate) version: TopologyVersion,
    pub(crate) time: HybridTime,
    pub(crate) start: Vec<u8>,
    pub(crate) limit: usize,
}

/// How it is answered.
pub(crate) enum Reply {
    /// Done; for a read: there is nothing.
    Done,
    /// This row.
    Row(pb::Row),
    /// These rows, and whether there are more.
    Rows(Vec<pb::Row>, bool),
    /// Not done.
    Refuse(Status),
    /// No answer, ever.
    Hang,
}

type Behaviour = Box<dyn Fn(&Call) -> Reply + Send + Sync>;

/// A fake agent.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    behaviour: Arc<Behaviour>,
}

impl Agent {
    /// Serves until the runtime ends.
    pub(crate) async fn start(behaviour: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let agent = Agent {
            address: listener.local_addr().expect("bound"),
            calls: Arc::default(),
            behaviour: Arc::new(Box::new(behaviour)),
        };
        let served = DataServiceServer::new(agent.clone());
        let server = tonic::transport::Server::builder().add_service(served);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        agent
    }

    /// What it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no test panics with it").clone()
    }

    async fn answer(&self, call: Call) -> Result<Reply, Status> {
        self.calls.lock().expect("no test panics with it").push(call.clone());
        match (self.behaviour)(&call) {
            Reply::Refuse(status) => Err(status),
            Reply::Hang => std::future::pending().await,
            reply => Ok(reply),
        }
    }
}

fn call(kind: Kind, header: Option<pb::RequestHeader>, start: &[u8]) -> Call {
    let header = header.expect("a router always says it");
    assert_eq!(header.cluster_id.as_ref(), super::CLUSTER.as_bytes());
    assert_ne!(header.node, 0, "a router says whom it means");
    let version = convert::version("version", header.version).expect("a router always says it");
    let (time, limit) = (HybridTime::ZERO, 0);
    Call { kind, tablet: header.tablet, version, time, start: start.to_vec(), limit }
}

#[tonic::async_trait]
impl DataService for Agent {
    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let put = request.into_inner();
        let asked = call(Kind::Put, put.header, &put.position);
        self.answer(Call { time: HybridTime(put.time), ..asked }).await?;
        Ok(Response::new(pb::PutResponse { clock: 0 }))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let delete = request.into_inner();
        let asked = call(Kind::Delete, delete.header, &delete.position);
        self.answer(Call { time: HybridTime(delete.time), ..asked }).await?;
        Ok(Response::new(pb::DeleteResponse { clock: 0 }))
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let get = request.into_inner();
        let row = match self.answer(call(Kind::Get, get.header, &get.position)).await? {
            Reply::Row(row) => row.version,
            _ => None,
        };
        Ok(Response::new(pb::GetResponse { clock: 0, row }))
    }

    async fn scan(
        &self,
        request: Request<pb::ScanRequest>,
    ) -> Result<Response<pb::ScanResponse>, Status> {
        let scan = request.into_inner();
        let asked = call(Kind::Scan, scan.header, &scan.start);
        let limit = usize::try_from(scan.limit_rows).expect("it fits");
        let (rows, more) = match self.answer(Call { limit, ..asked }).await? {
            Reply::Rows(rows, more) => (rows, more),
            _ => (Vec::new(), false),
        };
        Ok(Response::new(pb::ScanResponse { clock: 0, rows, more }))
    }
}
