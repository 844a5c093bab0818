//! B1 with real processes: the stages of a migration × who it happens to × what happens. The
//! simulation has all cells under each seed; here each run has a twentieth of them, which one is
//! drawn. `PALISADE_SEED` repeats a run, `PALISADE_ROUNDS=20` makes all of them, one after the other.

use crate::harness::steps::{At, acknowledge, step};
use crate::harness::{Cluster, Loss, Seed, Shape, look_again, rounds, soon};
use crate::workload::Workload;
use client::{Router, RouterOptions};
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use proto::faults::v1::Step;
use proto::reasons::Reason;
use proto::types::v1::{LeaseTerms, Settings, Stage};
use std::time::{Duration, Instant};

/// So many seeds in a row have all cells.
const RUNS: u64 = 20;

/// To whom it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Leader,
    /// The leaving replica.
    Source,
    /// The pending replica.
    Target,
    /// A replica that stays.
    Bystander,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    KilledAndBack,
    /// Until all is over.
    KilledForEver,
    PausedBeyondItsLease,
    CutFromAll,
    /// A leader: from those who would choose another one, while agents reach it.
    CutFromTheLeader,
    HearsNothing,
    IsNotHeard,
}

const STAGES: [Stage; 10] = [
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

type Cell = (Stage, Whom, Fate);

/// All cells, in an order that is not that of the lists.
fn all_cells() -> Vec<Cell> {
    let of_stage = |stage| WHOM.map(|whom| FATES.map(|fate| (stage, whom, fate)));
    let mut cells: Vec<Cell> = STAGES.map(of_stage).into_iter().flatten().flatten().collect();
    let mut order = Seed::of(1);
    for last in (1..cells.len()).rev() {
        cells.swap(last, order.below(last as u64 + 1) as usize);
    }
    cells
}

/// The cells of a run.
fn drawn(seed: u64) -> Vec<Cell> {
    let mine = |(number, _): &(u64, Cell)| number % RUNS == seed % RUNS;
    (0..).zip(all_cells()).filter(mine).map(|(_, cell)| cell).collect()
}

#[test]
fn twenty_seeds_in_a_row_have_all_cells() {
    for first in [0, 1, 19, 20, 123_456_789, u64::MAX - RUNS] {
        let mut cells: Vec<Cell> = (first..first + RUNS).flat_map(drawn).collect();
        cells.sort();
        let mut all = all_cells();
        all.sort();
        assert_eq!(cells, all, "from {first}");
        all.dedup();
        assert_eq!(all.len(), STAGES.len() * WHOM.len() * FATES.len());
    }
}

/// Three coordinators and four agents on ways that can fail. Leases are a little longer than those
/// of other tests, so that a busy machine fences few that nobody has struck.
async fn begin() -> (Cluster, pb::Tablet) {
    let cluster =
        Cluster::start_as(Shape { coordinators: 3, has_proxies: true, ..Shape::default() }).await;
    let admin = cluster.admin();
    let now = admin.settings().await.expect("the settings");
    let terms = now.lease.expect("terms");
    let lease = Some(LeaseTerms { length_ms: LEASE_MS, ..terms });
    let settings = Some(Settings { lease, ..now });
    let request = pb::SetSettingsRequest { settings, expected: Some(now), ..Default::default() };
    admin.set_settings(request).await.expect("set");
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    (cluster, tablet)
}

const LEASE_MS: u32 = 1_500;
/// A fault lasts until it is found out, but no longer.
const FAULT: Duration = Duration::from_millis(2 * LEASE_MS as u64);

/// Who plays what in one cell.
struct Cast {
    source: String,
    target: String,
    bystander: String,
    /// Stays too, and is asked to stand still where the stage needs somebody to.
    holder: String,
}

impl Cast {
    async fn of(cluster: &Cluster, tablet: &pb::Tablet) -> Cast {
        let now = replicas(cluster, tablet).await;
        let target = (1..=4).map(|number| format!("n{number}")).find(|node| !now.contains(node));
        let [source, holder, bystander] = now.try_into().expect("three replicas");
        Cast { source, target: target.expect("one has none"), bystander, holder }
    }

    fn victim(&self, whom: Whom, leader: String) -> String {
        match whom {
            Whom::Leader => leader,
            Whom::Source => self.source.clone(),
            Whom::Target => self.target.clone(),
            Whom::Bystander => self.bystander.clone(),
        }
    }
}

async fn replicas(cluster: &Cluster, tablet: &pb::Tablet) -> Vec<String> {
    let id = TabletId::from_u64(tablet.id).expect("an id");
    let now = cluster.admin().tablet(id, false).await.expect("the tablet");
    now.replicas.into_iter().map(|replica| replica.node).collect()
}

/// A move that stands in a stage.
struct Standing {
    id: String,
    is_cancelled: bool,
    held: Vec<At>,
}

/// Begins a move and has it stand in a stage; begins another one where something has turned it back
/// before it was there: a lease that the machine was too busy to renew.
async fn stand_in(cluster: &Cluster, tablet: &pb::Tablet, cast: &Cast, stage: Stage) -> Standing {
    let turns_at = match stage {
        Stage::WriteBothReadOldFallback => Some(Stage::WriteBothReadNew),
        Stage::CleanupTarget | Stage::RevertMigration => Some(Stage::Streaming),
        _ => None,
    };
    let at = |stage| match stage {
        Stage::Streaming => step(&cast.target, tablet.id, Step::Pull),
        Stage::Cleanup => step(&cast.source, tablet.id, Step::Drop),
        stage => acknowledge(&cast.holder, tablet.id, stage),
    };
    let mut held: Vec<At> = turns_at.into_iter().map(at).collect();
    held.push(at(stage));
    loop {
        cluster.everybody().await;
        for at in &held {
            cluster.hold(at).await;
        }
        let id = begin_move(cluster, tablet, cast).await;
        let is_there = match (&id, turns_at) {
            (None, _) => false,
            (Some(id), None) => reached(cluster, id, stage).await,
            (Some(id), Some(turns_at)) if reached(cluster, id, turns_at).await => {
                let request = pb::CancelMigrationRequest { id: id.clone(), ..Default::default() };
                let _over = cluster.admin().cancel_migration(request).await;
                reached(cluster, id, stage).await
            }
            (Some(_), Some(_)) => false,
        };
        if let Some(id) = id.filter(|_| is_there) {
            return Standing { id, is_cancelled: turns_at.is_some(), held };
        }
        eprintln!("  it was turned back before: once more");
        for at in &held {
            cluster.hold_no_more(at).await;
        }
    }
}

/// Begins a move; `None` where one of its nodes has just been fenced.
async fn begin_move(cluster: &Cluster, tablet: &pb::Tablet, cast: &Cast) -> Option<String> {
    let (from, to) = (cast.source.clone(), cast.target.clone());
    let request = pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() };
    match cluster.admin().migrate(request).await {
        Ok(begun) => Some(begun.migration.expect("a migration").id),
        Err(refused) if refused.reason() == Some(Reason::NodeFenced) => None,
        Err(refused) => panic!("{refused}"),
    }
}

