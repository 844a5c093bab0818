//! A member says where it is, again and again, to whoever leads: so that its addresses are known
//! when they are others, and that it hears of its removal, which nobody replicates to it.

use crate::wait::Wait;
use process::wait::bounded;

use openraft::async_runtime::WatchReceiver as _;
use proto::raft::v1 as pb;
use proto::raft::v1::raft_service_client::RaftServiceClient;
use proto::status::Refusal;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error::FatalReason;
use super::types::Member;
use super::{Group0, StateMachine};

/// Elections from one announcement to the next.
const ELECTIONS: u32 = 2;

impl<S: StateMachine> Group0<S> {
    /// Announces this member while another one leads, until `stop`. If it was removed, group0
    /// [can't go on](Self::fatal) here.
    pub async fn announce(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(self.inner.election_max * ELECTIONS);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_said = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let is_member = tokio::select! {
                () = stop.cancelled() => return,
                is_member = self.ask_around() => is_member,
            };
            let was_member = self.inner.files.identity.was_member();
            if is_member == Some(false) && !was_member && !is_said {
                is_said = true;
                let Member { name, raft_address, .. } = self.member();
                tracing::warn!("is no member yet: palisade raft add {name} --raft {raft_address}");
            }
            if is_member == Some(false) && was_member {
                let Member { name, raft_address, .. } = self.member().clone();
                self.inner.state.fail(FatalReason::Removed { name, address: raft_address });
                return;
            }
        }
    }

    /// Whether this is a member, if anybody knows.
    pub(super) async fn ask_around(&self) -> Option<bool> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let own = self.raft_id();
        if metrics.current_leader == Some(own) {
            return None;
        }
        let members = metrics.membership_config.membership().nodes();
        let others = members.filter(|(id, _)| **id != own);
        let mut others: Vec<(u64, String)> =
            others.map(|(id, member)| (*id, member.raft_address.clone())).collect();
        others.sort_by_key(|(id, _)| metrics.current_leader != Some(*id));
        for (id, address) in others {
            match self.ask(id, &address).await {
                Ok(is_member) => return Some(is_member),
                Err(hint) => {
                    // Whoever leads now may not have been there when this one heard last.
                    if let Some((id, address)) = hint
                        && id != own
                        && let Ok(is_member) = self.ask(id, &address).await
                    {
                        return Some(is_member);
                    }
                }
            }
        }
        None
    }

    /// Asks one of them; if it doesn't know, who may.
    async fn ask(&self, raft_id: u64, address: &str) -> Result<bool, Option<(u64, String)>> {
        let cluster_id = proto::convert::bytes(self.cluster().ok_or(None)?);
        let Member { name, raft_address, admin_address, agents_address } = self.member().clone();
        let request = pb::AnnounceRequest {
            to: Some(pb::Addressee { cluster_id, raft_id }),
            raft_id: self.raft_id(),
            name,
            raft_address,
            admin_address,
            agents_address,
        };
        let asked = async {
            let dialler = match self.known(raft_id) {
                Some(member) => self.inner.dialler.named(&member.name),
                // Only who leads knows of it.
                None => self.inner.dialler.clone(),
            };
            let channel = dialler.connected(address).await.map_err(Status::unavailable)?;
            RaftServiceClient::new(channel).announce(request).await
        };
        match bounded(Wait::Announced, Wait::Announced.bound(), asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().member),
            Ok(Err(status)) => Err(leader_of(&status)),
            Err(_) => Err(None),
        }
    }
}

/// Raft id and address of the leader that a refusal names.
fn leader_of(status: &Status) -> Option<(u64, String)> {
    let refusal = Refusal::from_status(status)?;
    let raft_id = refusal.get("raft_id")?.parse().ok()?;
    Some((raft_id, refusal.get("address")?.to_owned()))
}
