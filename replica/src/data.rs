//! The data service: puts, deletes, gets and scans of routers, each under a version guard of the
//! tablet's version that the router goes by.

use crate::agent::Agent;
#[cfg(feature = "faults")]
use crate::faults::{Step, Switch};
use crate::guard::VersionGuard;
use crate::limits::{CATCH_UP_MAX, POSITION_BYTES, SCAN_BYTES, SCAN_ROWS, VALUE_BYTES};
use crate::metrics::{Answered, RequestKind};
use crate::store::DataError;
use crate::tablets::{Refused, Tablets};
use migrations::agent::admit::is_addressed;
use migrations::clock::{HybridTime, Timestamp, TimestampAhead};
use migrations::id::{ClusterId, NodeId, RouterId, TabletId};
use migrations::record::TabletRecord;
use migrations::router::Access;
use migrations::row::RowVersion;
use migrations::version::TopologyVersion;
use proto::convert;
use proto::data::v1 as pb;
use proto::data::v1::data_service_server::DataService;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::{Code, Request, Response, Status};

/// Serves routers.
#[derive(Debug, Clone)]
pub struct DataApi {
    agent: Arc<Agent>,
}

/// A request's header, checked in form.
struct Header {
    cluster: ClusterId,
    node: NodeId,
    tablet: TabletId,
    version: TopologyVersion,
    clock: HybridTime,
}

impl Header {
    fn parse(header: Option<pb::RequestHeader>) -> Result<Header, Status> {
        let header = header.ok_or_else(|| Refusal::invalid_field("header", "is missing"))?;
        let pb::RequestHeader { cluster_id, tablet, version, clock, node } = header;
        Ok(Header {
            cluster: convert::cluster_id("header.cluster_id", &cluster_id)?,
            node: convert::node_id("header.node", node)?,
            tablet: convert::tablet_id("header.tablet", tablet)?,
            version: convert::version("header.version", version)?,
            clock: HybridTime(clock),
        })
    }
}

impl DataApi {
    /// A service over an agent.
    pub fn new(agent: Arc<Agent>) -> DataApi {
        DataApi { agent }
    }

    /// Admits a request: its cluster is this one, its node too, its clock not too far ahead, and its version
    /// the tablet's. For a newer version the agent first catches up.
    async fn admit(
        &self,
        header: &Header,
        operation: &'static str,
        access: Access,
        deadline: Duration,
    ) -> Result<VersionGuard, Status> {
        let own = self.agent.cluster();
        if own != Some(header.cluster) {
            let own = own.map_or_else(|| "none yet".to_owned(), |own| own.to_string());
            let message = format!("this agent belongs to cluster {own}");
            return Err(Refusal::new(Reason::ClusterMismatch, message).into());
        }
        // Who is not admitted has no id, and refuses below.
        if let Some(own) = self.agent.own().filter(|own| *own != header.node) {
            let message = format!("this is node {own}, and node {} is meant", header.node);
            return Err(Refusal::new(Reason::NodeMismatch, message).into());
        }
        self.observe(header.clock)?;
        let (tablet, version) = (header.tablet, header.version);
        let within = (deadline / 4).min(CATCH_UP_MAX);
        let guard = self.agent.version_guard(tablet, version, within).await;
        let mut guard = guard.map_err(refused)?;
        guard.describe(operation, None);
        let record = guard.record();
        let is_named = self.agent.own().is_some_and(|own| is_addressed(record, own, access));
        if !is_named {
            let refusal = Refused::NotReplica(Some(Arc::clone(record)));
            self.agent.metrics().guard_refused(refusal.reason());
            return Err(refused(refusal));
        }
        #[cfg(feature = "faults")]
        {
            let held = self.agent.faults.steps.stand_still(tablet, Step::Data);
            if guard.forced().run_until_cancelled(held).await.is_none() {
                return Err(refused(Refused::Stale(self.agent.tablets.record(tablet))));
            }
        }
        Ok(guard)
    }

    fn observe(&self, clock: HybridTime) -> Result<(), Status> {
        let bound = u64::from(self.agent.settings().skew_bound_ms);
        self.agent.clock.observe(clock, bound).map_err(ahead)
    }

