//! What a disk does that fails: each error is the system's own, made where the system would.

use crate::lock::locked;
use crate::store::StoreError;
use std::collections::HashSet;
use std::io;
use std::sync::Mutex;

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFault {
    /// Rows can't be written: EIO.
    Rows,
    /// Syncs fail: EIO. After the first one nothing counts as durable in this process.
    Syncs,
    /// Copies can't be dropped: EIO.
    Drops,
    /// Nothing can be written, floors neither: ENOSPC.
    Full,
    /// There is room for floors, and none for rows: ENOSPC.
    NoRoom,
}

/// Which of them are on. Of a whole node.
#[derive(Debug, Default)]
pub struct DiskFaults {
    on: Mutex<HashSet<DiskFault>>,
    room: Mutex<StatedRoom>,
}

/// What is said of the room on the disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatedRoom {
    /// There is no more than so many bytes; `None`: as much as there is.
    pub bytes: Option<u64>,
    /// The leader is not told.
    pub is_untold: bool,
}

impl DiskFaults {
    /// Turns one on or off.
    pub fn set(&self, fault: DiskFault, is_on: bool) {
        let mut on = locked(&self.on);
        match is_on {
            true => on.insert(fault),
            false => on.remove(&fault),
        };
    }

    /// There is so much room from now on.
    pub fn set_room(&self, stated: StatedRoom) {
        *locked(&self.room) = stated;
    }

    /// What is said of the room.
    pub(crate) fn room(&self) -> StatedRoom {
        *locked(&self.room)
    }

    /// What the disk says to something that a fault is of.
    pub(crate) fn check(&self, fault: DiskFault, tried: &str) -> Result<(), StoreError> {
        let on = locked(&self.on);
        let is_writing = fault != DiskFault::Drops;
        let has_no_room = on.contains(&DiskFault::NoRoom) && fault == DiskFault::Rows;
        let error = match (on.contains(&fault), on.contains(&DiskFault::Full) || has_no_room) {
            (_, true) if is_writing => rustix::io::Errno::NOSPC,
            (true, _) => rustix::io::Errno::IO,
            (false, _) => return Ok(()),
        };
        Err(StoreError::io(tried, &io::Error::from(error)))
    }
}
