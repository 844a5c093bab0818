//! Locks and atomics that several threads of the agent share. With the feature `shuttle` they are
//! shuttle's, which runs one thread at a time and chooses which: for `interleavings` only.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::hint::spin_loop;
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic::AtomicU64};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic::AtomicU64};

use std::sync::PoisonError;

/// Takes a mutex whose data is whole at every moment, so that a panic of another holder doesn't
/// have to spread to this one: only for data that each holder leaves whole before anything that
/// could panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
