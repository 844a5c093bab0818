//! A snapshot on its way, from file to file: cut into parts, of which each is read when it is asked
//! for, and put together again only if it is whole. No more than a part of it is in memory.

use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{Stream, once, unfold};
use futures::{StreamExt as _, future::ready};
use openraft::storage::Snapshot;
use openraft::type_config::alias::SnapshotOf;
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use xxhash_rust::xxh3::Xxh3;

use super::super::apply::SnapshotData;
use super::super::blocking::blocking;
use super::super::snapshot::{Snapshots, Writing};
use super::super::types::{Group0Types, Vote};
use super::{CHUNK_BYTES, SNAPSHOT_BYTES, form};

pub(super) type Whole = SnapshotOf<Group0Types, SnapshotData>;

/// The parts of a snapshot, in their order. They end early where the file is not read any more as
/// it was written: what is damaged is sent to nobody as whole.
///
/// # Errors
///
/// It is too large to be sent.
pub(super) fn parts(
    to: pb::Addressee,
    vote: &Vote,
    file: SnapshotData,
) -> Result<impl Stream<Item = pb::InstallSnapshotRequest> + Send + use<>, String> {
    let length = file.bytes() - file.body_at();
    if length > SNAPSHOT_BYTES {
        return Err(format!("a snapshot of {length} bytes is over the limit of {SNAPSHOT_BYTES}"));
    }
    let head = Part::Head(pb::SnapshotHead {
        to: Some(to),
        vote: Some(form::vote_form(vote)),
        digest: Bytes::copy_from_slice(&file.content()),
        meta: Bytes::copy_from_slice(file.meta_bytes()),
        length,
    });
    let mut content = Xxh3::new();
    content.update(file.meta_bytes());
    let begin = (file.body_at(), content, file);
    let chunks = unfold(begin, |(at, content, file)| async move {
        if at >= file.bytes() {
            return None;
        }
        match blocking(move || chunk(at, content, file)).await {
            Ok(Ok((chunk, next))) => Some((Part::Chunk(chunk), next)),
            Ok(Err(error)) => {
                tracing::error!(%error, "a snapshot can't be sent: it is not as it was written");
                None
            }
            // The process ends.
            Err(_) => None,
        }
    });
    let parts = once(ready(head)).chain(chunks);
    Ok(parts.map(|part| pb::InstallSnapshotRequest { part: Some(part) }))
}

/// The chunk from a place on, and from where to go on.
fn chunk(
    at: u64,
    mut content: Xxh3,
    file: SnapshotData,
) -> io::Result<(Bytes, (u64, Xxh3, SnapshotData))> {
    let chunk = file.piece(at, CHUNK_BYTES)?;
    content.update(&chunk);
    let next = at + chunk.len() as u64;
    if next >= file.bytes() && content.digest128().to_be_bytes() != file.content() {
        return Err(io::Error::other("its digest doesn't fit"));
    }
    Ok((chunk, (next, content, file)))
}

/// Why a snapshot was not taken in. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It is not what was announced.
    #[error("{0}")]
    Wrong(String),
    /// The disk doesn't take it.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// A snapshot that comes in, into a file aside. It never takes more than has arrived.
pub(super) struct Incoming {
    vote: Vote,
    length: u64,
    digest: Bytes,
    writing: Writing,
}

impl Incoming {
    /// Begins with the head, whose addressee has been checked. Blocks.
    ///
    /// # Errors
    ///
    /// The head can't be what was sent, or announces too much; the disk doesn't take it.
    pub(super) fn begin(
        head: pb::SnapshotHead,
        snapshots: &Snapshots,
    ) -> Result<Incoming, NotTaken> {
        let pb::SnapshotHead { to: _, vote, meta, length, digest } = head;
        let vote = form::vote_of(vote).map_err(|e| NotTaken::Wrong(e.to_string()))?;
        if length > SNAPSHOT_BYTES {
            let over = format!("{length} bytes are over the limit of {SNAPSHOT_BYTES}");
            return Err(NotTaken::Wrong(over));
        }
        let writing = snapshots.begin(meta.into())?;
        Ok(Incoming { vote, length, digest, writing })
    }

    /// Takes the next bytes. Blocks.
    ///
    /// # Errors
    ///
    /// More than was announced, or than there is room for.
    pub(super) fn take(mut self, chunk: &[u8]) -> Result<Incoming, NotTaken> {
        if self.writing.length() + chunk.len() as u64 > self.length {
            let more = format!("more than the {} bytes announced", self.length);
            return Err(NotTaken::Wrong(more));
        }
        self.writing.write_all(chunk)?;
        Ok(self)
    }

    /// The snapshot, if it is whole: it is synced, and has been read back. Blocks.
    ///
    /// # Errors
    ///
    /// Bytes are missing, or not those that were sent; the disk fails.
    pub(super) fn end(self) -> Result<(Vote, Whole), NotTaken> {
        let Incoming { vote, length, digest, writing } = self;
        if writing.length() != length {
            return Err(NotTaken::Wrong(format!("{} bytes of {length}", writing.length())));
        }
        if writing.content() != *digest {
            return Err(NotTaken::Wrong("its digest doesn't fit".to_owned()));
        }
        let file = Arc::new(writing.seal()?);
        Ok((vote, Snapshot { meta: file.meta().clone(), snapshot: file }))
    }
}
