//! The service that agents call. Only the coordinator that leads answers, and only after it has
//! applied an entry of its own leadership.

use super::inbound::unfit_as;
use super::{Agents, attach};
use crate::driving::{self, DriverHandle};
use crate::group0::{Group0, Leadership, ReadError};
use crate::limits::ORDERS_QUEUED;
use crate::machine::Machine;
use crate::metrics::{Metrics, Renewal};
use crate::now::boot_instant;
use crate::observed::{DiskTrouble, Observed};
use crate::proposer::Proposer;
use crate::status::{Port, fenced, not_leader, read_error};
use migrations::driver::Event;
use migrations::id::TabletId;
use migrations::node::Node;
use migrations::room::CopySize;
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation};
use proto::agent::v1 as pb;
use proto::agent::v1::agent_service_server::AgentService;
use proto::agent::v1::{AttachRequest, AttachResponse, RenewLeaseRequest, RenewLeaseResponse};
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Serves agents.
#[derive(Clone)]
pub(crate) struct AgentApi {
    pub(super) group0: Group0<Machine>,
    pub(super) proposer: Proposer,
    pub(super) agents: Agents,
    pub(super) driver: DriverHandle,
    pub(super) observed: Observed,
    pub(super) metrics: Arc<Metrics>,
}

impl AgentApi {
    pub(crate) fn new(
        group0: Group0<Machine>,
        proposer: Proposer,
        agents: Agents,
        driver: DriverHandle,
        observed: Observed,
        metrics: Arc<Metrics>,
    ) -> AgentApi {
        AgentApi { group0, proposer, agents, driver, observed, metrics }
    }

    /// The leadership of this process, or where to go.
    pub(super) fn leadership(&self) -> Result<Leadership, Status> {
        let leadership = *self.group0.leadership().borrow();
        leadership.ok_or_else(|| not_leader(&self.group0))
    }

    /// Renews a lease, or says why not.
    async fn renew(&self, request: RenewLeaseRequest) -> Result<RenewLeaseResponse, Status> {
        let received = boot_instant();
        let leadership = self.leadership()?;
        let RenewLeaseRequest { cluster_id, node_id, incarnation, disk, unfit, room_bytes, copies } =
            request;
        let cluster = convert::cluster_id("cluster_id", &cluster_id)?;
        let node = convert::node_id("node_id", node_id)?;
        let incarnation = Incarnation(convert::version("incarnation", incarnation)?);
        // A confirmation that begins after the renewal came in: so no deposed leader extends a
        // lease past the one that its successor waits out.
        let looked = self.group0.leaders_read(|machine| {
            let copies = sizes(&machine.topology, &copies);
            let state = machine.topology.state();
            let known = state.nodes.get(&node);
            let name = known.map(|node| node.name.clone());
            (state.cluster, name, known.and_then(Node::admitted), state.settings.lease, copies)
        });
        let (own, name, admitted, terms, copies) =
            looked.await.map_err(|error: ReadError| read_error(&error, Port::Agents))?;
        if own != Some(cluster) {
            let message = "the lease of another cluster";
            return Err(Refusal::new(Reason::ClusterMismatch, message).into());
        }
        // A node that is not known any more is nobody's: it is told that it is fenced.
        if let (Some(caller), Some(name)) = (tls::caller(), name) {
            caller.must_be_node(&name)?;
        }
        let driver = self.driver.of(leadership);
        if admitted == Some(incarnation) {
            self.observed.disk(node, disk.map(DiskTrouble::said));
            self.observed.room(node, room_bytes, copies);
            if let Some(said) = unfit {
                driver.report(Event::Unfit { node, incarnation, why: unfit_as(&said) }).await;
            }
        }
        let renewal = driver.renew(node, incarnation, received).await;
        // Who leads no more can't say that an incarnation is fenced.
        match renewal.ok_or_else(|| not_leader(&self.group0))? {
            _ if admitted != Some(incarnation) => Err(fenced(incarnation)),
            driving::Renewal::Yes => Ok(RenewLeaseResponse {
                lease: Some(terms.into()),
                coordinators: self.group0.addresses(|member| &member.agents_address),
            }),
            driving::Renewal::Fenced => Err(fenced(incarnation)),
            driving::Renewal::Unfit(why) => {
                let message = format!("unfit ({why}): its lease is to run out");
                Err(Refusal::new(Reason::NodeNotReady, message).into())
            }
        }
    }
}

/// What a renewal says of copies, as far as there are such tablets.
fn sizes(topology: &Topology, said: &[pb::CopySize]) -> Vec<(TabletId, CopySize)> {
    let known = |said: &pb::CopySize| {
        let tablet = convert::tablet_id("copies.tablet", said.tablet).ok()?;
        let copy = CopyId(convert::version("copies.copy", said.copy).ok()?);
        topology.tablet(tablet).map(|_| (tablet, CopySize { copy, bytes: said.bytes }))
    };
    said.iter().filter_map(known).collect()
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let leadership = self.leadership()?;
        let (outbox, orders) = mpsc::channel(ORDERS_QUEUED);
        let (api, caller) = (self.clone(), tls::caller());
        tokio::spawn(async move {
            if let Err(status) =
                attach::serve(api, leadership, caller, request.into_inner(), &outbox).await
            {
                // An agent that is gone, or takes nothing, needs no reason.
                let _ = outbox.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(orders)))
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let renewed = self.renew(request.into_inner()).await;
        self.metrics.renewal(match &renewed {
            Ok(_) => Renewal::Renewed,
            Err(status) if is_fenced(status) => Renewal::Refused,
            Err(_) => Renewal::Failed,
        });
        renewed.map(Response::new)
    }
}

fn is_fenced(status: &Status) -> bool {
    Refusal::from_status(status).is_some_and(|refusal| refusal.reason == Reason::NodeFenced)
}
