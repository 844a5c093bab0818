//! The oracles, tested: with any one rule of the protocol undone, some seed shows it.
//!
//! `cargo test -p palisade-sim --features mutants --test mutants`

use migrations::rule::{Rule, undo};
use palisade_sim::plan::Options;
use palisade_sim::run;

/// So many seeds at the most, for each rule.
const SEEDS: u64 = 600;

/// The first seed that shows that a rule is undone, and which invariant it breaks.
fn first_to_fall(rule: Rule) -> Option<(u64, u8)> {
    undo(Some(rule));
    let mut falls = (1..=SEEDS)
        .filter_map(|seed| Some((seed, run(seed, &Options::default()).broken?.invariant)));
    let first = falls.next();
    undo(None);
    first
}

#[test]
fn each_rule_is_missed_when_it_is_undone() {
    let (even, odd): (Vec<_>, Vec<_>) =
        Rule::ALL.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let workers = [even, odd].map(|rules| {
        std::thread::spawn(move || {
            let fall = |(_, rule): (usize, Rule)| {
                let fallen = first_to_fall(rule);
                println!("{rule:?}: (seed, invariant) {fallen:?}");
                (rule, fallen)
            };
            rules.into_iter().map(fall).collect::<Vec<_>>()
        })
    });
    let fallen = workers.into_iter().flat_map(|w| w.join().expect("a run has panicked"));
    let survivors: Vec<Rule> =
        fallen.filter(|(_, fallen)| fallen.is_none()).map(|(rule, _)| rule).collect();
    assert!(survivors.is_empty(), "nobody misses {survivors:?}");
}
