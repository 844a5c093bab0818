//! C: barriers and fencing.

use super::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

fn lost_repeated_and_late(seed: u64) -> Told {
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
}

#[test]
fn c6_barriers_lost_repeated_and_late_acknowledgements_advance_nothing() -> Told {
    each_seed(lost_repeated_and_late)
}

fn said_to_the_one_before(seed: u64) -> Told {
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
    let leader = story.leader().unwrap_or_default();
    let to_b = format!("{leader} -> b: barrier");
    story.until("b is told, too", |s| s.told(&to_b) > 0)?;
    story.release(silent);
    story.pass(300)?;
    story.must("b alone is not enough", story.stage('A') == Some(Stage::WriteBothReadNew))?;
    for name in ["a", "b", "c", "d"] {
        story.must_have_told(&format!("{leader} -> {name}: barrier"))?;
    }
    deaf.into_iter().for_each(|hold| story.release(hold));
    story.until_ended(migration, Ending::Done)?;
    let mut story = story.end()?;
    story.reads_filled('A', 5)
}

#[test]
fn c7_a_new_leader_counts_nothing_that_was_said_to_the_one_before() -> Told {
    each_seed(said_to_the_one_before)
}

fn ordered_by_a_deposed_leader(seed: u64) -> Told {
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
    let calls = story.told("begin");
    story.repeat(barriers)?;
    story.repeat(pulls)?;
    story.pass(100)?;
    story.must("d has answered", story.told("d -> ") > refused)?;
    story.must_have_seen("an order is refused")?;
    story.must("no session is open", story.open_sessions("d", 'A') == 0)?;
    story.must("d's tablet is at rest", story.stage('A').is_none())?;
    story.release(deposed);
    story.must("no other stream is made", story.told("begin") == calls)?;
    let mut story = story.end()?;
    story.reads_filled('A', 5)
}

#[test]
fn c8_what_a_deposed_leader_has_ordered_comes_late_and_does_nothing() -> Told {
    each_seed(ordered_by_a_deposed_leader)
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
    // Who was fenced has a lease again before the streams are ordered.
    let barriers = story.hold(Kind::Barrier.to("a"));
    story.heal();
    story.until("b and c are back", |s| s.has_lease("b") && s.has_lease("c"))?;
    story.release(barriers);
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

/// A write of one tablet is stuck inside of its guard on c.
#[test]
fn c2_one_stuck_drain_holds_up_no_other_tablet() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc", "abc"]).seed(seed))?;
        story.fill('A', 3)?;
        story.fill('B', 3)?;
        let stuck = story.hold(Kind::WriteInGuard.to("c").first(1));
        let write = story.begin_put("r0", "Ax", "x");
        story.until_held(stuck, 1)?;
        let first = story.migrate('A', "a", "d")?;
        let second = story.migrate('B', "a", "d")?;
        story.until_ended(second, Ending::Done)?;
        let is_waiting = story.finished(first).is_none() && story.waits_for('A') == "c";
        story.must("A waits for c, and says so", is_waiting)?;
        story.release(stuck);
        story.until_ended(first, Ending::Done)?;
        story.must("the write was acknowledged", story.is_done(write))?;
        story.end().map(drop)
    })
}

#[test]
fn c3_a_dead_node_that_takes_no_part_costs_no_time() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc", "abe"]).agents(5).seed(seed))?;
        story.fill('A', 5)?;
        let begun = story.now_ms();
        story.lose_for_ever("e");
        let migration = story.migrate('A', "a", "d")?;
        story.until_ended(migration, Ending::Done)?;
        let took = story.now_ms() - begun;
        story.must("nobody has waited for its fence", !story.is_fenced("e") && took < 500)?;
        story.end().map(drop)
    })
}