    fn reading(&self) -> u64 {
        self.agent.clock.reading().0
    }

    /// Stores a put or delete, and answers once it is durable. The work owns the guard: it goes
    /// on to its end, and the barrier waits for it, also when the caller is gone.
    async fn write(
        &self,
        deadline: Duration,
        header: Option<pb::RequestHeader>,
        position: bytes::Bytes,
        row: RowVersion,
    ) -> Result<(), Status> {
        let operation = if row.value.is_some() { "put" } else { "delete" };
        let header = Header::parse(header)?;
        check_size("position", position.len(), POSITION_BYTES)?;
        check_size("value", row.value.as_ref().map_or(0, Vec::len), VALUE_BYTES)?;
        // Also the write's own time: it would outlive the clock that it came from.
        self.observe(row.timestamp.time)?;
        #[cfg(feature = "faults")]
        if self.agent.faults.switches.is_on(header.tablet, Switch::SwallowWrites) {
            std::future::pending::<()>().await;
        }
        let guard = self.admit(&header, operation, Access::Write, deadline).await?;
        let store = Arc::clone(self.agent.tablets.store());
        #[cfg(feature = "faults")]
        let faults = Arc::clone(&self.agent.faults);
        let tablets = Arc::clone(&self.agent.tablets);
        let work = tokio::spawn(async move {
            let written = tokio::task::spawn_blocking(move || {
                let step = store.put(&guard, &position, &row);
                (guard, step.map(|_| store.durable()))
            });
            let (guard, durable) = written.await.map_err(|_| panicked())?;
            let record = Arc::clone(guard.record());
            #[cfg(feature = "faults")]
            if matches!(durable, Err(DataError::TimestampBehind(_)))
                && faults.switches.is_on(guard.tablet(), Switch::TakeOldTimestamps)
            {
                return Ok(());
            }
            let durable = durable.map_err(|error| data_error(&tablets, error, &record))?;
            // Past the drain deadline nobody waits any more, for a disk that hangs, say.
            let forced = guard.forced();
            let synced = forced.run_until_cancelled(durable.wait()).await;
            drop(guard);
            let current = record.version;
            let given_up = || data_error(&tablets, DataError::StaleVersion { current }, &record);
            let synced = synced.ok_or_else(given_up)?;
            synced.map_err(|error| data_error(&tablets, DataError::Store(error), &record))
        });
        work.await.map_err(|_| panicked())?
    }
}

/// What each request does; the service counts them.
impl DataApi {
    async fn put_row(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let deadline = convert::deadline(request.metadata());
        let pb::PutRequest { header, position, time, router, value } = request.into_inner();
        let row = RowVersion { timestamp: timestamp(time, &router)?, value: Some(value.to_vec()) };
        self.write(deadline, header, position, row).await?;
        Ok(Response::new(pb::PutResponse { clock: self.reading() }))
    }

    async fn delete_row(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let deadline = convert::deadline(request.metadata());
        let pb::DeleteRequest { header, position, time, router } = request.into_inner();
        let row = RowVersion { timestamp: timestamp(time, &router)?, value: None };
        self.write(deadline, header, position, row).await?;
        Ok(Response::new(pb::DeleteResponse { clock: self.reading() }))
    }

    async fn get_row(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let deadline = convert::deadline(request.metadata());
        let pb::GetRequest { header, position } = request.into_inner();
        let header = Header::parse(header)?;
        let guard = self.admit(&header, "get", Access::Read, deadline).await?;
        let store = Arc::clone(self.agent.tablets.store());
        let tablets = Arc::clone(&self.agent.tablets);
        let read = tokio::task::spawn_blocking(move || {
            let row = store.get(&guard, &position);
            row.map_err(|error| data_error(&tablets, error, guard.record()))
        });
        let row = read.await.map_err(|_| panicked())??;
        let row = row.as_ref().map(Into::into);
        Ok(Response::new(pb::GetResponse { clock: self.reading(), row }))
    }

