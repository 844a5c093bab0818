//! Taking a snapshot in.

use crate::status::disk_error;
use crate::wait::Wait;
use process::wait::watched;
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt as _};
use tonic::{Status, Streaming};

use super::super::StateMachine;
use super::super::blocking::blocking;
use super::super::snapshot::Snapshots;
use super::super::types::Vote;
use super::form;
use super::serve::{RaftApi, fatal, malformed, shutting_down};
use super::snapshot::{Incoming, NotTaken, Whole};

/// Takes the parts of a snapshot, and installs it if it is whole.
pub(super) async fn install<S: StateMachine>(
    api: &RaftApi<S>,
    mut parts: Streaming<pb::InstallSnapshotRequest>,
) -> Result<pb::InstallSnapshotResponse, Status> {
    let Some(Part::Head(head)) = next(&mut parts).await? else {
        return Err(malformed("a snapshot begins with its head"));
    };
    api.check_said(head.to.as_ref(), head.vote.as_ref()).await?;
    let snapshots = api.snapshots();
    let busy = || Refusal::new(Reason::Overloaded, "other snapshots are coming in");
    // Until it is installed: that bounds what they take of the disk.
    let _place = snapshots.may_come_in().ok_or_else(|| Status::from(busy()))?;
    let (vote, snapshot) = receive(head, parts, snapshots).await?;
    let installed = api.raft.install_full_snapshot(vote, snapshot).await;
    let vote = installed.map_err(|error| fatal(&error))?.vote;
    Ok(pb::InstallSnapshotResponse { vote: Some(form::vote_form(&vote)) })
}

/// Takes the parts after the head, one at a time: the next is asked for when the one before is in
/// the file. Whoever gives this up leaves nothing behind.
pub(super) async fn receive(
    head: pb::SnapshotHead,
    mut parts: impl Stream<Item = Result<pb::InstallSnapshotRequest, Status>> + Unpin,
    snapshots: Arc<Snapshots>,
) -> Result<(Vote, Whole), Status> {
    let mut incoming = writing(move || Incoming::begin(head, &snapshots)).await?;
    while let Some(part) = next(&mut parts).await? {
        let Part::Chunk(chunk) = part else {
            return Err(malformed("a snapshot has one head"));
        };
        incoming = writing(move || incoming.take(&chunk)).await?;
    }
    writing(move || incoming.end()).await
}

async fn writing<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NotTaken> + Send + 'static,
) -> Result<T, Status> {
    let done = blocking(work).await.map_err(|_| shutting_down())?;
    done.map_err(|error| match &error {
        NotTaken::Wrong(_) => malformed(error),
        NotTaken::Disk(error) => {
            tracing::warn!(%error, "a snapshot can't be taken in");
            disk_error(error)
        }
    })
}

async fn next(
    parts: &mut (impl Stream<Item = Result<pb::InstallSnapshotRequest, Status>> + Unpin),
) -> Result<Option<Part>, Status> {
    let request = watched(Wait::Snapshot, parts.next()).await;
    let Some(request) = request.transpose()? else { return Ok(None) };
    request.part.map(Some).ok_or_else(|| malformed("a part that this build doesn't know"))
}
