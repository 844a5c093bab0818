//! H13 to H20.

use crate::each_seed;
use migrations::stage::Stage;
use migrations::tablet::{EndReason, Ending};
use palisade_sim::story::{Kind, Shape, Story, Told};

/// All coordinators die between a commit and its barrier.
fn all_coordinators_are_down(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let barriers = story.hold(Kind::Barrier.any().in_stage(Stage::WriteBothReadOld));
    let migration = story.migrate('A', "a", "d")?;
    story.until_stage('A', Stage::WriteBothReadOld)?;
    let all = ["c0", "c1", "c2"];
    all.into_iter().for_each(|name| story.kill(name));
    story.lose(barriers);
    story.pass(5_000)?;
    story.must("leases are over", ["a", "b", "c", "d"].into_iter().all(|n| !story.has_lease(n)))?;
    story.put("r0", "Ax", "while they are down")?;
    story.reads("r1", "Ax", Some("while they are down"))?;
    story.reads_filled('A', 5)?;
    all.into_iter().for_each(|name| story.start(name));
    // Done, or taken back by a fence: who was late to attach had no lease any more.
    story.until_over(migration)?;
    let mut story = story.end()?;
    story.reads("r1", "Ax", Some("while they are down"))
}

#[test]
fn h15_data_is_served_while_all_coordinators_are_down() -> Told {
    each_seed(all_coordinators_are_down)
}

#[test]
fn h13_a_sole_source_that_dies_past_the_point_of_no_return_holds_nothing_up() -> Told {
    each_seed(|seed| {
        for stage in [Stage::UseNew, Stage::Cleanup, Stage::EndMigration] {
            let mut story = Story::begin(&Shape::of(&["a"]).agents(3).seed(seed))?;
            story.fill('A', 5)?;
            let migration = story.migrate('A', "a", "b")?;
            story.until_stage('A', stage)?;
            story.lose_for_ever("a");
            story.until_ended(migration, Ending::Done)?;
            story.must_have_seen("a node is fenced")?;
            let mut story = story.end()?;
            story.must("b has it", story.replicas('A') == "b")?;
            story.reads_filled('A', 5)?;
        }
        Ok(())
    })
}

#[test]
fn h13_of_two_replicas_a_dead_one_is_rebuilt_or_removed() -> Told {
    each_seed(|seed| {
        for is_rebuild in [true, false] {
            let mut story = Story::begin(&Shape::of(&["ab"]).agents(3).seed(seed))?;
            story.fill('A', 5)?;
            story.lose_for_ever("b");
            story.until("b is fenced", |s| s.is_fenced("b"))?;
            let migration = match is_rebuild {
                true => story.rebuild('A', "b", "c")?,
                false => story.remove('A', "b")?,
            };
            story.until_ended(migration, Ending::Done)?;
            let mut story = story.end()?;
            let expected = if is_rebuild { "ac" } else { "a" };
            story.must(&format!("{expected} have it"), story.replicas('A') == expected)?;
            story.reads_filled('A', 5)?;
        }
        Ok(())
    })
}

/// A cancel and the command that enters `use_new` are in one entry, the cancel first.
#[test]
fn h16_a_cancel_committed_just_before_use_new_wins() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let migration = story.migrate('A', "a", "d")?;
        story.until_stage('A', Stage::WriteBothReadNew)?;
        let last = story.hold(Kind::Acknowledged.from("c"));
        story.until_held(last, 1)?;
        story.until("only c is missing", |s| s.waits_for('A') == "c")?;
        let commit = story.hold(Kind::Commit.any());
        let leader = story.leader().unwrap_or_default();
        story.ask(&leader, palisade_sim::story::cancel_of(migration));
        story.until_held(commit, 1)?;
        story.release(last);
        story.pass(20)?;
        story.release(commit);
        story.until_over(migration)?;
        story.must_have_told("group0 refuses: the transition")?;
        story.must("use_new was never entered", story.told(": use_new,") == 0)?;
        story.must_have_seen("edge write_both_read_new -> write_both_read_old_fallback")?;
        story.until_ended(migration, Ending::Cancelled)?;
        let mut story = story.end()?;
        story.must("nothing is left on d", story.copies("d", 'A') == 0)?;
        story.reads_filled('A', 5)
    })
}

