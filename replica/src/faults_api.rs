//! The fault switches as a service, for the demonstration and the process tests.

use crate::agent::Agent;
use crate::faults::Released;
use crate::stream::Puller;
use proto::convert;
use proto::faults::v1 as pb;
use proto::faults::v1::fault_service_server::{FaultService, FaultServiceServer};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the switches of one agent.
#[derive(Debug)]
pub(crate) struct FaultApi {
    agent: Arc<Agent>,
    puller: Puller,
}

/// The service over an agent and its streams.
pub(crate) fn service(agent: &Arc<Agent>, puller: &Puller) -> FaultServiceServer<FaultApi> {
    tracing::warn!("fault switches are served on the stream port");
    FaultServiceServer::new(FaultApi { agent: Arc::clone(agent), puller: puller.clone() })
}

#[tonic::async_trait]
impl FaultService for FaultApi {
    async fn hold_next_chunk(
        &self,
        request: Request<pb::HoldNextChunkRequest>,
    ) -> Result<Response<pb::HoldNextChunkResponse>, Status> {
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        self.puller.hold_point().hold_next_chunk(tablet);
        Ok(Response::new(pb::HoldNextChunkResponse {}))
    }

    async fn await_held(
        &self,
        request: Request<pb::AwaitHeldRequest>,
    ) -> Result<Response<pb::AwaitHeldResponse>, Status> {
        let within = convert::deadline(request.metadata());
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        let held = tokio::time::timeout(within, self.puller.hold_point().held(tablet)).await;
        let late = |_| Refusal::new(Reason::QueueTimeout, "no chunk came to be held");
        let held = held.map_err(late)?;
        Ok(Response::new(pb::AwaitHeldResponse {
            session: convert::bytes(held.session.as_uuid()),
            positions: held.positions.into_iter().map(Into::into).collect(),
        }))
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        let none = || Refusal::new(Reason::NotFound, "no chunk is held");
        let released = self.puller.hold_point().release(tablet).await.ok_or_else(none)?;
        let (written, refused) = match released {
            Released::Written { rows } => (rows, String::new()),
            Released::Refused(reason) => (0, reason.name().to_owned()),
        };
        Ok(Response::new(pb::ReleaseResponse { written, refused }))
    }

    async fn hold_next_data(
        &self,
        request: Request<pb::HoldNextDataRequest>,
    ) -> Result<Response<pb::HoldNextDataResponse>, Status> {
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        self.agent.request_hold.hold_next(tablet);
        Ok(Response::new(pb::HoldNextDataResponse {}))
    }

    async fn await_data_held(
        &self,
        request: Request<pb::AwaitDataHeldRequest>,
    ) -> Result<Response<pb::AwaitDataHeldResponse>, Status> {
        let within = convert::deadline(request.metadata());
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        let held = tokio::time::timeout(within, self.agent.request_hold.held(tablet)).await;
        held.map_err(|_| Refusal::new(Reason::QueueTimeout, "no request came to be held"))?;
        Ok(Response::new(pb::AwaitDataHeldResponse {}))
    }

    async fn release_data(
        &self,
        request: Request<pb::ReleaseDataRequest>,
    ) -> Result<Response<pb::ReleaseDataResponse>, Status> {
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        self.agent.request_hold.release(tablet);
        Ok(Response::new(pb::ReleaseDataResponse {}))
    }

    async fn set_guard_check(
        &self,
        request: Request<pb::SetGuardCheckRequest>,
    ) -> Result<Response<pb::SetGuardCheckResponse>, Status> {
        self.agent.sessions().set_guard_check(request.into_inner().on);
        Ok(Response::new(pb::SetGuardCheckResponse {}))
    }

    async fn list_copies(
        &self,
        _: Request<pb::ListCopiesRequest>,
    ) -> Result<Response<pb::ListCopiesResponse>, Status> {
        let copies = self.agent.tablets.store().copies().into_iter();
        let copies = copies
            .map(|(tablet, copy)| pb::Copy { tablet: tablet.as_u64(), copy: Some(copy.0.into()) });
        Ok(Response::new(pb::ListCopiesResponse { copies: copies.collect() }))
    }
}
