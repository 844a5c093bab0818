//! A log whose disk is modelled: what was not synced when the machine crashed is gone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::EntryOf;

use super::super::types::{Group0Types, LogId, Vote};

/// How long a sync takes.
const SYNC: Duration = Duration::from_millis(2);

type Entry = EntryOf<Group0Types>;

/// A disk with a log. It outlives the processes that use it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    sides: Arc<Mutex<Sides>>,
    is_honest: bool,
}

#[derive(Debug, Default)]
struct Sides {
    /// What the process sees.
    written: Contents,
    /// What is there after a crash.
    synced: Contents,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl Disk {
    /// An empty one. One that is not honest says that it has synced, and has not.
    pub(super) fn new(is_honest: bool) -> Disk {
        Disk { sides: Arc::default(), is_honest }
    }

    /// The machine has crashed: what was not synced is gone.
    pub(super) fn crash(&self) {
        let mut sides = self.sides();
        sides.written = sides.synced.clone();
    }

    fn sides(&self) -> MutexGuard<'_, Sides> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.sides().written);
    }

    async fn durably(&self, change: impl FnOnce(&mut Contents)) {
        self.write(change);
        tokio::time::sleep(SYNC).await;
        let mut sides = self.sides();
        match self.is_honest {
            true => sides.synced = sides.written.clone(),
            // The vote at least: else Raft itself would stumble, before anybody is misled.
            false => sides.synced.vote = sides.written.vote,
        }
    }
}

impl RaftLogReader<Group0Types> for Disk {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let sides = self.sides();
        Ok(sides.written.entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.sides().written.vote)
    }
}

impl RaftLogStorage<Group0Types> for Disk {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group0Types>> {
        let Contents { purged, entries, .. } = &self.sides().written;
        let last = entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: *purged, last_log_id: last.or(*purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.durably(|disk| disk.vote = Some(*vote)).await;
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.write(|disk| disk.committed = committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.sides().written.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Group0Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let new = entries.into_iter().map(|entry| (entry.log_id.index(), entry));
        let new: Vec<(u64, Entry)> = new.collect();
        self.durably(|disk| disk.entries.extend(new)).await;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        self.durably(|disk| drop(disk.entries.split_off(&from))).await;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.durably(|disk| {
            disk.entries = disk.entries.split_off(&(upto.index() + 1));
            disk.purged = disk.purged.max(Some(upto));
        })
        .await;
        Ok(())
    }
}
