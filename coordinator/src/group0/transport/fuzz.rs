//! Arbitrary bytes against Raft's messages, and against a snapshot that arrives in parts.

use std::fmt::Debug;

use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, VoteRequest, VoteResponse};
use palisade_fuzz::target;
use prost::Message;
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;

use super::super::fuzz::some_metas;
use super::super::snapshot::Snapshots;
use super::super::types::{Entry, Group0Types, Vote, log_id};
use super::form;
use super::snapshot::Incoming;
use super::tests::{Place, sent};

/// A message is refused, or says what it says in one form only.
fn assert_round<W: Message + Default, T, E: Debug>(
    bytes: &[u8],
    read: impl Fn(W) -> Result<T, E>,
    write: impl Fn(T) -> W,
) {
    let Ok(wire) = W::decode(bytes) else { return };
    let Ok(message) = read(wire) else { return };
    let written = write(message).encode_to_vec();
    let again = read(W::decode(written.as_slice()).expect("just written")).expect("as before");
    assert_eq!(write(again).encode_to_vec(), written);
}

fn message(bytes: &[u8]) {
    let to = pb::Addressee::default;
    assert_round(bytes, form::append_of, |append| form::append_form(to(), append));
    assert_round(bytes, form::appended_of, |appended| form::appended_form(&appended, None, 0));
    assert_round(bytes, form::ask_of, |ask| form::ask_form(to(), &ask));
    assert_round(bytes, form::voted_of, |voted| form::voted_form(&voted));
    assert_round(bytes, form::transfer_of, |transfer| form::transfer_form(to(), &transfer));
}

fn messages() -> Vec<Vec<u8>> {
    let (vote, id) = (Vote::new_committed(3, 1), log_id(3, 9));
    let membership = some_metas().remove(2).last_membership.membership().clone();
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Entry(b"entry".as_slice().into())),
        EntryPayload::Membership(membership),
    ];
    let entries = (10..).zip(payloads);
    let entries = entries.map(|(at, payload)| openraft::Entry { log_id: log_id(3, at), payload });
    let append = AppendEntriesRequest::<Group0Types> {
        vote,
        prev_log_id: Some(id),
        entries: entries.collect(),
        leader_commit: Some(id),
    };
    let to = pb::Addressee::default;
    let mut ask = VoteRequest::<Group0Types>::new(Vote::new(4, 2), Some(id));
    ask.leadership_transfer = true;
    let transfer = openraft::raft::TransferLeaderRequest::<Group0Types>::new(vote, 2, Some(id));
    let answers = [Ok(Some(id)), Err(StreamAppendError::Conflict(id))];
    let answers = answers.into_iter().chain([Err(StreamAppendError::HigherVote(vote))]);
    let mut messages: Vec<Vec<u8>> =
        answers.map(|answer| form::appended_form(&answer, None, 0).encode_to_vec()).collect();
    messages.push(form::append_form(to(), append).encode_to_vec());
    messages.push(form::ask_form(to(), &ask).encode_to_vec());
    messages.push(form::voted_form(&VoteResponse::new(vote, Some(id), true)).encode_to_vec());
    messages.push(form::transfer_form(to(), &transfer).encode_to_vec());
    messages
}

target!(a_message, message, messages);

thread_local! {
    /// Where what arrives is kept for as long as it is looked at.
    static SNAPSHOTS: Place = Place::new();
}

/// Parts one behind the other, each behind its length in two bytes.
fn transfer(bytes: &[u8]) {
    SNAPSHOTS.with(|place| arrive(bytes, &place.snapshots));
}

fn arrive(bytes: &[u8], snapshots: &Snapshots) {
    let mut rest = bytes;
    let mut incoming: Option<Incoming> = None;
    let mut arrived = 0;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (part, after) = after.split_at(length);
        rest = after;
        let Ok(part) = pb::InstallSnapshotRequest::decode(part) else { return };
        incoming = match (part.part, incoming) {
            (Some(Part::Head(head)), None) => Incoming::begin(head, snapshots).ok(),
            (Some(Part::Chunk(chunk)), Some(incoming)) => {
                arrived += chunk.len() as u64;
                incoming.take(&chunk).ok()
            }
            _ => return,
        };
        if incoming.is_none() {
            return;
        }
    }
    if let Some(Ok((_, whole))) = incoming.map(Incoming::end) {
        assert_eq!(whole.snapshot.bytes() - whole.snapshot.body_at(), arrived);
    }
}

fn transfers() -> Vec<Vec<u8>> {
    let transfer = |(meta, length)| {
        let place = Place::new();
        let made = place.snapshots.write(&meta, |out| out.write_all(&vec![7; length]));
        let sent = sent(made.expect("made").into()).into_iter().map(|part| part.encode_to_vec());
        sent.flat_map(|part| [&(part.len() as u16).to_be_bytes(), part.as_slice()].concat())
            .collect::<Vec<u8>>()
    };
    some_metas().into_iter().zip([0, 1, 40, 300]).map(transfer).collect()
}

target!(a_snapshot_in_parts, transfer, transfers);
