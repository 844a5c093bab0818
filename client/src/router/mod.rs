//! The router: reads and writes rows through majorities of replicas, by the picture of the
//! topology that it keeps. One operation is one version of its tablet.

mod attempt;
mod merge;
mod operate;
mod retries;
mod shared;
mod topology;

pub use retries::Retries;

use crate::admin::AdminClient;
use crate::error::DataError;
use crate::limits::{
    ADMIN_PAUSE_MAX, DATA_ATTEMPT, DATA_DEADLINE, SCAN_BYTES, SCAN_ROWS, WATCH_PATIENCE,
};
use crate::wait::Topology;
use crate::watch::Watch;
use attempt::Ask;
use merge::{merge_pages, newest};
use migrations::clock::Timestamp;
use migrations::id::RouterId;
use migrations::position::Position;
use operate::{Operating, Place};
use proto::data::v1 as pb;
use shared::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The longest key.
const KEY_BYTES: usize = 4 << 10;
/// The largest value.
const VALUE_BYTES: usize = 1 << 20;

/// Bounds of a router.
#[derive(Debug, Clone, Copy)]
pub struct RouterOptions {
    /// For an operation in all, with every attempt.
    pub deadline: Duration,
    /// For one attempt of it.
    pub attempt: Duration,
    /// How far its clock is off, in milliseconds: for tests of clocks that are apart.
    #[doc(hidden)]
    pub clock_offset_ms: i64,
}

impl Default for RouterOptions {
    fn default() -> RouterOptions {
        RouterOptions { deadline: DATA_DEADLINE, attempt: DATA_ATTEMPT, clock_offset_ms: 0 }
    }
}

/// A value with its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What was put.
    pub value: Vec<u8>,
    /// When, and by which router.
    pub timestamp: Timestamp,
}

/// A row of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRow {
    /// Its key.
    pub key: Vec<u8>,
    /// Where it lies in its table.
    pub position: Position,
    /// Its value, with its timestamp.
    pub value: Value,
}

/// Some rows of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// In order of position.
    pub rows: Vec<ScanRow>,
    /// Where to go on; `None` at the end of the table.
    pub next: Option<Position>,
}

