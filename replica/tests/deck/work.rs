//! The work that the images are of: puts, deletes, chunks of a stream, purges, barriers, copies
//! that come and go; and what of it was acknowledged.

use crate::agent::{Agent, OWN, copy, moving, node, numbered, row, session, settled, tablet};
use crate::images::Draw;
use migrations::agent::step::CopyState;
use migrations::clock::HybridTime;
use migrations::id::TabletId;
use migrations::record::TabletRecord;
use migrations::row::RowVersion;
use migrations::stage::Stage;
use palisade_replica::guard::VersionGuard;
use palisade_replica::store::{Begun, Call};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Tablets that move nowhere. One more is received.
const TABLETS: u64 = 5;
const KEYS: usize = 24;

/// What was acknowledged of one tablet.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) record: Arc<TabletRecord>,
    /// Rows by position.
    pub(crate) rows: BTreeMap<Vec<u8>, RowVersion>,
}

/// What was acknowledged.
pub(crate) type Acknowledged = BTreeMap<TabletId, Kept>;

/// An agent at work.
pub(crate) struct Work {
    agent: Agent,
    time: u64,
    version: u64,
    streamed: u64,
    /// Of all of it.
    pub(crate) acknowledged: Acknowledged,
}

/// The call that brings the received tablet.
const CALL: u64 = 11;

impl Work {
    /// Copies of all tablets, and the session of the one that is received.
    pub(crate) async fn begin(path: &Path) -> Work {
        let agent = Agent::open(path);
        let mut work =
            Work { agent, time: 100, version: 6, streamed: 0, acknowledged: Acknowledged::new() };
        work.take_on(moving(5, 5, Stage::AllowWriteBothReadOld, None)).await;
        work.take_on(moving(6, 5, Stage::WriteBothReadOld, Some(1))).await;
        let guard = work.agent.enter(session(1)).expect("open");
        let call = Call { call: CALL, source: node(2), source_copy: copy(1) };
        let begun = work.agent.store.begin_call(&guard, call).expect("it is the first");
        assert!(matches!(begun, Begun::New(_)));
        for id in 1..=TABLETS {
            work.give(numbered(id)).await;
        }
        work.durable().await;
        work
    }

    async fn durable(&self) {
        self.agent.store.durable().wait().await.expect("the disk works");
    }

    async fn take_on(&mut self, record: TabletRecord) {
        let record = Arc::new(record);
        self.agent.take_on(&record).await;
        let kept = self.acknowledged.entry(record.tablet);
        kept.and_modify(|kept| kept.record = Arc::clone(&record))
            .or_insert_with(|| Kept { record, rows: BTreeMap::new() });
    }

    fn of(&mut self, tablet: TabletId, own_copy: Option<u64>) -> TabletRecord {
        self.version += 1;
        TabletRecord { tablet, ..settled(self.version, own_copy) }
    }

    /// A copy that is new, and empty.
    async fn give(&mut self, tablet: TabletId) {
        let at = self.version + 1;
        let record = self.of(tablet, Some(at));
        if let Some(kept) = self.acknowledged.get_mut(&tablet) {
            kept.rows.clear();
        }
        self.take_on(record).await;
    }

    /// One piece of work, that is acknowledged when this returns.
    pub(crate) async fn step(&mut self, draw: &mut Draw) {
        let tablet = numbered(1 + draw.below(TABLETS as usize) as u64);
        let own = self.acknowledged[&tablet].record.given(node(OWN)).map(|copy| copy.0.counter());
        match (draw.below(100), own) {
            (0..6, own) => {
                let record = self.of(tablet, own);
                self.take_on(record).await;
            }
            (6..10, Some(own)) => {
                let record = Arc::new(self.of(tablet, None));
                self.take_on((*record).clone()).await;
                self.acknowledged.get_mut(&tablet).expect("known").rows.clear();
                let dropped = self.agent.tablets.drop_copy(&record, copy(own), node(OWN)).await;
                dropped.expect("it is not given any more");
            }
            (10..14, Some(own)) => self.purge(tablet, own).await,
            (14..30, _) => self.chunk(draw),
            (_, Some(_)) => self.write(tablet, draw),
            (_, None) => self.give(tablet).await,
        }
        self.durable().await;
    }

