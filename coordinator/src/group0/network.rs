//! The seam for the transport between coordinators.
//!
//! One voter needs none. Until there is one, a peer is unreachable and says so: nothing is granted
//! or acknowledged on its behalf, a pre-vote neither (Raft's default would grant it).

use std::future::Future;

use openraft::RaftNetworkFactory;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::types::{Group0Types, Member, Vote};

/// Makes the connections to other coordinators.
pub(super) struct Peers;

impl RaftNetworkFactory<Group0Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        Peer { id: target, address: member.address.clone() }
    }
}

/// One other coordinator.
pub(super) struct Peer {
    id: u64,
    address: String,
}

impl Peer {
    fn unreachable(&self) -> Unreachable<Group0Types> {
        Unreachable::from_string(format!(
            "coordinator {} at {}: this build has no transport between coordinators",
            self.id, self.address
        ))
    }
}

impl RaftNetworkV2<Group0Types> for Peer {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Group0Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Group0Types>, RPCError<Group0Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<Group0Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Group0Types>, RPCError<Group0Types>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _: VoteRequest<Group0Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Group0Types>, RPCError<Group0Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: SnapshotOf<Group0Types, Vec<u8>>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Group0Types>, StreamingError<Group0Types>> {
        Err(self.unreachable().into())
    }
}
