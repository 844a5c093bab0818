//! How a group of several begins: once, by one of its members, and only if all of them are there
//! and belong to no cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use uuid::Uuid;

use super::error::BootstrapError;
use super::transport::Dialler;
use super::types::Member;
use super::{Group0, StateMachine};

/// Why a group can't be begun now. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Another member does it: the one with the least name.
    #[error(
        "{0} begins the cluster. If it has begun, and this coordinator has lost its directory, add \
         it to that cluster instead"
    )]
    Another(String),
    /// A member doesn't answer.
    #[error("{name} at {address}: {detail}")]
    Silent {
        /// Its name.
        name: String,
        /// Its raft address.
        address: String,
        /// What went wrong.
        detail: String,
    },
    /// Another coordinator answers at a member's address.
    #[error("{address} is {found}, not {name}. Look at --peers")]
    OtherName {
        /// The name that was expected.
        name: String,
        /// Its raft address.
        address: String,
        /// Who answered.
        found: String,
    },
    /// A member belongs to a cluster.
    #[error(
        "{name} belongs to cluster {cluster} already: none is begun with it. If this coordinator \
         has lost its directory, add it to that cluster instead"
    )]
    NotEmpty {
        /// Its name.
        name: String,
        /// Its cluster.
        cluster: Uuid,
    },
    /// A member is to begin a cluster with others: two clusters could begin.
    #[error(
        "{name} expects a cluster of {theirs}, this coordinator one of {ours}. Look at --peers"
    )]
    Differ {
        /// Its name.
        name: String,
        /// Whom it expects.
        theirs: String,
        /// Whom this member expects.
        ours: String,
    },
    /// Two members have one Raft id: a directory was copied.
    #[error("{name} has the Raft id of another: its directory is a copy")]
    SameId {
        /// The second of them.
        name: String,
    },
    /// This member can't.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

impl<S: StateMachine> Group0<S> {
    /// Begins a group of these members (raft addresses by name, this one among them) if this
    /// member has the least name and all of them answer, within `limit`, that they belong to no
    /// cluster. Does nothing if this member belongs to a group.
    ///
    /// # Errors
    ///
    /// Every [`NotYet`]: try again later.
    pub async fn begin(
        &self,
        expected: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<(), NotYet> {
        if self.is_initialized().await? {
            return Ok(());
        }
        let own = self.member();
        let names: Vec<String> = expected.keys().cloned().collect();
        if let Some((least, _)) = expected.first_key_value().filter(|(name, _)| **name != own.name)
        {
            return Err(NotYet::Another(least.clone()));
        }
        let mut members = BTreeMap::from([(self.raft_id(), own.clone())]);
        let others = expected.iter().filter(|(name, _)| **name != own.name);
        let asked = others.map(|(name, address)| look(&self.inner.dialler, name, address, limit));
        for answer in join_all(asked).await {
            let (raft_id, member, theirs) = answer?;
            if !theirs.is_empty() && theirs != names {
                let (name, theirs, ours) = (member.name, theirs.join(", "), names.join(", "));
                return Err(NotYet::Differ { name, theirs, ours });
            }
            let name = member.name.clone();
            if members.insert(raft_id, member).is_some() {
                return Err(NotYet::SameId { name });
            }
        }
        Ok(self.bootstrap(members).await?)
    }
}

/// A member that answers, has the right name, and belongs to no cluster; and whom it expects.
async fn look(
    dialler: &Dialler,
    name: &str,
    address: &str,
    limit: Duration,
) -> Result<(u64, Member, Vec<String>), NotYet> {
    let (name, address) = (name.to_owned(), address.to_owned());
    let found = match dialler.identify(&address, limit).await {
        Ok(found) => found,
        Err(detail) => return Err(NotYet::Silent { name, address, detail }),
    };
    if found.member.name != name {
        return Err(NotYet::OtherName { name, address, found: found.member.name });
    }
    if let Some(cluster) = found.cluster {
        return Err(NotYet::NotEmpty { name, cluster });
    }
    // The address that was agreed on, by which it has just been reached.
    let member = Member { raft_address: address, ..found.member };
    Ok((found.raft_id, member, found.expected))
}
