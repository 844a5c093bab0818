//! C: barriers and fencing.

use super::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

#[test]
fn c6_barriers_lost_repeated_and_late_acknowledgements_advance_nothing() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let lost = story.hold(Kind::Barrier.to("b").in_stage(Stage::AllowWriteBothReadOld));
        let said = story.hold(Kind::Acknowledged.from("b"));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(lost, 1)?;
        story.lose(lost);
        // It is asked again on its next attachment.
        story.until_held(said, 1)?;
        story.hold_no_more(said);
        let late = story.hold(Kind::Barrier.to("b").in_stage(Stage::WriteBothReadOld));
        let twice = story.hold(Kind::Barrier.to("c").in_stage(Stage::WriteBothReadOld));
        story.repeat(said)?;
        story.until_stage('A', Stage::WriteBothReadOld)?;
        story.until_held(late, 1)?;
        story.until_held(twice, 1)?;
        story.repeat(twice)?;
        story.until("c has its session", |s| s.open_sessions("c", 'A') == 1)?;
        story.repeat(twice)?;
        story.release(twice);
        story.pass(100)?;
        story.must("one session, however often", story.open_sessions("c", 'A') == 1)?;
        // All but b have acknowledged; what b said of the stage before doesn't count.
        story.repeat(said)?;
        story.pass(300)?;
        story.must("nobody moves", story.stage('A') == Some(Stage::WriteBothReadOld))?;
        story.must("it waits for b", story.waits_for('A') == "b")?;
        story.release(late);
        story.until_ended(migration, Ending::Done)?;
        story.repeat(said)?;
        story.swallow(said);
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

#[test]
fn c7_a_new_leader_counts_nothing_that_was_said_to_the_one_before() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let migration = story.migrate('A', "a", "d")?;
        story.until_stage('A', Stage::WriteBothReadNew)?;
        let silent = story.hold(Kind::Acknowledged.from("b"));
        story.until_held(silent, 1)?;
        story.until("only b is missing", |s| s.waits_for('A') == "b")?;
        let before = story.leader().unwrap_or_default();
        story.kill(&before);
        // The others are all told again, and none of them can be heard.
        let deaf = ["a", "c", "d"].map(|name| story.hold(Kind::Acknowledged.from(name)));
        story.until("another one leads", |s| s.leader().is_some_and(|new| new != before))?;
        for hold in deaf {
            story.until_held(hold, 1)?;
        }
        story.release(silent);
        story.pass(300)?;
        story.must("b alone is not enough", story.stage('A') == Some(Stage::WriteBothReadNew))?;
        let leader = story.leader().unwrap_or_default();
        for name in ["a", "b", "c", "d"] {
            story.must_have_told(&format!("{leader} -> {name}: barrier"))?;
        }
        deaf.into_iter().for_each(|hold| story.release(hold));
        story.until_ended(migration, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

#[test]
fn c8_what_a_deposed_leader_has_ordered_comes_late_and_does_nothing() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let before = story.leader().unwrap_or_default();
        let deposed = story.hold(Kind::Deposed.any());
        let barriers = story.hold(Kind::Barrier.to("d").in_stage(Stage::Streaming));
        let pulls = story.hold(Kind::Pull.to("d"));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(barriers, 1)?;
        story.until_held(pulls, 1)?;
        story.hold_no_more(barriers);
        story.hold_no_more(pulls);
        story.elect_another(true);
        story.must("it goes on giving orders", story.believes_it_leads(&before))?;
        story.until("it is orphaned", |s| s.leader().is_some_and(|new| new != before))?;
        story.until_ended(migration, Ending::Done)?;
        let refused = story.told("d -> ");
        story.repeat(barriers)?;
        story.repeat(pulls)?;
        story.pass(100)?;
        story.must("d has answered", story.told("d -> ") > refused)?;
        story.must_have_seen("an order is refused")?;
        story.must("no session is open", story.open_sessions("d", 'A') == 0)?;
        story.must("d's tablet is at rest", story.stage('A').is_none())?;
        story.release(deposed);
        story.must("one stream was made", story.told("begin") == 1)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

/// b and c are cut off, together with r1: first before they hear of anything, then once they have
/// heard of all but that reads go to the new set.
fn cut_off_with_a_router(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    story.put("r1", "Ax", "before")?;
    let islands = |story: &mut Story| {
        for inside in ["b", "c", "r1"] {
            for outside in ["a", "d", "c0", "c1", "c2", "r0"] {
                story.cut(inside, outside);
            }
        }
    };
    islands(&mut story);
    let migration = story.migrate('A', "b", "d")?;
    story.pass(4_000)?;
    let is_fenced = story.is_fenced("b") && story.is_fenced("c");
    story.must("b and c are fenced", is_fenced)?;
    let stage = story.stage('A');
    story.must("nobody moves", stage == Some(Stage::AllowWriteBothReadOld))?;
    story.put("r1", "Ax", "on the island")?;
    story.reads("r1", "Ax", Some("on the island"))?;
    story.heal();
    story.until_stage('A', Stage::WriteBothReadNew)?;
    islands(&mut story);
    let outside = story.begin_put("r0", "Ay", "outside");
    story.pass(6_000)?;
    story.must("it stays where it is", story.stage('A') == Some(Stage::WriteBothReadNew))?;
    story.must("no majority of old, no write", !story.is_done(outside))?;
    story.heal();
    story.until_ended(migration, Ending::Done)?;
    let mut story = story.end()?;
    story.reads("r0", "Ax", Some("on the island"))?;
    story.reads_filled('A', 5)
}

#[test]
fn c12_a_majority_that_is_cut_off_with_a_router_holds_the_transition() -> Told {
    each_seed(cut_off_with_a_router)
}

/// From where the second cut is: writes outside are acknowledged that readers inside don't see.
#[cfg(feature = "mutants")]
fn cut_off_late(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed).blind_to(4))?;
    story.fill('A', 5)?;
    story.migrate('A', "b", "d")?;
    story.until_stage('A', Stage::WriteBothReadNew)?;
    for inside in ["b", "c", "r1"] {
        for outside in ["a", "d", "c0", "c1", "c2", "r0"] {
            story.cut(inside, outside);
        }
    }
    story.pass(6_000)?;
    story.put("r0", "Ay", "outside")?;
    story.pass(500)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::without;
    use migrations::rule::Rule;

    #[test]
    fn c12_control_without_the_rule_on_majorities_a_write_is_lost() {
        without(Rule::NoSilentMajority, 9, cut_off_late);
    }
}