/// c dies for good while it is asked.
#[test]
fn c4_a_dead_participant_is_waited_for_a_lease_and_no_longer() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        let migration = story.migrate('A', "a", "d")?;
        story.until_stage('A', Stage::WriteBothReadNew)?;
        story.lose_for_ever("c");
        let begun = story.now_ms();
        story.until("c is fenced", |s| s.is_fenced("c"))?;
        let took = story.now_ms() - begun;
        // The lease is a second, the bound of the drift 20 in a thousand.
        story.must(&format!("fenced after {took} ms"), (500..=2_020).contains(&took))?;
        story.must("it was waited for", story.finished(migration).is_none())?;
        story.until_ended(migration, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

/// d is cut off again and again, with a clock that is slow while the leaders' are fast.
fn fenced_again_and_again(seed: u64) -> Told {
    let shape = Shape::of(&["abc"]).seed(seed).drift("d", -9_900);
    let shape = ["c0", "c1", "c2"].into_iter().fold(shape, |shape, c| shape.drift(c, 9_900));
    let mut story = Story::begin(&shape)?;
    for round in 0..6 {
        for coordinator in ["c0", "c1", "c2"] {
            story.cut("d", coordinator);
        }
        story.until("d is fenced", |s| s.is_fenced("d"))?;
        story.must(&format!("round {round}: its lease is over"), !story.has_lease("d"))?;
        story.heal();
        story.until("d is back", |s| !s.is_fenced("d") && s.has_lease("d"))?;
        story.pass(17 * (round + 1))?;
    }
    story.end().map(drop)
}

#[test]
fn c4_a_fence_waits_out_the_lease_with_its_drift() -> Told {
    each_seed(fenced_again_and_again)
}

#[test]
fn c5_a_node_that_sleeps_through_its_lease_wakes_to_nothing() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 9)?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d").first(1));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(chunk, 1)?;
        story.pause("d", 3_000);
        story.until("d is fenced", |s| s.is_fenced("d"))?;
        // It is the first thing that d does when it wakes.
        story.release(chunk);
        story.until("the chunk is refused", |s| s.saw("a late chunk is refused"))?;
        story.must("d is still out", story.is_fenced("d"))?;
        story.until("it is admitted anew", |s| !s.is_fenced("d") && s.is_attached("d"))?;
        story.must("drained", story.saw("an agent drains for its admission"))?;
        story.must("and cleaned", story.copies("d", 'A') == 0)?;
        story.until_ended(migration, Ending::Reverted)?;
        story.end().map(drop)
    })
}

/// c is away while one tablet has moved, and another one is being moved.
#[test]
fn c9_an_agent_that_is_far_behind_opens_what_is_open_and_nothing_else() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc", "abc"]).seed(seed))?;
        story.fill('A', 5)?;
        story.fill('B', 5)?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
        let first = story.migrate('A', "a", "d")?;
        story.until_held(chunk, 1)?;
        story.must("c has A's session", story.has_session("c", 'A'))?;
        story.kill("c");
        story.release(chunk);
        story.until_ended(first, Ending::Done)?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
        let second = story.migrate('B', "a", "d")?;
        story.until_held(chunk, 1)?;
        story.start("c");
        story.until("c is back", |s| s.is_attached("c"))?;
        story.until("with B's session", |s| s.has_session("c", 'B'))?;
        story.must("and none of A", story.open_sessions("c", 'A') == 0)?;
        story.swallow(chunk);
        story.until_ended(second, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)?;
        story.reads_filled('B', 5)
    })
}

/// The leader is cut off from the other coordinators, and d from those: the deposed one and d
/// have only one another.
fn a_deposed_leader_and_its_agent(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let leader = story.leader().unwrap_or_default();
    let deposed = story.hold(Kind::Deposed.any());
    story.cut_off_from_coordinators(&leader);
    for other in ["c0", "c1", "c2"].into_iter().filter(|other| *other != leader) {
        story.cut("d", other);
    }
    story.until("another one leads", |s| s.leader().is_some_and(|new| new != leader))?;
    story.must("it believes that it leads", story.believes_it_leads(&leader))?;
    story.until("d is fenced", |s| s.is_fenced("d"))?;
    story.must("its lease is over", !story.has_lease("d"))?;
    story.must_have_seen("a renewal is not answered, since leadership is not confirmed")?;
    story.release(deposed);
    story.end().map(drop)
}

#[test]
fn c10_a_deposed_leader_answers_no_renewal() -> Told {
    each_seed(a_deposed_leader_and_its_agent)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::{unmet_without, without};
    use migrations::rule::Rule;

    #[test]
    fn c8_control_a_late_barrier_that_is_obeyed_opens_a_closed_session() {
        without(Rule::OlderBarrierRefused, 3, ordered_by_a_deposed_leader);
    }

    #[test]
    fn c12_control_without_the_rule_on_majorities_a_write_is_lost() {
        without(Rule::NoSilentMajority, 9, cut_off_late);
    }

    #[test]
    fn c4_control_a_fence_that_waits_no_drift_out_comes_under_a_lease() {
        without(Rule::WaitsOutTheDrift, 13, fenced_again_and_again);
    }

    #[test]
    fn c10_control_a_leader_that_asks_nobody_extends_a_lease_past_its_fence() {
        without(Rule::LeadershipConfirmed, 13, a_deposed_leader_and_its_agent);
    }

    #[test]
    fn c6_control_a_stage_that_is_left_by_time_is_left_without_barriers_that_were_lost() {
        without(Rule::EvidenceNotTime, 4, lost_repeated_and_late);
    }

    #[test]
    fn c7_control_a_stage_that_is_left_by_time_is_left_on_what_another_leader_has_heard() {
        unmet_without(Rule::EvidenceNotTime, "b alone is not enough", said_to_the_one_before);
    }
}
