//! F: leadership and requests.

use super::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

/// Leadership is lost while a move is being committed; its caller asks again, under its id.
fn lost_while_committing(seed: u64, inherits: bool) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let commit = story.hold(Kind::Commit.any().first(1));
    let leader = story.leader().unwrap_or_default();
    let (migration, change) = story.migration_of('A', "a", "d")?;
    let asked = story.ask(&leader, change);
    story.until_held(commit, 1)?;
    story.elect_another(inherits);
    story.swallow(commit);
    let first = "the caller hears that nobody knows, or of the outcome";
    story.until(first, |s| s.answer(asked).is_some())?;
    story.until("its retry has the outcome", |s| matches!(s.answer(asked), Some(Some(Ok(_)))))?;
    story.must_have_seen("a request is made again under its id")?;
    story.until_ended(migration, Ending::Done)?;
    let begun = story.told(": allow_write_both_read_old, attempt 1");
    story.must(&format!("one migration begins, not {begun}"), begun == 1)?;
    let mut story = story.end()?;
    story.must("it has moved once", story.replicas('A') == "bcd")?;
    story.reads_filled('A', 3)
}

#[test]
fn f1_a_request_whose_leader_is_lost_takes_effect_once() -> Told {
    each_seed(|seed| {
        lost_while_committing(seed, true)?;
        lost_while_committing(seed, false)
    })
}

/// A request comes once more when all that it led to is long over.
fn a_request_that_comes_late(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    let again = story.ask_once_more()?;
    let what = "it has the outcome that is remembered";
    story.until(what, |s| matches!(s.answer(again), Some(Some(Ok(_)))))?;
    story.pass(100)?;
    story.must_have_seen("a request id comes a second time")?;
    story.must("one repair begins", story.told(": open_repair, attempt 1") == 1)?;
    story.end().map(drop)
}

#[test]
fn f1_a_request_that_comes_late_finds_its_outcome() -> Told {
    each_seed(a_request_that_comes_late)
}

/// L1 drives a move; L2 takes it back; L1 leads again, and what it once made is committed late.
fn flap(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let first = story.leader().unwrap_or_default();
    let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    story.elect_another(false);
    story.until("L2 leads", |s| s.leader().is_some_and(|new| new != first))?;
    let drops = story.hold(Kind::Drop.any());
    story.cancel(migration)?;
    story.until_stage('A', Stage::CleanupTarget)?;
    story.until("d has closed the session", |s| s.open_sessions("d", 'A') == 0)?;
    story.elect(&first, false);
    story.until("L1 leads again", |s| s.leader().as_deref() == Some(&first))?;
    for left in [Stage::AllowWriteBothReadOld, Stage::WriteBothReadOld] {
        story.commit_again('A', left)?;
    }
    story.must("both fall", story.told("group0 refuses") >= 2)?;
    let stage = story.stage('A');
    story.must("it goes on going back", stage == Some(Stage::CleanupTarget))?;
    story.must("no session is open", story.open_sessions("d", 'A') == 0)?;
    story.release(drops);
    story.release(chunk);
    story.until_ended(migration, Ending::Cancelled)?;
    // A later move is where the first one was when it was taken back.
    let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
    let second = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    story.commit_again('A', Stage::Streaming)?;
    story.must_have_told("group0 refuses: the transition has moved on")?;
    let stage = story.stage('A');
    story.must("that move goes on", stage == Some(Stage::Streaming))?;
    story.release(chunk);
    story.until_ended(second, Ending::Done)?;
    let mut story = story.end()?;
    story.reads_filled('A', 5)
}

#[test]
fn f2_a_flap_of_leaders_reopens_no_session() -> Told {
    each_seed(flap)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::without;
    use migrations::rule::Rule;

    #[test]
    fn f1_control_requests_that_nobody_remembers_take_effect_twice() {
        without(Rule::RequestsRemembered, 11, a_request_that_comes_late);
    }

    #[test]
    fn f2_control_commands_that_expect_nothing_are_applied_late() {
        without(Rule::ExpectedChecked, 10, flap);
    }
}
