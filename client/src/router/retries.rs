//! How often a router's operations were begun anew, and why: for programs to show or to watch.

use migrations::router::Step;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often operations of a router were begun anew since it was made, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    /// The tablet had a newer version, or replicas had not caught up with it yet.
    pub newer_version: u64,
    /// A write's time was below what a replica had promised.
    pub timestamp_behind: u64,
    /// This machine's clock was too far ahead of a replica's.
    pub clock_ahead: u64,
    /// No majority could do it.
    pub out_of_reach: u64,
    /// The table was being dropped; another of its name was looked for.
    pub table_dropped: u64,
}

impl Retries {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.newer_version
            + self.timestamp_behind
            + self.clock_ahead
            + self.out_of_reach
            + self.table_dropped
    }

    /// Each reason by its name.
    pub const fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("newer_version", self.newer_version),
            ("timestamp_behind", self.timestamp_behind),
            ("clock_ahead", self.clock_ahead),
            ("out_of_reach", self.out_of_reach),
            ("table_dropped", self.table_dropped),
        ]
    }
}

/// The counters behind [`Retries`].
#[derive(Debug, Default)]
pub(crate) struct RetryCounts {
    newer_version: AtomicU64,
    timestamp_behind: AtomicU64,
    clock_ahead: AtomicU64,
    out_of_reach: AtomicU64,
    table_dropped: AtomicU64,
}

impl RetryCounts {
    /// An operation is begun anew after this step.
    pub(crate) fn count(&self, step: &Step) {
        let counter = match step {
            Step::Refresh(_) => &self.newer_version,
            Step::GoAbove(_) => &self.timestamp_behind,
            Step::WaitUntil(_) => &self.clock_ahead,
            Step::Wait | Step::Done | Step::OutOfReach => &self.out_of_reach,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// An operation is begun anew since the table is being dropped.
    pub(crate) fn count_dropped(&self) {
        self.table_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// As they are now.
    pub(crate) fn read(&self) -> Retries {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Retries {
            newer_version: read(&self.newer_version),
            timestamp_behind: read(&self.timestamp_behind),
            clock_ahead: read(&self.clock_ahead),
            out_of_reach: read(&self.out_of_reach),
            table_dropped: read(&self.table_dropped),
        }
    }
}
