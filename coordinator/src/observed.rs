//! What agents last said of work in progress, for those who look, never for a decision; and of their
//! disks, for whoever chooses a node that is to get a tablet. Lost with a leadership, and gathered
//! anew.

use crate::limits::DISK_DETAIL_BYTES;
use migrations::driver;
use migrations::id::{NodeId, TabletId};
use migrations::record::StreamPair;
use migrations::room::{CopySize, Rooms};
use migrations::topology::Topology;
use migrations::version::{Incarnation, TopologyVersion};
use proto::agent::v1::{self as pb, Holder};
use proto::reasons::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is known of one tablet at one version.
#[derive(Debug, Clone)]
pub(crate) struct TabletView {
    pub(crate) version: TopologyVersion,
    /// Since when it has this version, by this coordinator's clock.
    pub(crate) since: Instant,
    /// Whose word is missing.
    pub(crate) waiting_for: Vec<NodeId>,
    /// Who holds up the barrier on a node.
    pub(crate) holders: BTreeMap<NodeId, Vec<Holder>>,
    /// Rows and bytes of each stream.
    pub(crate) progress: BTreeMap<StreamPair, Progress>,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// About how many it will be; 0 if that is not known.
    pub(crate) bytes_total: u64,
    pub(crate) began: Instant,
    pub(crate) is_paused: bool,
}

/// How much waiting there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    /// Tablets that wait for somebody.
    pub(crate) tablets: usize,
    /// Pieces of work under sessions' guards that hold barriers up.
    pub(crate) sessions: usize,
    /// The same under version guards.
    pub(crate) versions: usize,
}

/// What was observed of all tablets in transition. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    tablets: Arc<Mutex<BTreeMap<TabletId, TabletView>>>,
    unfit: Arc<Mutex<BTreeMap<NodeId, Unfit>>>,
    disks: Arc<Mutex<BTreeMap<NodeId, DiskTrouble>>>,
    rooms: Arc<Mutex<Rooms>>,
}

/// A node whose disk takes no more rows, by its own word: it is given no tablet. Not of the state:
/// whoever leads has it anew from each renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskTrouble {
    /// Of the disk.
    pub(crate) reason: Reason,
    /// For people.
    pub(crate) detail: String,
    /// By this coordinator's clock.
    pub(crate) since: Instant,
}

impl DiskTrouble {
    /// As a renewal says it.
    pub(crate) fn said(said: pb::DiskTrouble) -> DiskTrouble {
        let pb::DiskTrouble { reason, mut detail, for_ms } = said;
        let end = (0..=DISK_DETAIL_BYTES.min(detail.len())).rev();
        detail.truncate(end.into_iter().find(|at| detail.is_char_boundary(*at)).unwrap_or(0));
        let now = Instant::now();
        let since = now.checked_sub(Duration::from_millis(for_ms)).unwrap_or(now);
        DiskTrouble { reason: reason.parse().unwrap_or(Reason::DiskError), detail, since }
    }
}

/// A node whose lease is left to run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) incarnation: Incarnation,
    pub(crate) why: driver::Unfit,
    /// By this coordinator's clock.
    pub(crate) since: Instant,
}

impl Observed {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TabletId, TabletView>> {
        self.tablets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_unfit(&self) -> MutexGuard<'_, BTreeMap<NodeId, Unfit>> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.lock_unfit().clear();
        self.lock_disks().clear();
        self.lock_rooms().clear();
    }

    fn lock_rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node has said of its room, and of how much some of its copies hold, with a renewal
    /// that counts.
    pub(crate) fn room(&self, node: NodeId, bytes: Option<u64>, copies: Vec<(TabletId, CopySize)>) {
        self.lock_rooms().said(node, bytes, copies);
    }

    /// What is known of room on all nodes.
    pub(crate) fn rooms(&self) -> Rooms {
        self.lock_rooms().clone()
    }

    /// Forgets what was said by and of what is gone since.
    pub(crate) fn forget_gone(&self, topology: &Topology) {
        self.lock_rooms().forget_gone(topology);
        self.lock_disks().retain(|node, _| topology.node(*node).is_some());
    }

    fn lock_disks(&self) -> MutexGuard<'_, BTreeMap<NodeId, DiskTrouble>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node has said of its disk, with a renewal that counts.
    pub(crate) fn disk(&self, node: NodeId, said: Option<DiskTrouble>) {
        let mut disks = self.lock_disks();
        let known = disks.get(&node).map(|trouble| trouble.reason);
        match said {
            Some(trouble) => {
                if known != Some(trouble.reason) {
                    tracing::warn!(peer = %node, reason = %trouble.reason, detail = trouble.detail,
                        "its disk takes no more rows: no tablet moves there");
                }
                disks.insert(node, trouble);
            }
            None if disks.remove(&node).is_some() => {
                tracing::info!(peer = %node, "its disk takes rows again");
            }
            None => {}
        }
    }