/// The pending replica sleeps through its lease while a chunk is in its hands, and acknowledged
/// writes with it.
fn the_pending_one_is_fenced(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let chunk = story.hold(Kind::ChunkBeforeGuard.to("d").first(1));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    // Acknowledged by b and d in the new set, and a and b in the old one.
    let missed = story.hold(Kind::Write.to("c"));
    story.put("r0", "Ax", "x")?;
    story.swallow(missed);
    story.pause("d", 3_000);
    story.until("d is fenced", |s| s.is_fenced("d"))?;
    let stage = story.stage('A');
    story.must("that took it back", stage == Some(Stage::CleanupTarget))?;
    story.until_ended(migration, Ending::Reverted)?;
    let reason = story.ending(migration).and_then(|(_, reason)| reason);
    let d = story.node_id("d");
    story.must("because of d's fence", reason == d.map(EndReason::NodeFenced))?;
    story.until("d is back", |s| !s.is_fenced("d") && s.is_attached("d"))?;
    story.release(chunk);
    story.must("its copy is dropped", story.copies("d", 'A') == 0)?;
    let again = story.migrate('A', "a", "d")?;
    story.until_ended(again, Ending::Done)?;
    let mut story = story.end()?;
    story.reads("r1", "Ax", Some("x"))?;
    story.reads_filled('A', 5)
}

#[test]
fn h17_a_fence_of_the_pending_replica_takes_the_transition_back_at_once() -> Told {
    each_seed(the_pending_one_is_fenced)
}

#[test]
fn h18_a_removal_goes_not_into_a_set_without_a_live_majority() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let migration = story.remove('A', "a")?;
        story.until_stage('A', Stage::WriteBothReadNew)?;
        story.lose_for_ever("b");
        story.until_ended(migration, Ending::Reverted)?;
        let reason = story.ending(migration).and_then(|(_, reason)| reason);
        story.must("why", reason == Some(EndReason::NoLiveMajority))?;
        story.must_have_seen("edge write_both_read_new -> write_both_read_old_fallback")?;
        let mut story = story.end()?;
        story.must("all three are still its replicas", story.replicas('A') == "abc")?;
        story.put("r0", "Ax", "x")?;
        story.reads_filled('A', 5)
    })
}

/// A delete reaches one replica; before it is tried again a repair raises T above it.
fn until_a_delete_that_begins_anew_is_done(seed: u64) -> Told<Story> {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    story.put("r0", "Ax", "x")?;
    let missed = ["b", "c"].map(|name| story.hold(Kind::Write.from("r1").to(name)));
    let delete = story.begin_delete("r1", "Ax");
    story.until("a has the tombstone", |s| s.on_disk("a", "Ax") == Some(None))?;
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.must("nobody was told yes", !story.is_done(delete))?;
    // Purged: all that there was of the delete is gone, and it is not acknowledged.
    story.purge('A')?;
    story.must_have_seen("tombstones are purged")?;
    missed.into_iter().for_each(|hold| story.swallow(hold));
    story.put("r0", "Ax", "between")?;
    story.until("the delete is acknowledged", |s| s.is_done(delete))?;
    Ok(story)
}

fn a_delete_begins_anew(seed: u64) -> Told {
    let mut story = until_a_delete_that_begins_anew_is_done(seed)?;
    let times = story.times_of("-> a: ", "delete Ax at ");
    story.must(&format!("with another timestamp: {times:?}"), times.len() >= 2)?;
    story.reads("r0", "Ax", None)?;
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.purge('A')?;
    let mut story = story.end()?;
    story.reads("r0", "Ax", None)
}

#[test]
fn h19_a_delete_that_begins_anew_after_a_repair_draws_a_new_timestamp() -> Told {
    each_seed(a_delete_begins_anew)
}

