//! Room on the disk: rows are refused while there is still enough of it for floors, and a ballast
//! file is given up before that.

use super::error::StoreError;
use crate::limits::{BALLAST_BYTES, FREE_SPACE_INTERVAL};
use crate::lock::{Mutex, locked};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Watches the room on the disk of one directory.
#[derive(Debug)]
pub(crate) struct Space {
    directory: PathBuf,
    reserve: u64,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    /// Watches, and lays the ballast down if there is room for it.
    pub(crate) fn watch(directory: &Path, reserve: u64) -> Result<Space, StoreError> {
        let space = Space { directory: directory.to_owned(), reserve, last: Mutex::default() };
        if space.free()? > reserve.saturating_add(2 * BALLAST_BYTES)
            && !space.ballast().exists()
            && let Err(error) = space.lay_ballast()
        {
            // Without it floors still have the reserve.
            tracing::warn!(%error, "no ballast");
        }
        Ok(space)
    }

    /// Bytes that rows may still take.
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
        Ok(free.saturating_sub(self.reserve))
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
