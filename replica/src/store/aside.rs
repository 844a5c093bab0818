//! Copies that were set aside: on the disk, and nobody's. They are no copies of this node to
//! anybody who asks the store what it has, until somebody decides what becomes of them.
//!
//! The tree `aside` lists them: tablet, era and counter of the copy, big-endian. The copies' own
//! trees stay as they are.

use super::error::StoreError;
use super::layout;
use super::manifest::CopyNote;
use super::sled_store::SledStore;
use crate::lock::locked;
use migrations::id::TabletId;
use migrations::version::CopyId;
use std::collections::BTreeSet;
use uuid::Uuid;

const ASIDE: &str = "aside";
/// What was dropped, by the request for it: its id, which is about in order of time; values as the
/// keys of `aside`.
const DROPPED: &str = "aside-dropped";
/// As many are remembered, the newest, so that a request that is made again is known.
const DROPPED_MAX: usize = 1_024;

/// What became of a request to drop a copy that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It is gone, now or since the same request was made before.
    Done,
    /// No such copy is set aside.
    NotThere,
    /// The same request has dropped another copy: it does nothing more.
    AnotherBefore,
}

pub(super) type Asides = BTreeSet<(TabletId, CopyId)>;

fn key(tablet: TabletId, copy: CopyId) -> Vec<u8> {
    [&tablet.as_u64().to_be_bytes()[..], &layout::encode_version(copy.0)].concat()
}

/// All that are listed. In a directory that was brought over, until its first full state is worked
/// off, none is: what an earlier cluster had set aside may be what the new one gives. A crash
/// meanwhile has it done again.
pub(super) fn load(db: &sled::Db, is_adopted: bool) -> Result<Asides, StoreError> {
    let mut found = Asides::new();
    let listed = db.open_tree(ASIDE)?;
    if is_adopted {
        listed.clear()?;
    }
    for name in listed.iter().keys() {
        let name = name?;
        let damaged = || StoreError::damaged("aside: a key that is no copy");
        let (tablet, copy) = name.split_first_chunk::<8>().ok_or_else(damaged)?;
        let tablet = TabletId::from_u64(u64::from_be_bytes(*tablet)).ok_or_else(damaged)?;
        found.insert((tablet, CopyId(layout::decode_version(copy)?)));
    }
    Ok(found)
}

impl SledStore {
    pub(super) fn set_copy_aside(&self, tablet: TabletId, copy: CopyId) -> Result<(), StoreError> {
        let entry = self.entry(tablet);
        let mut entry = locked(&entry);
        let found = entry.copies.get(&copy).filter(|_| entry.given != Some(copy));
        let Some(found) = found else { return Ok(()) };
        let changes = found.tally.changes;
        // Before it is out of sight: what a crash leaves listed twice is set aside again.
        self.db.open_tree(ASIDE)?.insert(key(tablet, copy), &[])?;
        self.told.copy(tablet, copy, CopyNote::Aside(changes));
        entry.copies.remove(&copy);
        locked(&self.aside).insert((tablet, copy));
        Ok(())
    }

    pub(super) fn drop_copy_aside(
        &self,
        tablet: TabletId,
        copy: CopyId,
        request: Uuid,
    ) -> Result<Dropped, StoreError> {
        let dropped = self.db.open_tree(DROPPED)?;
        let before = dropped.get(request.as_bytes())?;
        if before.as_ref().is_some_and(|before| **before != *key(tablet, copy)) {
            return Ok(Dropped::AnotherBefore);
        }
        if !locked(&self.aside).contains(&(tablet, copy)) {
            return Ok(if before.is_some() { Dropped::Done } else { Dropped::NotThere });
        }
        // Before it is gone: what is listed as set aside is dropped again.
        dropped.insert(request.as_bytes(), key(tablet, copy))?;
        if dropped.len() > DROPPED_MAX {
            dropped.pop_min()?;
        }
        // The tree first: one that is listed and gone is nothing, one that is there and not
        // listed would be a copy again.
        self.db.drop_tree(layout::tree_name(tablet, copy))?;
        self.db.open_tree(ASIDE)?.remove(key(tablet, copy))?;
        self.told.copy(tablet, copy, CopyNote::Gone);
        locked(&self.aside).remove(&(tablet, copy));
        Ok(Dropped::Done)
    }
}
