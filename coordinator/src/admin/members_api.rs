//! Who the coordinators are: members of group0 come, go, and hand leadership over.
//!
//! Not through the memory of requests: a member is recognised by its Raft id, which is never used
//! again, so that a change which comes twice, or late, finds itself done.

use super::change::{ChangeRequest, answered, checked_stamp};
use super::{AdminApi, views};
use crate::status::{Port, member_error};
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::member_service_server::MemberService;
use proto::status::{Refusal, set_outcome};
use tonic::{Request, Response, Status};

/// Whether nothing is to be done; the request's id is looked at as that of every other change is.
fn is_trial<R: ChangeRequest>(request: &mut R) -> Result<bool, Status> {
    let is_trial = std::mem::take(request.validate_only());
    checked_stamp(request, is_trial).map(|_| is_trial)
}

fn named(field: &'static str, text: &str) -> Result<(), Status> {
    if !text.is_empty() {
        return Ok(());
    }
    let mut status = Status::from(Refusal::invalid_field(field, "is missing"));
    set_outcome(status.metadata_mut(), ChangeOutcome::NotApplied);
    Err(status)
}

fn outcome(is_trial: bool) -> ChangeOutcome {
    match is_trial {
        true => ChangeOutcome::NotApplied,
        false => ChangeOutcome::Applied,
    }
}

#[tonic::async_trait]
impl MemberService for AdminApi {
    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        let mut request = request.into_inner();
        let is_trial = is_trial(&mut request)?;
        named("name", &request.name)?;
        named("raft_address", &request.raft_address)?;
        let (name, address) = (request.name, request.raft_address);
        let added = self.group0.add_member(&name, &address, is_trial).await;
        let added = added.map_err(|error| member_error(&error, Port::Admin))?;
        if !is_trial {
            self.note_version();
            tracing::warn!(audit = true, name, address, "a coordinator is added");
        }
        let coordinator = views::coordinators(vec![added]).pop();
        Ok(answered(outcome(is_trial), pb::AddMemberResponse { coordinator }))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        let mut request = request.into_inner();
        let is_trial = is_trial(&mut request)?;
        named("name", &request.name)?;
        let pb::RemoveMemberRequest { name, raft_id, .. } = request;
        let raft_id = Some(raft_id).filter(|id| *id != 0);
        let removed = self.group0.remove_member(&name, raft_id, is_trial).await;
        removed.map_err(|error| member_error(&error, Port::Admin))?;
        if !is_trial {
            self.note_version();
            tracing::warn!(audit = true, name, "a coordinator is removed");
        }
        Ok(answered(outcome(is_trial), pb::RemoveMemberResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let mut request = request.into_inner();
        let is_trial = is_trial(&mut request)?;
        let to = Some(&*request.to).filter(|to| !to.is_empty());
        let from = Some(request.from_raft_id).filter(|id| *id != 0);
        let leader = self.group0.transfer_leader(to, from, is_trial).await;
        let leader = leader.map_err(|error| member_error(&error, Port::Admin))?.name;
        if !is_trial {
            self.note_version();
            tracing::warn!(audit = true, leader, "leadership was handed over");
        }
        Ok(answered(outcome(is_trial), pb::TransferLeaderResponse { leader }))
    }
}