    /// Whether and why a node's disk takes no more rows.
    pub(crate) fn disk_of(&self, node: NodeId) -> Option<DiskTrouble> {
        self.lock_disks().get(&node).cloned()
    }

    /// The nodes whose disks take no more rows.
    pub(crate) fn with_disk_trouble(&self) -> BTreeSet<NodeId> {
        self.lock_disks().keys().copied().collect()
    }

    /// How many nodes are unfit.
    pub(crate) fn unfit_count(&self) -> usize {
        self.lock_unfit().len()
    }

    /// These are unfit now, and nobody else; those who were not before.
    pub(crate) fn unfit(
        &self,
        now: impl Iterator<Item = (NodeId, Incarnation, driver::Unfit)>,
    ) -> Vec<(NodeId, Unfit)> {
        let mut known = self.lock_unfit();
        let (mut unfit, mut new) = (BTreeMap::new(), Vec::new());
        for (node, incarnation, why) in now {
            let before = known.get(&node).filter(|known| known.incarnation == incarnation);
            let found =
                before.copied().unwrap_or(Unfit { incarnation, why, since: Instant::now() });
            if before.is_none() {
                new.push((node, found));
            }
            unfit.insert(node, found);
        }
        *known = unfit;
        new
    }

    /// Whether and why a node is unfit.
    pub(crate) fn why_unfit(&self, node: NodeId) -> Option<Unfit> {
        self.lock_unfit().get(&node).copied()
    }

    /// Whom a tablet waits for now. A tablet that is in no transition is forgotten.
    pub(crate) fn waits(&self, topology: &Topology, id: TabletId, waiting_for: Vec<NodeId>) {
        let version = topology.tablet(id).filter(|tablet| tablet.transition.is_some());
        let Some(version) = version.map(|tablet| tablet.version) else {
            self.lock().remove(&id);
            return;
        };
        self.with(id, version, |view| {
            view.holders.retain(|node, _| waiting_for.contains(node));
            view.waiting_for = waiting_for;
        });
    }

    /// Who holds up a tablet's barrier on a node.
    pub(crate) fn holders(
        &self,
        id: TabletId,
        version: TopologyVersion,
        node: NodeId,
        holders: Vec<Holder>,
    ) {
        self.with(id, version, |view| {
            view.holders.insert(node, holders);
        });
    }

    /// For how long a tablet has had this version, if it still has it and is in a transition.
    pub(crate) fn age(&self, id: TabletId, version: TopologyVersion) -> Option<Duration> {
        let tablets = self.lock();
        let view = tablets.get(&id).filter(|view| view.version == version)?;
        Some(view.since.elapsed())
    }

    /// How much waiting there is.
    pub(crate) fn summary(&self) -> Waits {
        let tablets = self.lock();
        let holders = tablets.values().flat_map(|view| view.holders.values().flatten());
        let (sessions, versions): (Vec<_>, Vec<_>) =
            holders.map(|holder| holder.session.is_some()).partition(|is_session| *is_session);
        Waits {
            tablets: tablets.values().filter(|view| !view.waiting_for.is_empty()).count(),
            sessions: sessions.len(),
            versions: versions.len(),
        }
    }

    /// How far a stream is.
    pub(crate) fn progress(
        &self,
        id: TabletId,
        version: TopologyVersion,
        pair: StreamPair,
        said: &pb::StreamProgress,
    ) {
        let pb::StreamProgress { rows, bytes, paused: is_paused, bytes_total } = *said;
        self.with(id, version, |view| {
            let began = view.progress.get(&pair).map_or_else(Instant::now, |known| known.began);
            view.progress.insert(pair, Progress { rows, bytes, bytes_total, began, is_paused });
        });
    }

    /// What is known of a tablet.
    pub(crate) fn of(&self, id: TabletId) -> Option<TabletView> {
        self.lock().get(&id).cloned()
    }

    /// Changes what is known of a tablet at a version. What was said of an older one is dropped.
    fn with(&self, id: TabletId, version: TopologyVersion, change: impl FnOnce(&mut TabletView)) {
        let mut tablets = self.lock();
        let fresh = || TabletView {
            version,
            since: Instant::now(),
            waiting_for: Vec::new(),
            holders: BTreeMap::new(),
            progress: BTreeMap::new(),
        };
        let view = tablets.entry(id).or_insert_with(fresh);
        if view.version < version {
            *view = fresh();
        }
        if view.version == version {
            change(view);
        }
    }
}
