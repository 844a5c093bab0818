//! B: every stage, every failure.

use super::each_seed;
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
