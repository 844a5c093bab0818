//! What guards and chunks cost here: `cargo run --release -p palisade-replica --example rates`.
//! Prints nanoseconds of `enter` + drop and of `check`, and rows a second of chunks against bulk
//! insertion of the same rows into sled.
#![allow(clippy::print_stdout)]

use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{MigrationId, NodeId, RouterId, SessionId, TableId, TabletId};
use migrations::position::PositionRange;
use migrations::record::{TabletRecord, TransitionRecord};
use migrations::replica_set::{Replica, ReplicaSet};
use migrations::row::RowVersion;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, TopologyVersion};
use palisade_replica::clock::NodeClock;
use palisade_replica::guard::{FrozenGuard, TopologyGuard};
use palisade_replica::lease::{Lease, LeaseTerms, now};
use palisade_replica::sessions::Sessions;
use palisade_replica::store::{
    Call, Chunk, Directory, Progress, SledStore, StoreOptions, TabletStore,
};
use palisade_replica::tablets::Tablets;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

const ROUNDS: u32 = 2_000_000;
const ROWS: u64 = 200_000;
const CHUNK_ROWS: usize = 1_500;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let lease = Arc::new(Lease::new());
    lease.renewed(LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 }, now());
    let directory = Arc::new(Directory::open(dir.path(), "n1")?);
    let store = SledStore::open(directory, Arc::clone(&lease), StoreOptions::default())?;
    let store: Arc<dyn TabletStore> = Arc::new(store);
    let sessions = Arc::new(Sessions::new(lease));
    let clock = Arc::new(NodeClock::new());
    let tablets = Tablets::open(Arc::clone(&store), Arc::clone(&sessions), clock, None);
    let record = Arc::new(record().ok_or("an id is zero")?);
    let session = record.session().ok_or("no session")?;
    let own = NodeId::from_u64(2).ok_or("zero")?;
    tokio::runtime::Runtime::new()?.block_on(tablets.take_on(&record, own))?;

    let begin = Instant::now();
    for _ in 0..ROUNDS {
        drop(black_box(sessions.enter(FrozenGuard(session), record.tablet)?));
    }
    println!("enter + drop   {:>8.1} ns", per_round(begin));
    let guard = sessions.enter(FrozenGuard(session), record.tablet)?;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        black_box(black_box(&guard).check())?;
    }
    println!("check          {:>8.1} ns", per_round(begin));

    let rows = rows().ok_or("nil router")?;
    let chunks = chunk_rate(store.as_ref(), &guard, &rows)?;
    let bulk = bulk_rate(&rows)?;
    println!("chunks         {chunks:>8.0} rows/s");
    println!("bulk insert    {bulk:>8.0} rows/s   ratio {:.2}", chunks / bulk);
    Ok(())
}

fn per_round(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
}

fn record() -> Option<TabletRecord> {
    let version = TopologyVersion::from_parts(0, 1);
    let replica =
        |node| Some(Replica { node: NodeId::from_u64(node)?, copy: CopyId(version), lost: false });
    let transition = TransitionRecord {
        migration: MigrationId::from_uuid(Uuid::from_u128(1))?,
        kind: TransitionKind::AddReplica,
        stage: Stage::Streaming,
        next: ReplicaSet::new(vec![replica(1)?, replica(2)?])?,
        session: SessionId::from_uuid(Uuid::new_v4()),
        attempt: 1,
        streams: Vec::new(),
        proposed_promise: None,
    };
    Some(TabletRecord {
        tablet: TabletId::from_u64(1)?,
        table: TableId::from_u64(1)?,
        range: PositionRange::default(),
        version,
        replicas: ReplicaSet::new(vec![replica(1)?])?,
        transition: Some(transition),
        promise: HybridTime::ZERO,
        incarnations: Vec::new(),
    })
}

fn rows() -> Option<Vec<(Vec<u8>, RowVersion)>> {
    let router = RouterId::from_uuid(Uuid::from_u128(7))?;
    let row = |n: u64| {
        let timestamp = Timestamp { time: HybridTime(n + 1), router };
        let value = Some(vec![n as u8; 128]);
        (n.to_be_bytes().to_vec(), RowVersion { timestamp, value })
    };
    Some((0..ROWS).map(row).collect())
}

fn chunk_rate(
    store: &dyn TabletStore,
    guard: &TopologyGuard,
    rows: &[(Vec<u8>, RowVersion)],
) -> Result<f64, Box<dyn Error>> {
    let source = NodeId::from_u64(1).ok_or("zero")?;
    let source_copy = guard.copy();
    let begin = Instant::now();
    store.begin_call(guard, Call { call: 1, source, source_copy })?;
    let mut progress = Progress::default();
    for rows in rows.chunks(CHUNK_ROWS) {
        let chunk = Chunk { call: 1, source, before: &progress, rows, bytes: 0 };
        progress = store.ingest(guard, chunk)?.progress;
    }
    store.durable().wait_blocking()?;
    Ok(ROWS as f64 / begin.elapsed().as_secs_f64())
}

fn bulk_rate(rows: &[(Vec<u8>, RowVersion)]) -> Result<f64, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let config = sled::Config::new().path(dir.path()).flush_every_ms(None).segment_size(2 << 20);
    let tree = config.open()?.open_tree("bulk")?;
    let begin = Instant::now();
    for rows in rows.chunks(CHUNK_ROWS) {
        let mut batch = sled::Batch::default();
        for (position, row) in rows {
            let value = row.value.as_deref().unwrap_or_default();
            let mut stored = row.timestamp.time.0.to_be_bytes().to_vec();
            stored.extend_from_slice(row.timestamp.router.as_uuid().as_bytes());
            stored.push(1);
            stored.extend_from_slice(value);
            batch.insert(position.as_slice(), stored);
        }
        tree.apply_batch(batch)?;
    }
    tree.flush()?;
    Ok(ROWS as f64 / begin.elapsed().as_secs_f64())
}