/// A write is on a and c only; c is fenced while a is removed, and a while... b remains alone.
fn three_two_one(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let missed = story.hold(Kind::Write.to("b"));
    story.put("r0", "Ax", "x")?;
    story.swallow(missed);
    story.must("b misses it", story.on_disk("b", "Ax").is_none())?;
    story.kill("c");
    story.until("c is fenced", |s| s.is_fenced("c"))?;
    let removal = story.remove('A', "a")?;
    story.pass(2_000)?;
    let is_going =
        matches!(story.stage('A'), Some(Stage::AllowWriteBothReadOld | Stage::WriteBothReadOld));
    let has_ended = story.ending(removal).map(|(ending, _)| ending);
    let waits = is_going || has_ended == Some(Ending::Reverted);
    story.must("the removal waits for c, or has gone back", waits)?;
    story.start("c");
    story.until("c is back", |s| !s.is_fenced("c") && s.is_attached("c"))?;
    story.until_over(removal)?;
    let has_ended = story.ending(removal).map(|(ending, _)| ending);
    if has_ended == Some(Ending::Reverted) {
        let removal = story.remove('A', "a")?;
        story.until_ended(removal, Ending::Done)?;
    }
    let removal = story.remove('A', "c")?;
    story.until_ended(removal, Ending::Done)?;
    story.must("b alone has it", story.replicas('A') == "b")?;
    let is_merged = story.on_disk("b", "Ax") == Some(Some("x".into()));
    story.must("what b missed is merged into it", is_merged)?;
    let mut story = story.end()?;
    story.reads("r1", "Ax", Some("x"))?;
    story.reads_filled('A', 5)
}

#[test]
fn h20_a_removal_waits_for_a_fenced_one_that_stays() -> Told {
    each_seed(three_two_one)
}

/// Of five replicas one that stays is fenced: a majority is alive, and it is waited for all the
/// same, since it may hold what the others lack.
#[test]
fn h20_a_fenced_one_of_five_is_waited_for() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abcde"]).agents(6).seed(seed))?;
        story.fill('A', 5)?;
        story.kill("e");
        story.until("e is fenced", |s| s.is_fenced("e"))?;
        // On the leaving one, and on two of those that stay.
        let missed = story.hold(Kind::Write.to("d"));
        story.put("r0", "Ax", "x")?;
        story.swallow(missed);
        let removal = story.remove('A', "a")?;
        story.pass(3_000)?;
        let stage = story.stage('A');
        story.must("it waits for e", stage == Some(Stage::WriteBothReadOld))?;
        story.must("and says so", story.waits_for('A').contains('e'))?;
        story.start("e");
        story.until_ended(removal, Ending::Done)?;
        for name in ["d", "e"] {
            let is_there = story.on_disk(name, "Ax") == Some(Some("x".into()));
            story.must("it is merged into both", is_there)?;
        }
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::{unmet_without, without, without_all};
    use migrations::rule::Rule;

    #[test]
    fn h15_control_who_serves_under_a_lease_alone_serves_nothing_then() {
        let what = "r0's put of Ax=while they are down is acknowledged";
        unmet_without(Rule::RowsNeedNoLease, what, all_coordinators_are_down);
    }

    #[test]
    fn h17_control_it_goes_on_without_its_pending_replica() {
        without(Rule::PendingLossTurnsBack, 1, the_pending_one_is_fenced);
    }

    #[test]
    fn h20_control_a_removal_that_merges_nothing_loses_the_write() {
        without(Rule::RemovalMerges, 9, three_two_one);
    }

    #[test]
    fn h19_control_a_delete_with_the_timestamp_it_had_before_hides_a_later_write() {
        let rules = [Rule::FreshTimestamp, Rule::PromiseKept, Rule::OldTimestampsRefused];
        without_all(&rules, 6, |seed| {
            let mut story = until_a_delete_that_begins_anew_is_done(seed)?;
            story.reads("r0", "Ax", None)
        });
    }
}
