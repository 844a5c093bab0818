//! What all members can read, by their own word: the feature level that the cluster may have.
//!
//! Not here: raising it (`levels.rs` of the coordinator), and what each level means.

use crate::limits::{IDENTIFY_DEADLINE, PROPOSAL_DEADLINE};

use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::error::MemberError;
use super::{Group0, StateMachine};

/// What all members read, and nobody comes in while this is held.
#[derive(Debug)]
pub struct CommonLevel<'a> {
    /// The highest feature level that each of them reads.
    pub level: u32,
    _turn: MutexGuard<'a, ()>,
}

impl<S: StateMachine> Group0<S> {
    /// The highest feature level that this process can read.
    pub fn reads_level(&self) -> u32 {
        self.inner.feature_level
    }

    /// Asks every member what it can read. For a leader.
    ///
    /// # Errors
    ///
    /// [`MemberError::Read`], [`MemberError::Propose`]; [`MemberError::Silent`] if one of them does
    /// not answer.
    pub async fn common_level(&self) -> Result<CommonLevel<'_>, MemberError> {
        self.confirm_leadership().await?;
        let deadline = Instant::now() + PROPOSAL_DEADLINE;
        let turn = self.turn(deadline).await?;
        let members = self.settled(deadline).await?;
        let mut level = self.inner.feature_level;
        for (raft_id, member) in members.nodes().filter(|(id, _)| **id != self.raft_id()) {
            let address = member.raft_address.clone();
            let silent = |detail| MemberError::Silent { address: address.clone(), detail };
            let asked = self.inner.dialler.identify(&address, IDENTIFY_DEADLINE);
            let found = asked.await.map_err(silent)?;
            if found.raft_id != *raft_id {
                return Err(silent("another coordinator answers".to_owned()));
            }
            level = level.min(found.feature_level);
        }
        Ok(CommonLevel { level, _turn: turn })
    }
}
