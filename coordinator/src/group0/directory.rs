//! The data directory: who may use it, in which layout, for which member.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::error::{FormatTooNew, OpenError};

/// The layout that this build writes, and the newest it reads.
const LAYOUT: u32 = 1;

/// The lock on the directory. Held until released or dropped; everything that writes shares it, so
/// that a directory can't be opened again while a task of an earlier opening may still write.
#[derive(Debug)]
pub(super) struct Lock(Mutex<Option<File>>);

impl Lock {
    /// Gives the directory free. The caller has stopped everything that writes to it.
    pub(super) fn release(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}

/// Creates the directory if it is missing, locks it, and checks layout and owner.
///
/// # Errors
///
/// [`OpenError::AlreadyRunning`], [`OpenError::FormatTooNew`], [`OpenError::OtherRaftId`],
/// [`OpenError::FormatDamaged`], [`OpenError::Io`].
pub(super) fn open(dir: &Path, raft_id: u64) -> Result<Lock, OpenError> {
    create_dir(dir)?;
    let lock = take_lock(dir)?;
    check_format(dir, raft_id)?;
    Ok(lock)
}

/// Creates a directory and those above it, durably.
pub(super) fn create_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(OpenError::io("create the directory", dir))?;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent).map_err(OpenError::io("sync the directory", parent))
}

/// Makes what was created, renamed or removed in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces a file whole: written aside, synced, renamed, its directory synced.
pub(super) fn write_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let aside = path.with_extension("aside");
    let mut file = File::create(&aside)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn take_lock(dir: &Path) -> Result<Lock, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(OpenError::io("open the lock", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(Mutex::new(Some(file)))),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(OpenError::AlreadyRunning { path: dir.to_owned() })
        }
        Err(errno) => Err(OpenError::Io { doing: "lock", path, source: errno.into() }),
    }
}

/// Checks the format file, or writes it if there is none.
fn check_format(dir: &Path, raft_id: u64) -> Result<(), OpenError> {
    let path = dir.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return write_format(path, raft_id),
        Err(e) => return Err(OpenError::Io { doing: "read", path, source: e }),
    };
    let number = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")?.parse::<u64>().ok())
            .ok_or_else(|| OpenError::FormatDamaged {
                path: path.clone(),
                detail: format!("no line `{key} = NUMBER`"),
            })
    };
    let layout = number("layout")?;
    if layout > u64::from(LAYOUT) {
        return Err(OpenError::FormatTooNew {
            path,
            source: FormatTooNew {
                found: format!("layout {layout}"),
                known: format!("layout {LAYOUT}"),
            },
        });
    }
    let found = number("raft_id")?;
    if found != raft_id {
        return Err(OpenError::OtherRaftId { path: dir.to_owned(), found, asked: raft_id });
    }
    Ok(())
}

fn write_format(path: PathBuf, raft_id: u64) -> Result<(), OpenError> {
    let text = format!("layout = {LAYOUT}\nraft_id = {raft_id}\n");
    write_file(&path, &[text.as_bytes()]).map_err(|source| OpenError::Io {
        doing: "write",
        path,
        source,
    })
}
