//! One operation from its beginning to its answer: attempts, each under a version read anew and
//! with a timestamp drawn after that, until one has its majorities or time is up.

use super::attempt::{Answer, Ask, Ended, attempt};
use super::topology::{TableEntry, TopologyMap};
use super::{Router, RouterOptions};
use crate::backoff::Backoff;
use crate::error::DataError;
use crate::limits::{DATA_PAUSE, DATA_PAUSE_MAX};
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::ClusterId;
use migrations::position::Position;
use migrations::record::TabletRecord;
use migrations::router::{Access, Step};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Where an operation goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// To a key, wherever its table puts it.
    Key(&'a [u8]),
    /// To a position.
    Position(&'a [u8]),
}

/// What an operation was answered with.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answer>,
    pub(crate) record: Arc<TabletRecord>,
    pub(crate) table: TableEntry,
    pub(crate) timestamp: Option<Timestamp>,
}

/// A tablet as it was found.
struct Located {
    cluster: ClusterId,
    table: TableEntry,
    position: Position,
    record: Arc<TabletRecord>,
}

/// An operation under way.
pub(crate) struct Operating<'a> {
    router: &'a Router,
    table: &'a str,
    place: Place<'a>,
    deadline: Instant,
    backoff: Backoff,
    /// How often a timestamp was behind: the first time there is no pause.
    behind: u32,
    /// Whether a write was sent, ever.
    is_sent: bool,
    detail: String,
}

