//! A history: operations through the router, each with its times and what
//! became of it, in a file.

use crate::checker::{Line, Operation, Outcome, What, mark};
use anyhow::Context;
use client::{DataError, Router};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Lines that wait to be written.
const LINES_QUEUED: usize = 4_096;

/// Counts of what was done so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Operations that were acknowledged or answered.
    pub(crate) done: AtomicU64,
    /// Those that were not.
    pub(crate) errors: AtomicU64,
}

/// Does operations and records them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    router: Router,
    table: String,
    began: Instant,
    lines: mpsc::Sender<Line>,
    pub(crate) counts: Arc<Counts>,
}

/// The file behind recorders; whole once all of them are gone.
pub(crate) struct Recording {
    path: PathBuf,
    writing: JoinHandle<std::io::Result<()>>,
}

impl Recorder {
    /// Begins a history in a file.
    pub(crate) fn begin(
        path: &Path,
        router: Router,
        table: &str,
    ) -> anyhow::Result<(Recorder, Recording)> {
        let at = || format!("can't write {}", path.display());
        let file = std::fs::File::create(path).with_context(at)?;
        let (lines, mut queued) = mpsc::channel::<Line>(LINES_QUEUED);
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = BufWriter::new(file);
            while let Some(line) = queued.blocking_recv() {
                writeln!(file, "{}", line.json())?;
            }
            file.flush()
        });
        let (table, began, counts) = (table.to_owned(), Instant::now(), Arc::default());
        let recorder = Recorder { router, table, began, lines, counts };
        Ok((recorder, Recording { path: path.to_owned(), writing }))
    }

    /// Stores a value.
    pub(crate) async fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let began_us = self.now_us();
        let done = self.router.put(&self.table, key.as_bytes(), value).await;
        let ended = done.map(|_| What::Put(mark(value)));
        self.record(key, began_us, What::Put(mark(value)), ended).await
    }

    /// Deletes a key.
    pub(crate) async fn delete(&self, key: &str) -> anyhow::Result<()> {
        let began_us = self.now_us();
        let done = self.router.delete(&self.table, key.as_bytes()).await;
        self.record(key, began_us, What::Delete, done.map(|_| What::Delete)).await
    }

    /// Reads a key.
    pub(crate) async fn get(&self, key: &str) -> anyhow::Result<()> {
        let began_us = self.now_us();
        let found = self.router.get(&self.table, key.as_bytes()).await;
        let ended = found.map(|found| What::Get(found.map(|value| mark(&value.value))));
        self.record(key, began_us, What::Get(None), ended).await
    }

    /// Records what else is known.
    pub(crate) async fn add(&self, line: Line) -> anyhow::Result<()> {
        self.lines.send(line).await.ok().context("the history can't be written any more")
    }

    async fn record(
        &self,
        key: &str,
        began_us: u64,
        asked: What,
        ended: Result<What, DataError>,
    ) -> anyhow::Result<()> {
        let (what, outcome) = match ended {
            Ok(what) => (what, Outcome::Ok),
            Err(error) => {
                tracing::warn!(%error, "an operation was not done");
                let is_unknown = error.is_outcome_unknown();
                (asked, if is_unknown { Outcome::Unknown } else { Outcome::Failed })
            }
        };
        let Counts { done, errors } = &*self.counts;
        let count = if outcome == Outcome::Ok { done } else { errors };
        count.fetch_add(1, Ordering::Relaxed);
        let (key, ended_us) = (key.to_owned(), self.now_us());
        self.add(Line::Operation(Operation { what, key, began_us, ended_us, outcome })).await
    }

    /// Microseconds since the history began.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Recording {
    /// Waits until everything is in the file. Every recorder must be gone.
    pub(crate) async fn end(self) -> anyhow::Result<PathBuf> {
        let written = self.writing.await.context("the writer of the history failed")?;
        written.with_context(|| format!("can't write {}", self.path.display()))?;
        Ok(self.path)
    }
}
