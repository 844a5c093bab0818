//! The lease that this process holds, where `enter` can read it in nanoseconds.
//!
//! Not here: asking for renewals (the attachment's part), the arithmetic (`migrations::lease`).
//! INV-13.

use crate::lock::{AtomicU64, Mutex, locked};
pub use migrations::lease::{HeldLease, Instant, LeaseTerms};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::Ordering;

/// Now, by the clock that goes on while the machine sleeps.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The lease of this process. Not held at first.
#[derive(Debug, Default)]
pub struct Lease {
    /// The deadline in `terms`, for readers who can't wait for a lock.
    until: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    lease: HeldLease,
    is_given_up: bool,
    /// Renewals sent before this belong to an admission that is over.
    taken_up: Instant,
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new() -> Lease {
        Lease::default()
    }

    /// A renewal that was sent at `sent` has been answered. Ignored once the lease was given up,
    /// and for a renewal sent before it was taken up again.
    pub fn renewed(&self, terms: LeaseTerms, sent: Instant) {
        let mut held = locked(&self.held);
        if held.is_given_up || sent < held.taken_up {
            return;
        }
        held.lease.renewed(terms, sent);
        self.until.store(held.lease.until().0, Ordering::Release);
    }

    /// Gives it up for as long as this admission lasts: answers that come later don't bring it
    /// back.
    pub fn give_up(&self) {
        let mut held = locked(&self.held);
        held.is_given_up = true;
        held.lease.give_up();
        self.until.store(held.lease.until().0, Ordering::Release);
    }

    /// The process has been admitted anew, just now: renewals sent from here on count again.
    pub fn take_up(&self) {
        let mut held = locked(&self.held);
        held.is_given_up = false;
        held.taken_up = now();
        held.lease.give_up();
        self.until.store(held.lease.until().0, Ordering::Release);
    }

    /// Whether it is held at this moment.
    pub fn is_held(&self) -> bool {
        now() < self.until()
    }

    /// When it runs out; the clock's zero if it is not held at all.
    pub fn until(&self) -> Instant {
        Instant(self.until.load(Ordering::Acquire))
    }

    /// Whether it was given up, and not taken up since.
    pub fn is_given_up(&self) -> bool {
        locked(&self.held).is_given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: LeaseTerms = LeaseTerms { length_ms: 3_600_000, drift_per_mille: 20 };

    #[test]
    fn it_is_held_from_a_renewal_until_it_is_given_up() {
        let lease = Lease::new();
        assert!(!lease.is_held());
        lease.renewed(LONG, now());
        assert!(lease.is_held());
        lease.give_up();
        lease.renewed(LONG, now());
        assert!(!lease.is_held(), "an answer that comes late doesn't bring it back");
        let before = now();
        lease.take_up();
        lease.renewed(LONG, before);
        assert!(!lease.is_held(), "nor does one to the admission before");
        lease.renewed(LONG, now());
        assert!(lease.is_held());
    }

    #[test]
    fn it_runs_out() {
        let lease = Lease::new();
        lease.renewed(LeaseTerms { length_ms: 0, drift_per_mille: 0 }, now());
        assert!(!lease.is_held());
    }
}