    async fn scan_rows(
        &self,
        request: Request<pb::ScanRequest>,
    ) -> Result<Response<pb::ScanResponse>, Status> {
        let deadline = convert::deadline(request.metadata());
        let pb::ScanRequest { header, start, limit_rows, limit_bytes } = request.into_inner();
        let header = Header::parse(header)?;
        let guard = self.admit(&header, "scan", Access::Read, deadline).await?;
        let store = Arc::clone(self.agent.tablets.store());
        let rows = (limit_rows as usize).clamp(1, SCAN_ROWS);
        let bytes = (limit_bytes as usize).clamp(1, SCAN_BYTES);
        let tablets = Arc::clone(&self.agent.tablets);
        let read = tokio::task::spawn_blocking(move || {
            let page = store.scan(&guard, &start, rows, bytes);
            page.map_err(|error| data_error(&tablets, error, guard.record()))
        });
        let page = read.await.map_err(|_| panicked())??;
        let row = |(position, version): (Vec<u8>, RowVersion)| pb::Row {
            position: position.into(),
            version: Some((&version).into()),
        };
        Ok(Response::new(pb::ScanResponse {
            clock: self.reading(),
            more: !page.is_last,
            rows: page.rows.into_iter().map(row).collect(),
        }))
    }

    /// Counts a request and how it was answered.
    async fn counted<T>(
        &self,
        kind: RequestKind,
        request: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let began = Instant::now();
        let done = request.await;
        let answered = match &done {
            Ok(_) => Answered::Done,
            Err(status) => answered(status.code()),
        };
        self.agent.metrics().answered(kind, answered, began.elapsed());
        done
    }
}

#[tonic::async_trait]
impl DataService for DataApi {
    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        self.counted(RequestKind::Put, self.put_row(request)).await
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        self.counted(RequestKind::Delete, self.delete_row(request)).await
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        self.counted(RequestKind::Get, self.get_row(request)).await
    }

    async fn scan(
        &self,
        request: Request<pb::ScanRequest>,
    ) -> Result<Response<pb::ScanResponse>, Status> {
        self.counted(RequestKind::Scan, self.scan_rows(request)).await
    }
}

/// Whether a refusal tells the router what to do next, or this node has failed.
fn answered(code: Code) -> Answered {
    match code {
        Code::DataLoss | Code::Internal | Code::Unknown | Code::ResourceExhausted => {
            Answered::Failed
        }
        _ => Answered::Refused,
    }
}

fn timestamp(time: u64, router: &[u8]) -> Result<Timestamp, Status> {
    let router: RouterId = convert::router_id("router", router)?;
    Ok(Timestamp { time: HybridTime(time), router })
}

fn check_size(field: &'static str, len: usize, limit: usize) -> Result<(), Status> {
    if len > limit {
        return Err(Refusal::invalid_field(field, format!("{len} bytes; at most {limit}")).into());
    }
    Ok(())
}

fn ahead(ahead: TimestampAhead) -> Status {
    let refusal = Refusal::new(Reason::TimestampAhead, ahead.to_string());
    refusal.with("clock", ahead.clock.0.to_string()).into()
}

fn panicked() -> Status {
    Refusal::new(Reason::DiskError, "the store gave up on the request").into()
}

fn refused(refused: Refused) -> Status {
    let message = refused.to_string();
    let reason = refused.reason();
    let record = match refused {
        Refused::Stale(record) | Refused::Ahead(record) | Refused::NotReplica(record) => record,
        Refused::Lost(record) => Some(record),
        Refused::Awaiting => None,
    };
    Refusal::new(reason, message).with_record(record.as_deref()).into()
}

fn data_error(tablets: &Tablets, error: DataError, record: &TabletRecord) -> Status {
    let (reason, message) = (error.reason(), error.to_string());
    tablets.fitness().met_in(&error, Instant::now());
    match error {
        DataError::StaleVersion { .. } | DataError::NoCopy { .. } => {
            Refusal::new(reason, message).with_record(Some(record)).into()
        }
        DataError::TimestampBehind(behind) => {
            let refusal = Refusal::new(reason, message);
            refusal.with("highest", behind.highest.0.to_string()).into()
        }
        DataError::OutOfRange => Refusal::invalid_field("position", message).into(),
        DataError::TooLarge(_) => Refusal::invalid_field("value", message).into(),
        DataError::Store(_) => Refusal::new(reason, message).into(),
    }
}
