//! One snapshot file: how it is written, and what is known of one that has been verified. No more
//! than a piece of it is in memory at any time.
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
//!
//! Not here: which files there are (`snapshot.rs`).

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::super::directory;
use super::super::error::{Damaged, FormatTooNew, RestoreError};
use super::super::types::{self, SnapshotMeta};

const MAGIC: &[u8; 8] = b"plsd-g0\n";
const FORMAT: u32 = 1;
pub(in super::super) const HEAD_BYTES: usize = 48;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// The name of a file aside: it goes when this does, unless it was renamed.
#[derive(Debug)]
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // If it stays, it goes when the directory is opened.
        let _renamed_or_left = fs::remove_file(&self.0);
    }
}

/// A snapshot that is being written aside. Its head comes last: until then the file is none.
pub(in super::super) struct Writing {
    // Closed before its name goes.
    file: File,
    aside: Aside,
    meta: Vec<u8>,
    /// Of meta and body, as far as it is written.
    content: Xxh3,
    length: u64,
}

impl Writing {
    /// Begins a snapshot that covers `meta`, in its form. `path` is nobody else's. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path.
    pub(in super::super) fn begin(path: PathBuf, meta: Vec<u8>) -> io::Result<Writing> {
        let opened = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let mut file = opened.map_err(at(&path))?;
        let aside = Aside(path);
        let written = file.write_all(&[0; HEAD_BYTES]).and_then(|()| file.write_all(&meta));
        written.map_err(at(&aside.0))?;
        let mut content = Xxh3::new();
        content.update(&meta);
        Ok(Writing { file, aside, meta, content, length: 0 })
    }

    /// Bytes of the body so far.
    pub(in super::super) fn length(&self) -> u64 {
        self.length
    }

    /// XXH3-128 of meta and body so far.
    pub(in super::super) fn content(&self) -> [u8; 16] {
        self.content.digest128().to_be_bytes()
    }

