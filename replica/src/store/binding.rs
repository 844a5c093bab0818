//! Which row store a directory has. Its id is drawn with it, and kept in both, so that one that
//! has vanished is not taken for one that is empty: its copies would be served as if nothing had
//! ever been written to them. INV-6.
//!
//! The row store has the id first, durably, then the identity. So a crash leaves at worst a row
//! store with an id, and nothing else, beside an identity without it: that is made good. Not here:
//! single copies that are gone (`tablets`).

use super::directory::Directory;
use super::error::StoreError;
use super::identity::Identity;
use super::layout;
use super::manifest::{Contents, Manifest};
use crate::limits::{LOCK_LOOK_INTERVAL, LOCK_PATIENCE};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;
use uuid::Uuid;

/// Refuses a directory whose row store is gone, before another is made in its place.
pub(super) fn check_is_there(directory: &Directory, path: &Path) -> Result<(), StoreError> {
    let identity = directory.identity();
    if path.join("db").exists() {
        return Ok(());
    }
    match identity.rows {
        Some(noted) => Err(mismatch(&format!("{noted} is gone"))),
        None => refuse_admitted(&identity),
    }
}

/// What the row store must have, and the last round of that: nothing, if it was never made.
pub(super) fn manifest(directory: &Directory) -> Result<(Contents, u64), StoreError> {
    match (Manifest::load(directory.path())?, directory.identity().rows) {
        (Some(found), _) => Ok(found),
        (None, None) => Ok((Contents::default(), 0)),
        (None, Some(_)) => Err(mismatch("its manifest is gone")),
    }
}

/// The id of the row store: that which the directory had, or a new one where it had none. Not
/// durable before the next sync, and to be noted only after it.
pub(super) fn check_id(directory: &Directory, db: &sled::Db) -> Result<Uuid, StoreError> {
    let identity = directory.identity();
    let floors = db.open_tree(layout::FLOORS)?;
    let found = floors.get(layout::STORE_ID)?;
    let found = found.map(|id| Uuid::from_slice(&id)).transpose();
    let found = found.map_err(|error| StoreError::damaged(format!("id: {error}")))?;
    match (identity.rows, found) {
        (Some(noted), Some(found)) if noted == found => Ok(found),
        (Some(noted), Some(found)) => Err(mismatch(&format!("{found} in place of {noted}"))),
        (Some(noted), None) => Err(mismatch(&format!("one without an id in place of {noted}"))),
        (None, found) => {
            refuse_admitted(&identity)?;
            refuse_used(db, &floors)?;
            if let Some(found) = found {
                return Ok(found);
            }
            let drawn = Uuid::new_v4();
            floors.insert(layout::STORE_ID, drawn.as_bytes())?;
            Ok(drawn)
        }
    }
}

/// An admission comes after the first opening of the row store.
fn refuse_admitted(identity: &Identity) -> Result<(), StoreError> {
    match identity.node {
        Some((node, _)) => Err(mismatch(&format!("node {node} noted none"))),
        None => Ok(()),
    }
}

/// What a directory holds that was never admitted is another one's.
fn refuse_used(db: &sled::Db, floors: &sled::Tree) -> Result<(), StoreError> {
    let mut has_copies = db.tree_names().into_iter().map(|name| layout::parse_tree_name(&name));
    let mut floors = floors.iter().keys();
    let is_floor = |key: Result<sled::IVec, _>| key.map_or(true, |key| key != layout::STORE_ID);
    if has_copies.any(|copy| copy.is_some()) || floors.any(is_floor) {
        return Err(mismatch("it holds copies or floors, and the directory is new"));
    }
    Ok(())
}

fn mismatch(what: &str) -> StoreError {
    StoreError::damaged(format!("the row store is not the one that this directory had: {what}"))
}

/// Waits until an earlier row store of this process is gone for good: sled gives its own lock back
/// a moment after its last handle. Nobody else can have it: who would must hold the directory.
pub(super) fn wait_until_free(rows: &Path) -> Result<(), StoreError> {
    let file = match File::open(rows.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("open the row store", &error)),
    };
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        // Given back at once, with the file.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_LOOK_INTERVAL);
            }
            Err(error) => return Err(StoreError::io("lock the row store", &error.into())),
        }
    }
}