    fn write(&mut self, tablet: TabletId, draw: &mut Draw) {
        let length = [3, 150, 2_000, 18_000, 45_000, 200_000][draw.below(6)];
        let position = format!("b{:03}", draw.below(KEYS)).into_bytes();
        self.time += 1;
        let value = vec![self.time as u8; length];
        let row = row(self.time, (draw.below(6) > 0).then_some(&value[..]));
        let kept = self.acknowledged.get_mut(&tablet).expect("known");
        let guard = self.agent.tablets.version_guard(tablet, kept.record.version);
        let guard = guard.expect("it is served");
        self.agent.store.put(&guard, &position, &row).expect("it is newer");
        kept.rows.insert(position, row);
    }

    fn chunk(&mut self, draw: &mut Draw) {
        let guard = self.agent.enter(session(1)).expect("open");
        let stream = self.agent.store.stream(tablet(), copy(5), node(2)).expect("on record");
        let one = |n: u64| (format!("b{n:06}").into_bytes(), row(50, Some(&[n as u8; 300])));
        let count = 1 + draw.below(60) as u64;
        let rows: Vec<_> = (self.streamed..self.streamed + count).map(one).collect();
        self.agent.chunk(&guard, CALL, &stream.progress, &rows).expect("it is the current call");
        self.streamed += count;
        let kept = self.acknowledged.get_mut(&tablet()).expect("known");
        kept.rows.extend(rows);
    }

    async fn purge(&mut self, tablet: TabletId, own: u64) {
        let promise = HybridTime(self.time);
        let mut record = self.of(tablet, Some(own));
        record.promise = promise;
        self.take_on(record).await;
        let kept = self.acknowledged.get_mut(&tablet).expect("known");
        let guard = self.agent.tablets.version_guard(tablet, kept.record.version);
        let guard = guard.expect("it is served");
        self.agent.store.purge(&guard, promise, None).expect("at rest, with a lease");
        kept.rows.retain(|_, row| !row.is_purgeable(promise));
    }
}

/// What became of the tablets in an image.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Copies that were reported as lost.
    pub(crate) lost: usize,
    /// What must not be.
    pub(crate) broken: Vec<String>,
}

/// Looks at what an image holds: of each tablet what was acknowledged at the first look or at the
/// second. What is missing has to be reported before anything of it is served; no floor may fall.
pub(crate) async fn check(agent: &Agent, before: &Acknowledged, after: &Acknowledged) -> Found {
    let mut found = Found::default();
    for (tablet, kept) in before {
        let floor = agent.store.floor(*tablet).version();
        if floor < kept.record.version {
            found.broken.push(format!("{tablet}: its floor fell to {floor}"));
            continue;
        }
        let later = &after[tablet];
        let now = if floor > kept.record.version { later } else { kept };
        let is_given = now.record.given(node(OWN)).is_some();
        if agent.tablets.version_guard(*tablet, floor).is_err() && is_given {
            // What the leader says of it has it taken into use, or reported.
            let taken = agent.tablets.take_on(&now.record, node(OWN)).await;
            let copy = taken.expect("it is at its floor").copy;
            found.lost += usize::from(matches!(copy, CopyState::Lost(_)));
        }
        if let Ok(guard) = agent.tablets.version_guard(*tablet, floor) {
            found.broken.extend(compare(agent, &guard, kept, later));
        }
    }
    found
}

/// Rows that are neither as they were nor as they became.
fn compare(agent: &Agent, guard: &VersionGuard, kept: &Kept, later: &Kept) -> Option<String> {
    let tablet = kept.record.tablet;
    let page = match agent.store.scan(guard, b"", usize::MAX, usize::MAX) {
        Ok(page) => page,
        Err(error) => return Some(format!("{tablet}: {error}")),
    };
    let rows: BTreeMap<_, _> = page.rows.into_iter().collect();
    let mut positions = kept.rows.keys().chain(later.rows.keys()).chain(rows.keys());
    let is_other = |position: &&Vec<u8>| {
        let may_be = [kept.rows.get(*position), later.rows.get(*position)];
        !may_be.contains(&rows.get(*position))
    };
    let other = positions.find(is_other)?;
    Some(format!("{tablet}: {}", String::from_utf8_lossy(other)))
}
