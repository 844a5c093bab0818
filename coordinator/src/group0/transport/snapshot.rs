//! A snapshot on its way: cut into parts, and put together again only if it is whole.

use bytes::Bytes;
use futures::stream::{Stream, iter};
use openraft::storage::Snapshot;
use openraft::type_config::alias::SnapshotOf;
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use xxhash_rust::xxh3::Xxh3;

use super::super::types::{self, Group0Types, Vote};
use super::{CHUNK_BYTES, SNAPSHOT_BYTES, form};

type Whole = SnapshotOf<Group0Types, Vec<u8>>;

fn digest(meta: &[u8], body: &[u8]) -> Bytes {
    let mut hasher = Xxh3::new();
    hasher.update(meta);
    hasher.update(body);
    Bytes::copy_from_slice(&hasher.digest128().to_be_bytes())
}

/// The parts of a snapshot, in their order.
///
/// # Errors
///
/// It is too large to be sent.
pub(super) fn parts(
    to: pb::Addressee,
    vote: &Vote,
    snapshot: Whole,
) -> Result<impl Stream<Item = pb::InstallSnapshotRequest> + Send + 'static, String> {
    let meta = types::encode_meta(&snapshot.meta);
    let body = Bytes::from(snapshot.snapshot);
    let length = body.len() as u64;
    if length > SNAPSHOT_BYTES {
        return Err(format!("a snapshot of {length} bytes is over the limit of {SNAPSHOT_BYTES}"));
    }
    let head = Part::Head(pb::SnapshotHead {
        to: Some(to),
        vote: Some(form::vote_form(vote)),
        digest: digest(&meta, &body),
        meta: meta.into(),
        length,
    });
    let starts = (0..body.len()).step_by(CHUNK_BYTES);
    let chunks = starts
        .map(move |start| Part::Chunk(body.slice(start..body.len().min(start + CHUNK_BYTES))));
    let parts = std::iter::once(head).chain(chunks);
    Ok(iter(parts.map(|part| pb::InstallSnapshotRequest { part: Some(part) })))
}

/// A snapshot that comes in. It never holds more than has arrived.
#[derive(Debug)]
pub(super) struct Incoming {
    vote: Vote,
    meta: Bytes,
    length: u64,
    digest: Bytes,
    body: Vec<u8>,
}

impl Incoming {
    /// Begins with the head, whose addressee has been checked.
    ///
    /// # Errors
    ///
    /// The head can't be what was sent, or announces too much.
    pub(super) fn begin(head: pb::SnapshotHead) -> Result<Incoming, String> {
        let pb::SnapshotHead { to: _, vote, meta, length, digest } = head;
        let vote = form::vote_of(vote).map_err(|e| e.to_string())?;
        if length > SNAPSHOT_BYTES {
            return Err(format!("{length} bytes are over the limit of {SNAPSHOT_BYTES}"));
        }
        Ok(Incoming { vote, meta, length, digest, body: Vec::new() })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// More than was announced.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        if (self.body.len() + chunk.len()) as u64 > self.length {
            return Err(format!("more than the {} bytes announced", self.length));
        }
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    /// The snapshot, if it is whole.
    ///
    /// # Errors
    ///
    /// Bytes are missing, or not those that were sent.
    pub(super) fn end(self) -> Result<(Vote, Whole), String> {
        let Incoming { vote, meta, length, digest: announced, body } = self;
        if body.len() as u64 != length {
            return Err(format!("{} bytes of {length}", body.len()));
        }
        if digest(&meta, &body) != announced {
            return Err("its digest doesn't fit".to_owned());
        }
        let meta = types::decode_meta(&meta).map_err(|damaged| damaged.to_string())?;
        Ok((vote, Snapshot { meta, snapshot: body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, StreamExt as _};

    fn sent(body: Vec<u8>) -> Vec<Part> {
        let snapshot = Snapshot { meta: Default::default(), snapshot: body };
        let parts = parts(pb::Addressee::default(), &Vote::new_committed(3, 1), snapshot);
        let parts = parts.expect("small").map(|part| part.part.expect("a part"));
        parts.collect::<Vec<Part>>().now_or_never().expect("nothing to wait for")
    }

    fn received(parts: Vec<Part>) -> Result<(Vote, Whole), String> {
        let mut parts = parts.into_iter();
        let Some(Part::Head(head)) = parts.next() else { panic!("the head comes first") };
        let mut incoming = Incoming::begin(head)?;
        for part in parts {
            let Part::Chunk(chunk) = part else { panic!("one head") };
            assert!(chunk.len() <= CHUNK_BYTES);
            incoming.take(&chunk)?;
        }
        incoming.end()
    }

    /// To send one takes no more memory than to hold it: its parts are its own bytes, one behind the
    /// other.
    #[test]
    fn parts_are_slices_and_no_copies() {
        let body = vec![7; CHUNK_BYTES * 3 + 1];
        let at = body.as_ptr();
        let mut next = at as usize;
        for part in sent(body).into_iter().skip(1) {
            let Part::Chunk(chunk) = part else { panic!("one head") };
            assert_eq!(chunk.as_ptr() as usize, next);
            next += chunk.len();
        }
        assert_eq!(next, at as usize + CHUNK_BYTES * 3 + 1);
    }

    #[test]
    fn a_snapshot_arrives_whole_or_not_at_all() {
        let body: Vec<u8> = (0..CHUNK_BYTES * 2 + 17).map(|at| (at % 251) as u8).collect();
        let parts = sent(body.clone());
        assert_eq!(parts.len(), 4);
        let (vote, whole) = received(parts.clone()).expect("it is whole");
        assert_eq!((vote, whole.snapshot), (Vote::new_committed(3, 1), body));

        let mut short = parts.clone();
        short.pop();
        assert!(received(short).expect_err("short").contains("bytes of"));
        let mut long = parts.clone();
        long.push(Part::Chunk(Bytes::from_static(b"x")));
        assert!(received(long).expect_err("long").contains("more than"));
        let mut swapped = parts;
        swapped.swap(1, 2);
        assert!(received(swapped).expect_err("swapped").contains("digest"));
        assert!(received(sent(Vec::new())).is_ok(), "an empty one has a head only");
    }
}
