//! The types that Raft is built from, and their form on disk.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::vote::leader_id_std;
use prost::Message as _;

use super::error::Damaged;

/// What Raft's tasks run on. Tests draw its random numbers from a seed, where there is one.
#[cfg(test)]
type Runtime = super::simulated::Runtime;
#[cfg(not(test))]
type Runtime = openraft_rt_tokio::TokioRuntime;

openraft::declare_raft_types!(
    /// group0's Raft: opaque entries, at most one leader in each term.
    pub(super) Group0Types:
        D = Entry,
        R = Answer,
        Node = Member,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = Runtime,
);

pub(super) type LogId = LogIdOf<Group0Types>;
pub(super) type Vote = VoteOf<Group0Types>;
pub(super) type StoredMembership = StoredMembershipOf<Group0Types>;
pub(super) type SnapshotMeta = SnapshotMetaOf<Group0Types>;
pub(super) type Membership = openraft::Membership<u64, Member>;
pub(super) type Payload = openraft::EntryPayload<Entry, u64, Member>;

/// A coordinator, as the membership names it. Addresses are `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where other coordinators reach it.
    pub raft_address: String,
    /// Where people and programs reach it.
    pub admin_address: String,
    /// Where agents reach it.
    pub agents_address: String,
}

/// One proposed entry: bytes that only the state machine understands.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry(pub(super) Bytes);

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The state machine's response to an entry; none for blank and membership entries.
#[derive(Clone)]
pub(super) struct Answer(pub(super) Option<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "an answer" } else { "no answer" })
    }
}

/// Term and index of a log entry.
pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(leader_id_std::CommittedLeaderId::new(term), index)
}

#[derive(Clone, PartialEq, prost::Message)]
struct LogIdForm {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VotersForm {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberForm {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    raft_address: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    admin_address: String,
    #[prost(string, tag = "5")]
    agents_address: String,
}

impl MemberForm {
    fn new(id: u64, member: &Member) -> Self {
        let Member { name, raft_address, admin_address, agents_address } = member.clone();
        Self { id, raft_address, name, admin_address, agents_address }
    }

    fn into_member(self) -> (u64, Member) {
        let Self { id, raft_address, name, admin_address, agents_address } = self;
        (id, Member { name, raft_address, admin_address, agents_address })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct MembershipForm {
    #[prost(message, repeated, tag = "1")]
    configs: Vec<VotersForm>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberForm>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SnapshotMetaForm {
    #[prost(message, optional, tag = "1")]
    last: Option<LogIdForm>,
    #[prost(message, optional, tag = "2")]
    membership_at: Option<LogIdForm>,
    #[prost(message, optional, tag = "3")]
    membership: Option<MembershipForm>,
}

impl From<&LogId> for LogIdForm {
    fn from(id: &LogId) -> Self {
        Self { term: id.committed_leader_id().term, index: id.index() }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> Self {
        log_id(form.term, form.index)
    }
}

fn membership_form(membership: &Membership) -> MembershipForm {
    MembershipForm {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| VotersForm { ids: voters.iter().copied().collect() })
            .collect(),
        members: membership.nodes().map(|(id, member)| MemberForm::new(*id, member)).collect(),
    }
}

fn membership_of(form: MembershipForm) -> Result<Membership, Damaged> {
    let configs: Vec<BTreeSet<u64>> =
        form.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> =
        form.members.into_iter().map(MemberForm::into_member).collect();
    Membership::new(configs, members).map_err(|e| Damaged(format!("a membership: {e}")))
}

/// A membership's bytes in the log.
pub(super) fn encode_membership(membership: &Membership) -> Vec<u8> {
    membership_form(membership).encode_to_vec()
}

/// The membership that [`encode_membership`] wrote.
pub(super) fn decode_membership(bytes: &[u8]) -> Result<Membership, Damaged> {
    membership_of(MembershipForm::decode(bytes).map_err(|e| Damaged(format!("a membership: {e}")))?)
}

/// What a snapshot covers, as bytes in its head.
pub(super) fn encode_meta(meta: &SnapshotMeta) -> Vec<u8> {
    SnapshotMetaForm {
        last: meta.last_log_id.as_ref().map(LogIdForm::from),
        membership_at: meta.last_membership.log_id().as_ref().map(LogIdForm::from),
        membership: Some(membership_form(meta.last_membership.membership())),
    }
    .encode_to_vec()
}

/// What [`encode_meta`] wrote.
pub(super) fn decode_meta(bytes: &[u8]) -> Result<SnapshotMeta, Damaged> {
    let form =
        SnapshotMetaForm::decode(bytes).map_err(|e| Damaged(format!("a snapshot's head: {e}")))?;
    let membership = membership_of(form.membership.unwrap_or_default())?;
    Ok(SnapshotMeta {
        last_log_id: form.last.map(LogId::from),
        last_membership: StoredMembership::new(form.membership_at.map(LogId::from), membership),
    })
}
