//! H1 to H12.

use crate::each_seed;
use migrations::stage::Stage;
use migrations::tablet::Ending;
use palisade_sim::story::{Kind, Shape, Story, Told};

#[test]
fn h1_a_full_state_closes_nothing_that_is_newer_than_it() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        // d's full state is read before the tablet moves to d: it doesn't list it.
        let full = story.hold(Kind::Welcome.to("d"));
        story.restart("d", 5)?;
        story.until_held(full, 1)?;
        story.hold_no_more(full);
        let migration = story.migrate('A', "a", "d")?;
        story.pass(150)?;
        let stage = story.stage('A');
        story.must("it waits for d", stage == Some(Stage::AllowWriteBothReadOld))?;
        // It is worked off once the tablet's barriers come, and once more when they have come.
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
        story.repeat(full)?;
        story.until_held(chunk, 1)?;
        story.must("d has its session", story.has_session("d", 'A'))?;
        story.repeat(full)?;
        story.pass(100)?;
        story.must("it is still open", story.has_session("d", 'A'))?;
        story.must("and the copy is there", story.copies("d", 'A') == 1)?;
        story.swallow(full);
        story.release(chunk);
        story.until_ended(migration, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

#[test]
fn h1_a_new_leader_has_applied_an_entry_of_its_own_before_it_answers() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        // What the leader has proposed is in its successor's log, and nobody has applied it.
        let commit = story.hold(Kind::Commit.any().first(1));
        let leader = story.leader().unwrap_or_default();
        let (migration, change) = story.migration_of('A', "a", "d")?;
        story.ask(&leader, change);
        story.until_held(commit, 1)?;
        story.kill("d");
        story.elect_another(true);
        story.start("d");
        story.swallow(commit);
        story.until("d is attached to its successor", |s| s.is_attached("d"))?;
        story.must("the move has begun", story.told("allow_write_both_read_old") > 0)?;
        story.until_ended(migration, Ending::Done)?;
        let mut story = story.end()?;
        story.reads_filled('A', 5)
    })
}

/// The repair's leader has a clock that is ten minutes fast.
fn repaired_by_a_fast_clock(seed: u64) -> Told<Story> {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 3)?;
    let leader = story.leader().unwrap_or_default();
    story.move_wall_clock(&leader, 600_000);
    let repair = story.repair('A')?;
    story.until_ended(repair, Ending::Done)?;
    Ok(story)
}

/// After the repair a delete misses c, which keeps the value; then the tablet is purged.
fn a_delete_misses_one_before_the_purge(story: &mut Story) -> Told {
    // All three have heard of the version that holds now.
    story.pass(20)?;
    story.put("r0", "Ax", "after")?;
    story.pass(20)?;
    let missed = story.hold(Kind::Write.to("c"));
    story.delete("r0", "Ax")?;
    story.swallow(missed);
    story.must("c has the value", story.on_disk("c", "Ax") == Some(Some("after".into())))?;
    story.purge('A')
}

#[test]
fn h4_a_repair_by_a_fast_clock_promises_no_future() -> Told {
    each_seed(|seed| {
        let mut story = repaired_by_a_fast_clock(seed)?;
        let promise = story.promise_ms('A');
        let now = story.wall_ms("a");
        story.must(&format!("T, {promise}, is no later than {now}"), promise <= now)?;
        a_delete_misses_one_before_the_purge(&mut story)?;
        let stays = story.on_disk("a", "Ax") == Some(None);
        story.must("a tombstone above T stays", stays)?;
        story.reads("r1", "Ax", None)?;
        let repair = story.repair('A')?;
        story.until_ended(repair, Ending::Done)?;
        story.purge('A')?;
        story.must_have_seen("tombstones are purged")?;
        let mut story = story.end()?;
        story.reads("r1", "Ax", None)
    })
}

