//! Virtual time: events in order of (time, number), and clocks that go by it.

use migrations::lease::Instant;
use std::collections::BTreeMap;

/// Nanoseconds of true time since the run began.
pub(crate) type Time = u64;

pub(crate) const MICRO: Time = 1_000;
pub(crate) const MILLI: Time = 1_000_000;
pub(crate) const SECOND: Time = 1_000_000_000;

/// What is going to happen.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(Time, u64), E>,
    number: u64,
    pub(crate) now: Time,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Queue<E> {
        Queue { events: BTreeMap::new(), number: 0, now: 0 }
    }

    pub(crate) fn at(&mut self, time: Time, event: E) {
        self.number += 1;
        self.events.insert((time.max(self.now), self.number), event);
    }

    pub(crate) fn after(&mut self, delay: Time, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    pub(crate) fn pop(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}

/// A machine's clock: it is off, and it drifts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Of the clock that goes on while the machine sleeps: each has a beginning of its own.
    pub(crate) offset: Time,
    /// Parts per million faster than true time; may be negative.
    pub(crate) drift_ppm: i64,
    /// How far the wall clock is off, in milliseconds.
    pub(crate) wall_off_ms: i64,
}

/// The wall clock when a run begins, in milliseconds since 1970.
const WALL_BEGIN_MS: i64 = 1_000_000;

impl Clock {
    fn drifted(self, now: Time) -> Time {
        let drift = (now as i64 / 1_000_000) * self.drift_ppm;
        now.saturating_add_signed(drift)
    }

    pub(crate) fn instant(self, now: Time) -> Instant {
        Instant(self.offset + self.drifted(now))
    }

    pub(crate) fn wall_ms(self, now: Time) -> u64 {
        (WALL_BEGIN_MS + self.wall_off_ms + (now / MILLI) as i64).max(0) as u64
    }
}
