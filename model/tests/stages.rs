//! Model B within its small bounds: everything holds, nothing holds emptily, and each rule that is
//! taken out is missed.

use palisade_model::search::{search, search_for};
use palisade_model::stages::rule::Rule;
use palisade_model::stages::{Stages, bounds};

#[test]
fn all_rules_together_keep_every_promise() {
    for (name, bounds) in bounds::SMALL {
        let found = search(Stages::new(*bounds, None));
        println!("{name}: {found}");
        assert!(found.broken.is_empty(), "{name}: {found}");
        assert!(found.empty.is_empty(), "{name}: {found}");
    }
}

#[test]
fn without_one_rule_a_promise_is_broken() {
    for rule in Rule::ALL {
        let model = Stages::new(bounds::of_mutant(rule), Some(rule));
        let caught = search_for(model, rule.breaks());
        let caught = caught.unwrap_or_else(|| panic!("not caught: {}", rule.without()));
        println!("{} → {}: {caught}", rule.without(), rule.breaks());
    }
}