/// Reads and writes rows. Cheap to clone; the last clone ends the task behind it.
#[derive(Debug, Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    admin: AdminClient,
    options: RouterOptions,
    shared: Arc<Shared>,
    watching: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Router {
    /// A router that learns the topology through this client, in a task of its own. Operations
    /// wait for it. Must be called within a tokio runtime.
    pub fn connect(admin: AdminClient, options: RouterOptions) -> Router {
        let shared = Arc::new(Shared::new(options.clock_offset_ms, admin.leader.tls.clone()));
        let watching = tokio::spawn(keep_picture(admin.clone(), Arc::clone(&shared)));
        Router { inner: Arc::new(Inner { admin, options, shared, watching }) }
    }

    /// This router's id: part of the timestamp of everything that it writes.
    pub fn id(&self) -> RouterId {
        self.inner.shared.router
    }

    /// How often operations of this router were begun anew, by reason.
    pub fn retries(&self) -> Retries {
        self.inner.shared.retries.read()
    }

    /// Stores a value; returns its timestamp once a majority of each set that is written has it.
    ///
    /// # Errors
    /// [`DataError::Unavailable`] with `outcome_unknown`: it may have been stored, or may yet
    /// show up, until a newer write of that key is acknowledged.
    pub async fn put(&self, table: &str, key: &[u8], value: &[u8]) -> Result<Timestamp, DataError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES {
            return Err(DataError::Invalid("the value is larger than 1 MiB"));
        }
        let template = pb::PutRequest { value: value.to_vec().into(), ..Default::default() };
        let ask = |position: Position| {
            Ask::Put(pb::PutRequest { position: position.into(), ..template.clone() })
        };
        let outcome = Operating::new(self, table, Place::Key(key)).run(ask).await?;
        Ok(outcome.timestamp.expect("an attempt at a write draws one"))
    }

    /// Deletes a key, whether or not it is there; returns the tombstone's timestamp.
    ///
    /// # Errors
    /// As for [`Router::put`].
    pub async fn delete(&self, table: &str, key: &[u8]) -> Result<Timestamp, DataError> {
        check_key(key)?;
        let ask = |position: Position| {
            Ask::Delete(pb::DeleteRequest { position: position.into(), ..Default::default() })
        };
        let outcome = Operating::new(self, table, Place::Key(key)).run(ask).await?;
        Ok(outcome.timestamp.expect("an attempt at a delete draws one"))
    }

    /// The value of a key, if it has one.
    pub async fn get(&self, table: &str, key: &[u8]) -> Result<Option<Value>, DataError> {
        check_key(key)?;
        let ask = |position: Position| {
            Ask::Get(pb::GetRequest { header: None, position: position.into() })
        };
        let outcome = Operating::new(self, table, Place::Key(key)).run(ask).await?;
        let row = newest(outcome.answers);
        Ok(row.and_then(|row| {
            let timestamp = row.timestamp;
            row.value.map(|value| Value { value, timestamp })
        }))
    }

    /// Rows from a position on (empty: from the first), in order of position, across tablets; at
    /// least one and at most `limit`, unless the table ends before.
    ///
    /// Each row is as a read of its key would have found it at some time during the scan; the
    /// scan as a whole is no snapshot.
    pub async fn scan(
        &self,
        table: &str,
        start: &[u8],
        limit: usize,
    ) -> Result<ScanPage, DataError> {
        let mut rows = Vec::new();
        let mut at = start.to_vec();
        loop {
            let wanted = limit.max(1) - rows.len();
            let (page, next) = self.scan_tablet(table, &at, wanted).await?;
            let is_cut_off = page.len() > wanted;
            rows.extend(page.into_iter().take(wanted));
            let next = match rows.last() {
                Some(last) if is_cut_off => Some(behind(&last.position)),
                Some(_) | None => next,
            };
            match next {
                Some(next) if rows.len() < limit.max(1) => at = next,
                next => return Ok(ScanPage { rows, next }),
            }
        }
    }

    /// One page of the tablet that owns a position, and where to go on.
    async fn scan_tablet(
        &self,
        table: &str,
        at: &[u8],
        wanted: usize,
    ) -> Result<(Vec<ScanRow>, Option<Position>), DataError> {
        // One row more than wanted: else two replicas that differ in one would need a page more.
        let wanted = u32::try_from(wanted.saturating_add(1)).unwrap_or(u32::MAX);
        let ask = |position: Position| {
            Ask::Scan(pb::ScanRequest {
                header: None,
                start: position.into(),
                limit_rows: wanted.min(SCAN_ROWS),
                limit_bytes: SCAN_BYTES,
            })
        };
        let outcome = Operating::new(self, table, Place::Position(at)).run(ask).await?;
        let merged = merge_pages(outcome.answers);
        let next = merged.upto.as_deref().map(behind).or_else(|| outcome.record.range.end.clone());
        let rows = merged.rows.into_iter().filter_map(|(position, row)| {
            let key = outcome.table.partitioning.key(&position)?.to_vec();
            let value = Value { value: row.value?, timestamp: row.timestamp };
            Some(ScanRow { key, position, value })
        });
        Ok((rows.collect(), next))
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    fn admin(&self) -> &AdminClient {
        &self.inner.admin
    }

    fn options(&self) -> RouterOptions {
        self.inner.options
    }
}

/// The first position behind this one.
fn behind(position: &[u8]) -> Position {
    let mut next = position.to_vec();
    next.push(0);
    next
}

fn check_key(key: &[u8]) -> Result<(), DataError> {
    match key.len() {
        0 => Err(DataError::Invalid("the key is empty")),
        len if len > KEY_BYTES => Err(DataError::Invalid("the key is longer than 4 KiB")),
        _ => Ok(()),
    }
}

/// Keeps the picture of the topology until it is aborted: through breaks, other leaders, and
/// versions that are no longer kept.
async fn keep_picture(admin: AdminClient, shared: Arc<Shared>) {
    let new_watch = || Watch::new(admin.leader.clone(), Topology, None);
    let mut watch = new_watch();
    loop {
        match watch.next(WATCH_PATIENCE).await {
            Ok(message) => {
                shared.note_trouble(String::new());
                admin.leader.learn(message.coordinators.clone());
                if let Err(malformed) = shared.take(message) {
                    tracing::warn!(error = %malformed, "topology is read anew");
                    watch = new_watch();
                    tokio::time::sleep(ADMIN_PAUSE_MAX).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "topology can't be watched; tried again");
                shared.note_trouble(error.to_string());
                tokio::time::sleep(WATCH_PATIENCE).await;
            }
        }
    }
}