/// The copy is dropped; then a barrier comes that is older than that. Also to the next process.
fn a_barrier_after_the_drop(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let late = story.hold(Kind::Barrier.to("a").in_stage(Stage::WriteBothReadOld).first(1));
    let next = story.hold(Kind::Barrier.to("a").in_stage(Stage::EndMigration));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(late, 1)?;
    story.repeat(late)?;
    story.until_held(next, 1)?;
    story.must("the copy is dropped", story.copies("a", 'A') == 0)?;
    let nothing = |story: &Story| {
        story.must("nothing is opened", story.open_sessions("a", 'A') == 0)?;
        story.must("nothing is made", story.copies("a", 'A') == 0)
    };
    story.repeat(late)?;
    story.pass(20)?;
    story.must_have_seen("an order is refused")?;
    nothing(&story)?;
    story.restart("a", 5)?;
    story.until("a is back", |s| s.is_attached("a"))?;
    story.repeat(late)?;
    story.pass(20)?;
    nothing(&story)?;
    story.release(next);
    story.until_ended(migration, Ending::Done)?;
    story.repeat(late)?;
    story.pass(50)?;
    nothing(&story)?;
    story.swallow(late);
    story.end().map(drop)
}

#[test]
fn h6_a_barrier_after_the_drop_is_refused_by_the_floor_that_outlived_the_copy() -> Told {
    each_seed(a_barrier_after_the_drop)
}

/// Two barriers of one tablet overtake one another while the first waits for its sync.
#[test]
fn h7_barriers_that_overtake_one_another_end_at_the_newer() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 5)?;
        // The barrier with the session waits for its sync; the one that closes it comes meanwhile.
        let slow = story.hold(Kind::Barrier.to("d").in_stage(Stage::WriteBothReadOld).first(1));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(slow, 1)?;
        let sync = story.hold(Kind::Sync.to("d"));
        story.release(slow);
        story.until_held(sync, 1)?;
        story.must("nothing is open before the sync", story.open_sessions("d", 'A') == 0)?;
        story.cancel(migration)?;
        story.until_stage('A', Stage::CleanupTarget)?;
        story.pass(50)?;
        story.release(sync);
        story.until_ended(migration, Ending::Cancelled)?;
        let opened = story.times_of("d: t1 at ", "closes 0, opens 1").len();
        story.must("the first one has opened it", opened == 1)?;
        story.must("nothing is open", story.open_sessions("d", 'A') == 0)?;
        // The other way round: the newer one is first, and the older one is refused.
        let older = story.hold(Kind::Barrier.to("d").in_stage(Stage::WriteBothReadOld).first(1));
        let second = story.migrate('A', "a", "d")?;
        story.until_held(older, 1)?;
        story.cancel(second)?;
        story.until_stage('A', Stage::CleanupTarget)?;
        story.until("d has gone on", |s| s.has_acknowledged("d", 'A'))?;
        story.release(older);
        story.until("it is refused", |s| s.saw("an order is refused"))?;
        story.must("nothing is open", story.open_sessions("d", 'A') == 0)?;
        story.until_ended(second, Ending::Cancelled)?;
        story.end().map(drop)
    })
}

#[test]
fn h8_an_agent_that_attaches_on_the_way_out_keeps_nothing_and_makes_nothing() -> Told {
    each_seed(|seed| {
        for stage in
            [Stage::Cleanup, Stage::EndMigration, Stage::CleanupTarget, Stage::RevertMigration]
        {
            let is_back = matches!(stage, Stage::CleanupTarget | Stage::RevertMigration);
            let name = if is_back { "d" } else { "a" };
            let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
            story.fill('A', 5)?;
            let migration = story.migrate('A', "a", "d")?;
            if is_back {
                story.until_stage('A', Stage::Streaming)?;
                story.cancel(migration)?;
            }
            story.until_stage('A', stage)?;
            // It stands there until the agent is attached anew.
            let orders = story.hold(Kind::Drop.to(name));
            story.kill(name);
            story.pass(100)?;
            story.must(&format!("it is in {stage}"), story.stage('A') == Some(stage))?;
            story.start(name);
            story.until("the agent has worked off its full state", |s| s.is_attached(name))?;
            story.pass(5)?;
            let what = format!("{stage}: {name} keeps no copy");
            story.must(&what, story.copies(name, 'A') == 0)?;
            story.release(orders);
            let ending = if is_back { Ending::Cancelled } else { Ending::Done };
            story.until_ended(migration, ending)?;
            let mut story = story.end()?;
            story.must(&what, story.copies(name, 'A') == 0)?;
            story.reads_filled('A', 5)?;
        }
        Ok(())
    })
}

