//! Taking a snapshot in.

use crate::wait::Wait;
use process::wait::watched;
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use tonic::{Status, Streaming};

use super::super::StateMachine;
use super::form;
use super::serve::{RaftApi, fatal, malformed};
use super::snapshot::Incoming;

/// Takes the parts of a snapshot, and installs it if it is whole.
pub(super) async fn install<S: StateMachine>(
    api: &RaftApi<S>,
    mut parts: Streaming<pb::InstallSnapshotRequest>,
) -> Result<pb::InstallSnapshotResponse, Status> {
    let Some(Part::Head(head)) = next(&mut parts).await? else {
        return Err(malformed("a snapshot begins with its head"));
    };
    api.check_said(head.to.as_ref(), head.vote.as_ref()).await?;
    let mut incoming = Incoming::begin(head).map_err(malformed)?;
    while let Some(part) = next(&mut parts).await? {
        let Part::Chunk(chunk) = part else {
            return Err(malformed("a snapshot has one head"));
        };
        incoming.take(&chunk).map_err(malformed)?;
    }
    let (vote, snapshot) = incoming.end().map_err(malformed)?;
    let installed = api.raft.install_full_snapshot(vote, snapshot).await;
    let vote = installed.map_err(|error| fatal(&error))?.vote;
    Ok(pb::InstallSnapshotResponse { vote: Some(form::vote_form(&vote)) })
}

async fn next(parts: &mut Streaming<pb::InstallSnapshotRequest>) -> Result<Option<Part>, Status> {
    let Some(request) = watched(Wait::Snapshot, parts.message()).await? else { return Ok(None) };
    request.part.map(Some).ok_or_else(|| malformed("a part that this build doesn't know"))
}
