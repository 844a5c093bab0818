//! B1 and B10: every stage of a migration and of a repair × who it happens to × what happens. One
//! run a cell and seed; a failure names its cell.

use super::SEEDS;
use migrations::stage::Stage;
use migrations::tablet::{EndReason, Ending};
use palisade_sim::story::{Kind, Shape, Story, Told};

/// To whom it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Leader,
    /// The leaving replica; in a repair one of its replicas.
    Source,
    /// The pending replica; in a repair another one of its replicas.
    Target,
    /// A replica that stays; in a repair the third one.
    Bystander,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    KilledAndBack,
    KilledForEver,
    PausedBeyondItsLease,
    CutFromAll,
    CutFromTheLeader,
    HearsNothing,
    IsNotHeard,
}

const WHOM: [Whom; 4] = [Whom::Leader, Whom::Source, Whom::Target, Whom::Bystander];
const FATES: [Fate; 7] = [
    Fate::KilledAndBack,
    Fate::KilledForEver,
    Fate::PausedBeyondItsLease,
    Fate::CutFromAll,
    Fate::CutFromTheLeader,
    Fate::HearsNothing,
    Fate::IsNotHeard,
];

const MIGRATION: [Stage; 10] = [
    Stage::AllowWriteBothReadOld,
    Stage::WriteBothReadOld,
    Stage::Streaming,
    Stage::WriteBothReadNew,
    Stage::WriteBothReadOldFallback,
    Stage::UseNew,
    Stage::Cleanup,
    Stage::EndMigration,
    Stage::CleanupTarget,
    Stage::RevertMigration,
];
const REPAIR: [Stage; 3] = [Stage::OpenRepair, Stage::Repair, Stage::EndRepair];

const KEYS: usize = 5;
/// So long that a lease and a half runs out.
const LONG_MS: u64 = 2_600;

/// Gets a tablet's transition into a stage; `true`: somebody cancels it on the way.
fn reach(story: &mut Story, stage: Stage) -> Told<(migrations::id::MigrationId, bool)> {
    if REPAIR.contains(&stage) {
        let repair = story.repair('A')?;
        story.until_stage('A', stage)?;
        return Ok((repair, false));
    }
    let migration = story.migrate('A', "a", "d")?;
    let turns_at = match stage {
        Stage::WriteBothReadOldFallback => Some(Stage::WriteBothReadNew),
        Stage::CleanupTarget | Stage::RevertMigration => Some(Stage::Streaming),
        _ => None,
    };
    if let Some(turns_at) = turns_at {
        story.until_stage('A', turns_at)?;
        // It must not be gone on from before the cancel is there.
        let commit = match turns_at {
            Stage::Streaming => story.hold(Kind::Chunk.any()),
            _ => story.hold(Kind::Acknowledged.any()),
        };
        story.cancel(migration)?;
        story.release(commit);
    }
    story.until_stage('A', stage)?;
    Ok((migration, turns_at.is_some()))
}

fn strike(story: &mut Story, name: &'static str, fate: Fate) -> Told {
    let leader = story.leader().unwrap_or_default();
    match fate {
        Fate::KilledAndBack => story.restart(name, 30)?,
        Fate::KilledForEver => story.lose_for_ever(name),
        Fate::PausedBeyondItsLease => story.pause(name, LONG_MS),
        Fate::CutFromAll => story.cut_off(name),
        // A leader is cut off from those who would choose another one, and still reaches agents.
        Fate::CutFromTheLeader if name == leader => story.cut_off_from_coordinators(name),
        Fate::CutFromTheLeader => story.cut(name, &leader),
        Fate::HearsNothing => story.deafen(name),
        Fate::IsNotHeard => story.silence(name),
    }
    Ok(())
}

