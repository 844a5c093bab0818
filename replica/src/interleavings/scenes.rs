//! What happens at once. Counters of the scenes themselves are plain atomics, at which nothing
//! switches: they say what was so at that moment.

use super::store::SlowDisk;
use crate::clock::NodeClock;
use crate::guard::FrozenGuard;
use crate::lease::{Lease, LeaseTerms, now};
use crate::sessions::{EnterError, Sessions};
use crate::store::{StepError, TabletStore};
use crate::tablets::Tablets;
use migrations::clock::HybridTime;
use migrations::id::{MigrationId, NodeId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, TopologyVersion};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use uuid::Uuid;

const TERMS: LeaseTerms = LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 };
/// The version that opens the first session, the one that closes it, and the one after.
const OPENS: u64 = 6;
const CLOSES: u64 = 7;
const OPENS_NEXT: u64 = 8;

fn own() -> NodeId {
    NodeId::from_u64(4).expect("not zero")
}

fn tablet() -> TabletId {
    TabletId::from_u64(7).expect("not zero")
}

fn version(at: u64) -> TopologyVersion {
    TopologyVersion::from_parts(0, at)
}

fn session(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(n)).expect("not nil")
}

fn leased() -> Arc<Lease> {
    let lease = Lease::new();
    lease.renewed(TERMS, now());
    Arc::new(lease)
}

fn all(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("its assertions hold"));
}

/// Workers enter; one closes, and two drain.
pub(super) fn drains() {
    let sessions = Arc::new(Sessions::new(leased()));
    let (copy, has_drained) = (CopyId(version(1)), Arc::new(AtomicBool::new(false)));
    let opened = sessions.open(session(1), tablet(), copy);
    let worker = |_| {
        let (sessions, has_drained) = (Arc::clone(&sessions), Arc::clone(&has_drained));
        thread::spawn(move || {
            for _ in 0..2 {
                let Ok(guard) = sessions.enter(FrozenGuard(session(1)), tablet()) else { return };
                assert!(!has_drained.load(Ordering::SeqCst), "INV-2");
                thread::yield_now();
                assert!(!has_drained.load(Ordering::SeqCst), "INV-2");
                drop(guard);
            }
        })
    };
    let mut threads: Vec<JoinHandle<()>> = (0..2).map(worker).collect();
    for closes in [true, false] {
        let (opened, has_drained) = (Arc::clone(&opened), Arc::clone(&has_drained));
        threads.push(thread::spawn(move || {
            if closes {
                opened.close();
            }
            block_on(opened.turnstile().drained());
            has_drained.store(true, Ordering::SeqCst);
        }));
    }
    all(threads);
    let refused = sessions.enter(FrozenGuard(session(1)), tablet()).err();
    assert_eq!(refused, Some(EnterError::SessionClosing(session(1))));
}

/// One closes and drains; the barrier that opened the session comes once more, and work with it.
pub(super) fn repeated_opening() {
    let sessions = Arc::new(Sessions::new(leased()));
    let (copy, has_drained) = (CopyId(version(1)), Arc::new(AtomicBool::new(false)));
    let opened = sessions.open(session(1), tablet(), copy);
    let repeated = {
        let (sessions, has_drained) = (Arc::clone(&sessions), Arc::clone(&has_drained));
        thread::spawn(move || {
            sessions.open(session(1), tablet(), copy);
            let entered = sessions.enter(FrozenGuard(session(1)), tablet());
            if entered.is_ok() {
                assert!(!has_drained.load(Ordering::SeqCst), "INV-3");
            }
        })
    };
    let closing = thread::spawn(move || {
        opened.close();
        block_on(opened.turnstile().drained());
        has_drained.store(true, Ordering::SeqCst);
    });
    all(vec![repeated, closing]);
    assert_eq!(sessions.open_sessions(), [], "INV-3");
}

/// The lease ends while somebody enters: who has got in is told to stop.
pub(super) fn end_of_a_lease() {
    let lease = leased();
    let sessions = Arc::new(Sessions::new(Arc::clone(&lease)));
    sessions.open(session(1), tablet(), CopyId(version(1)));
    let worker = {
        let sessions = Arc::clone(&sessions);
        thread::spawn(move || sessions.enter(FrozenGuard(session(1)), tablet()).ok())
    };
    let ending = {
        let sessions = Arc::clone(&sessions);
        thread::spawn(move || {
            lease.give_up();
            sessions.fire_all();
        })
    };
    ending.join().expect("nothing fails");
    if let Some(guard) = worker.join().expect("nothing fails") {
        assert!(guard.check().is_err(), "INV-13: it goes on without a lease");
        assert!(guard.token().is_cancelled(), "INV-13: it was not told");
    }
}

/// An agent, and the newest version that it has acknowledged.
struct Agent {
    disk: Arc<SlowDisk>,
    sessions: Arc<Sessions>,
    tablets: Tablets,
    acknowledged: AtomicU64,
}

