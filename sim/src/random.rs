//! Draws: one seed, split by purpose, so that one more draw for one purpose does not move the
//! others.

use uuid::Uuid;

/// A stream of draws: splitmix64 (Steele and others, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Draws(u64);

impl Draws {
    fn of(seed: u64, purpose: &str) -> Draws {
        Draws(xxhash_rust::xxh3::xxh3_64_with_seed(purpose.as_bytes(), seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`; 0 where that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// So many times out of a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of them, if there is one.
    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        let at = self.below(among.len() as u64) as usize;
        among.get(at).copied()
    }

    /// A UUID that is not nil.
    pub(crate) fn uuid(&mut self) -> Uuid {
        let number = (u128::from(self.next()) << 64) | u128::from(self.next());
        Uuid::from_u128(number.max(1))
    }
}

/// The draws of a run, by purpose.
#[derive(Debug)]
pub(crate) struct Random {
    pub(crate) shape: Draws,
    pub(crate) network: Draws,
    pub(crate) disk: Draws,
    pub(crate) clocks: Draws,
    pub(crate) workload: Draws,
    pub(crate) faults: Draws,
    pub(crate) ids: Draws,
}

impl Random {
    pub(crate) fn of(seed: u64) -> Random {
        Random {
            shape: Draws::of(seed, "shape"),
            network: Draws::of(seed, "network"),
            disk: Draws::of(seed, "disk"),
            clocks: Draws::of(seed, "clocks"),
            workload: Draws::of(seed, "workload"),
            faults: Draws::of(seed, "faults"),
            ids: Draws::of(seed, "ids"),
        }
    }
}
