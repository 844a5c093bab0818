//! A group of one that begins with a state that was saved: a directory made whole, or not at all.
//!
//! It is made where it is to be, which may be the mount point of a volume. The format file comes
//! last: without it nobody opens what is there (see `directory`). What is in it is what a group of
//! one has after its first entry, with a snapshot in that entry's place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::directory::{self, Format, Lock};
use super::error::OpenError;
use super::identity;
use super::log::LogStore;
use super::snapshot::{self, Writing};
use super::types::{self, Member, Membership, SnapshotMeta, StoredMembership};

/// What a new file system has at its root.
const OF_A_VOLUME: &str = "lost+found";

/// Makes a data directory for the one member of a new cluster, whose state machine begins with what
/// `body` writes. Answers its Raft id. Blocks.
///
/// # Errors
///
/// [`OpenError::NotEmpty`] if there is anything in `dir`; [`OpenError::AlreadyRunning`];
/// [`OpenError::Io`]. Nothing is left of it then.
pub fn begin_restored(
    dir: &Path,
    member: &Member,
    cluster: Uuid,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u64, OpenError> {
    let not_empty = || OpenError::NotEmpty { path: dir.to_owned() };
    let was_there = match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.any(|entry| entry.map_or(true, |entry| entry.file_name() != OF_A_VOLUME)) {
                return Err(not_empty());
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(OpenError::io("read", dir)(source)),
    };
    let (lock, format) = directory::open(dir)?;
    if format.is_some() {
        // Another restore's, of this moment.
        return Err(not_empty());
    }
    let lock = Arc::new(lock);
    let made = make(dir, Arc::clone(&lock), member, cluster, body);
    if made.is_err() {
        // Best effort; without a format file it is nobody's.
        for file in ["format", "format.aside", "lock"] {
            let _left_behind = fs::remove_file(dir.join(file));
        }
        for made in ["snapshots", "log"] {
            let _left_behind = fs::remove_dir_all(dir.join(made));
        }
        if !was_there {
            let _left_behind = fs::remove_dir(dir);
        }
    }
    lock.release();
    made
}

fn make(
    dir: &Path,
    lock: Arc<Lock>,
    member: &Member,
    cluster: Uuid,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<u64, OpenError> {
    let log = dir.join("log");
    LogStore::open(&log, lock, true)?.close().map_err(OpenError::io("close", &log))?;
    let raft_id = identity::draw();
    let snapshots = dir.join("snapshots");
    directory::create_dir(&snapshots)?;
    let path = snapshots.join(snapshot::file_name(1, 0));
    let meta = types::encode_meta(&first(raft_id, member)?);
    Writing::begin(path.with_extension("aside"), meta)
        .and_then(|writing| snapshot::write(writing, body)?.place(&path))
        .map_err(OpenError::io("write", &path))?;
    let format = Format {
        raft_id,
        name: member.name.clone(),
        cluster: Some(cluster),
        minted: Some(cluster),
        member: true,
    };
    directory::write_format(dir, &format)?;
    Ok(raft_id)
}

/// What the first entry of a group of one covers: its membership.
fn first(raft_id: u64, member: &Member) -> Result<SnapshotMeta, OpenError> {
    let voters = vec![BTreeSet::from([raft_id])];
    let members = BTreeMap::from([(raft_id, member.clone())]);
    let membership = Membership::new(voters, members);
    let membership = membership.map_err(|error| OpenError::Options(error.to_string()))?;
    let at = types::log_id(0, 0);
    Ok(SnapshotMeta {
        last_log_id: Some(at),
        last_membership: StoredMembership::new(Some(at), membership),
    })
}
