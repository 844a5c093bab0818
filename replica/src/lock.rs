//! Locks and atomics that several threads of the agent share. With the feature `shuttle` those
//! that are taken from here are shuttle's, which runs one thread at a time and chooses which: for
//! `interleavings` only.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic::AtomicU64};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::hint::spin_loop;
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Condvar, Mutex, RwLock, atomic::AtomicU64};
#[cfg(feature = "shuttle")]
pub(crate) use std_or_shuttle::locked;

/// Takes a mutex whose data is whole at every moment, so that a panic of another holder doesn't
/// have to spread to this one: only for data that each holder leaves whole before anything that
/// could panic.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(feature = "shuttle")]
mod std_or_shuttle {
    //! What no scene looks at may go on with std's locks.

    use std::sync::{Arc, PoisonError};

    pub(crate) trait Lockable {
        type Guard<'a>
        where
            Self: 'a;
        fn taken(&self) -> Self::Guard<'_>;
    }

    macro_rules! lockable {
        ($($sync:ident)::+) => {
            impl<T> Lockable for $($sync)::+::Mutex<T> {
                type Guard<'a>
                    = $($sync)::+::MutexGuard<'a, T>
                where
                    T: 'a;
                fn taken(&self) -> Self::Guard<'_> {
                    self.lock().unwrap_or_else(PoisonError::into_inner)
                }
            }
        };
    }
    lockable!(std::sync);
    lockable!(shuttle::sync);

    impl<L: Lockable> Lockable for Arc<L> {
        type Guard<'a>
            = L::Guard<'a>
        where
            L: 'a;
        fn taken(&self) -> L::Guard<'_> {
            L::taken(self)
        }
    }

    impl<L: Lockable> Lockable for &L {
        type Guard<'a>
            = L::Guard<'a>
        where
            Self: 'a;
        fn taken(&self) -> L::Guard<'_> {
            L::taken(self)
        }
    }

    pub(crate) fn locked<L: Lockable>(mutex: &L) -> L::Guard<'_> {
        mutex.taken()
    }
}
