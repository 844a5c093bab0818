//! G: data.

use super::each_seed;
use migrations::id::MigrationId;
use migrations::tablet::Ending;
use palisade_sim::story::{Hold, Kind, Shape, Story, Told};

/// While a chunk with the key is received and not stored, the key is deleted and a purge is ordered.
fn purged_in_a_transition(story: &mut Story) -> Told<(Hold, MigrationId)> {
    story.fill('A', 5)?;
    let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    // d hears nothing of the delete.
    let missed = story.hold(Kind::Write.to("d"));
    story.delete("r0", "A00")?;
    story.swallow(missed);
    story.purge('A')?;
    Ok((chunk, migration))
}

/// The chunk is stored after all.
fn ends_after_the_purge(mut story: Story, (chunk, migration): (Hold, MigrationId)) -> Told {
    story.release(chunk);
    story.until_ended(migration, Ending::Done)?;
    story.reads("r1", "A00", None)?;
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.purge('A')?;
    story.must_have_seen("tombstones are purged")?;
    let mut story = story.end()?;
    for name in ["a", "b", "c", "d"] {
        story.must("no row is left", story.on_disk(name, "A00").is_none())?;
    }
    story.reads("r1", "A00", None)
}

/// The same after a repair whose leader has a clock that is ten minutes fast.
#[cfg(feature = "mutants")]
fn a_purge_in_a_transition_below_t(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    let leader = story.leader().unwrap_or_default();
    story.move_wall_clock(&leader, 600_000);
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.pass(20)?;
    let held = purged_in_a_transition(&mut story)?;
    ends_after_the_purge(story, held)
}

#[test]
fn g3_deletes_purges_and_moves_together_bring_nothing_back() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        let held = purged_in_a_transition(&mut story)?;
        let has = |name: &str| story.on_disk(name, "A00") == Some(None);
        let count = ["a", "b", "c"].into_iter().filter(|name| has(name)).count();
        story.must("the tombstone stays through the transition", count >= 2)?;
        ends_after_the_purge(story, held)
    })
}

/// A put is stuck in the network since before a delete, a repair and a purge.
fn a_write_from_before_the_delete(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let stuck = story.hold(Kind::Write.from("r1"));
    let late = story.begin_put("r1", "A00", "from before");
    story.until_held(stuck, 3)?;
    // Its router gives up: what it has sent stays in the network.
    story.pass(5_000)?;
    story.hold_no_more(stuck);
    story.delete("r0", "A00")?;
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.purge('A')?;
    story.must_have_seen("tombstones are purged")?;
    story.must("nothing is left of it", story.on_disk("b", "A00").is_none())?;
    story.release(stuck);
    story.until("the late write is refused", |s| {
        s.told("StaleVersion") + s.told("TimestampBehind") > 0
    })?;
    let mut story = story.end()?;
    story.must("nobody was told yes", !story.is_done(late))?;
    story.reads("r0", "A00", None)
}

#[test]
fn g8_a_write_from_before_the_delete_is_refused() -> Told {
    each_seed(a_write_from_before_the_delete)
}

/// The same with a version that has not changed: the router has gone by the newest picture, and
/// drew its timestamp below T.
fn a_write_below_t(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    story.delete("r0", "A00")?;
    story.pass(20)?;
    // A router that is a little behind, within the bound.
    story.move_wall_clock("r1", -400);
    story.kill("r1");
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.purge('A')?;
    story.must_have_seen("tombstones are purged")?;
    story.kill("r1");
    story.pass(50)?;
    story.put("r1", "A00", "below T")?;
    story.pass(300)?;
    story.must_have_seen("a timestamp is behind")?;
    let mut story = story.end()?;
    story.reads("r0", "A00", Some("below T"))
}

#[test]
fn g8_a_write_below_t_draws_another_timestamp() -> Told {
    each_seed(a_write_below_t)
}

/// A put is taken by a under one version, and by b under the next.
fn acknowledged_under_two_versions(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let first = ["b", "c"].map(|name| story.hold(Kind::Write.from("r1").to(name)));
    let op = story.begin_put("r1", "Ax", "x");
    story.until("a has taken it", |s| s.on_disk("a", "Ax").is_some())?;
    let [to_b, to_c] = first;
    story.until_held(to_b, 1)?;
    // A repair gives the tablet another version; c and a hear nothing of the second attempt.
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.swallow(to_b);
    let to_a = story.hold(Kind::Write.from("r1").to("a"));
    story.until("b has taken it", |s| s.on_disk("b", "Ax").is_some())?;
    story.until_held(to_a, 1)?;
    story.pass(50)?;
    story.must("one and one under two versions is not two", !story.is_done(op))?;
    story.release(to_a);
    story.release(to_c);
    story.until("it is acknowledged, by a majority under one", |s| s.is_done(op))?;
    let mut story = story.end()?;
    story.reads("r0", "Ax", Some("x"))
}

#[test]
fn g9_acknowledgements_of_two_versions_are_not_added_up() -> Told {
    each_seed(acknowledged_under_two_versions)
}