/// b's next process is admitted by the entry that would leave the stage on what the one before
/// has acknowledged.
fn an_admission_beside_the_evidence(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let migration = story.migrate('A', "a", "d")?;
    story.until_stage('A', Stage::WriteBothReadNew)?;
    let last = story.hold(Kind::Acknowledged.from("c"));
    story.until("b has acknowledged", |s| s.has_acknowledged("b", 'A'))?;
    story.until_held(last, 1)?;
    story.pass(20)?;
    let commit = story.hold(Kind::Commit.any());
    story.restart("b", 5)?;
    story.until_held(commit, 1)?;
    story.release(last);
    story.pass(20)?;
    story.release(commit);
    story.until("the command falls", |s| {
        s.told("group0 refuses") > 0 || s.stage('A') != Some(Stage::WriteBothReadNew)
    })?;
    story.must_have_told("group0 refuses: the evidence lacks node")?;
    let is_there = story.stage('A') == Some(Stage::WriteBothReadNew);
    story.must("the stage is not left", is_there)?;
    story.until("b's next process is asked", |s| s.has_acknowledged("b", 'A'))?;
    story.until_ended(migration, Ending::Done)?;
    let mut story = story.end()?;
    story.reads_filled('A', 5)
}

#[test]
fn h9_an_admission_between_evidence_and_command_makes_the_command_fall() -> Told {
    each_seed(an_admission_beside_the_evidence)
}

#[test]
fn h11_an_order_to_pull_again_makes_no_second_call() -> Told {
    each_seed(|seed| {
        let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
        story.fill('A', 9)?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
        let migration = story.migrate('A', "a", "d")?;
        story.until_held(chunk, 1)?;
        story.release(chunk);
        story.until("the first rows are stored", |s| s.told("d: stores") == 1)?;
        let chunk = story.hold(Kind::ChunkBeforeGuard.to("d"));
        story.until_held(chunk, 1)?;
        let pulls = story.told("-> d: pull");
        story.elect_another(true);
        story.until("the new leader orders the pull again", |s| s.told("-> d: pull") > pulls)?;
        story.pass(20)?;
        story.must("one call", story.told("d -> a: t1: begin") == 1)?;
        story.must("nothing skipped", story.told("d: stores") == 1)?;
        // The receiver starts anew, and goes on where it was, by another call and session.
        story.restart("d", 5)?;
        story.until("it calls anew", |s| s.told("d -> a: t1: begin") == 2)?;
        story.swallow(chunk);
        story.until_ended(migration, Ending::Done)?;
        story.must_have_seen("a stream is resumed")?;
        for number in 0..9 {
            let found = story.on_disk("d", &format!("A{number:02}"));
            let is_there = found == Some(Some(format!("v{number}")));
            story.must("no row is skipped", is_there)?;
        }
        let report = story.finished(migration).and_then(|finished| {
            finished.stages.iter().flat_map(|stage| stage.streams.iter()).next_back()
        });
        let rows = report.map(|report| report.rows);
        story.must(&format!("the sums are of the whole: {rows:?}"), rows == Some(9))?;
        story.end().map(drop)
    })
}

