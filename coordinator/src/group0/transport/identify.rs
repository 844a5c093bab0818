//! Asking a coordinator who it is, before there is a group.

use crate::wait::Wait;
use process::wait::bounded;
use std::time::Duration;

use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use uuid::Uuid;

use super::super::types::Member;
use super::dial::Dialler;

/// A coordinator, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Identified {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its name and addresses.
    pub member: Member,
    /// The cluster that it belongs to; none if it is empty.
    pub cluster: Option<Uuid>,
    /// Those with whom it expects a cluster to begin, by name, in order.
    pub expected: Vec<String>,
    /// It belongs to a cluster that began to take it in, and has never heard that it did.
    pub pending: bool,
    /// It stops soon.
    pub stopping: bool,
    /// The highest feature level that it can read.
    pub feature_level: u32,
}

impl Dialler {
    /// Asks the coordinator at a raft address who it is.
    ///
    /// # Errors
    ///
    /// What went wrong, in words: it can't be reached within `limit`, or answers what can't be.
    pub(in super::super) async fn identify(
        &self,
        address: &str,
        limit: Duration,
    ) -> Result<Identified, String> {
        let asked = async {
            let channel = self.connected(address).await?;
            let answer = RaftServiceClient::new(channel).identify(pb::IdentifyRequest {}).await;
            answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
        };
        let answer = bounded(Wait::Identify, limit, asked).await;
        let answer = answer.unwrap_or_else(|overdue| Err(overdue.to_string()))?;
        let pb::IdentifyResponse {
            name,
            raft_id,
            cluster_id,
            raft_address,
            admin_address,
            agents_address,
            expected,
            pending,
            stopping,
            feature_level,
        } = answer;
        let cluster = match cluster_id.is_empty() {
            true => None,
            false => Some(Uuid::from_slice(&cluster_id).map_err(|error| error.to_string())?),
        };
        let member = Member { name, raft_address, admin_address, agents_address };
        Ok(Identified { raft_id, member, cluster, expected, pending, stopping, feature_level })
    }
}
