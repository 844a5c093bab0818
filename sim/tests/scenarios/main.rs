//! The scenarios in the simulation, as directed runs: each bears its number and reads as a story,
//! and asserts that what it is about has truly happened. All oracles look on.
//!
//! Controls are the same stories with a rule of the protocol undone, and need a feature:
//! `cargo test -p palisade-sim --features mutants --test scenarios`.

mod a;
mod b;
mod cells;
mod c;
mod d;
mod e;
mod f;
mod g;
mod h;

use palisade_sim::story::Told;

/// Seeds that each story is told under: what is drawn all the same must not matter.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// Tells a story under each of some seeds.
fn each_seed(story: impl Fn(u64) -> Told) -> Told {
    SEEDS
        .into_iter()
        .try_for_each(|seed| story(seed).map_err(|untold| untold.of(&format!("seed {seed}"))))
}

/// With a rule undone the story ends in an invariant that breaks, in some seed.
#[cfg(feature = "mutants")]
fn without(rule: migrations::rule::Rule, invariant: u8, story: impl Fn(u64) -> Told) {
    use migrations::rule::undo;
    undo(Some(rule));
    let told: Vec<Told> = (1..=8).map(story).collect();
    undo(None);
    let broken = told
        .iter()
        .any(|told| told.as_ref().err().and_then(|untold| untold.invariant()) == Some(invariant));
    let first = told.into_iter().find_map(Result::err);
    assert!(broken, "INV-{invariant} holds without {rule:?}; the story: {first:?}");
}