/// Whether a move has come to a stage, and has not ended before.
async fn reached(cluster: &Cluster, id: &str, stage: Stage) -> bool {
    let now = cluster.reached(id, stage).await;
    now.state() == pb::MigrationState::Running && now.stage() == stage
}

/// Strikes.
async fn strike(cluster: &mut Cluster, victim: &str, fate: Fate, leader: &str) {
    match fate {
        Fate::KilledAndBack => cluster.kill_and_restart(victim),
        Fate::KilledForEver => cluster.kill(victim),
        Fate::PausedBeyondItsLease => cluster.pause(victim),
        Fate::CutFromAll => cluster.links().isolate(victim, Loss::Both),
        Fate::CutFromTheLeader if victim == leader => {
            for other in cluster.coordinators().iter().filter(|other| *other != leader) {
                cluster.links().part(leader, other);
            }
        }
        Fate::CutFromTheLeader => cluster.links().part(victim, leader),
        Fate::HearsNothing => cluster.links().isolate(victim, Loss::ToIt),
        Fate::IsNotHeard => cluster.links().isolate(victim, Loss::FromIt),
    }
}

/// Until the others have found it out, or for so long that all have given up on it.
async fn found_out(cluster: &Cluster, victim: &str) {
    let by_others = async {
        match victim.starts_with('c') {
            true => {
                let mut others = cluster.coordinators();
                others.retain(|other| other != victim);
                cluster.leader(&others).await;
            }
            false => cluster.fenced(victim).await,
        }
    };
    tokio::select! {
        () = by_others => {}
        () = tokio::time::sleep(FAULT) => {}
    }
}

