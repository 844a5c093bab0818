//! The bounds of model A's searches: small ones for every run of the tests, larger ones by hand.

use super::Bounds;
use super::rule::Rule;

const SESSIONS: Bounds =
    Bounds { agents: 1, sessions: 3, crashes: 1, fences: 2, elections: 0, clocks: false };
const PAIR: Bounds =
    Bounds { agents: 2, sessions: 2, crashes: 1, fences: 1, elections: 0, clocks: false };
const CLOCKS: Bounds =
    Bounds { agents: 1, sessions: 2, crashes: 0, fences: 1, elections: 1, clocks: true };

/// For every run of the tests.
pub const SMALL: &[(&str, Bounds)] = &[
    ("A, one agent, fences at any time", SESSIONS),
    ("A, two agents, fences at any time", PAIR),
    ("A, one agent, leases by clocks", CLOCKS),
];

/// By hand: minutes.
pub const LARGE: &[(&str, Bounds)] = &[
    ("A, one agent, fences at any time", Bounds { sessions: 4, crashes: 2, ..SESSIONS }),
    ("A, two agents, fences at any time", Bounds { sessions: 3, ..PAIR }),
    ("A, one agent, leases by clocks", Bounds { crashes: 1, ..CLOCKS }),
];

/// Where a mutant is looked for.
pub const fn of_mutant(rule: Rule) -> Bounds {
    if rule.needs_clocks() { CLOCKS } else { SESSIONS }
}