    /// Completes the file: its head is written, all of it synced, read back and verified. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path. The file is gone then.
    pub(in super::super) fn seal(self) -> io::Result<SnapshotFile> {
        let written = self.content();
        let Writing { mut file, aside, meta, content: _, length } = self;
        complete(&mut file, &meta, length, written).map_err(at(&aside.0))?;
        let verified = SnapshotFile::verify(file).map_err(io::Error::other);
        let whole = verified.map_err(at(&aside.0))?;
        Ok(SnapshotFile { aside: Mutex::new(Some(aside)), ..whole })
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes).map_err(|error| at(&self.aside.0)(error))?;
        self.content.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the head of a file whose meta and body have been written, and syncs all of it.
fn complete(file: &mut File, meta: &[u8], length: u64, written: [u8; 16]) -> io::Result<()> {
    let mut head = head(meta, length)?;
    let found = Digests::read(file, &head)?;
    if found.content != written {
        return Err(io::Error::other("what is read is not what was written"));
    }
    head[8..24].copy_from_slice(&found.file);
    file.write_all_at(&head, 0)?;
    file.sync_all()
}

/// A head, but for its digest.
fn head(meta: &[u8], length: u64) -> io::Result<[u8; HEAD_BYTES]> {
    let meta_length = u32::try_from(meta.len()).map_err(io::Error::other)?;
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[24..28].copy_from_slice(&FORMAT.to_be_bytes());
    head[28..32].copy_from_slice(&meta_length.to_be_bytes());
    head[32..40].copy_from_slice(&length.to_be_bytes());
    Ok(head)
}

/// What a file comes to under a head.
struct Digests {
    /// As its head has it.
    file: [u8; 16],
    /// Of meta and body.
    content: [u8; 16],
    /// Bytes behind the head.
    length: u64,
}

impl Digests {
    fn read(file: &mut File, head: &[u8; HEAD_BYTES]) -> io::Result<Digests> {
        let (mut whole, mut content, mut length) = (Xxh3::new(), Xxh3::new(), 0);
        whole.update(&head[24..]);
        file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
        let mut rest = BufReader::with_capacity(PIECE_BYTES, file);
        loop {
            let piece = rest.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            whole.update(piece);
            content.update(piece);
            let taken = piece.len();
            length += taken as u64;
            rest.consume(taken);
        }
        let [file, content] = [whole, content].map(|sum| sum.digest128().to_be_bytes());
        Ok(Digests { file, content, length })
    }
}

/// A snapshot file that has been verified. It can be read as long as this is held, though other
/// ones have come in its place.
#[derive(Debug)]
pub struct SnapshotFile {
    // Closed before its name goes.
    file: File,
    /// None once it has a name of its own.
    aside: Mutex<Option<Aside>>,
    meta: SnapshotMeta,
    meta_bytes: Vec<u8>,
    digest: [u8; 16],
    content: [u8; 16],
    bytes: u64,
}

impl SnapshotFile {
    /// Reads and verifies all of a file. Blocks.
    ///
    /// # Errors
    ///
    /// Every [`RestoreError`].
    pub fn verify(mut file: File) -> Result<SnapshotFile, RestoreError> {
        let wrong = |detail: &str| RestoreError::Damaged(Damaged(detail.into()));
        let mut head = [0; HEAD_BYTES];
        file.seek(SeekFrom::Start(0))?;
        match file.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(wrong("it is shorter than its head"));
            }
            read => read?,
        }
        if &head[..8] != MAGIC {
            return Err(wrong("it doesn't begin as a snapshot does"));
        }
        let found = Digests::read(&mut file, &head)?;
        if head[8..24] != found.file {
            return Err(wrong("its digest doesn't fit"));
        }
        let format = u32::from_be_bytes([head[24], head[25], head[26], head[27]]);
        if format > FORMAT {
            return Err(RestoreError::TooNew(FormatTooNew {
                found: format!("snapshot format {format}"),
                known: format!("snapshot format {FORMAT}"),
            }));
        }
        let meta_length = u32::from_be_bytes([head[28], head[29], head[30], head[31]]);
        if u64::from(meta_length) > found.length {
            return Err(wrong("its head is longer than the file"));
        }
        let mut meta_bytes = vec![0; meta_length as usize];
        file.read_exact_at(&mut meta_bytes, HEAD_BYTES as u64)?;
        Ok(SnapshotFile {
            file,
            aside: Mutex::default(),
            meta: types::decode_meta(&meta_bytes)?,
            meta_bytes,
            digest: found.file,
            content: found.content,
            bytes: HEAD_BYTES as u64 + found.length,
        })
    }

    /// Whether it is still aside.
    pub(super) fn is_aside(&self) -> bool {
        self.aside().is_some()
    }

    /// Gives a file that is aside its name, durably; one that has a name keeps it. Blocks.
    ///
    /// # Errors
    ///
    /// What failed, with the path.
    pub(in super::super) fn place(&self, path: &Path) -> io::Result<()> {
        let mut aside = self.aside();
        if let Some(Aside(aside)) = &*aside {
            fs::rename(aside, path).map_err(at(path))?;
        }
        *aside = None;
        directory::sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(at(path))
    }

    fn aside(&self) -> MutexGuard<'_, Option<Aside>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it covers.
    pub(in super::super) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The same in its form.
    pub(in super::super) fn meta_bytes(&self) -> &[u8] {
        &self.meta_bytes
    }

    /// XXH3-128 of meta and body.
    pub(in super::super) fn content(&self) -> [u8; 16] {
        self.content
    }

    /// XXH3-128 of all that follows it in the file.
    pub fn digest(&self) -> u128 {
        u128::from_be_bytes(self.digest)
    }

    /// The file's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where in the file the state machine's bytes begin.
    pub(in super::super) fn body_at(&self) -> u64 {
        (HEAD_BYTES + self.meta_bytes.len()) as u64
    }

    /// The last entry that it covers: term and index.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.meta.last_log_id.map(|id| (id.committed_leader_id().term, id.index()))
    }

    /// The names of the voters of that moment.
    pub fn voters(&self) -> Vec<String> {
        let membership = self.meta.last_membership.membership();
        let is_voter = |id: &u64| membership.voter_ids().any(|voter| voter == *id);
        let voters = membership.nodes().filter(|(id, _)| is_voter(id));
        voters.map(|(_, member)| member.name.clone()).collect()
    }

    /// The state machine's bytes, from their beginning. Whoever reads them blocks.
    pub fn body(&self) -> impl BufRead + '_ {
        BufReader::with_capacity(PIECE_BYTES, Body { file: self, at: self.body_at() })
    }

    /// The bytes from a place in the file on: `most`, or as many as there are. Blocks.
    ///
    /// # Errors
    ///
    /// The file can't be read, or has become shorter.
    pub fn piece(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(most)];
        self.file.read_exact_at(&mut piece, at)?;
        Ok(piece.into())
    }
}

