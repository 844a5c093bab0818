//! A: guards and sessions.

use super::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

const KEYS: usize = 9;

/// The accident: a chunk of a failed attempt is stuck on d, between its receipt and its guard,
/// while its tablet moves there after all, and a key is deleted, repaired and purged.
fn the_accident(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', KEYS)?;
    let stuck = story.hold(Kind::ChunkBeforeGuard.to("d").first(1));
    let first = story.migrate('A', "a", "d")?;
    story.until_held(stuck, 1)?;
    story.cancel(first)?;
    story.until_ended(first, Ending::Cancelled)?;
    let second = story.migrate('A', "a", "d")?;
    story.until_ended(second, Ending::Done)?;
    for number in 0..KEYS {
        story.delete("r0", &format!("A{number:02}"))?;
    }
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    story.purge('A')?;
    story.must_have_seen("tombstones are purged")?;
    story.must("nothing is left of the key", story.on_disk("d", "A00").is_none())?;
    story.release(stuck);
    story.until("the chunk is refused", |s| s.saw("a late chunk is refused"))?;
    let mut story = story.end()?;
    for number in 0..KEYS {
        story.reads("r1", &format!("A{number:02}"), None)?;
    }
    let third = story.migrate('A', "b", "a")?;
    story.until_ended(third, Ending::Done)?;
    story.end().map(drop)
}

#[test]
fn a2_a_chunk_of_a_failed_attempt_is_refused_and_no_key_comes_back() -> Told {
    each_seed(the_accident)
}

/// An agent dies between the close of a session and its drain. It comes back, and an old barrier
/// that names the session comes, late.
fn a_late_barrier_after_a_restart(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', KEYS)?;
    let old = story.hold(Kind::Barrier.to("d").in_stage(Stage::WriteBothReadOld));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(old, 1)?;
    story.hold_no_more(old);
    story.repeat(old)?;
    let inside = story.hold(Kind::ChunkInGuard.to("d"));
    story.until_held(inside, 1)?;
    story.cancel(migration)?;
    story.until_stage('A', Stage::CleanupTarget)?;
    story.until("d has closed the session", |s| s.open_sessions("d", 'A') == 0)?;
    story.pass(20)?;
    story.must("d still drains", !story.has_acknowledged("d", 'A'))?;
    story.restart("d", 5)?;
    story.swallow(inside);
    story.until("d is back", |s| s.is_attached("d"))?;
    story.repeat(old)?;
    story.must_have_seen("an order is refused")?;
    story.pass(50)?;
    story.must("the session stays closed", story.open_sessions("d", 'A') == 0)?;
    story.until_ended(migration, Ending::Cancelled)?;
    story.repeat(old)?;
    story.pass(50)?;
    story.must("it stays closed", story.open_sessions("d", 'A') == 0)?;
    let story = story.end()?;
    story.must("nothing is left on d", story.copies("d", 'A') == 0)
}

#[test]
fn a8_a_late_barrier_after_a_restart_opens_nothing() -> Told {
    each_seed(a_late_barrier_after_a_restart)
}

/// The barrier that closes a session waits for a sync. d dies before it comes: it must not have
/// acknowledged.
fn a_floor_waits_for_its_sync(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', KEYS)?;
    let migration = story.migrate('A', "a", "d")?;
    story.until_stage('A', Stage::Streaming)?;
    let sync = story.hold(Kind::Sync.to("d"));
    let said = story.hold(Kind::Acknowledged.from("d"));
    story.cancel(migration)?;
    story.until_held(sync, 1)?;
    story.pass(200)?;
    story.must("the transition waits for d", story.finished(migration).is_none())?;
    let is_silent = story.held(said) == 0;
    story.restart("d", 5)?;
    story.swallow(sync);
    story.swallow(said);
    story.until_ended(migration, Ending::Cancelled)?;
    story.must("d has said nothing before its sync", is_silent)?;
    story.end().map(drop)
}

#[test]
fn a8_a_floor_that_is_not_durable_is_not_acknowledged() -> Told {
    each_seed(a_floor_waits_for_its_sync)
}

