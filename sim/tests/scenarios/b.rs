//! B: every stage, every failure.

use super::each_seed;
use migrations::command::{Applied, Rejected};
use migrations::stage::Stage;
use migrations::tablet::{EndReason, Ending};
use palisade_sim::story::{Kind, Shape, Story, Told};

/// The target dies in the first attempt, for long in the second, and once more on the way back.
#[test]
fn b5_a_participant_that_dies_again_and_again_holds_nothing_up_for_ever() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 9)?;
        let migration = story.migrate('A', "a", "d")?;
        story.until_stage('A', Stage::Streaming)?;
        story.restart("d", 50)?;
        story.until("another attempt streams", |s| {
            s.attempt('A') == 2 && s.stage('A') == Some(Stage::Streaming)
        })?;
        story.kill("d");
        story.until("d is fenced", |s| s.is_fenced("d"))?;
        story.must("and it goes back at once", story.stage('A') == Some(Stage::CleanupTarget))?;
        story.start("d");
        story.until("d is back", |s| !s.is_fenced("d"))?;
        story.kill("d");
        story.pass(3_000)?;
        story.start("d");
        story.until_ended(migration, Ending::Reverted)?;
        let reason = story.ending(migration).and_then(|(_, reason)| reason);
        let d = story.node_id("d");
        story.must(
            &format!("the reason is d's fence, and not {reason:?}"),
            reason == d.map(EndReason::NodeFenced),
        )?;
        let mut story = story.end()?;
        story.must("nothing is left on d", story.copies("d", 'A') == 0)?;
        story.reads_filled('A', 9)
    })
}

/// A write is on the leaving replica and on one that stays. The leaving one dies for good while it
/// is the source: the others are merged, so that it is on the new set's majority.
fn the_leaving_one_dies(seed: u64, only_on: &'static str, missed_by: &'static str) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 9)?;
    let missed = story.hold(Kind::Write.from("r0").to(missed_by));
    story.put("r0", "Alone", "x")?;
    story.until_held(missed, 1)?;
    story.swallow(missed);
    story.must("it is missed", story.on_disk(missed_by, "Alone").is_none())?;
    let chunk = story.hold(Kind::Chunk.from("a").to("d"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    story.lose_for_ever("a");
    story.swallow(chunk);
    story.until_ended(migration, Ending::Done)?;
    story.must("a second attempt was made", story.told("streaming, attempt 2") > 0)?;
    story.must("it was on one that stays", story.on_disk(only_on, "Alone").is_some())?;
    story.must("it is on d", story.on_disk("d", "Alone") == Some(Some("x".into())))?;
    let mut story = story.end()?;
    story.reads("r1", "Alone", Some("x"))?;
    story.must("d took a's place", story.replicas('A') == "bcd")
}

#[test]
fn b9_what_only_the_leaving_one_and_another_have_is_merged_from_the_rest() -> Told {
    each_seed(|seed| {
        the_leaving_one_dies(seed, "b", "c")?;
        the_leaving_one_dies(seed, "c", "b")
    })
}

/// There and back, with writes between; what belongs to the first cleanup comes late.
#[test]
fn b2_there_and_back_and_the_first_cleanup_is_late() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let order = story.hold(Kind::Drop.to("a").first(1));
        let reply = story.hold(Kind::Dropped.from("a").first(1));
        let there = story.migrate('A', "a", "d")?;
        story.until_held(order, 1)?;
        story.repeat(order)?;
        story.until_held(reply, 1)?;
        story.repeat(reply)?;
        story.until_ended(there, Ending::Done)?;
        story.put("r0", "Abetween", "x")?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("a"));
        let back = story.migrate('A', "d", "a")?;
        story.until_held(chunk, 1)?;
        story.repeat(order)?;
        story.repeat(reply)?;
        story.pass(50)?;
        story.must("the copy that a has now stays", story.copies("a", 'A') == 1)?;
        story.release(chunk);
        story.until_stage('A', Stage::Cleanup)?;
        story.repeat(reply)?;
        story.until_ended(back, Ending::Done)?;
        story.repeat(order)?;
        story.must_have_seen("an order is refused")?;
        story.swallow(order);
        story.swallow(reply);
        let mut story = story.end()?;
        story.must("a has it", story.copies("a", 'A') == 1)?;
        story.reads("r1", "Abetween", Some("x"))?;
        story.must("d has nothing", story.copies("d", 'A') == 0)?;
        story.reads_filled('A', 5)
    })
}

#[test]
fn b7_a_cancel_in_each_stage() -> Told {
    each_seed(|seed| {
        for stage in [
            Stage::AllowWriteBothReadOld,
            Stage::WriteBothReadOld,
            Stage::Streaming,
            Stage::WriteBothReadNew,
            Stage::UseNew,
            Stage::Cleanup,
            Stage::EndMigration,
        ] {
            let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
            story.fill('A', 5)?;
            let migration = story.migrate('A', "a", "d")?;
            story.until_stage('A', stage)?;
            // It stays there until the cancel is in.
            let said = story.hold(Kind::Acknowledged.any());
            let orders = story.hold(Kind::Drop.any());
            let chunks = story.hold(Kind::Chunk.any());
            let leader = story.leader().unwrap_or_default();
            let asked = story.ask(&leader, palisade_sim::story::cancel_of(migration));
            story.until("the cancel has its outcome", |s| s.answer(asked).is_some())?;
            let outcome = story.answer(asked).flatten();
            [said, orders, chunks].into_iter().for_each(|hold| story.release(hold));
            story.until_over(migration)?;
            let ending = story.ending(migration).map(|(ending, _)| ending);
            let (expected, is_taken, keeps) = match stage.is_past_no_return() {
                true => (Ending::Done, Some(Err(Rejected::PastPointOfNoReturn)), "bcd"),
                false => (Ending::Cancelled, Some(Ok(Applied::Migration(migration))), "abc"),
            };
            let is_yes = matches!((&outcome, &is_taken), (Some(Ok(_)), Some(Ok(_))));
            let what = format!("{stage}: the cancel's outcome is {outcome:?}");
            story.must(&what, is_yes || outcome == is_taken)?;
            story.must(&format!("{stage}: it ends as {ending:?}"), ending == Some(expected))?;
            let mut story = story.end()?;
            story.must(&format!("{keeps} have it"), story.replicas('A') == keeps)?;
            let other = if expected == Ending::Done { "a" } else { "d" };
            story.must(&format!("{other} is clean"), story.copies(other, 'A') == 0)?;
            story.reads_filled('A', 5)?;
        }
        Ok(())
    })
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::without;
    use migrations::rule::Rule;

    #[test]
    fn b9_control_one_survivor_as_the_source_loses_the_write() {
        without(Rule::AllSurvivorsAreSources, 9, |seed| {
            the_leaving_one_dies(seed, "b", "c")?;
            the_leaving_one_dies(seed, "c", "b")
        });
    }
}
