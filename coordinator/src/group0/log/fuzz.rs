//! Arbitrary bytes against the records of the log.

use openraft::EntryPayload;
use palisade_fuzz::target;
use raft_log::codeq::{Decode, Encode};

use super::super::fuzz::some_metas;
use super::super::types::{Entry, Vote};
use super::record::{HEAD_BYTES, PayloadRecord, VoteRecord, head};

fn written(record: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes).expect("a vector takes everything");
    bytes
}

fn vote(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(vote) = VoteRecord::decode(&mut rest) else { return };
    let read = &bytes[..bytes.len() - rest.len()];
    assert_eq!(written(&vote), read, "a vote has one form");
}

fn votes() -> Vec<Vec<u8>> {
    let votes = [Vote::new(1, 2), Vote::new_committed(u64::MAX, 3), Vote::new(0, u64::MAX)];
    votes.into_iter().map(|vote| written(&VoteRecord(vote))).collect()
}

target!(a_vote, vote, votes);

/// As it is, and with a head that fits: what the check of the head can't keep out.
fn payload(bytes: &[u8]) {
    let mut fitting = bytes.to_vec();
    if let Some(length) = bytes.len().checked_sub(HEAD_BYTES) {
        fitting[..HEAD_BYTES].copy_from_slice(&head(bytes[0] % 4, length as u32));
    }
    for bytes in [bytes, &fitting] {
        let mut rest = bytes;
        let Ok(payload) = PayloadRecord::decode(&mut rest) else { continue };
        let again = written(&payload);
        let decoded = PayloadRecord::decode(again.as_slice()).expect("just written");
        assert_eq!(written(&decoded), again);
        let read = &bytes[..bytes.len() - rest.len()];
        match payload.0 {
            EntryPayload::Membership(_) => {}
            EntryPayload::Blank | EntryPayload::Normal(_) => assert_eq!(again, read),
        }
    }
}

fn payloads() -> Vec<Vec<u8>> {
    let normal = [&b""[..], b"entry", &[0; 40]].map(|bytes| Entry(bytes.to_vec().into()));
    let memberships = some_metas().into_iter().skip(1);
    let memberships = memberships.map(|meta| meta.last_membership.membership().clone());
    let payloads = normal.into_iter().map(EntryPayload::Normal).chain([EntryPayload::Blank]);
    let payloads = payloads.chain(memberships.map(EntryPayload::Membership));
    payloads.map(|payload| written(&PayloadRecord(payload))).collect()
}

target!(an_entry, payload, payloads);