fn cell(stage: Stage, whom: Whom, fate: Fate, shape: &Shape) -> Told {
    let mut story = Story::begin(shape)?;
    story.fill('A', KEYS)?;
    let (migration, is_cancelled) = reach(&mut story, stage)?;
    let is_repair = REPAIR.contains(&stage);
    let name: &'static str = match whom {
        Whom::Leader => match story.leader().as_deref() {
            Some("c0") => "c0",
            Some("c1") => "c1",
            _ => "c2",
        },
        Whom::Source => "a",
        Whom::Target if is_repair => "b",
        Whom::Target => "d",
        Whom::Bystander => "c",
    };
    story.must("it strikes in the stage", story.stage('A') == Some(stage))?;
    let racing = story.begin_put("r1", "Aracing", "x");
    strike(&mut story, name, fate)?;
    story.pass(LONG_MS)?;
    if fate != Fate::KilledForEver {
        story.heal();
    }
    story.until_over(migration)?;
    let ending = story.ending(migration);
    let is_past = matches!(stage, Stage::UseNew | Stage::Cleanup | Stage::EndMigration);
    let is_fine = match ending {
        Some((Ending::Done, None)) => !is_cancelled,
        Some((Ending::Cancelled, Some(EndReason::Cancelled))) => is_cancelled,
        Some((Ending::Reverted, Some(_))) => !is_past && !is_cancelled,
        _ => false,
    };
    story.must(&format!("it ends as it may, and not as {ending:?}"), is_fine)?;
    let was_acknowledged = story.is_done(racing);
    story.put("r0", "Aafter", "y")?;
    let mut story = story.end()?;
    if was_acknowledged {
        story.reads("r0", "Aracing", Some("x"))?;
    }
    story.reads("r1", "Aafter", Some("y"))?;
    story.reads_filled('A', KEYS)?;
    let is_moved = matches!(ending, Some((Ending::Done, _))) && !is_repair;
    let expected = if is_moved { "bcd" } else { "abc" };
    story.must(&format!("{expected} have it"), story.replicas('A') == expected)?;
    // One that is gone for ever owes what it has, and pays when it is admitted.
    let is_gone = |other: &str| fate == Fate::KilledForEver && other == name;
    let left_out = if is_moved { "a" } else { "d" };
    let is_clean = is_gone(left_out) || story.copies(left_out, 'A') == 0;
    story.must(&format!("{left_out} has no copy"), is_clean)
}

fn usual(seed: u64) -> Shape {
    Shape::of(&["abc"]).agents(5).seed(seed)
}

fn all_cells(stages: &[Stage]) -> Told {
    let cells = SEEDS.flat_map(|seed| stages.iter().map(move |stage| (seed, stage)));
    for (seed, stage) in cells {
        for whom in WHOM {
            for fate in FATES {
                let name = format!("{stage} × {whom:?} × {fate:?}, seed {seed}");
                cell(*stage, whom, fate, &usual(seed)).map_err(|untold| untold.of(&name))?;
            }
        }
    }
    Ok(())
}

#[test]
fn b1_the_first_stages_with_every_failure() -> Told {
    all_cells(&MIGRATION[..5])
}

#[test]
fn b1_the_last_stages_with_every_failure() -> Told {
    all_cells(&MIGRATION[5..])
}

#[test]
fn b10_the_stages_of_a_repair_with_every_failure() -> Told {
    all_cells(&REPAIR)
}

/// Clocks at their bound, and beyond it, where only INV-13 is not held to.
#[test]
fn c11_clocks_at_their_bound_and_beyond_it_break_nothing() -> Told {
    for (ppm, is_beyond) in [(9_900, false), (-9_900, false), (200_000, true), (-200_000, true)] {
        for stage in MIGRATION.into_iter().chain(REPAIR) {
            for whom in WHOM {
                let fate = Fate::CutFromTheLeader;
                let fast = usual(1).drift("a", ppm).drift("d", -ppm);
                let shape = fast.drift("c0", ppm).drift("c1", -ppm).drift("b", ppm / 2);
                let shape = if is_beyond { shape.beyond_the_drift_bound() } else { shape };
                let name = format!("{stage} × {whom:?} × {fate:?}, drift {ppm} ppm");
                cell(stage, whom, fate, &shape).map_err(|untold| untold.of(&name))?;
            }
        }
    }
    Ok(())
}
