//! One agent without a network, and records as group0 would send them.
#![allow(dead_code)] // Each test file uses its part of this.

use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{MigrationId, NodeId, RouterId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::RowVersion;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, TopologyVersion};
use palisade_replica::clock::NodeClock;
use palisade_replica::guard::{FrozenGuard, TopologyGuard, VersionGuard};
use palisade_replica::lease::{Lease, LeaseTerms, now};
use palisade_replica::sessions::{EnterError, Sessions};
use palisade_replica::store::{
    Begun, Call, Chunk, Directory, IngestError, Ingested, Progress, SledStore, StoreError,
    StoreOptions, TabletStore,
};
use palisade_replica::tablets::{Refused, Tablets, TakenOn};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// An agent over a directory.
pub(crate) struct Agent {
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<dyn TabletStore>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) tablets: Arc<Tablets>,
}

pub(crate) const TERMS: LeaseTerms = LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 };

impl Agent {
    /// Opens the directory, and gives the agent a lease.
    pub(crate) fn open(path: &Path) -> Agent {
        Agent::with(path, StoreOptions { cache_bytes: 16 << 20, ..StoreOptions::default() })
    }

    pub(crate) fn with(path: &Path, options: StoreOptions) -> Agent {
        Agent::try_with(path, options).expect("the store opens")
    }

    pub(crate) fn try_with(path: &Path, options: StoreOptions) -> Result<Agent, StoreError> {
        let directory = Arc::new(Directory::open(path, "n1")?);
        let lease = Arc::new(Lease::new());
        lease.renewed(TERMS, now());
        let store = SledStore::open(Arc::clone(&directory), Arc::clone(&lease), options)?;
        let store: Arc<dyn TabletStore> = Arc::new(store);
        let sessions = Arc::new(Sessions::new(Arc::clone(&lease)));
        let clock = Arc::new(NodeClock::new());
        let tablets = Tablets::open(
            Arc::clone(&store),
            Arc::clone(&sessions),
            Arc::clone(&clock),
            Some(node(OWN)),
        );
        let is_adopted = directory.identity().adopted;
        let tablets = if is_adopted { tablets.awaiting_all() } else { tablets };
        Ok(Agent { directory, store, lease, clock, sessions, tablets: Arc::new(tablets) })
    }

    pub(crate) async fn take_on(&self, record: &Arc<TabletRecord>) -> TakenOn {
        self.tablets.take_on(record, node(OWN)).await.expect("not stale")
    }

    pub(crate) fn enter(&self, id: SessionId) -> Result<TopologyGuard, EnterError> {
        self.sessions.enter(FrozenGuard(id), tablet())
    }

    pub(crate) fn at(&self, at: u64) -> Result<VersionGuard, Refused> {
        self.tablets.version_guard(tablet(), version(at))
    }

    /// Pulls rows under a session, as one chunk of a call of its own.
    pub(crate) fn pull(
        &self,
        guard: &TopologyGuard,
        call: u64,
        rows: &[(Vec<u8>, RowVersion)],
    ) -> Result<Ingested, IngestError> {
        let source = node(2);
        let begin = Call { call, source, source_copy: copy(1) };
        let (Begun::New(stream) | Begun::OnRecord(stream)) = self.store.begin_call(guard, begin)?;
        self.chunk(guard, call, &stream.progress, rows)
    }

    pub(crate) fn chunk(
        &self,
        guard: &TopologyGuard,
        call: u64,
        before: &Progress,
        rows: &[(Vec<u8>, RowVersion)],
    ) -> Result<Ingested, IngestError> {
        let bytes = rows.iter().map(|(position, _)| position.len() as u64).sum();
        self.store.ingest(guard, Chunk { call, source: node(2), before, rows, bytes })
    }
}

/// The agent's own node.
pub(crate) const OWN: u64 = 4;

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::from_u64(id).expect("not zero")
}

pub(crate) fn tablet() -> TabletId {
    numbered(7)
}

pub(crate) fn numbered(id: u64) -> TabletId {
    TabletId::from_u64(id).expect("not zero")
}

pub(crate) fn version(at: u64) -> TopologyVersion {
    TopologyVersion::from_parts(0, at)
}

pub(crate) fn copy(at: u64) -> CopyId {
    CopyId(version(at))
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n)).expect("not nil")
}

pub(crate) fn row(time: u64, value: Option<&[u8]>) -> RowVersion {
    let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    let timestamp = Timestamp { time: HybridTime(time), router };
    RowVersion { timestamp, value: value.map(<[u8]>::to_vec) }
}

fn set(replicas: &[(u64, u64)]) -> ReplicaSet {
    let replica = |(id, at): &(u64, u64)| Replica { node: node(*id), copy: copy(*at), lost: false };
    ReplicaSet::new(replicas.iter().map(replica).collect()).expect("distinct nodes")
}

/// A tablet outside transitions, which this node holds, or holds not.
pub(crate) fn settled(at: u64, own_copy: Option<u64>) -> TabletRecord {
    let own = own_copy.map(|copy| (OWN, copy));
    let replicas: Vec<_> = [(2, 1), (3, 1)].into_iter().chain(own).collect();
    TabletRecord {
        tablet: tablet(),
        table: TableId::from_u64(1).expect("not zero"),
        range: PositionRange { start: b"a".to_vec(), end: Some(b"z".to_vec()) },
        version: version(at),
        replicas: set(&replicas),
        transition: None,
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    }
}

/// A migration of the tablet from node 1 to this one, whose copy is named at `own_copy`.
pub(crate) fn moving(at: u64, own_copy: u64, stage: Stage, open: Option<u128>) -> TabletRecord {
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(u128::from(own_copy))).expect("not nil"),
        kind: TransitionKind::Migrate,
        stage,
        next: set(&[(2, 1), (3, 1), (OWN, own_copy)]),
        session: open.map(session),
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    };
    let replicas = set(&[(1, 1), (2, 1), (3, 1)]);
    TabletRecord { replicas, transition: Some(transition), ..settled(at, None) }
}

/// A repair, with this node among the replicas.
pub(crate) fn repairing(at: u64, stage: Stage, open: Option<u128>, proposed: u64) -> TabletRecord {
    let moving = moving(at, 9, stage, open);
    let settled = settled(at, Some(1));
    let transition = moving.transition.map(|transition| TransitionRecord {
        kind: TransitionKind::Repair,
        next: settled.replicas.clone(),
        proposed_promise: Some(HybridTime(proposed)),
        ..transition
    });
    TabletRecord { transition, ..settled }
}

/// An agent that has this node's copy 5 prepared, and session 1 open at version 6.
pub(crate) async fn receiving(path: &Path) -> Agent {
    let agent = Agent::open(path);
    agent.take_on(&Arc::new(moving(5, 5, Stage::AllowWriteBothReadOld, None))).await;
    agent.take_on(&Arc::new(moving(6, 5, Stage::WriteBothReadOld, Some(1)))).await;
    agent
}
