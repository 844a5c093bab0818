//! Raft's messages as protobuf, and back.

use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::EntryOf;
use proto::raft::v1 as pb;
use proto::raft::v1::append_response::Answer;
use proto::raft::v1::entry::Payload;

use super::super::digests::Said;
use super::super::types::{self, Entry, Group0Types, LogId, Vote, log_id};

/// A message that lacks what it must have, or holds what can't be.
#[derive(Debug, thiserror::Error)]
#[error("malformed: {0}")]
pub(super) struct Malformed(String);

fn missing(field: &str) -> Malformed {
    Malformed(format!("no {field}"))
}

pub(super) fn vote_form(vote: &Vote) -> pb::Vote {
    let leader = vote.leader_id();
    pb::Vote { term: leader.term, voted_for: leader.voted_for, committed: vote.is_committed() }
}

pub(super) fn vote_of(form: Option<pb::Vote>) -> Result<Vote, Malformed> {
    let pb::Vote { term, voted_for, committed } = form.ok_or_else(|| missing("vote"))?;
    Ok(match committed {
        true => Vote::new_committed(term, voted_for),
        false => Vote::new(term, voted_for),
    })
}

fn id_form(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.committed_leader_id().term, index: id.index() }
}

fn id_of(form: pb::LogId) -> LogId {
    log_id(form.term, form.index)
}

fn entry_form(entry: EntryOf<Group0Types>) -> pb::Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(Entry(bytes)) => Some(Payload::Command(bytes)),
        EntryPayload::Membership(m) => {
            Some(Payload::Membership(types::encode_membership(&m).into()))
        }
    };
    pb::Entry { id: Some(id_form(&entry.log_id)), payload }
}

fn entry_of(form: pb::Entry) -> Result<EntryOf<Group0Types>, Malformed> {
    let pb::Entry { id, payload } = form;
    let payload = match payload {
        None => EntryPayload::Blank,
        Some(Payload::Command(bytes)) => EntryPayload::Normal(Entry(bytes)),
        Some(Payload::Membership(bytes)) => EntryPayload::Membership(
            types::decode_membership(&bytes).map_err(|damaged| Malformed(damaged.to_string()))?,
        ),
    };
    Ok(openraft::Entry { log_id: id_of(id.ok_or_else(|| missing("id of an entry"))?), payload })
}

pub(super) fn append_form(
    to: pb::Addressee,
    request: AppendEntriesRequest<Group0Types>,
) -> pb::AppendRequest {
    pb::AppendRequest {
        to: Some(to),
        vote: Some(vote_form(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id_form),
        entries: request.entries.into_iter().map(entry_form).collect(),
        committed: request.leader_commit.as_ref().map(id_form),
    }
}

pub(super) fn append_of(
    form: pb::AppendRequest,
) -> Result<AppendEntriesRequest<Group0Types>, Malformed> {
    let pb::AppendRequest { to: _, vote, previous, entries, committed } = form;
    Ok(AppendEntriesRequest {
        vote: vote_of(vote)?,
        prev_log_id: previous.map(id_of),
        entries: entries.into_iter().map(entry_of).collect::<Result<_, _>>()?,
        leader_commit: committed.map(id_of),
    })
}

pub(super) fn appended_form(
    result: &StreamAppendResult<Group0Types>,
    said: Option<Said>,
    wall_ms: u64,
) -> pb::AppendResponse {
    let answer = match result {
        Ok(last) => Answer::Matching(pb::Matching { last: last.as_ref().map(id_form) }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(id_form(id)),
        Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote_form(vote)),
    };
    let form = |Said { index, digest }: Said| pb::StateDigest {
        index,
        digest: bytes::Bytes::copy_from_slice(&digest.to_be_bytes()),
    };
    pb::AppendResponse { answer: Some(answer), state: said.map(form), wall_ms }
}

/// What a member says of its state; none if it is not of this form: then nothing is compared.
pub(super) fn said_of(form: &pb::StateDigest) -> Option<Said> {
    let digest = <[u8; 16]>::try_from(&form.digest[..]).ok()?;
    Some(Said { index: form.index, digest: u128::from_be_bytes(digest) })
}

pub(super) fn appended_of(
    form: pb::AppendResponse,
) -> Result<StreamAppendResult<Group0Types>, Malformed> {
    Ok(match form.answer.ok_or_else(|| missing("answer"))? {
        Answer::Matching(pb::Matching { last }) => Ok(last.map(id_of)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(id_of(id))),
        Answer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_of(Some(vote))?)),
    })
}

pub(super) fn ask_form(to: pb::Addressee, request: &VoteRequest<Group0Types>) -> pb::VoteRequest {
    pb::VoteRequest {
        to: Some(to),
        vote: Some(vote_form(&request.vote)),
        last: request.last_log_id.as_ref().map(id_form),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn ask_of(form: pb::VoteRequest) -> Result<VoteRequest<Group0Types>, Malformed> {
    let pb::VoteRequest { to: _, vote, last, leadership_transfer } = form;
    let mut request = VoteRequest::new(vote_of(vote)?, last.map(id_of));
    request.leadership_transfer = leadership_transfer;
    Ok(request)
}

pub(super) fn voted_form(response: &VoteResponse<Group0Types>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_form(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(id_form),
    }
}

pub(super) fn voted_of(form: pb::VoteResponse) -> Result<VoteResponse<Group0Types>, Malformed> {
    let pb::VoteResponse { vote, granted, last } = form;
    Ok(VoteResponse::new(vote_of(vote)?, last.map(id_of), granted))
}

pub(super) fn transfer_form(
    to: pb::Addressee,
    request: &TransferLeaderRequest<Group0Types>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        to: Some(to),
        from_leader: Some(vote_form(request.from_leader())),
        next_leader: *request.to_node_id(),
        last: request.last_log_id().map(id_form),
    }
}

pub(super) fn transfer_of(
    form: pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<Group0Types>, Malformed> {
    let pb::TransferLeaderRequest { to: _, from_leader, next_leader, last } = form;
    Ok(TransferLeaderRequest::new(vote_of(from_leader)?, next_leader, last.map(id_of)))
}
