//! What Raft talks to: `raft-log` behind a lock, with a sync before every acknowledgement.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::EntryOf;
use openraft::{LogState, OptionalSend, RaftLogReader};
use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter as _;
use tokio::sync::oneshot;

use super::super::directory::{self, Lock};
use super::super::error::OpenError;
use super::super::transport::APPEND_BYTES;
use super::super::types::{self, Group0Types, LogId, Vote};
use super::record::{Flushed, PayloadRecord, Records, VoteRecord};
use super::verify;

/// How long the writer waits for more before it syncs: long enough to take what is queued, short
/// beside a sync. (Zero would sync each write alone; the default is 1 ms.)
const GATHER: Duration = Duration::from_micros(100);

/// A file of the log is closed at this size. Purged entries free whole files.
const CHUNK_BYTES: usize = 4 << 20;
const CHUNK_RECORDS: usize = 10_000;

/// Memory for entries that have been written, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// Log, vote and committed index. Clones are the same log.
#[derive(Clone, Debug)]
pub(in super::super) struct LogStore {
    log: Arc<Mutex<Option<RaftLog<Records>>>>,
    /// Nothing may open the directory while this can write.
    _lock: Arc<Lock>,
}

impl LogStore {
    /// Opens the log in `dir`. A torn tail is cut off. It is created, durably, if there is none and
    /// the member `is_new`: one that belongs to a cluster has had a log ever since, and without it
    /// would vote a second time, for those who lack what it has acknowledged.
    ///
    /// # Errors
    ///
    /// [`OpenError::LogDamaged`], [`OpenError::AlreadyRunning`], [`OpenError::Io`].
    pub(in super::super) fn open(
        dir: &Path,
        lock: Arc<Lock>,
        is_new: bool,
    ) -> Result<Self, OpenError> {
        directory::create_dir(dir)?;
        let name = dir
            .to_str()
            .ok_or_else(|| OpenError::Options(format!("{} is not valid UTF-8", dir.display())))?;
        let mut config = raft_log::Config::new(name);
        config.log_cache_capacity = Some(CACHE_BYTES);
        config.wal.read_buffer_size = Some(1 << 20);
        config.wal.chunk_max_size = Some(CHUNK_BYTES);
        config.wal.chunk_max_records = Some(CHUNK_RECORDS);
        config.wal.flush_batch_wait = Some(GATHER);
        let is_there = verify::verify(&config.wal, dir)?;
        if !is_there && !is_new {
            let detail = "nothing is in it, though this coordinator has had entries or a vote";
            return Err(OpenError::LogDamaged { path: dir.to_owned(), detail: detail.to_owned() });
        }
        let mut log = RaftLog::open(Arc::new(config)).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::AlreadyRunning { path: dir.to_owned() },
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
                OpenError::LogDamaged { path: dir.to_owned(), detail: source.to_string() }
            }
            _ => OpenError::Io { doing: "open the log in", path: dir.to_owned(), source },
        })?;
        if !is_there {
            let io = |doing| OpenError::io(doing, dir);
            log.flush(true, None).map_err(io("sync the log in"))?;
            log.wait_worker_idle().map_err(io("sync the log in"))?;
            directory::sync_dir(dir).map_err(io("sync the directory"))?;
        }
        Ok(Self { log: Arc::new(Mutex::new(Some(log))), _lock: lock })
    }

    /// The last entry that was taken off the log's beginning.
    pub(in super::super) fn purged(&self) -> Option<u64> {
        self.guard().as_ref().and_then(|log| log.log_state().purged().map(|id| id.1))
    }

    /// All entries from an index on. Blocks.
    ///
    /// # Errors
    ///
    /// The read that failed.
    pub(in super::super) fn since(&self, index: u64) -> io::Result<Vec<EntryOf<Group0Types>>> {
        self.read(index, u64::MAX)
    }

    fn read(&self, from: u64, to: u64) -> io::Result<Vec<EntryOf<Group0Types>>> {
        self.with(|log| {
            log.read(from, to)
                .map(|read| {
                    let (id, payload) = read?;
                    Ok(openraft::Entry { log_id: log_id(&id), payload: payload.0 })
                })
                .collect()
        })
    }

    /// Writes and syncs what is pending, and closes the files. Blocks. Later calls fail.
    ///
    /// # Errors
    ///
    /// The write or sync that failed.
    pub(in super::super) fn close(&self) -> io::Result<()> {
        let Some(mut log) = self.guard().take() else {
            return Ok(());
        };
        log.flush(true, None)?;
        log.wait_worker_idle()
    }

    fn guard(&self) -> MutexGuard<'_, Option<RaftLog<Records>>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, f: impl FnOnce(&mut RaftLog<Records>) -> io::Result<T>) -> io::Result<T> {
        match self.guard().as_mut() {
            Some(log) => f(log),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "the log is closed")),
        }
    }

    /// Changes the log and returns once the change is on the medium.
    async fn durably(
        &self,
        change: impl FnOnce(&mut RaftLog<Records>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (sender, flushed) = oneshot::channel();
        self.with(|log| {
            change(log)?;
            log.flush(true, Some(Flushed::Caller(sender)))
        })?;
        flushed.await.unwrap_or_else(|_| Err(io::Error::other("the log's writer has stopped")))
    }
}

