//! Hybrid logical time: wall milliseconds and a counter in one number (Kulkarni and others, 2014).
//! The wall clock's readings come in as arguments.

use crate::id::RouterId;
use core::fmt;

/// Bits of a hybrid time that count events within one millisecond.
const LOGICAL_BITS: u32 = 16;

/// Milliseconds since 1970 in the high 48 bits, a counter in the low 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HybridTime(pub u64);

impl HybridTime {
    /// Before every time that a clock gives.
    pub const ZERO: HybridTime = HybridTime(0);

    /// The first time of a wall millisecond.
    pub const fn from_millis(millis: u64) -> HybridTime {
        HybridTime(millis << LOGICAL_BITS)
    }

    /// The wall part, in milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The next one.
    pub const fn next(self) -> HybridTime {
        HybridTime(self.0.saturating_add(1))
    }
}

impl fmt::Display for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & ((1 << LOGICAL_BITS) - 1))
    }
}

/// When a row was written, and by which router: the order of writes is total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// The router's hybrid time.
    pub time: HybridTime,
    /// Breaks ties between routers.
    pub router: RouterId,
}

/// A time from elsewhere is further ahead than the bound on skew: `TIMESTAMP_AHEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time {offered} is more than the bound on skew ahead of this clock, {clock}")]
pub struct TimestampAhead {
    /// What was offered.
    pub offered: HybridTime,
    /// This clock's reading.
    pub clock: HybridTime,
}

/// A hybrid logical clock. Its times only grow.
#[derive(Debug, Clone, Default)]
pub struct HybridClock {
    last: HybridTime,
}

impl HybridClock {
    /// A time above each that this clock has given or observed.
    pub fn now(&mut self, wall_millis: u64) -> HybridTime {
        self.last = HybridTime::from_millis(wall_millis).max(self.last.next());
        self.last
    }

    /// What `now` would be above, without drawing a time.
    pub fn reading(&self, wall_millis: u64) -> HybridTime {
        HybridTime::from_millis(wall_millis).max(self.last)
    }

    /// Takes on a time from elsewhere. Refuses one more than `bound_millis` ahead of the wall,
    /// so that one bad clock can't drag all others along.
    pub fn observe(
        &mut self,
        time: HybridTime,
        wall_millis: u64,
        bound_millis: u64,
    ) -> Result<(), TimestampAhead> {
        if time.millis() > wall_millis.saturating_add(bound_millis) {
            return Err(TimestampAhead { offered: time, clock: self.reading(wall_millis) });
        }
        self.last = self.last.max(time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_only_grow(steps: Vec<(u16, Option<u32>)>) {
            let mut clock = HybridClock::default();
            let mut last = HybridTime::ZERO;
            for (wall, seen) in steps {
                if let Some(seen) = seen {
                    let _ = clock.observe(HybridTime(u64::from(seen)), u64::from(wall), 500);
                }
                let now = clock.now(u64::from(wall));
                prop_assert!(now > last);
                last = now;
            }
        }
    }

    #[test]
    fn a_time_beyond_the_bound_is_refused_and_not_taken_on() {
        let mut clock = HybridClock::default();
        let far = HybridTime::from_millis(1_501);
        assert!(clock.observe(far, 1_000, 500).is_err());
        assert!(clock.now(1_000) < far);
        assert_eq!(clock.observe(HybridTime::from_millis(1_500), 1_000, 500), Ok(()));
        assert!(clock.now(1_000) > HybridTime::from_millis(1_500));
    }
}
