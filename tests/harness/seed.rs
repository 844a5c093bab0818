//! What a test draws: from one seed, which is printed and can be given.

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The stream of a number that is known.
    pub(crate) fn of(number: u64) -> Seed {
        Seed(number)
    }

    /// The seed in `PALISADE_SEED`, or a new one; printed either way.
    pub(crate) fn draw(what: &str) -> Seed {
        Seed(Seed::number(what))
    }

    /// The same, as a number.
    pub(crate) fn number(what: &str) -> u64 {
        let given = std::env::var("PALISADE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        eprintln!("{what}: PALISADE_SEED={seed}");
        seed
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// How often a test repeats what it does: so often in CI, more in a long run (`PALISADE_ROUNDS`).
pub(crate) fn rounds(in_ci: u64) -> u64 {
    let given = std::env::var("PALISADE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    given.unwrap_or(in_ci)
}
