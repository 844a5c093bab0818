//! Damage is refused by name, and never taken for the end of the log.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use tempfile::{TempDir, tempdir};

use super::super::OpenError;
use super::super::directory;
use super::super::log::LogStore;
use super::*;

/// A directory with `count` entries after the first, shut down; its log's only file.
async fn written(count: usize) -> (TempDir, PathBuf) {
    let dir = tempdir().expect("a directory");
    let group0 = leader(options(dir.path())).await;
    propose(&group0, 0..count).await;
    group0.shutdown().await.expect("it stops");
    let file = fs::read_dir(dir.path().join("log"))
        .expect("listed")
        .map(|item| item.expect("listed").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .expect("a file of the log");
    (dir, file)
}

/// Opens only the log, and reads all of it.
async fn read_log(dir: &TempDir) -> Result<Vec<String>, OpenError> {
    let lock = Arc::new(directory::open(dir.path())?.0);
    let mut log = LogStore::open(&dir.path().join("log"), lock, false)?;
    let entries = log.try_get_log_entries(0..u64::MAX).await.expect("it can be read");
    let vote = log.read_vote().await.expect("it can be read");
    let last = log.get_log_state().await.expect("it can be read").last_log_id;
    assert_eq!(last, entries.last().map(|entry| entry.log_id));
    Ok(entries
        .iter()
        .map(|entry| format!("{} {:?}", entry.log_id, entry.payload))
        .chain([format!("{vote:?}")])
        .collect())
}

/// A member whose log is gone has forgotten what it has acknowledged and for whom it has voted: it
/// doesn't come back under its id, though all else of it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_log_is_refused() {
    type Loss = fn(&std::path::Path, &PathBuf);
    let losses: [Loss; 3] = [
        |log, _| fs::remove_dir_all(log).expect("removed"),
        |_, file| fs::remove_file(file).expect("removed"),
        |_, file| fs::write(file, []).expect("emptied"),
    ];
    for lose in losses {
        let (dir, file) = written(3).await;
        lose(&dir.path().join("log"), &file);
        for _ in 0..2 {
            let opened = Group0::open(options(dir.path()), Journal::default()).await.map(drop);
            assert!(matches!(opened, Err(OpenError::LogDamaged { .. })), "{opened:?}");
        }
    }
}

/// Every bit in turn: no flip makes the log shorter or other than it was.
#[tokio::test]
async fn no_flipped_bit_is_taken_for_a_torn_tail() {
    let (dir, file) = written(8).await;
    let bytes = fs::read(&file).expect("read");
    let whole = read_log(&dir).await.expect("undamaged");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).expect("written");
        match read_log(&dir).await {
            Err(OpenError::LogDamaged { .. }) => {}
            Err(other) => panic!("bit {bit}: {other:?}"),
            Ok(read) => assert_eq!(read, whole, "bit {bit} of {} bytes", bytes.len()),
        }
    }
}

/// A damaged record is named with file and offset.
#[tokio::test]
async fn damage_in_the_middle_is_refused() {
    let (dir, file) = written(20).await;
    let mut bytes = fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, &bytes).expect("written");
    let refused = Group0::open(options(dir.path()), Journal::default()).await;
    match refused.err() {
        Some(OpenError::LogDamaged { path, detail }) => {
            assert_eq!(path, file);
            assert!(detail.contains("byte"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&file).expect("read"), bytes, "a refusal changes nothing");
}

/// Wherever a write was cut short, what was whole before it is there.
#[tokio::test]
async fn a_torn_tail_is_cut() {
    let (dir, file) = written(20).await;
    let bytes = fs::read(&file).expect("read");
    let whole = read_log(&dir).await.expect("undamaged");
    let mut lengths = std::collections::BTreeSet::new();
    for length in bytes.len() / 2..bytes.len() {
        fs::write(&file, &bytes[..length]).expect("written");
        for path in fs::read_dir(dir.path().join("log")).expect("listed") {
            let path = path.expect("listed").path();
            if path != file && path.extension().is_some() {
                fs::remove_file(path).expect("removed");
            }
        }
        let read = read_log(&dir).await.unwrap_or_else(|e| panic!("{length} bytes: {e}"));
        let entries = &read[..read.len() - 1];
        assert!(whole.starts_with(entries), "{length} bytes");
        lengths.insert(entries.len());
    }
    assert!(lengths.len() > 5, "the cuts went through several entries: {lengths:?}");
}

/// Zeros at the end are space that was never written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_of_zeros_is_cut() {
    let (dir, file) = written(20).await;
    let mut bytes = fs::read(&file).expect("read");
    bytes.extend([0; 4096]);
    fs::write(&file, &bytes).expect("written");
    let group0 = leader(options(dir.path())).await;
    assert_eq!(journal(&group0), entries(0..20));
    propose(&group0, 20..30).await;
    group0.shutdown().await.expect("it stops");
    let group0 = leader(options(dir.path())).await;
    assert_eq!(journal(&group0), entries(0..30));
    group0.shutdown().await.expect("it stops");
}

/// Two snapshots, 60 entries; `keep` entries stay in the log.
async fn with_snapshots(keep: u64) -> (TempDir, Options, Vec<PathBuf>) {
    let dir = tempdir().expect("a directory");
    let options = Options { snapshot_every: 25, keep, ..options(dir.path()) };
    let group0 = leader(options.clone()).await;
    for upto in [30, 60] {
        propose(&group0, upto - 30..upto).await;
        let least = if upto == 30 { 20 } else { 45 };
        let wait = group0.inner.raft.wait(Some(PATIENCE));
        wait.metrics(|m| m.snapshot.is_some_and(|id| id.index() >= least), "a snapshot")
            .await
            .expect("a snapshot");
        let wait = group0.inner.raft.wait(Some(PATIENCE));
        let purged = least.saturating_sub(keep);
        wait.metrics(|m| purged == 0 || m.purged.is_some_and(|id| id.index() >= purged), "purged")
            .await
            .expect("purged");
    }
    group0.shutdown().await.expect("it stops");
    let mut paths: Vec<_> = fs::read_dir(dir.path().join("snapshots"))
        .expect("listed")
        .map(|item| item.expect("listed").path())
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 2);
    (dir, options, paths)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_falls_back_where_the_log_goes_on_from_the_older() {
    let (dir, options, paths) = with_snapshots(1000).await;
    flip(&paths[1], 100);
    let group0 = leader(options).await;
    assert_eq!(journal(&group0), entries(0..60));
    group0.shutdown().await.expect("it stops");
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_refused_where_the_log_begins_later() {
    let (dir, options, paths) = with_snapshots(2).await;
    for at in [0, 10, 25, 33, 50, 100] {
        flip(&paths[1], at);
        match Group0::open(options.clone(), Journal::default()).await.err() {
            Some(OpenError::SnapshotDamaged { path, .. }) => assert_eq!(path, paths[1]),
            other => panic!("byte {at}: {other:?}"),
        }
        flip(&paths[1], at);
    }
    for path in &paths {
        fs::remove_file(path).expect("removed");
    }
    let refused = Group0::open(options, Journal::default()).await.err();
    assert!(matches!(refused, Some(OpenError::Gap { snapshot: None, .. })), "{refused:?}");
    drop(dir);
}
