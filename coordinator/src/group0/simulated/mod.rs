//! group0 in a simulated network: three members in one thread, in virtual time, with Raft, the
//! services and connections of the product. Only what is under them is modelled: the network
//! (turmoil), the log's disk (`log`), Raft's random numbers (`runtime`).
//!
//! Members crash, lose what was not synced, and come back; leaders are cut off; connections
//! stall; leadership is handed over; those that were away for long get a snapshot. All the while
//! each member proposes. What must hold:
//!
//! - at most one member leads in a term;
//! - what members have applied is the same, as far as each has come;
//! - an entry that was answered is there once, at the place that the answer says, for good;
//! - an entry of which *not applied* was said is never applied;
//! - once faults stop, everything ends: all have applied the same, and a new entry is taken.
//!
//! Not here: damaged files, and the log's own code (`tests`).

mod alone;
mod cluster;
mod faults;
mod history;
mod log;
mod network;
mod runtime;

pub(super) use network::connector;
pub(super) use runtime::Runtime;

use faults::{Plan, run};
use history::Story;

/// Seeds in CI; `PALISADE_SEEDS` says otherwise.
const SEEDS: u64 = 24;

fn seeds() -> u64 {
    std::env::var("PALISADE_SEEDS").ok().and_then(|said| said.parse().ok()).unwrap_or(SEEDS)
}

/// Stories of these seeds, on two threads.
fn stories(plan: Plan, seeds: std::ops::Range<u64>) -> Vec<Story> {
    let half = |odd: u64| {
        let seeds = seeds.clone().filter(move |seed| seed % 2 == odd);
        move || seeds.map(|seed| run(seed, plan)).collect::<Vec<Story>>()
    };
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|odd| scope.spawn(half(odd)));
        halves.into_iter().flat_map(|half| half.join().expect("no story panics")).collect()
    })
}

#[test]
fn members_agree_and_what_the_handle_says_is_true() {
    let stories = stories(Plan::HONEST, 0..seeds());
    for story in &stories {
        assert!(story.wrong.is_empty(), "{}", story.told());
    }
    // Each of these makes the others worth something.
    let all = |count: fn(&Story) -> u64| stories.iter().map(count).sum::<u64>();
    for (what, count) in [
        ("entries answered", all(|story| story.answered)),
        ("entries of which not applied was said", all(|story| story.not_applied)),
        ("entries whose outcome was unknown, and that were applied", all(|s| s.unknown_applied)),
        ("entries whose outcome was unknown, and that were not", all(|s| s.unknown_lost)),
        ("changes of leader", all(|story| story.leaders.saturating_sub(1))),
        ("members behind the beginning of the leader's log", all(|story| story.snapshots)),
        ("restarts", all(|story| story.restarts)),
    ] {
        assert!(count > 0, "no {what} in {} stories", stories.len());
    }
}

#[test]
fn a_seed_is_one_story() {
    let [one, again, other] = [3, 3, 4].map(|seed| run(seed, Plan::HONEST));
    assert!(one.trace == again.trace, "{}\n---- and again:\n{}", one.told(), again.told());
    assert!(one.trace != other.trace);
}

/// The control: a disk that says it has synced, and has not.
#[test]
fn a_disk_that_lies_is_found_out() {
    let lying = Plan { is_disk_honest: false, ..Plan::HONEST };
    let found = (0..seeds()).map(|seed| run(seed, lying)).find(|story| !story.wrong.is_empty());
    assert!(found.is_some(), "entries were lost, and nobody noticed");
}
