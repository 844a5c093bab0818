//! The form of log ids, votes and entries in the log's files.
//!
//! `raft-log` frames each record (type, what is encoded here, CRC-32). A length that was damaged
//! would look like a record that goes beyond the end of the file, thus like a torn tail, and
//! everything after it would be cut off. So an entry's length carries a check of its own.

use std::cmp::Ordering;
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use raft_log::codeq::{Decode, Encode};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_64;

use super::super::types::{self, Entry, Payload, Vote};

/// The largest entry that is taken, in bytes.
pub(in super::super) const MAX_ENTRY_BYTES: usize = 16 << 20;

/// The largest payload that is believed: an entry, or a membership.
const MAX_PAYLOAD_BYTES: usize = MAX_ENTRY_BYTES + (1 << 20);

const BLANK: u8 = 0;
pub(super) const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The types of the log's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records;

impl raft_log::Types for Records {
    /// (term, index)
    type LogId = (u64, u64);
    type LogPayload = PayloadRecord;
    type Vote = VoteRecord;
    type Callback = Flushed;
    type UserData = ();

    fn log_index(log_id: &Self::LogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload.bytes() as u64
    }
}

/// Whom to tell when everything written so far is on the medium, or can't be.
pub(super) enum Flushed {
    /// Raft waits for appended entries.
    Raft(openraft::storage::IOFlushed<types::Group0Types>),
    /// A caller in `store` waits.
    Caller(oneshot::Sender<io::Result<()>>),
}

impl raft_log::Callback for Flushed {
    fn send(self, result: io::Result<()>) {
        match self {
            Self::Raft(callback) => callback.io_completed(result),
            // A caller that is gone needs no answer.
            Self::Caller(sender) => drop(sender.send(result)),
        }
    }
}

/// A vote. Ordered as Raft orders votes: partially.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VoteRecord(pub(super) Vote);

impl PartialOrd for VoteRecord {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        PartialOrd::partial_cmp(&self.0, &other.0)
    }
}

impl Encode for VoteRecord {
    fn encode<W: io::Write>(&self, mut w: W) -> io::Result<usize> {
        let leader = self.0.leader_id();
        w.write_all(&leader.term.to_be_bytes())?;
        w.write_all(&leader.voted_for.to_be_bytes())?;
        w.write_all(&[u8::from(self.0.is_committed())])?;
        Ok(17)
    }
}

impl Decode for VoteRecord {
    fn decode<R: io::Read>(mut r: R) -> io::Result<Self> {
        let term = read_u64(&mut r)?;
        let node = read_u64(&mut r)?;
        Ok(Self(match read_array(&mut r)? {
            [0] => Vote::new(term, node),
            [1] => Vote::new_committed(term, node),
            [other] => return Err(wrong(format!("{other} in a vote"))),
        }))
    }
}

/// What an entry holds: nothing, bytes for the state machine, or a membership.
#[derive(Clone, Debug)]
pub(super) struct PayloadRecord(pub(super) Payload);

impl PayloadRecord {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            EntryPayload::Normal(entry) => entry.0.len() + 32,
            EntryPayload::Blank | EntryPayload::Membership(_) => 64,
        }
    }
}

impl Encode for PayloadRecord {
    fn encode<W: io::Write>(&self, mut w: W) -> io::Result<usize> {
        let (kind, bytes) = match &self.0 {
            EntryPayload::Blank => (BLANK, Bytes::new()),
            EntryPayload::Normal(entry) => (NORMAL, entry.0.clone()),
            EntryPayload::Membership(m) => (MEMBERSHIP, types::encode_membership(m).into()),
        };
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= MAX_PAYLOAD_BYTES)
            .ok_or_else(|| wrong(format!("an entry of {} bytes", bytes.len())))?;
        w.write_all(&head(kind, length))?;
        w.write_all(&bytes)?;
        Ok(HEAD_BYTES + bytes.len())
    }
}

impl Decode for PayloadRecord {
    fn decode<R: io::Read>(mut r: R) -> io::Result<Self> {
        let found: [u8; HEAD_BYTES] = read_array(&mut r)?;
        let kind = found[0];
        let length = u32::from_be_bytes([found[1], found[2], found[3], found[4]]);
        if found != head(kind, length) || length as usize > MAX_PAYLOAD_BYTES {
            return Err(wrong("the head of an entry doesn't fit its check"));
        }
        let mut bytes = vec![0; length as usize];
        r.read_exact(&mut bytes)?;
        Ok(Self(match kind {
            BLANK if bytes.is_empty() => EntryPayload::Blank,
            BLANK => return Err(wrong(format!("{length} bytes in a blank entry"))),
            NORMAL => EntryPayload::Normal(Entry(bytes.into())),
            MEMBERSHIP => {
                EntryPayload::Membership(types::decode_membership(&bytes).map_err(wrong)?)
            }
            other => return Err(wrong(format!("an entry of kind {other}"))),
        }))
    }
}

pub(super) const HEAD_BYTES: usize = 9;

/// Kind, length, and a check of both.
pub(super) fn head(kind: u8, length: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[0] = kind;
    head[1..5].copy_from_slice(&length.to_be_bytes());
    let check = xxh3_64(&head[..5]).to_be_bytes();
    head[5..].copy_from_slice(&check[..4]);
    head
}

fn read_array<const N: usize>(mut r: impl io::Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    r.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_u64(r: impl io::Read) -> io::Result<u64> {
    Ok(u64::from_be_bytes(read_array(r)?))
}

fn wrong(detail: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail.to_string())
}
