//! The node's hybrid logical clock, shared by its data requests, streams and promises.
//!
//! Not here: the arithmetic (`migrations::clock`), the clock of leases (`lease`).

use crate::lock::{Mutex, locked};
use migrations::clock::{HybridClock, HybridTime, TimestampAhead};
use std::time::{SystemTime, UNIX_EPOCH};

/// A hybrid clock over the machine's wall clock.
#[derive(Debug, Default)]
pub struct NodeClock {
    clock: Mutex<HybridClock>,
}

impl NodeClock {
    /// A clock that has observed nothing yet.
    pub fn new() -> NodeClock {
        NodeClock::default()
    }

    /// A time above each that this clock has given or observed.
    pub fn now(&self) -> HybridTime {
        locked(&self.clock).now(wall_millis())
    }

    /// What `now` would be above, without drawing a time.
    pub fn reading(&self) -> HybridTime {
        locked(&self.clock).reading(wall_millis())
    }

    /// Takes on a time from elsewhere. Refuses one more than `bound_millis` ahead of the wall.
    pub fn observe(&self, time: HybridTime, bound_millis: u64) -> Result<(), TimestampAhead> {
        locked(&self.clock).observe(time, wall_millis(), bound_millis)
    }
}

/// The wall clock, in milliseconds since 1970; a clock before that reads 0.
fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
