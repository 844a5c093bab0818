//! The clocks of a coordinator: the one place that reads them.

use migrations::lease::Instant;
use rustix::time::{ClockId, clock_gettime};
#[cfg(feature = "faults")]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// By how much the wall clock is wrong, for tests.
#[cfg(feature = "faults")]
static AHEAD_MS: AtomicI64 = AtomicI64::new(0);

/// Has the wall clock go wrong by so many milliseconds from now on.
#[cfg(feature = "faults")]
pub(crate) fn set_ahead(ahead_ms: i64) {
    AHEAD_MS.store(ahead_ms, Ordering::Relaxed);
}

/// A clock that goes on while the machine sleeps: for leases.
pub(crate) fn boot_instant() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Milliseconds since 1970.
pub(crate) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    #[cfg(feature = "faults")]
    let now = now.saturating_add_signed(AHEAD_MS.load(Ordering::Relaxed));
    now
}
