//! The fault switches as a service, for the demonstration and the process tests.

use crate::agent::Agent;
use crate::faults::{DiskFault, Released, StatedRoom, Step, Switch};
use crate::stream::Puller;
use crate::wait::Wait;
use migrations::id::TabletId;
use process::wait::Named;
use process::wait::faults::{Met, met, silence};
use proto::convert;
use proto::faults::v1 as pb;
use proto::faults::v1::fault_service_server::{self, FaultService, FaultServiceServer};
use proto::faults::v1::wait_service_server::{self, WaitService, WaitServiceServer};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tonic::{Request, Response, Status};

/// The names of both.
pub(crate) const SERVICES: [&str; 2] =
    [fault_service_server::SERVICE_NAME, wait_service_server::SERVICE_NAME];

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
        let held = in_time(within, self.puller.hold_point().held(tablet)).await;
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
        self.agent.faults.steps.hold_next(tablet, Step::Data);
        Ok(Response::new(pb::HoldNextDataResponse {}))
    }

    async fn await_data_held(
        &self,
        request: Request<pb::AwaitDataHeldRequest>,
    ) -> Result<Response<pb::AwaitDataHeldResponse>, Status> {
        let within = convert::deadline(request.metadata());
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        let held = in_time(within, self.agent.faults.steps.held(tablet, Step::Data)).await;
        held.map_err(|_| Refusal::new(Reason::QueueTimeout, "no request came to be held"))?;
        Ok(Response::new(pb::AwaitDataHeldResponse {}))
    }

    async fn release_data(
        &self,
        request: Request<pb::ReleaseDataRequest>,
    ) -> Result<Response<pb::ReleaseDataResponse>, Status> {
        let tablet = convert::tablet_id("tablet", request.into_inner().tablet)?;
        self.agent.faults.steps.release(tablet, Step::Data);
        Ok(Response::new(pb::ReleaseDataResponse {}))
    }

    async fn hold_next_step(
        &self,
        request: Request<pb::HoldNextStepRequest>,
    ) -> Result<Response<pb::HoldNextStepResponse>, Status> {
        let (tablet, step) = held_step(request.into_inner().step)?;
        self.agent.faults.steps.hold_next(tablet, step);
        Ok(Response::new(pb::HoldNextStepResponse {}))
    }

    async fn await_step_held(
        &self,
        request: Request<pb::AwaitStepHeldRequest>,
    ) -> Result<Response<pb::AwaitStepHeldResponse>, Status> {
        let within = convert::deadline(request.metadata());
        let (tablet, step) = held_step(request.into_inner().step)?;
        let held = in_time(within, self.agent.faults.steps.held(tablet, step)).await;
        held.map_err(|_| Refusal::new(Reason::QueueTimeout, "no step came to be held"))?;
        Ok(Response::new(pb::AwaitStepHeldResponse {}))
    }

    async fn release_step(
        &self,
        request: Request<pb::ReleaseStepRequest>,
    ) -> Result<Response<pb::ReleaseStepResponse>, Status> {
        let (tablet, step) = held_step(request.into_inner().step)?;
        let was_held = self.agent.faults.steps.release(tablet, step);
        Ok(Response::new(pb::ReleaseStepResponse { was_held }))
    }

    async fn set_switch(
        &self,
        request: Request<pb::SetSwitchRequest>,
    ) -> Result<Response<pb::SetSwitchResponse>, Status> {
        let request = request.into_inner();
        let tablet = convert::tablet_id("tablet", request.tablet)?;
        let switch = switch(request.switch())?;
        tracing::warn!(%tablet, ?switch, on = request.on, "a fault switch was set");
        self.agent.faults.switches.set(tablet, switch, request.on);
        Ok(Response::new(pb::SetSwitchResponse {}))
    }

    async fn set_guard_check(
        &self,
        request: Request<pb::SetGuardCheckRequest>,
    ) -> Result<Response<pb::SetGuardCheckResponse>, Status> {
        self.agent.sessions().set_guard_check(request.into_inner().on);
        Ok(Response::new(pb::SetGuardCheckResponse {}))
    }

    async fn set_disk_fault(
        &self,
        request: Request<pb::SetDiskFaultRequest>,
    ) -> Result<Response<pb::SetDiskFaultResponse>, Status> {
        let request = request.into_inner();
        let fault = match request.fault() {
            pb::DiskFault::Rows => DiskFault::Rows,
            pb::DiskFault::Syncs => DiskFault::Syncs,
            pb::DiskFault::Drops => DiskFault::Drops,
            pb::DiskFault::Full => DiskFault::Full,
            pb::DiskFault::NoRoom => DiskFault::NoRoom,
            pb::DiskFault::Unspecified => {
                return Err(Refusal::invalid_field("fault", "is none").into());
            }
        };
        tracing::warn!(?fault, on = request.on, "a fault of the disk was set");
        self.agent.faults.disk.set(fault, request.on);
        Ok(Response::new(pb::SetDiskFaultResponse {}))
    }

    async fn set_room(
        &self,
        request: Request<pb::SetRoomRequest>,
    ) -> Result<Response<pb::SetRoomResponse>, Status> {
        let pb::SetRoomRequest { bytes, untold } = request.into_inner();
        tracing::warn!(?bytes, untold, "the room on the disk was stated");
        self.agent.faults.disk.set_room(StatedRoom { bytes, is_untold: untold });
        Ok(Response::new(pb::SetRoomResponse {}))
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

/// What a test waits for, for as long as it likes.
async fn in_time<T>(within: Duration, held: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::time::timeout(within, held).await
}

fn held_step(step: Option<pb::HeldStep>) -> Result<(TabletId, Step), Status> {
    let held = step.ok_or_else(|| Refusal::invalid_field("step", "is missing"))?;
    let step = match held.step() {
        pb::Step::Acknowledge => Step::Acknowledge(convert::stage("step.stage", held.stage)?),
        pb::Step::Pull => Step::Pull,
        pb::Step::Drop => Step::Drop,
        pb::Step::DroppedReport => Step::DroppedReport,
        pb::Step::ReceivedHeard => Step::ReceivedHeard,
        pb::Step::Record => Step::Record,
        pb::Step::Unspecified => {
            return Err(Refusal::invalid_field("step.step", "is none").into());
        }
    };
    Ok((convert::tablet_id("step.tablet", held.tablet)?, step))
}

fn switch(switch: pb::Switch) -> Result<Switch, Status> {
    Ok(match switch {
        pb::Switch::BendChunks => Switch::BendChunks,
        pb::Switch::SwallowWrites => Switch::SwallowWrites,
        pb::Switch::TakeOldTimestamps => Switch::TakeOldTimestamps,
        pb::Switch::SkipPulls => Switch::SkipPulls,
        pb::Switch::ReceivedBeforeRecord => Switch::ReceivedBeforeRecord,
        pb::Switch::GuessComplete => Switch::GuessComplete,
        pb::Switch::Unspecified => {
            return Err(Refusal::invalid_field("switch", "is none").into());
        }
    })
}

/// Serves the silence of this process' waits.
#[derive(Debug)]
pub(crate) struct WaitApi {
    agent: Arc<Agent>,
}

/// The service over an agent's waits.
pub(crate) fn waits(agent: &Arc<Agent>) -> WaitServiceServer<WaitApi> {
    WaitServiceServer::new(WaitApi { agent: Arc::clone(agent) })
}

#[tonic::async_trait]
impl WaitService for WaitApi {
    async fn list_waits(
        &self,
        _: Request<pb::ListWaitsRequest>,
    ) -> Result<Response<pb::ListWaitsResponse>, Status> {
        let settings = self.agent.settings();
        let waits = Wait::ALL.iter().map(|wait| {
            let Met { silenced, ended } = met(wait.name());
            let bound_ms = u64::try_from(wait.bound(&settings).as_millis()).unwrap_or(u64::MAX);
            pb::Wait { name: wait.name().to_owned(), bound_ms, silenced, ended }
        });
        Ok(Response::new(pb::ListWaitsResponse { waits: waits.collect() }))
    }

    async fn silence_wait(
        &self,
        request: Request<pb::SilenceWaitRequest>,
    ) -> Result<Response<pb::SilenceWaitResponse>, Status> {
        let pb::SilenceWaitRequest { name, on } = request.into_inner();
        let known = Wait::ALL.iter().find(|wait| wait.name() == name);
        let none = || Refusal::new(Reason::NotFound, "there is no such wait");
        silence(known.ok_or_else(none)?.name(), on);
        tracing::warn!(wait = name, on, "a wait is not answered any more, or is again");
        Ok(Response::new(pb::SilenceWaitResponse {}))
    }
}