/// Plays one cell, and leaves the cluster as it found it but for where the tablet is.
async fn play(cluster: &mut Cluster, tablet: &pb::Tablet, (stage, whom, fate): Cell) {
    let names = cluster.coordinators();
    let cast = Cast::of(cluster, tablet).await;
    let router = patient(cluster);
    let writing = Workload::start(&router, "orders", 2, 20);
    soon("writes", writing.proceed(10)).await;
    let standing = stand_in(cluster, tablet, &cast, stage).await;
    let leader = cluster.leader(&names).await;
    let victim = cast.victim(whom, leader.clone());
    strike(cluster, &victim, fate, &leader).await;
    for at in standing.held.iter().filter(|at| !at.is_on(&victim)) {
        cluster.hold_no_more(at).await;
    }
    if !matches!(fate, Fate::KilledAndBack | Fate::KilledForEver) {
        found_out(cluster, &victim).await;
        cluster.links().heal();
        if fate == Fate::PausedBeyondItsLease {
            cluster.resume(&victim);
        }
    }
    if fate != Fate::KilledForEver {
        for at in standing.held.iter().filter(|at| at.is_on(&victim)) {
            cluster.hold_no_more(at).await;
        }
    }
    let ended = cluster.ended(&standing.id).await;
    judge(&ended, stage, standing.is_cancelled);
    soon("writes after it", writing.proceed(10)).await;
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    if fate == Fate::KilledForEver {
        cluster.restart(&victim);
    }
    cluster.everybody().await;
    settled(cluster, tablet, &cast, ended.state() == pb::MigrationState::Done).await;
}

fn patient(cluster: &Cluster) -> Router {
    let deadline = Duration::from_secs(20);
    Router::connect(cluster.admin(), RouterOptions { deadline, ..RouterOptions::default() })
}

/// It ends as it may.
fn judge(ended: &pb::Migration, stage: Stage, is_cancelled: bool) {
    let is_past = matches!(stage, Stage::UseNew | Stage::Cleanup | Stage::EndMigration);
    let is_fine = match ended.state() {
        pb::MigrationState::Done => !is_cancelled,
        pb::MigrationState::Cancelled => is_cancelled,
        pb::MigrationState::Reverted => !is_past && !is_cancelled && !ended.reason.is_empty(),
        _ => false,
    };
    assert!(is_fine, "{ended:#?}");
}

/// The tablet is where it should be, and nowhere else.
async fn settled(cluster: &Cluster, tablet: &pb::Tablet, cast: &Cast, is_moved: bool) {
    let (there, left_out) = match is_moved {
        true => (&cast.target, &cast.source),
        false => (&cast.source, &cast.target),
    };
    let mut expected = [there.clone(), cast.holder.clone(), cast.bystander.clone()];
    expected.sort();
    let mut now = replicas(cluster, tablet).await;
    now.sort();
    assert_eq!(now, expected);
    let clean = async {
        // One that was out owes what it has, and pays when it is admitted.
        while !cluster.copies(left_out).await.is_empty() {
            look_again().await;
        }
    };
    soon(&format!("{left_out} to have no copy"), clean).await;
}

/// B1: whatever happens to whomever in whichever stage, the move ends, as done or not, with a
/// reason; no acknowledged write is lost, no client sees an error, and nothing is orphaned.
#[tokio::test(flavor = "multi_thread")]
async fn b1_a_drawn_twentieth_of_all_stages_roles_and_fates() {
    let seed = Seed::number("cells");
    let (mut cluster, tablet) = begin().await;
    for round in 0..rounds(1) {
        for cell in drawn(seed.wrapping_add(round)) {
            let since = Instant::now();
            let (stage, whom, fate) = cell;
            eprintln!(
                "seed {}: {} × {whom:?} × {fate:?}",
                seed.wrapping_add(round),
                stage.as_str_name()
            );
            play(&mut cluster, &tablet, cell).await;
            eprintln!("  {:.1?}", since.elapsed());
        }
    }
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}