impl Agent {
    /// One that has this node's copy, and the first session open.
    fn receiving() -> Arc<Agent> {
        let disk = Arc::new(SlowDisk::default());
        let sessions = Arc::new(Sessions::new(leased()));
        let store: Arc<dyn TabletStore> = Arc::clone(&disk) as Arc<dyn TabletStore>;
        let clock = Arc::new(NodeClock::new());
        let tablets = Tablets::open(store, Arc::clone(&sessions), clock, Some(own()));
        let agent = Arc::new(Agent { disk, sessions, tablets, acknowledged: AtomicU64::new(0) });
        for record in [moving(5, Stage::AllowWriteBothReadOld, None), opens()] {
            block_on(agent.barrier(&Arc::new(record)));
        }
        agent
    }

    /// A barrier of the tablet, from its order to its acknowledgement.
    async fn barrier(&self, record: &Arc<TabletRecord>) {
        match self.tablets.take_on(record, own()).await {
            Ok(_) => {
                assert!(self.disk.durable_floor() >= record.version, "INV-5");
                self.tablets.drain(tablet(), record.version).await;
                self.acknowledged.fetch_max(record.version.counter(), Ordering::SeqCst);
            }
            Err(StepError::Stale(_)) => {
                assert!(self.disk.floor(tablet()).version() > record.version)
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn spawn(self: &Arc<Agent>, act: impl FnOnce(&Agent) + Send + 'static) -> JoinHandle<()> {
        let agent = Arc::clone(self);
        thread::spawn(move || act(&agent))
    }

    /// Work of the first session: wherever it may act, its closing was not acknowledged.
    fn work(&self) {
        for _ in 0..2 {
            let Ok(guard) = self.sessions.enter(FrozenGuard(session(1)), tablet()) else {
                continue;
            };
            assert!(self.acknowledged() < CLOSES, "INV-2");
            thread::yield_now();
            assert!(self.acknowledged() < CLOSES, "INV-2");
            drop(guard);
        }
    }

    /// A request at the first version: wherever it may act, no later one was acknowledged.
    fn request(&self) {
        let Ok(guard) = self.tablets.version_guard(tablet(), version(OPENS)) else { return };
        assert!(self.acknowledged() <= OPENS, "INV-2, of requests");
        thread::yield_now();
        assert!(self.acknowledged() <= OPENS, "INV-2, of requests");
        drop(guard);
    }
}

/// H7: the barrier that opens a session, once more, beside the two that come after it.
pub(super) fn barriers() {
    let agent = Agent::receiving();
    let mut threads = Vec::new();
    for record in [opens(), closes(), opens_next()] {
        let record = Arc::new(record);
        threads.push(agent.spawn(move |agent| block_on(agent.barrier(&record))));
    }
    threads.push(agent.spawn(Agent::work));
    threads.push(agent.spawn(Agent::request));
    all(threads);
    assert_eq!(agent.sessions.open_sessions(), [(session(2), tablet())], "INV-3");
    assert!(agent.sessions.enter(FrozenGuard(session(1)), tablet()).is_err(), "INV-3");
    assert_eq!(agent.tablets.record(tablet()).map(|r| r.version), Some(version(OPENS_NEXT)));
    assert_eq!(agent.acknowledged(), OPENS_NEXT);
}

/// Everything is closed for an admission, beside work, a request and a repeated barrier.
pub(super) fn admission() {
    let agent = Agent::receiving();
    let threads = vec![
        agent.spawn(|agent| {
            block_on(agent.tablets.close_and_drain_all());
            agent.acknowledged.fetch_max(CLOSES, Ordering::SeqCst);
        }),
        agent.spawn(|agent| {
            let taken = block_on(agent.tablets.take_on(&Arc::new(opens()), own()));
            assert!(taken.is_ok(), "nothing newer was heard of");
        }),
        agent.spawn(Agent::work),
        agent.spawn(Agent::work),
    ];
    all(threads);
    assert_eq!(agent.sessions.open_sessions(), [], "INV-3");
}

fn opens() -> TabletRecord {
    moving(OPENS, Stage::WriteBothReadOld, Some(1))
}

fn closes() -> TabletRecord {
    moving(CLOSES, Stage::WriteBothReadNew, None)
}

fn opens_next() -> TabletRecord {
    moving(OPENS_NEXT, Stage::WriteBothReadOld, Some(2))
}

/// A migration of the tablet from node 1 to this one.
fn moving(at: u64, stage: Stage, open: Option<u128>) -> TabletRecord {
    let set = |nodes: &[(u64, u64)]| {
        let replica = |(id, at): &(u64, u64)| {
            let node = NodeId::from_u64(*id).expect("not zero");
            Replica { node, copy: CopyId(version(*at)), lost: false }
        };
        ReplicaSet::new(nodes.iter().map(replica).collect()).expect("distinct nodes")
    };
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(9)).expect("not nil"),
        kind: TransitionKind::Migrate,
        stage,
        next: set(&[(2, 1), (3, 1), (4, 5)]),
        session: open.map(session),
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    };
    TabletRecord {
        tablet: tablet(),
        table: TableId::from_u64(1).expect("not zero"),
        range: PositionRange { start: b"a".to_vec(), end: Some(b"z".to_vec()) },
        version: version(at),
        replicas: set(&[(1, 1), (2, 1), (3, 1)]),
        transition: Some(transition),
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    }
}
