//! Taking a std mutex whose data is whole at every moment, so that a panic of another holder
//! doesn't have to spread to this one.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. Only for data that each holder leaves whole before anything that could panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
