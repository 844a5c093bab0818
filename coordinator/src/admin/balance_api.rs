//! Balancing.

use super::AdminApi;
use proto::admin::v1 as pb;
use proto::admin::v1::balance_service_server::BalanceService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl BalanceService for AdminApi {
    async fn get_balance_status(
        &self,
        _request: Request<pb::GetBalanceStatusRequest>,
    ) -> Result<Response<pb::GetBalanceStatusResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn plan_balance(
        &self,
        _request: Request<pb::PlanBalanceRequest>,
    ) -> Result<Response<pb::PlanBalanceResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn disable_balancing(
        &self,
        _request: Request<pb::DisableBalancingRequest>,
    ) -> Result<Response<pb::DisableBalancingResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn enable_balancing(
        &self,
        _request: Request<pb::EnableBalancingRequest>,
    ) -> Result<Response<pb::EnableBalancingResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}
