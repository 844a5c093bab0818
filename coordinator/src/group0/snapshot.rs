//! Snapshots on disk: one file each, verified before anything relies on it. What is being written
//! or received is aside; it gets its name once it is whole, and what nobody named goes.
//!
//! Not here: the form of a file (`file`).

mod file;

#[cfg(test)]
pub(super) use file::HEAD_BYTES;
pub use file::SnapshotFile;
pub(super) use file::Writing;

use std::fs::{self, File};
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::directory::{self, Lock};
use super::error::{Damaged, OpenError, RestoreError};
use super::types::{self, LogId, SnapshotMeta};

/// What a state machine writes is collected until it is so much.
const WRITE_BYTES: usize = 64 << 10;
/// What a file's name ends with until it is whole.
const ASIDE: &str = "aside";
/// A file that a test makes.
#[cfg(test)]
pub(super) const FULL: &str = "full";
/// Snapshots that come in at a time: the newest leader's, beside one that nobody has given up yet.
const INCOMING: usize = 2;

/// The snapshots of one data directory.
#[derive(Debug)]
pub(super) struct Snapshots {
    dir: PathBuf,
    /// One is made or placed at a time.
    turn: Mutex<()>,
    /// Held for a moment only: Raft asks for the current one between two entries.
    current: Mutex<Current>,
    incoming: Arc<Semaphore>,
    /// Nothing may open the directory while this can write.
    _lock: Arc<Lock>,
}

#[derive(Debug)]
enum Current {
    Closed,
    Open(Option<(Arc<SnapshotFile>, PathBuf)>),
}

impl Snapshots {
    /// Opens `dir`, creating it if it is missing, and hands the newest snapshot that can be read
    /// to `restore`. Older ones are tried only where the log, whose entries up to `purged` are
    /// gone, goes on from them. Blocks.
    ///
    /// # Errors
    ///
    /// [`OpenError::SnapshotDamaged`], [`OpenError::FormatTooNew`], [`OpenError::Gap`],
    /// [`OpenError::Io`].
    pub(super) fn open<T>(
        dir: PathBuf,
        lock: Arc<Lock>,
        purged: Option<u64>,
        mut restore: impl FnMut(&mut dyn BufRead) -> Result<T, RestoreError>,
    ) -> Result<(Self, Option<(SnapshotMeta, T)>), OpenError> {
        directory::create_dir(&dir)?;
        remove_asides(&dir).map_err(OpenError::io("remove what is half written in", &dir))?;
        let mut newest_damaged = None;
        let mut found = None;
        for path in newest_first(&dir).map_err(OpenError::io("list", &dir))? {
            let file = File::open(&path).map_err(OpenError::io("read", &path))?;
            let read = SnapshotFile::verify(file).and_then(|file| {
                let state = restore(&mut file.body())?;
                Ok((file, state))
            });
            match read {
                Ok((file, state)) => {
                    found = Some((file, state, path));
                    break;
                }
                Err(RestoreError::TooNew(source)) => {
                    return Err(OpenError::FormatTooNew { path, source });
                }
                Err(RestoreError::Unread(detail)) => {
                    let source = io::Error::other(detail);
                    return Err(OpenError::Io { doing: "read", path, source });
                }
                Err(RestoreError::Damaged(Damaged(detail))) => {
                    tracing::error!(path = %path.display(), detail, "a snapshot is damaged");
                    newest_damaged.get_or_insert((path, detail));
                }
            }
        }
        let last = |(file, ..): &(SnapshotFile, _, _)| file.meta().last_log_id;
        let covered = found.as_ref().and_then(last).map(|last: LogId| last.index());
        if purged > covered {
            return Err(match newest_damaged {
                Some((path, detail)) => OpenError::SnapshotDamaged { path, detail },
                None => OpenError::Gap { purged: purged.unwrap_or_default(), snapshot: covered },
            });
        }
        let (current, state) = match found {
            Some((file, state, path)) => {
                let meta = file.meta().clone();
                (Some((Arc::new(file), path)), Some((meta, state)))
            }
            None => (None, None),
        };
        let snapshots = Self {
            dir,
            turn: Mutex::default(),
            current: Mutex::new(Current::Open(current)),
            incoming: Arc::new(Semaphore::new(INCOMING)),
            _lock: lock,
        };
        Ok((snapshots, state))
    }

    /// Begins a snapshot aside. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path.
    pub(super) fn begin(&self, meta: Vec<u8>) -> io::Result<Writing> {
        // Of this process alone: an earlier one that still ends removes its own.
        let path = self.dir.join(Uuid::new_v4().to_string()).with_extension(ASIDE);
        #[cfg(test)]
        self.may_be_full(&path)?;
        Writing::begin(path, meta)
    }