impl<'a> Operating<'a> {
    pub(crate) fn new(router: &'a Router, table: &'a str, place: Place<'a>) -> Operating<'a> {
        let RouterOptions { deadline, .. } = router.options();
        Operating {
            router,
            table,
            place,
            deadline: Instant::now() + deadline,
            backoff: Backoff::new(DATA_PAUSE, DATA_PAUSE_MAX),
            behind: 0,
            is_sent: false,
            detail: "no attempt was made".to_owned(),
        }
    }

    /// Makes attempts until one is done. `ask` makes the request for a position.
    pub(crate) async fn run(mut self, ask: impl Fn(Position) -> Ask) -> Result<Outcome, DataError> {
        let mut older: Option<Box<TabletRecord>> = None;
        loop {
            let mut located = self.locate().await?;
            if let Some(older) = older.take() {
                located.record = Arc::from(older);
            }
            let Located { cluster, table, position, record } = located;
            let ask = ask(position);
            // After the record was read, never before: else a delete could keep a timestamp that
            // a repair has meanwhile promised away.
            let timestamp = match ask.access() {
                Access::Write => Some(self.router.shared().draw()),
                Access::Read => None,
            };
            let router = self.router.shared().router;
            let timestamp = timestamp.map(|time| Timestamp { time, router });
            self.is_sent |= timestamp.is_some();
            let within = self.router.options().attempt.min(self.left()?);
            let shared = self.router.shared();
            let Some(ended) = attempt(shared, cluster, &record, &ask, timestamp, within).await
            else {
                self.router.shared().retries.count_dropped();
                self.dropped(table).await?;
                continue;
            };
            match ended {
                Ended::Done(answers) => return Ok(Outcome { answers, record, table, timestamp }),
                Ended::Fatal(refusal) => return Err(DataError::Refused(refusal)),
                Ended::Anew { step, older: offered, detail } => {
                    tracing::debug!(tablet = %record.tablet, ?step, detail, "begun anew");
                    self.router.shared().retries.count(&step);
                    self.detail = detail;
                    older = self.before_next(step, &record, offered).await?;
                }
            }
        }
    }

    /// Does what the step asks for before the next attempt. Returns the older record to make it
    /// under, where replicas could not catch up and nothing newer is known.
    async fn before_next(
        &mut self,
        step: Step,
        record: &TabletRecord,
        offered: Option<Box<TabletRecord>>,
    ) -> Result<Option<Box<TabletRecord>>, DataError> {
        match step {
            Step::Refresh(version) => {
                let is_newer = |map: &TopologyMap| {
                    let found = map.tablet_at(record.table, &record.range.start);
                    found.is_some_and(|found| found.version > version).then_some(())
                };
                if is_newer(&self.router.shared().map()).is_some() {
                    return Ok(None);
                }
                let pause = self.backoff.pause();
                if offered.is_some() {
                    self.pause(pause).await?;
                    return Ok(offered);
                }
                // Not for longer: those who lag behind a version may have caught up with it.
                let until = self.deadline.min(Instant::now() + pause * 4);
                self.seen(until, is_newer).await;
                self.left()?;
            }
            Step::GoAbove(time) => self.go_above(time).await?,
            Step::WaitUntil(clock) => {
                let least = self.backoff.pause();
                self.pause(self.router.shared().until_taken(clock).max(least)).await?;
            }
            Step::Wait | Step::Done | Step::OutOfReach => {
                let pause = self.backoff.pause();
                self.pause(pause).await?;
            }
        }
        Ok(None)
    }

    async fn go_above(&mut self, time: HybridTime) -> Result<(), DataError> {
        self.behind += 1;
        if self.behind > 1 {
            // Two routers that write one key would else outbid each other for ever.
            let pause = self.backoff.pause();
            self.pause(pause).await?;
        }
        while let Err(wait) = self.router.shared().observe(time) {
            // This machine's clock is behind by more than the bound on skew.
            self.pause(wait.max(Duration::from_millis(1))).await?;
        }
        Ok(())
    }

    /// Finds the tablet, as the picture is now.
    async fn locate(&self) -> Result<Located, DataError> {
        let complete = self.seen(self.deadline, |map| map.cluster()).await;
        let cluster = complete.ok_or_else(|| match self.router.shared().trouble().as_str() {
            "" => self.unavailable("the topology is not known"),
            trouble => self.unavailable(&format!("the topology is not known: {trouble}")),
        })?;
        let known = self.router.shared().map().table(self.table);
        let table = match known {
            Some(table) => table,
            None => self.look_for_table(None).await?,
        };
        let position = match self.place {
            Place::Key(key) => table.partitioning.position(key),
            Place::Position(position) => position.to_vec(),
        };
        let found = self.seen(self.deadline, |map| map.tablet_at(table.id, &position)).await;
        let record = found.ok_or_else(|| self.unavailable("the tablet is not known"))?;
        Ok(Located { cluster, table, position, record })
    }

    /// Asks the leader whether there is such a table, other than the one that is gone: the
    /// picture may be behind.
    async fn look_for_table(&self, gone: Option<TableEntry>) -> Result<TableEntry, DataError> {
        let no_such = || DataError::NoSuchTable(self.table.to_owned());
        let asked = timeout_at(self.deadline, self.router.admin().table(self.table)).await;
        let table = match asked {
            Ok(Ok(table)) => table,
            Ok(Err(error)) if error.is_not_found() => return Err(no_such()),
            Ok(Err(error)) => return Err(self.unavailable(&error.to_string())),
            Err(_) => return Err(self.unavailable("the leader does not answer")),
        };
        if table.dropping || gone.is_some_and(|gone| gone.id.as_u64() == table.id) {
            return Err(no_such());
        }
        let is_it = |entry: &TableEntry| entry.id.as_u64() == table.id;
        let seen = self.seen(self.deadline, |map| map.table(self.table).filter(is_it)).await;
        seen.ok_or_else(|| self.unavailable("the table is not known yet"))
    }

    /// The table is being dropped; goes on only if another of its name has been made.
    async fn dropped(&self, table: TableEntry) -> Result<(), DataError> {
        self.look_for_table(Some(table)).await.map(|_| ())
    }

    /// Waits until the picture shows something, or `None` at the deadline.
    async fn seen<T>(&self, until: Instant, look: impl Fn(&TopologyMap) -> Option<T>) -> Option<T> {
        let mut changes = self.router.shared().changes();
        loop {
            if let Some(seen) = look(&self.router.shared().map()) {
                return Some(seen);
            }
            timeout_at(until, changes.changed()).await.ok()?.ok()?;
        }
    }

    /// Pauses, unless that would outlast the deadline.
    async fn pause(&self, pause: Duration) -> Result<(), DataError> {
        if Instant::now() + pause >= self.deadline {
            return Err(self.unavailable(&self.detail));
        }
        sleep(pause).await;
        Ok(())
    }

    fn left(&self) -> Result<Duration, DataError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.unavailable(&self.detail)) } else { Ok(left) }
    }

    fn unavailable(&self, detail: &str) -> DataError {
        DataError::Unavailable { outcome_unknown: self.is_sent, detail: detail.to_owned() }
    }
}
