//! Searches the models and prints what was found: states, time, and for each rule taken out the
//! shortest steps that show it. `--large` takes the larger bounds, `--mutants`
//! leaves the searches with all rules out. Fails if anything is broken, a
//! case was never seen, or a missing rule was not noticed.

use palisade_model::search::{Told, search, search_for};
use palisade_model::session::{self, Session};
use palisade_model::stages::{self, Stages};
use std::process::ExitCode;

fn main() -> ExitCode {
    // A word limits it to the searches whose names begin so: `A`, `B, repair`.
    let begins = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let begins = begins.unwrap_or_default();
    let is_large = std::env::args().any(|argument| argument == "--large");
    let mut all_well = true;
    let only_mutants = std::env::args().any(|argument| argument == "--mutants");
    let (of_a, of_b): (&[_], &[_]) = match is_large {
        _ if only_mutants => (&[], &[]),
        true => (session::bounds::LARGE, stages::bounds::LARGE),
        false => (session::bounds::SMALL, stages::bounds::SMALL),
    };
    for (name, bounds) in of_a.iter().filter(|(name, _)| name.starts_with(&begins)) {
        all_well &= whole(name, Session::new(*bounds, None));
    }
    for (name, bounds) in of_b.iter().filter(|(name, _)| name.starts_with(&begins)) {
        all_well &= whole(name, Stages::new(*bounds, None));
    }
    for rule in session::rule::Rule::ALL.into_iter().filter(|_| "A".starts_with(&begins)) {
        let model = Session::new(session::bounds::of_mutant(rule), Some(rule));
        all_well &= mutant("A", rule.without(), model, rule.breaks());
    }
    for rule in stages::rule::Rule::ALL.into_iter().filter(|_| "B".starts_with(&begins)) {
        let model = Stages::new(stages::bounds::of_mutant(rule), Some(rule));
        all_well &= mutant("B", rule.without(), model, rule.breaks());
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn whole<M: Told>(name: &str, model: M) -> bool {
    let found = search(model);
    println!("{name}: {found}");
    found.broken.is_empty() && found.empty.is_empty()
}

fn mutant<M: Told>(letter: &str, without: &str, model: M, property: &'static str) -> bool {
    let caught = search_for(model, property);
    match &caught {
        Some(caught) => println!("{letter}, {without} → {property}: {caught}"),
        None => println!("{letter}, {without} → {property}: NOT CAUGHT"),
    }
    caught.is_some()
}