    /// A place for a snapshot that comes in; none if there are as many as may be.
    pub(super) fn may_come_in(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.incoming).try_acquire_owned().ok()
    }

    /// Writes a snapshot aside, to be read by whoever asked for it. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path.
    pub(super) fn write(
        &self,
        meta: &SnapshotMeta,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<SnapshotFile> {
        write(self.begin(types::encode_meta(meta))?, body)
    }

    /// Makes a snapshot, and makes it the current one: see [`keep`](Self::keep). Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path. The current snapshot is then what it was.
    pub(super) fn make(
        &self,
        meta: &SnapshotMeta,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<SnapshotFile>> {
        let turn = self.turn();
        self.current()?;
        let file = self.write(meta, body)?;
        self.place(&turn, Arc::new(file))
    }

    /// Makes a whole snapshot the current one, unless that is as new, and answers which is. The one
    /// before it is kept, older ones go. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path. The current snapshot is then what it was.
    pub(super) fn keep(&self, file: Arc<SnapshotFile>) -> io::Result<Arc<SnapshotFile>> {
        if !file.is_aside() {
            // It is somebody else's.
            return self.make(file.meta(), |out| io::copy(&mut file.body(), out).map(drop));
        }
        self.place(&self.turn(), file)
    }

    fn place(
        &self,
        _turn: &MutexGuard<'_, ()>,
        file: Arc<SnapshotFile>,
    ) -> io::Result<Arc<SnapshotFile>> {
        // Also one that was made while a newer one was installed: it is of no use any more.
        if let Some(known) = self.current()?
            && known.meta().last_log_id >= file.meta().last_log_id
        {
            return Ok(known);
        }
        let (entries, term) = file.last().map_or((0, 0), |(term, index)| (index + 1, term));
        let path = self.dir.join(file_name(entries, term));
        file.place(&path)?;
        let before = match &mut *self.locked() {
            Current::Closed => return Err(closed()),
            Current::Open(current) => current.replace((Arc::clone(&file), path.clone())),
        };
        self.remove_all_but(&path, before.as_ref().map(|(_, before)| before.as_path()));
        Ok(file)
    }

    /// The current snapshot. It goes on being readable when another one has come in its place.
    ///
    /// # Errors
    ///
    /// They are closed.
    pub(super) fn current(&self) -> io::Result<Option<Arc<SnapshotFile>>> {
        match &*self.locked() {
            Current::Closed => Err(closed()),
            Current::Open(current) => Ok(current.as_ref().map(|(file, _)| Arc::clone(file))),
        }
    }

    /// Waits for a snapshot that is being made. Later calls fail.
    pub(super) fn close(&self) {
        let _turn = self.turn();
        *self.locked() = Current::Closed;
    }

    /// Where a test says so, the disk has no room, and the test learns that somebody has tried.
    #[cfg(test)]
    fn may_be_full(&self, path: &Path) -> io::Result<()> {
        match File::options().append(true).open(self.dir.join(FULL)) {
            Ok(mut tries) => {
                tries.write_all(b".")?;
                std::os::unix::fs::symlink("/dev/full", path)
            }
            Err(_) => Ok(()),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_all_but(&self, current: &Path, before: Option<&Path>) {
        let gone = newest_first(&self.dir).and_then(|paths| {
            paths
                .iter()
                .filter(|path| *path != current && Some(path.as_path()) != before)
                .try_for_each(fs::remove_file)
        });
        // What is left takes room and is tried again after the next snapshot.
        if let Err(error) = gone {
            tracing::warn!(%error, dir = %self.dir.display(), "can't remove old snapshots");
        }
    }
}

/// The name of a snapshot's file. In order of name is in order of age.
pub(super) fn file_name(entries: u64, term: u64) -> String {
    format!("snapshot-{entries:020}-{term}")
}

/// Writes what comes after the meta, and completes the file. Blocks.
///
/// # Errors
///
/// What failed, with the path. The file is gone then.
pub(super) fn write(
    mut writing: Writing,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<SnapshotFile> {
    let mut out = BufWriter::with_capacity(WRITE_BYTES, &mut writing);
    body(&mut out)?;
    out.flush()?;
    drop(out);
    writing.seal()
}

fn listed(dir: &Path, is_meant: impl Fn(&Path, &str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_meant(&path, name) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn newest_first(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_whole =
        |path: &Path, name: &str| name.starts_with("snapshot-") && path.extension().is_none();
    let mut paths = listed(dir, is_whole)?;
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths)
}

/// What a process left that ended while it wrote or received one.
fn remove_asides(dir: &Path) -> io::Result<()> {
    let asides = listed(dir, |path, _| path.extension().is_some_and(|end| end == ASIDE))?;
    asides.iter().try_for_each(fs::remove_file)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the snapshots are closed")
}
