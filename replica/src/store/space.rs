//! Room on the disk: rows are refused while there is still enough of it for floors, and a ballast
//! file is given up before that.

use super::error::StoreError;
use crate::limits::{BALLAST_BYTES, FREE_SPACE_INTERVAL, ROOM_BESIDE};
use crate::lock::{Mutex, locked};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Why room was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// There is not so much, beside what others have reserved.
    #[error("{needed} bytes are needed, and there is room for {room}")]
    Short {
        /// What was asked for, with what the store takes beside it.
        needed: u64,
        /// What there is.
        room: u64,
    },
    /// The disk doesn't say.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Room on the disk that is kept for somebody, until this is dropped.
#[derive(Debug)]
#[must_use = "the room is free again when this is dropped"]
pub struct Reservation {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Reservation {
    /// So many bytes of rows have been written: the disk itself counts them from here on.
    pub fn used(&mut self, bytes: u64) {
        let used = on_disk(bytes).min(self.bytes);
        self.bytes -= used;
        self.all.fetch_sub(used, Ordering::AcqRel);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What rows take on the disk: the store's log has free places in it.
fn on_disk(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / ROOM_BESIDE)
}

/// How many bytes of rows go into so much room on the disk.
pub(crate) fn rows_in(room: u64) -> u64 {
    // What is rounded up takes what `on_disk` rounds down.
    room - room.div_ceil(ROOM_BESIDE + 1)
}

/// Watches the room on the disk of one directory.
#[derive(Debug)]
pub(crate) struct Space {
    directory: PathBuf,
    reserve: u64,
    /// What is kept of the rest, for streams that have begun.
    reserved: Arc<AtomicU64>,
    last: Mutex<Option<(Instant, u64)>>,
    #[cfg(feature = "faults")]
    faults: Arc<crate::faults::DiskFaults>,
}

impl Space {
    /// Watches, and lays the ballast down if there is room for it.
    pub(crate) fn watch(directory: &Path, reserve: u64) -> Result<Space, StoreError> {
        let space = Space {
            directory: directory.to_owned(),
            reserve,
            reserved: Arc::default(),
            last: Mutex::default(),
            #[cfg(feature = "faults")]
            faults: Arc::default(),
        };
        if space.free()? > reserve.saturating_add(2 * BALLAST_BYTES)
            && !space.ballast().exists()
            && let Err(error) = space.lay_ballast()
        {
            // Without it floors still have the reserve.
            tracing::warn!(%error, "no ballast");
        }
        Ok(space)
    }

    /// The same disk, with room for what is stated.
    #[cfg(feature = "faults")]
    pub(crate) fn with(mut self, faults: &Arc<crate::faults::DiskFaults>) -> Space {
        self.faults = Arc::clone(faults);
        self
    }

    /// Bytes that rows may still take on the disk.
    pub(crate) fn room_for_rows(&self) -> Result<u64, StoreError> {
        let mut last = locked(&self.last);
        let free = match *last {
            Some((at, free)) if at.elapsed() < FREE_SPACE_INTERVAL => free,
            _ => {
                let free = self.free()?;
                *last = Some((Instant::now(), free));
                free
            }
        };
        if free < self.reserve {
            self.give_up_ballast();
        }
        let room = free.saturating_sub(self.reserve);
        #[cfg(feature = "faults")]
        let room = self.faults.room().bytes.map_or(room, |stated| room.min(stated));
        Ok(room)
    }

    /// Keeps room for so many bytes of rows.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, NoRoom> {
        let (needed, free) = (on_disk(bytes), self.room_for_rows()?);
        let room = |reserved: u64| free.saturating_sub(reserved);
        let with_it = |reserved: u64| {
            (needed <= room(reserved) && free > 0).then(|| reserved.saturating_add(needed))
        };
        match self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, with_it) {
            Ok(_) => Ok(Reservation { all: Arc::clone(&self.reserved), bytes: needed }),
            Err(reserved) => Err(NoRoom::Short { needed, room: room(reserved) }),
        }
    }

    /// Refuses rows once only the reserve is left.
    pub(crate) fn admit_rows(&self) -> Result<(), StoreError> {
        if self.room_for_rows()? == 0 {
            let detail = format!("less than {} bytes are free", self.reserve);
            return Err(StoreError::DiskFull { detail });
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.directory);
        let stat = stat.map_err(|error| StoreError::io("statvfs", &error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    fn lay_ballast(&self) -> Result<(), StoreError> {
        let failed = |error: &std::io::Error| StoreError::io("ballast", error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.ballast());
        let file = file.map_err(|error| failed(&error))?;
        let flags = rustix::fs::FallocateFlags::empty();
        let laid = rustix::fs::fallocate(&file, flags, 0, BALLAST_BYTES);
        laid.or_else(|error| {
            fs::remove_file(self.ballast()).map_err(|error| failed(&error))?;
            Err(failed(&error.into()))
        })
    }

    fn give_up_ballast(&self) {
        if fs::remove_file(self.ballast()).is_ok() {
            tracing::warn!(bytes = BALLAST_BYTES, "disk nearly full: ballast given up for floors");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_to_go_in_is_what_would_be_reserved() {
        for room in (0..100).chain([1 << 20, 1 << 60]) {
            let bytes = rows_in(room);
            assert!(on_disk(bytes) <= room, "{room}");
            assert!(bytes == 0 || on_disk(bytes + 2) > room, "{room}: not much less than goes in");
        }
    }

    #[test]
    fn room_is_kept_beside_other_reservations_and_given_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let space = Space::watch(dir.path(), 0).expect("it can be looked at");
        // Far from what else happens on the disk meanwhile.
        let most = space.room_for_rows().expect("known") / 4;
        let mut first = space.reserve(2 * most).expect("there is room");
        let refused = space.reserve(2 * most).expect_err("not twice");
        assert!(matches!(refused, NoRoom::Short { .. }), "{refused}");
        first.used(2 * most);
        let second = space.reserve(2 * most).expect("written: the disk counts it");
        drop(first);
        space.reserve(2 * most).expect_err("what was used is not given back twice");
        drop(second);
        drop(space.reserve(2 * most).expect("given back"));
    }
}
