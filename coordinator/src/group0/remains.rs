//! What is left in a member's directory, read while nobody runs on it: the state after every entry
//! that its log has. Whether those at the end were committed nobody can say any more; one that
//! was must not be missing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::StateMachine;
use super::apply::State;
use super::directory;
use super::error::{FatalReason, OpenError};
use super::log::LogStore;
use super::snapshot::{SnapshotFile, Snapshots};

/// What one directory holds.
#[derive(Debug)]
pub struct Remains {
    /// The member's name.
    pub name: String,
    /// The cluster that it belongs to.
    pub cluster: Option<Uuid>,
    /// Its Raft id.
    pub raft_id: u64,
    /// Term and index of its last entry. Of several members, whoever has the greatest has all that
    /// was committed, if any of them has.
    pub last: Option<(u64, u64)>,
    /// Raft ids of the voters; of both sets while they change.
    pub voters: Vec<u64>,
    /// All of it as a snapshot file, which goes with this.
    pub file: SnapshotFile,
}

/// Reads what is left in the directory of a member that doesn't run. Blocks. Changes no more in it
/// than a start would.
///
/// # Errors
///
/// Every [`OpenError`] of a start; [`OpenError::Io`] if it is no member's directory.
pub fn read_remains<S: StateMachine>(dir: &Path, empty: &S) -> Result<Remains, OpenError> {
    // Before anything is made in a directory that was named by mistake.
    std::fs::metadata(dir.join("format")).map_err(OpenError::io("find a coordinator in", dir))?;
    let (lock, format) = directory::open(dir)?;
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let format = format.ok_or_else(missing);
    let format = format.map_err(OpenError::io("find a coordinator in", dir))?;
    let lock = Arc::new(lock);
    let log = LogStore::open(&dir.join("log"), Arc::clone(&lock), false)?;
    let (snapshots, state) = restored(dir, &log, lock, empty)?;
    let (meta, machine) = state.image();
    let file = snapshots.write(&meta, |out| machine.snapshot(out));
    let file = file.map_err(OpenError::io("write a snapshot in", dir))?;
    log.close().map_err(OpenError::io("close the log in", dir))?;
    Ok(Remains {
        name: format.name,
        cluster: format.cluster,
        raft_id: format.raft_id,
        last: meta.last_log_id.map(|id| (id.committed_leader_id().term, id.index())),
        voters: meta.last_membership.voter_ids().collect(),
        file,
    })
}

/// The newest snapshot, and every entry after it.
fn restored<S: StateMachine>(
    dir: &Path,
    log: &LogStore,
    lock: Arc<directory::Lock>,
    empty: &S,
) -> Result<(Snapshots, State<S>), OpenError> {
    let (snapshots, found) = Snapshots::open(dir.join("snapshots"), lock, log.purged(), |body| {
        let mut machine = empty.clone();
        machine.restore(body)?;
        Ok(machine)
    })?;
    let (meta, machine) = match found {
        Some(found) => found,
        None => (Default::default(), empty.clone()),
    };
    let next = meta.last_log_id.as_ref().map_or(0, |id| id.index() + 1);
    let state = State::new(machine, meta, u64::MAX);
    let entries = log.since(next).map_err(OpenError::io("read the log in", dir))?;
    for entry in entries {
        let applied = state.apply(entry.log_id, entry.payload);
        applied.map_err(|source| match state.fatal().borrow().clone() {
            Some(FatalReason::FormatTooNew(source)) => {
                OpenError::FormatTooNew { path: dir.join("log"), source }
            }
            _ => OpenError::io("apply the log in", dir)(source),
        })?;
    }
    Ok((snapshots, state))
}
