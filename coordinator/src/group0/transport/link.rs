//! The connections to other coordinators: made when they are first used, kept, and made anew by
//! the call after the one that found them broken.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::RaftNetworkFactory;
use proto::raft::v1 as pb;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use super::super::clocks::Clocks;
use super::super::digests::Digests;
use super::super::identity::Identity;
use super::super::types::{Group0Types, Member};
use super::Pace;
use super::dial::Dialler;
use super::peer::Peer;

/// What one stream, and all streams of a connection, may have in flight.
const WINDOW_BYTES: u32 = 4 << 20;

/// Makes the connections to other coordinators.
pub(crate) struct Peers {
    links: Arc<Links>,
}

/// Where the other coordinators are. Raft keeps what it was given for as long as it leads: so each
/// call looks here, and one that has moved is found where it is now.
#[derive(Debug)]
pub(in super::super) struct Links {
    identity: Arc<Identity>,
    pace: Pace,
    digests: Arc<Digests>,
    clocks: Arc<Clocks>,
    dialler: Dialler,
    known: Mutex<HashMap<u64, Arc<Link>>>,
    /// While it is set, nothing goes out that a leader sends.
    silent: watch::Sender<bool>,
}

/// What goes over the connection for appends and snapshots.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bulk {
    Heartbeats,
    Entries,
    Snapshots,
}

/// One other coordinator: a connection for what is small and urgent, one for entries, and one for
/// snapshots, so that the last two never hold up a heartbeat.
#[derive(Debug)]
pub(super) struct Link {
    identity: Arc<Identity>,
    pub(super) target: u64,
    pub(super) address: String,
    /// None if the address is none.
    urgent: Option<Channel>,
    entries: Option<Channel>,
    snapshots: Option<Channel>,
}

impl Peers {
    pub(crate) fn new(links: Arc<Links>) -> Peers {
        Peers { links }
    }

    fn peer(&mut self, target: u64, member: &Member, bulk: Bulk) -> Peer {
        self.links.learn(target, member);
        Peer::new(Arc::clone(&self.links), target, bulk)
    }
}

impl Links {
    pub(in super::super) fn new(
        identity: Arc<Identity>,
        pace: Pace,
        digests: Arc<Digests>,
        clocks: Arc<Clocks>,
        dialler: Dialler,
    ) -> Links {
        let silent = watch::Sender::new(false);
        Links { identity, pace, digests, clocks, dialler, known: Mutex::default(), silent }
    }

    /// Takes note of where a member is.
    pub(in super::super) fn learn(&self, target: u64, member: &Member) {
        let address = &member.raft_address;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&target).is_none_or(|link| link.address != *address) {
            let link = self.link(target, member);
            known.insert(target, Arc::new(link));
        }
    }

    /// Takes note of where all members are, and forgets those that are none any more.
    pub(in super::super) fn keep<'a>(&self, members: impl Iterator<Item = (&'a u64, &'a Member)>) {
        let members: BTreeMap<&u64, &Member> = members.collect();
        members.iter().for_each(|(target, member)| self.learn(**target, member));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|target, _| members.contains_key(target));
    }

    /// The connections to a member; none if nobody has ever said where it is.
    pub(super) fn get(&self, target: u64) -> Option<Arc<Link>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&target).cloned()
    }

    /// What members say that their states came to.
    pub(super) fn digests(&self) -> &Digests {
        &self.digests
    }

    /// What members say of their clocks.
    pub(super) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// From now on appends and snapshots go out, or don't.
    pub(in super::super) fn set_silent(&self, is_silent: bool) {
        self.silent.send_if_modified(|silent| std::mem::replace(silent, is_silent) != is_silent);
    }

    pub(super) fn is_silent(&self) -> bool {
        #[cfg(feature = "faults")]
        if crate::faults_api::is_mute() {
            return true;
        }
        *self.silent.borrow()
    }

    /// Returns once appends and snapshots go out no more.
    pub(super) async fn silenced(&self) {
        // The sender lives as long as this does.
        let mut changes = self.silent.subscribe();
        let _silent = changes.wait_for(|is_silent| *is_silent).await;
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    fn link(&self, target: u64, member: &Member) -> Link {
        let (pace, address) = (self.pace, &member.raft_address);
        let dialler = self.dialler.named(&member.name);
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
        let channel = || endpoint.as_ref().ok().map(|endpoint| dialler.lazy(endpoint));
        Link {
            identity: Arc::clone(&self.identity),
            target,
            address: address.clone(),
            urgent: channel(),
            entries: channel(),
            snapshots: channel(),
        }
    }
}

impl Link {
    /// Whom its requests are meant for; none while this member belongs to no cluster itself.
    pub(super) fn addressee(&self) -> Option<pb::Addressee> {
        let cluster = self.identity.cluster()?;
        Some(pb::Addressee { cluster_id: proto::convert::bytes(cluster), raft_id: self.target })
    }

    pub(super) fn urgent(&self) -> Option<Channel> {
        self.urgent.clone()
    }

    pub(super) fn bulk(&self, bulk: Bulk) -> Option<Channel> {
        match bulk {
            Bulk::Heartbeats => self.urgent.clone(),
            Bulk::Entries => self.entries.clone(),
            Bulk::Snapshots => self.snapshots.clone(),
        }
    }
}

impl RaftNetworkFactory<Group0Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, Bulk::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, Bulk::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, Bulk::Snapshots)
    }
}