fn log_id(id: &(u64, u64)) -> LogId {
    types::log_id(id.0, id.1)
}

fn pair(id: &LogId) -> (u64, u64) {
    (id.committed_leader_id().term, id.index())
}

impl RaftLogReader<Group0Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<Group0Types>>> {
        let from = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(from, to)
    }

    /// As many as fit into one append, at least one.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Group0Types>>> {
        self.with(|log| {
            let mut entries = Vec::new();
            let mut bytes = 0;
            for read in log.read(start, end) {
                let (id, payload) = read?;
                bytes += payload.bytes();
                if bytes > APPEND_BYTES && !entries.is_empty() {
                    break;
                }
                entries.push(openraft::Entry { log_id: log_id(&id), payload: payload.0 });
            }
            Ok(entries)
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.with(|log| Ok(log.log_state().vote().map(|vote| vote.0)))
    }
}

impl RaftLogStorage<Group0Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Group0Types>> {
        self.with(|log| {
            let state = log.log_state();
            Ok(LogState {
                last_purged_log_id: state.purged().map(log_id),
                last_log_id: state.last().map(log_id),
            })
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = VoteRecord(*vote);
        self.durably(|log| log.save_vote(vote).map(drop)).await
    }

    /// Goes to the medium with the next append: what it saves is time at a restart. A restarted
    /// leader answers nothing before an entry of its own term is applied, and all before it is.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed.as_ref().map(pair) else {
            return Ok(());
        };
        self.with(|log| {
            let state = log.log_state();
            let known = state.committed().is_some_and(|saved| *saved >= committed);
            // A snapshot from the leader may be ahead of the log that it replaces.
            let beyond = state.last().is_none_or(|last| *last < committed);
            if known || beyond {
                return Ok(());
            }
            log.commit(committed).map(drop)
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.with(|log| Ok(log.log_state().committed().map(log_id)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Group0Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Group0Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|entry| (pair(&entry.log_id), PayloadRecord(entry.payload)))
            .collect::<Vec<_>>();
        self.with(|log| {
            log.append(entries)?;
            log.flush(true, Some(Flushed::Raft(callback)))
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index() + 1);
        let beyond =
            self.with(|log| Ok(log.log_state().last().is_none_or(|last| last.1 < from)))?;
        if beyond {
            return Ok(());
        }
        self.durably(|log| log.truncate(from).map(drop)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let upto = pair(&upto);
        self.durably(|log| log.purge(upto).map(drop)).await
    }
}
