//! What group0 holds, as a file: the same form that its own snapshots have on disk.

use super::AdminApi;
use crate::group0::SaveError;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_QUEUED};
use crate::status::{Port, disk_error, read_error};
use crate::wait::Wait;
use process::wait::bounded;
use proto::admin::v1 as pb;
use proto::admin::v1::snapshot_service_server::SnapshotService;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl SnapshotService for AdminApi {
    type SaveSnapshotStream = ReceiverStream<Result<pb::SaveSnapshotResponse, Status>>;

    async fn save_snapshot(
        &self,
        _request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        // One at a time: each is a copy of the whole state, and a file.
        let turn = Arc::clone(&self.saving).try_acquire_owned();
        let turn = turn.map_err(|_| {
            Status::from(Refusal::new(Reason::Overloaded, "another snapshot is being saved"))
        })?;
        let group0 = self.group0.clone();
        // A task of its own, which has the turn until it is over: a caller who goes away does not
        // give the turn to another one while the file is still there.
        let saving = tokio::spawn(async move { (group0.save_snapshot().await, turn) });
        let died = |error: tokio::task::JoinError| Status::internal(error.to_string());
        let (file, turn) = saving.await.map_err(died)?;
        let file = Arc::new(file.map_err(|error| match error {
            SaveError::Read(error) => read_error(&error, Port::Admin),
            SaveError::Disk(error) => disk_error(&error),
        })?);
        let (parts, sent) = mpsc::channel(SNAPSHOT_CHUNKS_QUEUED);
        tokio::spawn(async move {
            let _turn = turn;
            let (file_bytes, mut at) = (file.bytes(), 0);
            while at < file_bytes {
                let read = Arc::clone(&file);
                let read = spawn_blocking(move || read.piece(at, SNAPSHOT_CHUNK_BYTES)).await;
                let part = match read.unwrap_or_else(|died| Err(io::Error::other(died))) {
                    Ok(chunk) => {
                        at += chunk.len() as u64;
                        Ok(pb::SaveSnapshotResponse { file_bytes, chunk })
                    }
                    Err(error) => Err(disk_error(&error)),
                };
                let is_last = part.is_err();
                // Who reads nothing does not keep the turn from others.
                let taken = bounded(Wait::Watch, Wait::Watch.bound(), parts.send(part)).await;
                if is_last || !matches!(taken, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }
}
