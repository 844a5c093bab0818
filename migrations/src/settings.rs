//! What must be the same everywhere: part of group0's state.

use crate::lease::LeaseTerms;
use crate::problem::Problem;

/// Durations, limits and bounds that all parts of a cluster share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of agents.
    pub lease: LeaseTerms,
    /// A transition tries to stream this often before it goes back.
    pub attempts: u32,
    /// The first pause before a new attempt, in milliseconds; it doubles.
    pub backoff_ms: u32,
    /// The longest pause before a new attempt, in milliseconds.
    pub backoff_max_ms: u32,
    /// After this, guards that a barrier waits for are ended by force, in milliseconds.
    pub drain_deadline_ms: u32,
    /// A stream without payload for this long has failed, in milliseconds.
    pub stall_ms: u32,
    /// How far clocks of routers and agents may be apart, in milliseconds.
    pub skew_bound_ms: u32,
    /// Streams into, and out of, one node at a time.
    pub streams_per_node: u32,
    /// Bytes per second into one node; 0 is no bound.
    pub bytes_per_second: u64,
}

impl Settings {
    /// What a cluster begins with.
    pub const DEFAULT: Settings = Settings {
        lease: LeaseTerms { length_ms: 6_000, drift_per_mille: 20 },
        attempts: 3,
        backoff_ms: 200,
        backoff_max_ms: 5_000,
        drain_deadline_ms: 30_000,
        stall_ms: 5_000,
        skew_bound_ms: 500,
        streams_per_node: 4,
        bytes_per_second: 0,
    };

    /// For tests and demonstrations: the same, faster.
    pub const FAST: Settings = Settings {
        lease: LeaseTerms { length_ms: 1_000, drift_per_mille: 20 },
        drain_deadline_ms: 3_000,
        stall_ms: 800,
        backoff_ms: 50,
        backoff_max_ms: 500,
        ..Settings::DEFAULT
    };

    /// Whether the bounds agree with one another; if not, which does not.
    pub const fn contradiction(&self) -> Option<Problem> {
        if self.lease.length_ms == 0 || self.lease.drift_per_mille > 500 {
            return Some(Problem::LeaseOrDrift);
        }
        // A stream must be seen to stall before its node's lease runs out, and a node be fenced
        // before its guards are ended by force.
        if self.stall_ms >= self.lease.length_ms {
            return Some(Problem::StallBound);
        }
        if self.lease.length_ms >= self.drain_deadline_ms {
            return Some(Problem::DrainDeadline);
        }
        if self.attempts == 0 || self.streams_per_node == 0 {
            return Some(Problem::NoAttemptsOrStreams);
        }
        if self.backoff_ms == 0 || self.backoff_ms > self.backoff_max_ms {
            return Some(Problem::Backoff);
        }
        None
    }
}

const _: () = assert!(Settings::DEFAULT.contradiction().is_none());
const _: () = assert!(Settings::FAST.contradiction().is_none());
