//! Tells a torn tail from damage, before the log is opened.
//!
//! `raft-log` cuts off a last record that ends too early, and drops a last file that doesn't begin
//! with a whole record. A flipped bit can make a whole record look like that. Here nothing is
//! changed; a log is refused if what would be cut off holds anything whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use raft_log::chunked_wal::{ChunkedWal, Config};
use raft_log::codeq::Decode as _;
use raft_log::{ChunkId, RaftLogRecord, RaftWalTypes};

use super::super::error::OpenError;
use super::record::Records;

type Wal = ChunkedWal<RaftWalTypes<Records>>;

/// One file of the log, as far as it can be read.
struct Chunk {
    id: ChunkId,
    /// Bytes from its beginning that hold whole records.
    whole: u64,
    /// What is wrong after them.
    error: Option<io::Error>,
}

/// Reads the whole log and changes nothing. Answers whether there is anything in it.
///
/// # Errors
///
/// [`OpenError::LogDamaged`] with file and offset if anything but a torn tail can't be read.
pub(super) fn verify(config: &Config, dir: &Path) -> Result<bool, OpenError> {
    let mut chunks = read_chunks(config, dir)?;
    let holds_anything = chunks.iter().any(|chunk| chunk.whole > 0);
    // The successor of a file is created before the file is synced for the last time, so the tail
    // may be torn behind a successor that holds nothing yet.
    while let Some(chunk) = chunks.pop() {
        let Some(error) = &chunk.error else {
            let nothing = chunk.whole == 0;
            if nothing {
                continue;
            }
            break;
        };
        let path = PathBuf::from(config.chunk_path(chunk.id));
        let file = fs::read(&path).map_err(OpenError::io("read", &path))?;
        let rest = usize::try_from(chunk.whole).ok().and_then(|whole| file.get(whole..));
        if !rest.is_some_and(is_torn) {
            return Err(damaged(path, chunk.whole, error));
        }
        if chunk.whole > 0 {
            break;
        }
    }
    for chunk in &chunks {
        if let Some(error) = &chunk.error {
            let path = PathBuf::from(config.chunk_path(chunk.id));
            return Err(damaged(path, chunk.whole, error));
        }
    }
    Ok(holds_anything)
}

fn damaged(path: PathBuf, offset: u64, error: &io::Error) -> OpenError {
    OpenError::LogDamaged { path, detail: format!("the record at byte {offset}: {error}") }
}

fn read_chunks(config: &Config, dir: &Path) -> Result<Vec<Chunk>, OpenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::AlreadyRunning { path: dir.to_owned() },
        _ => OpenError::Io { doing: "read the log in", path: dir.to_owned(), source },
    };
    let lock = Wal::acquire_lock(config).map_err(failed)?;
    let mut chunks: Vec<Chunk> = Wal::load_chunk_ids(config, &lock)
        .map_err(failed)?
        .into_iter()
        .map(|id| Chunk { id, whole: 0, error: None })
        .collect();
    Wal::dump_records(config, &lock, |id, _, record| {
        if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.id == id) {
            match record {
                Ok((segment, _)) => {
                    use raft_log::codeq::OffsetSize as _;
                    chunk.whole = segment.end().0;
                }
                Err(error) => chunk.error = Some(error),
            }
        }
        Ok(())
    })
    .map_err(failed)?;
    Ok(chunks)
}

/// Whether `rest`, which begins with a record that can't be read, is what a write that was cut
/// short leaves: the beginning of one record and nothing else, or zeros that were never written.
fn is_torn(rest: &[u8]) -> bool {
    if rest.iter().all(|byte| *byte == 0) {
        return true;
    }
    let cut_short = matches!(
        RaftLogRecord::<Records>::decode(rest),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof
    );
    cut_short && !whole_under_another_type(rest) && !(1..rest.len()).any(|at| is_whole(&rest[at..]))
}

/// Record types are numbers of four bytes, 0 to 5; nothing else can begin a record.
fn is_whole(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, 0..=5, ..]) && RaftLogRecord::<Records>::decode(bytes).is_ok()
}

/// Whether a damaged type is all that makes the record look cut short.
fn whole_under_another_type(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    (0..=5).any(|kind| {
        if let Some(first) = bytes.get_mut(..4) {
            first.copy_from_slice(&u32::to_be_bytes(kind));
        }
        is_whole(&bytes)
    })
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use raft_log::RaftLogAction;
    use raft_log::codeq::Encode as _;

    use super::super::super::types::Entry;
    use super::super::record::{HEAD_BYTES, NORMAL, PayloadRecord, head};
    use super::*;

    fn encoded(action: RaftLogAction<Records>) -> Vec<u8> {
        let mut bytes = Vec::new();
        action.encode(&mut bytes).expect("memory");
        bytes
    }

    fn append(index: u64) -> Vec<u8> {
        let payload = EntryPayload::Normal(Entry(vec![7; 100].into()));
        encoded(RaftLogAction::Append((1, index), PayloadRecord(payload)))
    }

    #[test]
    fn every_beginning_of_one_record_is_torn() {
        let record = append(1);
        for length in 0..record.len() {
            assert!(is_torn(&record[..length]), "{length} of {}", record.len());
        }
        assert!(!is_torn(&record), "it is whole");
    }

    /// The length goes beyond the end of the file, and its check agrees: only what follows tells.
    #[test]
    fn a_length_that_lies_is_damage_if_a_whole_record_follows() {
        let mut lie = append(1);
        lie[20..20 + HEAD_BYTES].copy_from_slice(&head(NORMAL, 10_000));
        assert!(is_torn(&lie));
        lie.extend(append(2));
        assert!(!is_torn(&lie));
    }

    /// A commit (28 bytes) that calls itself a vote (29 bytes) looks cut short.
    #[test]
    fn a_type_that_lies_is_damage() {
        let mut commit = encoded(RaftLogAction::Commit((1, 1)));
        commit[..4].copy_from_slice(&0_u32.to_be_bytes());
        assert!(!is_torn(&commit));
    }
}