/// Between an agent's greeting and its admission the session is closed and its copy given up.
fn a_session_closes_before_the_admission(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 9)?;
    let chunk = story.hold(Kind::ChunkInGuard.to("d"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(chunk, 1)?;
    let drained = story.hold(Kind::Drained.from("d"));
    story.restart("d", 5)?;
    story.until_held(drained, 1)?;
    story.must("its copy is there", story.copies("d", 'A') == 1)?;
    story.cancel(migration)?;
    story.until_stage('A', Stage::CleanupTarget)?;
    story.release(drained);
    story.until("d is admitted and has its full state", |s| s.is_attached("d"))?;
    story.must("nothing is open", story.open_sessions("d", 'A') == 0)?;
    story.must("nothing is orphaned", story.copies("d", 'A') == 0)?;
    story.until_ended(migration, Ending::Cancelled)?;
    story.end().map(drop)
}

/// A directory is put back from a copy, after the node has promised more.
fn an_old_directory_is_put_back(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    story.copy_directory("a");
    story.restart("a", 5)?;
    let migration = story.migrate('A', "b", "d")?;
    story.until_ended(migration, Ending::Done)?;
    story.put("r0", "Ax", "since then")?;
    story.put_directory_back("a")?;
    let mut story = story.end()?;
    story.must_have_seen("an old directory is refused")?;
    story.reads("r1", "Ax", Some("since then"))
}

#[test]
fn h3_an_old_directory_that_is_put_back_is_refused() -> Told {
    each_seed(an_old_directory_is_put_back)
}

#[test]
fn h5_a_session_that_closes_before_the_admission_is_not_open_after_it() -> Told {
    each_seed(a_session_closes_before_the_admission)
}

/// A replica never hears a coordinator again, and its renewals are heard all the same.
fn deaf_for_ever(seed: u64) -> Told {
    for name in ["c", "d"] {
        let mut story = Story::begin(&Shape::of(&["abc"]).agents(5).seed(seed))?;
        story.fill('A', 5)?;
        let migration = story.migrate('A', "a", "d")?;
        story.until_stage('A', Stage::WriteBothReadOld)?;
        story.deafen_to_coordinators_for_ever(name);
        story.until("it is fenced", |s| s.is_fenced(name))?;
        story.put("r0", "Ax", "while it is deaf")?;
        story.until_over(migration)?;
        let ending = story.ending(migration).map(|(ending, _)| ending);
        let expected = if name == "d" { Ending::Reverted } else { Ending::Done };
        story.must(&format!("{name}: it ends as {ending:?}"), ending == Some(expected))?;
        let mut story = story.end()?;
        story.reads("r1", "Ax", Some("while it is deaf"))?;
        story.reads_filled('A', 5)?;
    }
    Ok(())
}

#[test]
fn h12_a_link_that_is_cut_one_way_for_ever_holds_nothing_up() -> Told {
    each_seed(deaf_for_ever)
}

/// A replica hears and renews, and obeys no barrier: the handler of its orders stands still.
fn never_acknowledges(seed: u64) -> Told {
    let mut story = Story::begin(&Shape::of(&["abc"]).seed(seed))?;
    story.fill('A', 5)?;
    let barriers = story.hold(Kind::Barrier.to("c"));
    let migration = story.migrate('A', "a", "d")?;
    story.until_held(barriers, 1)?;
    story.until("it is fenced", |s| s.is_fenced("c"))?;
    story.must_have_seen("a renewal of an unfit node is not answered")?;
    story.put("r0", "Ax", "while it stands still")?;
    story.swallow(barriers);
    story.until_ended(migration, Ending::Done)?;
    let mut story = story.end()?;
    story.reads("r1", "Ax", Some("while it stands still"))?;
    story.reads_filled('A', 5)
}

#[test]
fn h12_a_replica_that_obeys_nothing_is_fenced_though_it_renews() -> Told {
    each_seed(never_acknowledges)
}

#[cfg(feature = "mutants")]
mod controls {
    use super::*;
    use crate::{unmet_without, without, without_all};
    use migrations::rule::Rule;

    #[test]
    fn h4_control_a_promise_by_another_ones_clock_brings_the_key_back() {
        // The one hides the other: what is promised is refused to writers.
        let rules = [Rule::PromiseByOwnClock, Rule::PromiseKept];
        without_all(&rules, 9, |seed| {
            a_delete_misses_one_before_the_purge(&mut repaired_by_a_fast_clock(seed)?)
        });
    }

    #[test]
    fn h3_control_an_old_directory_that_is_admitted_has_forgotten_its_floors() {
        without(Rule::NewestDirectory, 5, an_old_directory_is_put_back);
    }

    #[test]
    fn h5_control_a_full_state_from_before_the_admission_leaves_an_orphan() {
        let what = "nothing is orphaned";
        unmet_without(Rule::FullStateAfterAdmission, what, a_session_closes_before_the_admission);
    }

    #[test]
    fn h12_control_an_unfit_node_that_renews_is_waited_for_for_ever() {
        unmet_without(Rule::UnfitNotRenewed, "it is fenced", never_acknowledges);
    }

    #[test]
    fn h6_control_a_floor_that_goes_with_the_copy_is_forgotten() {
        without(Rule::FloorOutlivesCopy, 5, a_barrier_after_the_drop);
    }

    #[test]
    fn h9_control_evidence_that_nobody_checks_leaves_the_stage() {
        without(Rule::EvidenceChecked, 4, an_admission_beside_the_evidence);
    }
}
