//! Snapshots on disk: one file each, verified before anything relies on it.
//!
//! A file is a head of 48 bytes, what the snapshot covers, and the state machine's bytes:
//!
//! ```text
//! 0   magic             8 bytes
//! 8   digest            16 bytes: XXH3-128 of everything that follows it
//! 24  format version    4 bytes
//! 28  length of meta    4 bytes
//! 32  length of body    8 bytes
//! 40  zeros             8 bytes
//! 48  meta, body
//! ```
//!
//! All numbers are big-endian. The head's layout is for ever, so that the digest of a newer format
//! can be checked too: damage is never taken for a newer version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::Xxh3;

use super::directory::{self, Lock};
use super::error::{Damaged, FormatTooNew, OpenError, RestoreError};
use super::types::{self, SnapshotMeta};

const MAGIC: &[u8; 8] = b"plsd-g0\n";
const FORMAT: u32 = 1;
pub(super) const HEAD_BYTES: usize = 48;

/// The snapshots of one data directory.
#[derive(Debug)]
pub(super) struct Snapshots {
    dir: PathBuf,
    current: Mutex<Current>,
    /// Nothing may open the directory while this can write.
    _lock: Arc<Lock>,
}

#[derive(Debug)]
enum Current {
    Closed,
    Open(Option<(SnapshotMeta, PathBuf)>),
}

/// A snapshot that has been read: what it covers, and the state machine's bytes.
pub(super) type Loaded = (SnapshotMeta, Vec<u8>);

impl Snapshots {
    /// Opens `dir`, creating it if it is missing, and hands the newest snapshot that can be read
    /// to `restore`. Older ones are tried only where the log, whose entries up to `purged` are
    /// gone, goes on from them.
    ///
    /// # Errors
    ///
    /// [`OpenError::SnapshotDamaged`], [`OpenError::FormatTooNew`], [`OpenError::Gap`],
    /// [`OpenError::Io`].
    pub(super) fn open<T>(
        dir: PathBuf,
        lock: Arc<Lock>,
        purged: Option<u64>,
        mut restore: impl FnMut(&[u8]) -> Result<T, RestoreError>,
    ) -> Result<(Self, Option<(SnapshotMeta, T)>), OpenError> {
        directory::create_dir(&dir)?;
        let mut newest_damaged = None;
        let mut found = None;
        for path in newest_first(&dir).map_err(OpenError::io("list", &dir))? {
            let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
            let read = decode(&bytes).and_then(|(meta, body)| Ok((meta, restore(body)?)));
            match read {
                Ok((meta, state)) => {
                    found = Some((meta, state, path));
                    break;
                }
                Err(RestoreError::TooNew(source)) => {
                    return Err(OpenError::FormatTooNew { path, source });
                }
                Err(RestoreError::Damaged(Damaged(detail))) => {
                    tracing::error!(path = %path.display(), detail, "a snapshot is damaged");
                    newest_damaged.get_or_insert((path, detail));
                }
            }
        }
        let covered = found.as_ref().and_then(|(meta, ..)| Some(meta.last_log_id?.index()));
        if purged > covered {
            return Err(match newest_damaged {
                Some((path, detail)) => OpenError::SnapshotDamaged { path, detail },
                None => OpenError::Gap { purged: purged.unwrap_or_default(), snapshot: covered },
            });
        }
        let (current, state) = match found {
            Some((meta, state, path)) => (Some((meta.clone(), path)), Some((meta, state))),
            None => (None, None),
        };
        let current = Mutex::new(Current::Open(current));
        Ok((Self { dir, current, _lock: lock }, state))
    }

