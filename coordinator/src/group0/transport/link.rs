//! The connections to other coordinators: made when they are first used, kept, and made anew by
//! the call after the one that found them broken.

use std::collections::HashMap;
use std::sync::Arc;

use openraft::RaftNetworkFactory;
use proto::raft::v1 as pb;
use tonic::transport::{Channel, Endpoint};

use super::super::identity::Identity;
use super::super::types::{Group0Types, Member};
use super::Pace;
use super::dial;
use super::peer::Peer;

/// What one stream, and all streams of a connection, may have in flight.
const WINDOW_BYTES: u32 = 4 << 20;

/// Makes the connections to other coordinators.
pub(crate) struct Peers {
    identity: Arc<Identity>,
    pace: Pace,
    links: HashMap<u64, (String, Arc<Link>)>,
}

/// One other coordinator: a connection for what is small and urgent, one for entries, and one for
/// snapshots, so that the last two never hold up a heartbeat.
#[derive(Debug)]
pub(super) struct Link {
    identity: Arc<Identity>,
    pub(super) target: u64,
    pub(super) address: String,
    pub(super) pace: Pace,
    /// None if the address is none.
    urgent: Option<Channel>,
    entries: Option<Channel>,
    snapshots: Option<Channel>,
}

impl Peers {
    pub(crate) fn new(identity: Arc<Identity>, pace: Pace) -> Peers {
        Peers { identity, pace, links: HashMap::new() }
    }

    fn link(&mut self, target: u64, member: &Member) -> Arc<Link> {
        let address = &member.raft_address;
        match self.links.get(&target) {
            Some((known, link)) if known == address => Arc::clone(link),
            _ => {
                let link =
                    Arc::new(Link::new(Arc::clone(&self.identity), target, address, self.pace));
                self.links.insert(target, (address.clone(), Arc::clone(&link)));
                link
            }
        }
    }
}

impl Link {
    fn new(identity: Arc<Identity>, target: u64, address: &str, pace: Pace) -> Link {
        let dialled = format!("http://{}", process::dialled(address));
        let endpoint = Endpoint::from_shared(dialled).map(|endpoint| {
            endpoint
                .connect_timeout(pace.connect)
                .tcp_nodelay(true)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                // A cut connection that nobody closes is found out within about an election.
                .http2_keep_alive_interval(pace.connect)
                .keep_alive_timeout(pace.append)
                .keep_alive_while_idle(true)
        });
        let channel = || endpoint.as_ref().ok().map(dial::lazy);
        Link {
            identity,
            target,
            address: address.to_owned(),
            pace,
            urgent: channel(),
            entries: channel(),
            snapshots: channel(),
        }
    }

    /// Whom its requests are meant for; none while this member belongs to no cluster itself.
    pub(super) fn addressee(&self) -> Option<pb::Addressee> {
        let cluster = self.identity.cluster()?;
        Some(pb::Addressee { cluster_id: proto::convert::bytes(cluster), raft_id: self.target })
    }

    pub(super) fn urgent(&self) -> Option<Channel> {
        self.urgent.clone()
    }
}

impl RaftNetworkFactory<Group0Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        let link = self.link(target, member);
        let bulk = link.entries.clone();
        Peer::new(link, bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Peer {
        let link = self.link(target, member);
        let bulk = link.urgent.clone();
        Peer::new(link, bulk)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Peer {
        let link = self.link(target, member);
        let bulk = link.snapshots.clone();
        Peer::new(link, bulk)
    }
}
