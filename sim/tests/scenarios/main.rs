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

#[cfg(feature = "mutants")]
use migrations::rule::Rule;
use palisade_sim::story::Told;
#[cfg(feature = "mutants")]
use palisade_sim::story::Untold;

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
fn without(rule: Rule, invariant: u8, story: impl Fn(u64) -> Told) {
    without_all(&[rule], invariant, story);
}

/// The same of rules that cover for one another.
#[cfg(feature = "mutants")]
fn without_all(rules: &[Rule], invariant: u8, story: impl Fn(u64) -> Told) {
    let ends = ends_without(rules, story);
    let broken = ends.iter().any(|end| end.invariant() == Some(invariant));
    assert!(broken, "INV-{invariant} holds without {rules:?}; the story: {:?}", ends.first());
}

/// With a rule undone the story comes to what it must not come to, in some seed.
#[cfg(feature = "mutants")]
fn unmet_without(rule: Rule, what: &str, story: impl Fn(u64) -> Told) {
    let ends = ends_without(&[rule], story);
    let is_it = |end: &Untold| matches!(end, Untold::Unmet { what: unmet, .. } if unmet == what);
    assert!(ends.iter().any(is_it), "it is so without {rule:?}; the story: {:?}", ends.first());
}

/// How a story fails with rules undone, under each seed under which it does.
#[cfg(feature = "mutants")]
fn ends_without(rules: &[Rule], story: impl Fn(u64) -> Told) -> Vec<Untold> {
    use migrations::rule::undo;
    undo(rules.iter().copied());
    let told: Vec<Told> = (1..=8).map(story).collect();
    undo(None);
    told.into_iter().filter_map(Result::err).collect()
}
