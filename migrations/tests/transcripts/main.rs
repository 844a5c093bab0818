//! The protocol as stories: each file of `stories/` is a transcript, what is done above each
//! `----` and what comes of it below. The decisions are the real ones (`apply` and the driver);
//! the agents are as small as they can be and still mean the same.
//!
//! With `UPDATE_STORIES=1` in the environment the transcripts are written anew.

extern crate palisade_migrations as migrations;

mod agent;
mod clients;
mod histories;
mod language;
mod story;
mod streams;
mod world;

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                story::check(stringify!($name));
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

stories! {
    a_barrier_waits_for_a_guard,
    a_dropped_table_ends_its_migration,
    a_fenced_target_turns_its_migration_back,
    a_lease_runs_out,
    a_migration_from_start_to_end,
    a_new_leader_ends_the_migration_in_each_stage,
    a_source_restarts_in_streaming,
    an_attempt_fails_until_tries_run_out,
    b2_there_and_back_with_a_late_cleanup,
    b7_cancel_in_each_stage,
    c2_one_tablet_is_stuck_and_another_goes_on,
    control_the_accident_without_guards,
    h12_a_drop_fails_for_good,
    h12_no_order_reaches_a_bystander,
    late_acknowledgements_count_for_nothing,
    removal_merges_before_it_shrinks,
    repair_raises_the_promise,
    stale_chunk_is_refused_after_a_retry,
}

#[test]
fn every_story_is_told() {
    let mut found = story::names();
    found.sort();
    assert_eq!(found, NAMES, "each file of stories/ has its test, and each test its file");
}

/// The accident and its control are one story, but for one command and what comes of it.
#[test]
fn the_accident_and_its_control_differ_by_the_guards_alone() {
    let commands = |name: &str| {
        let text = story::read(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .take_while(|line| !line.starts_with("d: refused") && !line.contains("under s1"))
            .filter(|line| *line != "without guards")
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let accident = "stale_chunk_is_refused_after_a_retry";
    let control = "control_the_accident_without_guards";
    assert_eq!(commands(accident), commands(control));
    assert!(story::read(accident).contains("get k: nothing"));
    assert!(story::read(control).contains("get k: 1"));
}
