//! The data directory: who may use it, in which layout, for which member.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::error::{FormatTooNew, OpenError};

/// The layout that this build writes, and the newest it reads.
const LAYOUT: u32 = 1;

/// What the format file says: whose directory this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Raft id of the member, for ever.
    pub(super) raft_id: u64,
    /// Its name; empty where an earlier build wrote it.
    pub(super) name: String,
    /// The cluster that it belongs to.
    pub(super) cluster: Option<Uuid>,
    /// The cluster that it has begun itself, or was about to.
    pub(super) minted: Option<Uuid>,
    /// Whether it was in a membership that was committed.
    pub(super) member: bool,
}

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

/// Creates the directory if it is missing, locks it, and checks its layout.
///
/// # Errors
///
/// [`OpenError::AlreadyRunning`], [`OpenError::FormatTooNew`], [`OpenError::FormatDamaged`],
/// [`OpenError::Io`].
pub(super) fn open(dir: &Path) -> Result<(Lock, Option<Format>), OpenError> {
    create_dir(dir)?;
    let lock = take_lock(dir)?;
    let path = dir.join("format");
    let format = read_format(&path)?;
    // It is written before the first of them, and after all that a restore makes: a member that
    // was drawn for what is there would be another one than that whose state it is.
    if format.is_none() && ["log", "snapshots"].iter().any(|made| dir.join(made).exists()) {
        let detail = "there is none, beside a log or snapshots".to_owned();
        return Err(OpenError::FormatDamaged { path, detail });
    }
    Ok((lock, format))
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

/// What the format file says, if there is one.
fn read_format(path: &Path) -> Result<Option<Format>, OpenError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(OpenError::Io { doing: "read", path: path.to_owned(), source: e }),
    };
    parse_format(&text, path).map(Some)
}

/// What a format file says; `path` is for errors.
pub(super) fn parse_format(text: &str, path: &Path) -> Result<Format, OpenError> {
    let damaged = |detail: String| OpenError::FormatDamaged { path: path.to_owned(), detail };
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ").map(str::to_owned))
    };
    let number = |key: &str| {
        let number = value(key).and_then(|value| value.parse::<u64>().ok());
        number.ok_or_else(|| damaged(format!("no line `{key} = NUMBER`")))
    };
    // Files of earlier builds have none.
    if let Some((body, digest)) = text.rsplit_once("digest = ")
        && digest.trim_end() != digest_of(body)
    {
        return Err(damaged("its digest doesn't fit".to_owned()));
    }
    let layout = number("layout")?;
    if layout > u64::from(LAYOUT) {
        return Err(OpenError::FormatTooNew {
            path: path.to_owned(),
            source: FormatTooNew {
                found: format!("layout {layout}"),
                known: format!("layout {LAYOUT}"),
            },
        });
    }
    let uuid = |key: &str| match value(key) {
        None => Ok(None),
        Some(text) => {
            let uuid = Uuid::try_parse(&text).ok().filter(|uuid| !uuid.is_nil());
            uuid.map(Some).ok_or_else(|| damaged(format!("{key} is not a UUID")))
        }
    };
    Ok(Format {
        raft_id: number("raft_id")?,
        name: value("name").unwrap_or_default(),
        cluster: uuid("cluster")?,
        minted: uuid("minted")?,
        member: value("member").is_some_and(|value| value == "true"),
    })
}

/// A format file.
pub(super) fn format_text(format: &Format) -> String {
    let Format { raft_id, name, cluster, minted, member } = format;
    let mut text = format!("layout = {LAYOUT}\nraft_id = {raft_id}\nname = {name}\n");
    for (key, uuid) in [("cluster", cluster), ("minted", minted)] {
        if let Some(uuid) = uuid {
            text.push_str(&format!("{key} = {uuid}\n"));
        }
    }
    if *member {
        text.push_str("member = true\n");
    }
    let digest = digest_of(&text);
    text.push_str(&format!("digest = {digest}\n"));
    text
}

/// Of all lines before it: one bit makes another member, or a member of another cluster.
fn digest_of(body: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(body.as_bytes()))
}

/// Replaces the format file, durably.
pub(super) fn write_format(dir: &Path, format: &Format) -> Result<(), OpenError> {
    let (path, text) = (dir.join("format"), format_text(format));
    write_file(&path, &[text.as_bytes()]).map_err(OpenError::io("write", &path))
}