/// Reads a file from a place on. Others read it as well: the file's own place is left alone.
struct Body<'a> {
    file: &'a SnapshotFile,
    at: u64,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.file.bytes - self.at).unwrap_or(usize::MAX);
        let most = into.len().min(left);
        let read = self.file.file.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// An error with the path in it. Its kind stays: no room is told from other trouble.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(bytes: &[u8]) -> Result<SnapshotFile, RestoreError> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        SnapshotFile::verify(file)
    }

    /// The form on disk is for ever.
    #[test]
    fn a_file_is_what_it_was_and_a_newer_format_is_told_from_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("one");
        let meta = types::encode_meta(&SnapshotMeta::default());
        let mut writing = Writing::begin(path.clone(), meta.clone()).expect("begun");
        writing.write_all(b"body").expect("written");
        let sealed = writing.seal().expect("sealed");
        let mut bytes = fs::read(&path).expect("read");
        assert_eq!(bytes[..8], *b"plsd-g0\n");
        let numbers = [&[0, 0, 0, 1, 0, 0, 0, meta.len() as u8][..], &[0; 7], &[4], &[0; 8]];
        assert_eq!(bytes[24..], [&numbers.concat()[..], &meta, b"body"].concat());
        let digest = xxhash_rust::xxh3::xxh3_128(&bytes[24..]);
        assert_eq!(bytes[8..24], digest.to_be_bytes());
        assert_eq!(sealed.digest(), digest);
        drop(sealed);
        assert!(!path.exists(), "nobody has given it a name");

        let mut body = String::new();
        let read = verified(&bytes).expect("whole").body().read_to_string(&mut body);
        assert_eq!((read.expect("read"), body.as_str()), (4, "body"));
        bytes[27] = 2;
        assert!(matches!(verified(&bytes), Err(RestoreError::Damaged(_))));
        let digest = xxhash_rust::xxh3::xxh3_128(&bytes[24..]);
        bytes[8..24].copy_from_slice(&digest.to_be_bytes());
        match verified(&bytes) {
            Err(RestoreError::TooNew(too_new)) => {
                assert_eq!(too_new.found, "snapshot format 2");
                assert_eq!(too_new.known, "snapshot format 1");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the disk holds is what counts: a byte that comes back as another one is no snapshot.
    #[test]
    fn what_is_not_read_as_it_was_written_is_no_snapshot() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("one");
        let mut writing = Writing::begin(path.clone(), Vec::new()).expect("begun");
        writing.write_all(b"body").expect("written");
        writing.file.write_all_at(b"B", HEAD_BYTES as u64).expect("written");
        let refused = writing.seal().expect_err("another byte");
        assert!(refused.to_string().contains("not what was written"), "{refused}");
        assert!(!path.exists());
    }
}
