//! E: handshakes and hangs.

use super::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

fn a_late_report(seed: u64) -> Told {
    a_late_report_in(&Shape::of(&["abc"]).seed(seed))
}

fn a_late_report_in(shape: &Shape) -> Told {
    let mut story = Story::begin(shape)?;
    story.fill('A', 9)?;
    // The first attempt is complete at d, and its report is late.
    let complete = story.hold(Kind::Streamed.from("d").first(1));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(complete, 1)?;
    // a's next process ends the attempt; the second one goes on where the first was, and the
    // source's last message is held.
    let last = story.hold(Kind::Complete.to("d"));
    story.restart("a", 5)?;
    story.until("a second attempt streams", |s| {
        s.attempt('A') >= 2 && s.stage('A') == Some(Stage::Streaming)
    })?;
    story.until_held(last, 1)?;
    story.repeat(complete)?;
    story.pass(100)?;
    let is_waiting = story.stage('A') == Some(Stage::Streaming) && story.attempt('A') == 2;
    story.must("the old report ends nothing", is_waiting)?;
    story.release(last);
    story.until_ended(migration, Ending::Done)?;
    story.repeat(complete)?;
    story.swallow(complete);
    let mut story = story.end()?;
    story.reads_filled('A', 9)
}

#[test]
fn e2_a_report_of_an_older_attempt_is_ignored() -> Told {
    each_seed(a_late_report)
}

/// The same of a report that an attempt has failed.
fn a_late_failure(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 9)?;
    let failed = story.hold(Kind::Streamed.from("d").first(1));
    let chunk = story.hold(Kind::Chunk.to("d").first(1));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    story.lose(chunk);
    story.until_held(failed, 1)?;
    story.repeat(failed)?;
    let chunks = story.hold(Kind::ChunkBeforeGuard.to("d"));
    story.until_held(chunks, 1)?;
    story.must("it is the second attempt", story.attempt('A') == 2)?;
    for _ in 0..3 {
        story.repeat(failed)?;
        story.pass(100)?;
    }
    let is_on = story.attempt('A') == 2 && story.stage('A') == Some(Stage::Streaming);
    story.must("the second attempt goes on", is_on)?;
    story.release(chunks);
    story.until_ended(migration, Ending::Done)?;
    story.swallow(failed);
    let mut story = story.end()?;
    story.must("there were two attempts", story.told("attempt 3") == 0)?;
    story.reads_filled('A', 9)
}

#[test]
fn e2_a_failure_of_an_older_attempt_fails_no_newer_one() -> Told {
    each_seed(a_late_failure)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::unmet_without;
    use migrations::rule::Rule;

    /// What the first attempt has on record is taken for the second's: nothing is streamed again,
    /// so that no last message comes.
    #[test]
    fn e2_control_attempts_of_one_session_are_taken_for_one_another() {
        // What comes of it, and not only that it is so.
        unmet_without(Rule::FreshSessionOnRetry, "1 are kept back", |seed| {
            a_late_report_in(&Shape::of(&["abc"]).seed(seed).blind_to(1))
        });
    }
}
