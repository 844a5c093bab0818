//! What a guard costs on one thread: `cargo bench -p palisade-replica --bench guard`.
//!
//! Each line is the least and the median of many batches, in nanoseconds of one operation. Beside
//! `enter` and `check` stands what they are made of, so that it shows what bounds them here.
#![allow(clippy::print_stdout)]

use arc_swap::ArcSwap;
use migrations::clock::HybridTime;
use migrations::id::{MigrationId, NodeId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, TopologyVersion};
use palisade_replica::clock::NodeClock;
use palisade_replica::guard::FrozenGuard;
use palisade_replica::lease::{Lease, LeaseTerms, now};
use palisade_replica::sessions::Sessions;
use palisade_replica::store::{Directory, SledStore, StoreOptions, TabletStore};
use palisade_replica::tablets::Tablets;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use uuid::Uuid;

/// Operations of one batch, and batches of one line.
const BATCH: u32 = 20_000;
const BATCHES: usize = 200;
/// Sessions beside the one that is entered: what an agent may have while a node is drained.
const OTHERS: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let lease = Arc::new(Lease::new());
    lease.renewed(LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 }, now());
    let directory = Arc::new(Directory::open(dir.path(), "n1")?);
    let store = SledStore::open(directory, Arc::clone(&lease), StoreOptions::default())?;
    let store: Arc<dyn TabletStore> = Arc::new(store);
    let sessions = Arc::new(Sessions::new(lease));
    let clock = Arc::new(NodeClock::new());
    let tablets = Tablets::open(store, Arc::clone(&sessions), clock, None);
    let own = NodeId::from_u64(2).ok_or("zero")?;
    let runtime = tokio::runtime::Runtime::new()?;
    for tablet in 2..2 + OTHERS {
        runtime.block_on(tablets.take_on(&Arc::new(record(tablet).ok_or("zero")?), own))?;
    }
    let record = Arc::new(record(1).ok_or("zero")?);
    runtime.block_on(tablets.take_on(&record, own))?;
    let frozen = FrozenGuard(record.session().ok_or("no session")?);

    println!("ns, {BATCHES} batches of {BATCH}                    least   median");
    line("enter + exit", || drop(black_box(sessions.enter(frozen, record.tablet))));
    let guard = sessions.enter(frozen, record.tablet)?;
    line("check", || _ = black_box(black_box(&guard).check()));
    pieces();
    Ok(())
}

/// What `enter` and exit are made of.
fn pieces() {
    line("  the clock of leases", || _ = black_box(now()));
    let registry = ArcSwap::from_pointee(1u64);
    line("  (the registry, were it loaded)", || drop(black_box(registry.load())));
    let session = Arc::new(1u64);
    line("  session, held and let go", || drop(black_box(Arc::clone(&session))));
    let gate = AtomicU64::new(0);
    line("  gate, one in and one out", || {
        black_box(&gate).fetch_add(1, Ordering::AcqRel);
        black_box(&gate).fetch_sub(1, Ordering::AcqRel);
    });
}

/// Measures one operation and prints its line.
fn line(what: &str, mut operation: impl FnMut()) {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..BATCH {
                operation();
            }
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("{what:<40} {:>8.1} {:>8.1}", batches[0], batches[BATCHES / 2]);
}

/// A tablet that streams to node 2.
fn record(tablet: u64) -> Option<TabletRecord> {
    let version = TopologyVersion::from_parts(0, tablet);
    let replica =
        |node| Some(Replica { node: NodeId::from_u64(node)?, copy: CopyId(version), lost: false });
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(u128::from(tablet)))?,
        kind: TransitionKind::AddReplica,
        stage: Stage::Streaming,
        next: ReplicaSet::new(vec![replica(1)?, replica(2)?])?,
        session: SessionId::from_uuid(Uuid::new_v4()),
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    };
    Some(TabletRecord {
        tablet: TabletId::from_u64(tablet)?,
        table: TableId::from_u64(1)?,
        range: PositionRange::default(),
        version,
        replicas: ReplicaSet::new(vec![replica(1)?])?,
        transition: Some(transition),
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    })
}