    /// Writes a snapshot and makes it the current one. The one before it is kept, older ones go.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path. The current snapshot is then what it was.
    pub(super) fn save(&self, meta: &SnapshotMeta, body: &[u8]) -> io::Result<()> {
        let mut guard = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Current::Open(current) = &mut *guard else {
            return Err(closed());
        };
        // Also one that was made while a newer one was installed: it is of no use any more.
        if current.as_ref().is_some_and(|(known, _)| known.last_log_id >= meta.last_log_id) {
            return Ok(());
        }
        let (entries, term) = meta
            .last_log_id
            .as_ref()
            .map_or((0, 0), |id| (id.index() + 1, id.committed_leader_id().term));
        let path = self.dir.join(file_name(entries, term));
        let (head, meta_bytes) = encode_head(meta, body)?;
        directory::write_file(&path, &[&head, &meta_bytes, body]).map_err(at(&path))?;
        let written = fs::read(&path).map_err(at(&path))?;
        decode(&written).map_err(io::Error::other).map_err(at(&path))?;
        let before = current.replace((meta.clone(), path.clone())).map(|(_, before)| before);
        self.remove_all_but(&path, before.as_deref());
        Ok(())
    }

    /// The current snapshot, read and verified. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path.
    pub(super) fn load(&self) -> io::Result<Option<Loaded>> {
        let guard = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Current::Open(current) = &*guard else {
            return Err(closed());
        };
        let Some((_, path)) = current else {
            return Ok(None);
        };
        let mut bytes = fs::read(path).map_err(at(path))?;
        let (meta, body) = decode(&bytes).map_err(io::Error::other).map_err(at(path))?;
        let head = bytes.len() - body.len();
        bytes.drain(..head);
        Ok(Some((meta, bytes)))
    }

    /// Waits for a snapshot that is being written. Later calls fail.
    pub(super) fn close(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Current::Closed;
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

fn newest_first(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snapshot-") && path.extension().is_none() {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| b.cmp(a));
    Ok(paths)
}

pub(super) fn encode_head(
    meta: &SnapshotMeta,
    body: &[u8],
) -> io::Result<([u8; HEAD_BYTES], Vec<u8>)> {
    let meta = types::encode_meta(meta);
    let meta_length = u32::try_from(meta.len()).map_err(io::Error::other)?;
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[24..28].copy_from_slice(&FORMAT.to_be_bytes());
    head[28..32].copy_from_slice(&meta_length.to_be_bytes());
    head[32..40].copy_from_slice(&(body.len() as u64).to_be_bytes());
    let digest = digest(&[&head[24..], &meta, body]);
    head[8..24].copy_from_slice(&digest);
    Ok((head, meta))
}

pub(super) fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.digest128().to_be_bytes()
}

pub(super) fn decode(bytes: &[u8]) -> Result<(SnapshotMeta, &[u8]), RestoreError> {
    let wrong = |detail: &str| RestoreError::Damaged(Damaged(detail.into()));
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(wrong("it is shorter than its head"));
    };
    if &head[..8] != MAGIC {
        return Err(wrong("it doesn't begin as a snapshot does"));
    }
    if head[8..24] != digest(&[&head[24..], rest]) {
        return Err(wrong("its digest doesn't fit"));
    }
    let format = u32::from_be_bytes([head[24], head[25], head[26], head[27]]);
    if format > FORMAT {
        return Err(RestoreError::TooNew(FormatTooNew {
            found: format!("snapshot format {format}"),
            known: format!("snapshot format {FORMAT}"),
        }));
    }
    let meta_length = u32::from_be_bytes([head[28], head[29], head[30], head[31]]) as usize;
    let Some((meta, body)) = rest.split_at_checked(meta_length) else {
        return Err(wrong("its head is longer than the file"));
    };
    Ok((types::decode_meta(meta)?, body))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the snapshots are closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let (mut head, meta) = encode_head(&SnapshotMeta::default(), b"body").expect("encoded");
        let file = |head: &[u8]| [head, &meta, b"body"].concat();
        assert!(matches!(decode(&file(&head)), Ok((_, b"body"))));

        head[27] = 2;
        assert!(matches!(decode(&file(&head)), Err(RestoreError::Damaged(_))));
        let digest = digest(&[&head[24..], &meta, b"body"]);
        head[8..24].copy_from_slice(&digest);
        match decode(&file(&head)) {
            Err(RestoreError::TooNew(too_new)) => {
                assert_eq!(too_new.found, "snapshot format 2");
                assert_eq!(too_new.known, "snapshot format 1");
            }
            other => panic!("{other:?}"),
        }
    }
}