/// The receiver's disk fails it, and nobody hears of that: what it says is lost, and it is asked again
/// only by a fresh attempt.
#[test]
fn a3_a_failure_whose_report_is_lost_is_followed_by_a_fresh_session() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', KEYS)?;
        let silent = story.hold(Kind::Chunk.to("d"));
        let signs = story.hold(Kind::KeepAlive.to("d"));
        let reports = story.hold(Kind::Streamed.from("d").first(1));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(silent, 1)?;
        let first = story.record('A').and_then(|record| record.session());
        story.until_held(reports, 1)?;
        story.lose(reports);
        story.lose(signs);
        story.lose(silent);
        story.until("another attempt", |s| s.attempt('A') > 1)?;
        story.until_stage('A', Stage::Streaming)?;
        let second = story.record('A').and_then(|record| record.session());
        story.must("a fresh session", second.is_some() && second != first)?;
        story.until_ended(migration, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', KEYS)
    })
}

/// A chunk stands inside its guard while the call that brought it is gone: the close of its session
/// tells it to go, and the barrier comes to its end.
#[test]
fn a5_an_orphaned_guard_is_told_to_go_when_its_session_is_closed() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', KEYS)?;
        let inside = story.hold(Kind::ChunkInGuard.to("d").first(1));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(inside, 1)?;
        story.restart("a", 5)?;
        story.cancel(migration)?;
        story.until("d has closed the session", |s| s.open_sessions("d", 'A') == 0)?;
        story.pass(50)?;
        story.must("its barrier waits", story.stage('A') == Some(Stage::CleanupTarget))?;
        story.release(inside);
        story.until_ended(migration, Ending::Cancelled)?;
        let mut story = story.end()?;
        story.must("nothing is left", !story.has_any_copy("d"))?;
        story.reads_filled('A', KEYS)
    })
}

/// A table is dropped while one of its tablets streams: that ends, and its copies go.
#[test]
fn a6_a_table_is_dropped_in_the_middle_of_a_stream() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc", "bcd"]).seed(seed))?;
        story.fill('A', KEYS)?;
        let chunk = story.hold(Kind::Chunk.to("d").first(1));
        story.migrate('A', "a", "d")?;
        story.until_held(chunk, 1)?;
        story.drop_table()?;
        story.must("it is cleared", story.stage('A') == Some(Stage::Drop))?;
        story.release(chunk);
        story.until("the record goes", |s| s.record('A').is_none())?;
        let story = story.end()?;
        for name in ["a", "b", "c", "d"] {
            story.must(&format!("{name} has no copy"), !story.has_any_copy(name))?;
        }
        Ok(())
    })
}

#[test]
fn a9_a_dropped_table_stays_dropped_when_its_leader_dies() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', KEYS)?;
        let stuck = story.hold(Kind::ChunkBeforeGuard.to("d").first(1));
        story.migrate('A', "a", "d")?;
        story.until_held(stuck, 1)?;
        let leader = story.leader().unwrap_or_default();
        story.drop_table()?;
        story.must("its session is cleared", story.stage('A') == Some(Stage::Drop))?;
        story.kill(&leader);
        story.until("another one leads", |s| s.leader().is_some_and(|new| new != leader))?;
        story.until("d has closed the session", |s| s.open_sessions("d", 'A') == 0)?;
        story.release(stuck);
        story.until("the chunk is refused", |s| s.saw("a late chunk is refused"))?;
        story.until("the record goes", |s| s.record('A').is_none())?;
        let story = story.end()?;
        for name in ["a", "b", "c", "d"] {
            story.must(&format!("{name} holds nothing"), story.on_disk(name, "A00").is_none())?;
            story.must(&format!("{name} has no copy"), !story.has_any_copy(name))?;
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
    fn a2_control_without_the_check_where_it_acts_the_key_is_back() {
        without(Rule::CheckedWhereItActs, 2, the_accident);
    }

    #[test]
    fn a8_control_a_floor_that_is_not_durable_falls() {
        without(Rule::FloorIsDurable, 5, a_floor_waits_for_its_sync);
    }
}
