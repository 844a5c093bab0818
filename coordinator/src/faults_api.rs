//! The silence of this process' waits, that it forgets requests, that its clock is wrong, that it is mute
//! as a leader, and that its state is another one, as services for process tests: with the feature `faults`, and where the
//! coordinator was started with `--faults`.

use crate::group0::Group0;
use crate::machine::Machine;
use crate::wait::Wait;
use process::wait::Named;
use process::wait::faults::{Met, met, silence};
use proto::faults::v1 as pb;
use proto::faults::v1::clock_service_server::{self, ClockService, ClockServiceServer};
use proto::faults::v1::leader_service_server::{self, LeaderService, LeaderServiceServer};
use proto::faults::v1::memory_service_server::{self, MemoryService, MemoryServiceServer};
use proto::faults::v1::state_service_server::{self, StateService, StateServiceServer};
use proto::faults::v1::wait_service_server::{self, WaitService, WaitServiceServer};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The names of all of them.
pub(crate) const SERVICES: [&str; 5] = [
    wait_service_server::SERVICE_NAME,
    clock_service_server::SERVICE_NAME,
    leader_service_server::SERVICE_NAME,
    memory_service_server::SERVICE_NAME,
    state_service_server::SERVICE_NAME,
];

/// Serves a clock that is wrong.
#[derive(Debug)]
pub(crate) struct ClockApi;

/// The service.
pub(crate) fn clock() -> ClockServiceServer<ClockApi> {
    ClockServiceServer::new(ClockApi)
}

#[tonic::async_trait]
impl ClockService for ClockApi {
    async fn set_clock(
        &self,
        request: Request<pb::SetClockRequest>,
    ) -> Result<Response<pb::SetClockResponse>, Status> {
        let ahead_ms = request.into_inner().ahead_ms;
        crate::now::set_ahead(ahead_ms);
        tracing::warn!(ahead_ms, "the wall clock of this coordinator is set");
        Ok(Response::new(pb::SetClockResponse {}))
    }
}

/// Serves a leader that is mute.
#[derive(Debug)]
pub(crate) struct LeaderApi;

/// The service.
pub(crate) fn leader() -> LeaderServiceServer<LeaderApi> {
    LeaderServiceServer::new(LeaderApi)
}

/// Whether what this coordinator says as a leader doesn't go out.
static MUTE: AtomicBool = AtomicBool::new(false);

/// Whether what this coordinator says as a leader goes out to nobody.
pub(crate) fn is_mute() -> bool {
    MUTE.load(Ordering::Relaxed)
}

#[tonic::async_trait]
impl LeaderService for LeaderApi {
    async fn set_mute(
        &self,
        request: Request<pb::SetMuteRequest>,
    ) -> Result<Response<pb::SetMuteResponse>, Status> {
        let on = request.into_inner().on;
        MUTE.store(on, Ordering::Relaxed);
        tracing::warn!(
            on,
            "what this coordinator says as a leader goes out to nobody, or does again"
        );
        Ok(Response::new(pb::SetMuteResponse {}))
    }
}

/// Serves forgetfulness.
pub(crate) struct MemoryApi(Group0<Machine>);

/// The service.
pub(crate) fn memory(group0: Group0<Machine>) -> MemoryServiceServer<MemoryApi> {
    MemoryServiceServer::new(MemoryApi(group0))
}

#[tonic::async_trait]
impl MemoryService for MemoryApi {
    async fn forget_requests(
        &self,
        request: Request<pb::ForgetRequestsRequest>,
    ) -> Result<Response<pb::ForgetRequestsResponse>, Status> {
        let on = request.into_inner().on;
        FORGETS.store(on, Ordering::Relaxed);
        tracing::warn!(on, "each try of a change is taken for a new request, or no longer");
        Ok(Response::new(pb::ForgetRequestsResponse {}))
    }

    async fn limit_memory(
        &self,
        request: Request<pb::LimitMemoryRequest>,
    ) -> Result<Response<pb::LimitMemoryResponse>, Status> {
        let pb::LimitMemoryRequest { requests, forgets_horizon } = request.into_inner();
        let limit = usize::try_from(requests).unwrap_or(usize::MAX);
        self.0.bend(|machine| machine.limit_memory(limit, forgets_horizon));
        tracing::warn!(limit, forgets_horizon, "fewer requests are remembered");
        Ok(Response::new(pb::LimitMemoryResponse {}))
    }
}

/// Whether each try of a change is taken for a new request.
static FORGETS: AtomicBool = AtomicBool::new(false);

/// The id under which a request is remembered: its own, unless this coordinator is to forget.
pub(crate) fn remembered_as(id: Uuid) -> Uuid {
    match FORGETS.load(Ordering::Relaxed) {
        // The time stays: ids are kept in order of it.
        true => {
            let (drawn, kept) = (Uuid::new_v4().as_u128(), id.as_u128());
            Uuid::from_u128((kept >> 48 << 48) | (drawn & ((1 << 48) - 1)))
        }
        false => id,
    }
}

/// Serves a state that is bent.
pub(crate) struct StateApi(Group0<Machine>);

/// The service.
pub(crate) fn state(group0: Group0<Machine>) -> StateServiceServer<StateApi> {
    StateServiceServer::new(StateApi(group0))
}

#[tonic::async_trait]
impl StateService for StateApi {
    async fn bend_state(
        &self,
        _: Request<pb::BendStateRequest>,
    ) -> Result<Response<pb::BendStateResponse>, Status> {
        self.0.bend(Machine::bend);
        tracing::warn!("the state of this coordinator alone is another one");
        Ok(Response::new(pb::BendStateResponse {}))
    }
}

/// Serves the silence of waits.
#[derive(Debug)]
pub(crate) struct WaitApi;

/// The service.
pub(crate) fn service() -> WaitServiceServer<WaitApi> {
    tracing::warn!("fault switches are served on the agents' port");
    WaitServiceServer::new(WaitApi)
}

#[tonic::async_trait]
impl WaitService for WaitApi {
    async fn list_waits(
        &self,
        _: Request<pb::ListWaitsRequest>,
    ) -> Result<Response<pb::ListWaitsResponse>, Status> {
        let waits = Wait::ALL.iter().map(|wait| {
            let Met { silenced, ended } = met(wait.name());
            let bound_ms = u64::try_from(wait.bound().as_millis()).unwrap_or(u64::MAX);
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
