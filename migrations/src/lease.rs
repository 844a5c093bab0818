//! Both sides of a lease, as arithmetic over instants that are given.
//!
//! The agent counts from when it *sent* a renewal, the leader from when it *received* one that it
//! may have answered, and the leader waits longer by the drift bound. So the agent's lease has
//! run out, by either clock, before the leader says so. INV-13.

/// Nanoseconds of a clock that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

/// What of a lease is the same everywhere: part of group0's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long a lease lasts, in milliseconds.
    pub length_ms: u32,
    /// How far two clocks may drift apart, in thousandths.
    pub drift_per_mille: u32,
}

const NANOS_PER_MILLI: u64 = 1_000_000;

impl LeaseTerms {
    /// Until when the agent holds the lease whose renewal it sent at `sent`.
    pub const fn agent_deadline(self, sent: Instant) -> Instant {
        Instant(sent.0.saturating_add(self.length_ms as u64 * NANOS_PER_MILLI))
    }

    /// Half of the length of a lease after this: who has not looked for so long, looks anew.
    pub const fn half_after(self, since: Instant) -> Instant {
        Instant(since.0.saturating_add(self.length_ms as u64 * NANOS_PER_MILLI / 2))
    }

    /// When the lease has surely run out, whose renewal the leader received at `received` — or,
    /// for a new leader that knows of no renewal, since it began to lead.
    pub const fn leader_deadline(self, received: Instant) -> Instant {
        let length = self.length_ms as u64 * NANOS_PER_MILLI;
        let drift = length / 1000 * self.drift_per_mille as u64;
        Instant(received.0.saturating_add(length + drift))
    }
}

/// An agent's side: until when it may do session work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldLease {
    until: Instant,
}

impl HeldLease {
    /// A renewal that was sent at `sent` has been answered. An answer that comes late or out of
    /// order never shortens what is held.
    pub fn renewed(&mut self, terms: LeaseTerms, sent: Instant) {
        self.until = self.until.max(terms.agent_deadline(sent));
    }

    /// Given up: held no longer, whatever was answered.
    pub fn give_up(&mut self) {
        self.until = Instant(0);
    }

    /// When it runs out.
    pub const fn until(self) -> Instant {
        self.until
    }

    /// Whether it is held at `now`. At the deadline itself it is not.
    pub fn is_held(self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Within the drift bound the agent's lease has run out before the leader says so,
        /// whatever the time on the wire: both clocks are readings of one true time.
        #[test]
        fn the_agent_stops_before_the_leader_fences(
            sent in 0u64..1_000_000_000, wire in 0u64..10_000_000_000u64,
            length_ms in 1u32..60_000, slow in 0u64..=10, fast in 0u64..=9,
        ) {
            // ±1 % each: together within the 2 % of the terms.
            let terms = LeaseTerms { length_ms, drift_per_mille: 20 };
            let held_for = terms.agent_deadline(Instant(sent)).0 - sent;
            let agent_true_end = sent + held_for + held_for * slow / 1000;
            let received = sent + wire;
            let waits = terms.leader_deadline(Instant(received)).0 - received;
            let leader_true_end = received + waits - waits * fast / 1000;
            prop_assert!(agent_true_end <= leader_true_end);
        }
    }

    #[test]
    fn a_late_answer_does_not_shorten_it() {
        let terms = LeaseTerms { length_ms: 1, drift_per_mille: 20 };
        let mut lease = HeldLease::default();
        assert!(!lease.is_held(Instant(0)));
        lease.renewed(terms, Instant(500));
        lease.renewed(terms, Instant(100));
        assert_eq!(lease.until(), Instant(1_000_500));
        assert!(!lease.is_held(lease.until()));
        lease.give_up();
        assert!(!lease.is_held(Instant(500)));
    }
}