/// Tablets move to and fro while values that nobody else writes are written, in every stage.
fn writers_while_tablets_move(seed: u64, has_faults: bool) -> Told {
    let shape = Shape::of(&["abc", "bcd", "cde"]).agents(5).seed(seed);
    let mut story = Story::begin(&shape)?;
    let moves = [('A', "a", "d"), ('B', "b", "e"), ('C', "c", "a"), ('A', "b", "e")];
    let mut written = Vec::new();
    for (round, (tablet, from, to)) in moves.into_iter().enumerate() {
        let migration = story.migrate(tablet, from, to)?;
        if has_faults {
            let (struck, cut) = [("a", "b"), ("c", "d"), ("e", "c"), ("d", "a")][round];
            story.kill(struck);
            story.cut("c0", cut);
        }
        let mut number = 0;
        while story.finished(migration).is_none() {
            let key = format!("{}{round}.{number}", ['A', 'B', 'C'][number % 3]);
            written.push((key.clone(), story.begin_put("r0", &key, &key)));
            number += 1;
            story.pass(if has_faults { 60 } else { 4 })?;
            if has_faults && number == 30 {
                story.all_well()?;
            }
        }
        story.all_well()?;
    }
    let acknowledged: Vec<String> =
        written.iter().filter(|(_, op)| story.is_done(*op)).map(|(key, _)| key.clone()).collect();
    let count = acknowledged.len();
    story.must(&format!("{count} writes were acknowledged"), count >= 20)?;
    let mut story = story.end()?;
    for key in acknowledged {
        story.reads("r1", &key, Some(&key))?;
    }
    Ok(())
}

#[test]
fn g1_no_number_is_lost_or_invented_while_tablets_move() -> Told {
    each_seed(|seed| writers_while_tablets_move(seed, false))
}

#[test]
fn g2_what_is_acknowledged_is_readable_after_kills_and_cuts() -> Told {
    each_seed(|seed| writers_while_tablets_move(seed, true))
}

/// Replicas are taken out one by one, and each write is on a bare majority with the next to go.
fn shrink(seed: u64) -> Told {
    for (tablet, removals) in [
        ("abcde", [("a", ["d", "e"]), ("b", ["e", "e"])]),
        ("abc", [("a", ["c", "c"]), ("b", ["f", "f"])]),
    ] {
        let mut story = Story::begin(&Shape::of(&[tablet]).agents(6).seed(seed))?;
        for (leaving, missing) in removals {
            let holds = missing.map(|name| story.hold(Kind::Write.to(name)));
            story.put("r0", &format!("A{leaving}"), leaving)?;
            holds.into_iter().for_each(|hold| story.swallow(hold));
            let removal = story.remove('A', leaving)?;
            story.until_ended(removal, Ending::Done)?;
        }
        let mut story = story.end()?;
        for (leaving, _) in removals {
            story.reads("r1", &format!("A{leaving}"), Some(leaving))?;
        }
    }
    Ok(())
}

#[test]
fn g6_writes_of_bare_majorities_survive_five_to_three_and_three_to_one() -> Told {
    each_seed(shrink)
}

/// r0's clock is ahead of r1's, within the bound; they write and delete one key in turn.
fn clocks_apart(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.move_wall_clock("r0", 200);
    story.move_wall_clock("r1", -200);
    for round in 0..4 {
        let value = round.to_string();
        story.put("r0", "Ax", &value)?;
        // Its hybrid clock has heard of nobody.
        story.kill("r1");
        story.pass(20)?;
        story.delete("r1", "Ax")?;
        story.reads("r0", "Ax", None)?;
    }
    story.must_have_seen("a timestamp is behind")?;
    story.end().map(drop)
}

#[test]
fn g7_no_acknowledged_delete_is_hidden_by_an_older_write_of_a_fast_clock() -> Told {
    each_seed(clocks_apart)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::{ends_without, without};
    use migrations::rule::Rule;

    /// A delete in a transition is above T by two more rules; without them the purge at rest is what
    /// stands between it and the key.
    #[test]
    fn g3_control_a_purge_in_a_transition_lets_the_key_come_back() {
        let others = [Rule::PromiseByOwnClock, Rule::PromiseKept];
        let ends = ends_without(&others, a_purge_in_a_transition_below_t);
        assert!(ends.is_empty(), "it is kept out by the purge at rest: {:?}", ends.first());
        let rules = [others[0], others[1], Rule::PurgedAtRest];
        let ends = ends_without(&rules, a_purge_in_a_transition_below_t);
        let broken = ends.iter().any(|end| matches!(end.invariant(), Some(7 | 9)));
        assert!(broken, "the story: {:?}", ends.first());
    }

    #[test]
    fn g8_control_a_write_at_or_below_t_brings_the_key_back() {
        without(Rule::PromiseKept, 9, a_write_below_t);
    }

    #[test]
    fn g9_control_added_up_they_lose_the_write() {
        without(Rule::OneVersionPerOperation, 9, acknowledged_under_two_versions);
    }

    #[test]
    fn g6_control_a_removal_without_streams_loses_the_write() {
        without(Rule::RemovalMerges, 9, shrink);
    }

    #[test]
    fn g7_control_old_timestamps_that_are_taken_hide_the_delete() {
        without(Rule::OldTimestampsRefused, 6, clocks_apart);
    }
}
