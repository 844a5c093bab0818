//! Searches the models and prints what was found: states, time, and for each rule taken out the
//! shortest steps that show it. `--large` takes the larger bounds. Fails if anything is broken, a
//! case was never seen, or a missing rule was not noticed.

use palisade_model::search::{Told, search, search_for};
use palisade_model::session::rule::Rule;
use palisade_model::session::{Session, bounds};
use std::process::ExitCode;

fn main() -> ExitCode {
    let is_large = std::env::args().any(|argument| argument == "--large");
    let mut all_well = true;
    for (name, bounds) in if is_large { bounds::LARGE } else { bounds::SMALL } {
        all_well &= whole(name, Session::new(*bounds, None));
    }
    for rule in Rule::ALL {
        let model = Session::new(bounds::of_mutant(rule), Some(rule));
        all_well &= mutant("A", rule.without(), model, rule.breaks());
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
