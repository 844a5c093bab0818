//! What group0 holds, as a file: the same form that its own snapshots have on disk.

use super::AdminApi;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_QUEUED};
use crate::status::{Port, read_error};
use crate::wait::Wait;
use process::wait::bounded;
use proto::admin::v1 as pb;
use proto::admin::v1::snapshot_service_server::SnapshotService;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl SnapshotService for AdminApi {
    type SaveSnapshotStream = ReceiverStream<Result<pb::SaveSnapshotResponse, Status>>;

    async fn save_snapshot(
        &self,
        _request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        // One at a time: each is a copy of the whole state.
        let turn = Arc::clone(&self.saving).try_acquire_owned();
        let turn = turn.map_err(|_| {
            Status::from(Refusal::new(Reason::Overloaded, "another snapshot is being saved"))
        })?;
        let group0 = self.group0.clone();
        // A task of its own, which has the turn until it is over: a caller who goes away does not
        // give the turn to another one while the copy of the state is still there.
        let saving = tokio::spawn(async move { (group0.save_snapshot().await, turn) });
        let died = |error: tokio::task::JoinError| Status::internal(error.to_string());
        let (file, turn) = saving.await.map_err(died)?;
        let file = bytes::Bytes::from(file.map_err(|error| read_error(&error, Port::Admin))?);
        let (parts, sent) = mpsc::channel(SNAPSHOT_CHUNKS_QUEUED);
        tokio::spawn(async move {
            let _turn = turn;
            let file_bytes = file.len() as u64;
            let mut rest = file;
            while !rest.is_empty() {
                let chunk = rest.split_to(rest.len().min(SNAPSHOT_CHUNK_BYTES));
                let part = Ok(pb::SaveSnapshotResponse { file_bytes, chunk });
                // Who reads nothing does not keep the turn from others.
                let taken = bounded(Wait::Watch, Wait::Watch.bound(), parts.send(part)).await;
                if !matches!(taken, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }
}
