//! `palisade demo`: the main job from start to proof. A whole cluster of processes, clients that
//! never rest, moves, faults; and in the end a verdict over everything that clients did and saw.
//!
//! The verdict is the [checker](crate::checker)'s, over a file; the numbers are measured.

mod finish;
mod inspect;
mod monitor;
mod moves;
mod report;
mod rows;
mod screen;
mod steps;

use crate::checker::{self, History};
use crate::cluster::{self, Cluster, Plan};
use crate::exit::{Exit, Failure};
use crate::workload::{self, Recorder, Recording, Traffic};
use anyhow::Context;
use clap::Args;
use client::{AdminClient, Router, RouterOptions};
use monitor::Monitor;
use proto::admin::v1 as pb;
use report::{Moves, Report};
use screen::Screen;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use steps::Step;

/// The table that it makes.
const TABLE: &str = "demo";
/// Replicas of each tablet.
const REPLICAS: u32 = 3;
/// Tablets of the table.
const TABLETS: u32 = 32;
/// Rows, where nobody says how many.
const ROWS: u64 = 20_000;
/// The same in the short form.
const ROWS_QUICK: u64 = 4_000;
/// Where the history is, in the directory.
const HISTORY_FILE: &str = "history.ndjson";

/// Flags of `palisade demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Rows to begin with: CSV with a head line, or one JSON object a line; the key is in the
    /// column "key", else in the first one.
    #[arg(long, value_name = "FILE", conflicts_with = "rows")]
    input: Option<PathBuf>,
    /// How many rows to make.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rows: Option<u64>,
    /// What rows and operations are drawn from; by itself, a number that is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many coordinators: 1, 3 or 5.
    #[arg(long, default_value = "3", value_parser = cluster::coordinators)]
    coordinators: u8,
    /// How many replica agents, each in a rack of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=16))]
    agents: u8,
    /// The last line of standard output is the result, as one JSON object; the rest is told on
    /// standard error.
    #[arg(long)]
    json: bool,
    /// Keep the directory with data, logs and history.
    #[arg(long)]
    keep: bool,
    /// The short form: no process is killed or stopped.
    #[arg(long)]
    quick: bool,
    /// Play the accident with the guards' check off, to see that it is found: a deleted key comes
    /// back, and the exit code is 1.
    #[arg(long)]
    without_guard: bool,
}

/// What steps have to tell, beside what is measured from outside.
#[derive(Debug, Clone, Default)]
struct Facts {
    faults: Vec<&'static str>,
    stale_chunks_refused: u64,
    /// When the first fault was about to be played: milliseconds since 1970.
    first_fault_ms: Option<u64>,
    /// Fences that a step has seen itself: who comes back at once is fenced for too short a time for
    /// whoever only looks now and then.
    fences: u64,
}

/// A demonstration that goes on.
struct Demo {
    args: DemoArgs,
    cluster: Cluster,
    admin: AdminClient,
    recorder: Recorder,
    traffic: Option<Traffic>,
    screen: Screen,
    facts: Facts,
}

impl Demo {
    /// The clients, while they run.
    fn traffic(&self) -> anyhow::Result<&Traffic> {
        self.traffic.as_ref().context("the clients have stopped")
    }
}

/// Runs it. The exit code is 0 only if everything held.
pub(crate) async fn run(args: DemoArgs) -> Result<Exit, Failure> {
    if cfg!(not(feature = "faults")) {
        return Err(Failure::new(Exit::Failed, "this build has no fault switches to play with")
            .next("cargo run --release -- demo     in the source tree"));
    }
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, format!("{error:#}"));
    let mut directory = tempfile::Builder::new()
        .prefix("palisade-demo-")
        .tempdir()
        .map_err(|error| failed(error.into()))?;
    let path = directory.path().to_owned();
    let screen = Screen::new(args.json);
    let ran = tokio::select! {
        ran = whole(args.clone(), &path, &screen) => Some(ran),
        _ = tokio::signal::ctrl_c() => None,
    };
    screen.end();
    let report = match ran {
        Some(Ok(report)) => report,
        Some(Err(error)) if has_begun(&path) => {
            directory.disable_cleanup(true);
            return Err(failed(error).now(kept(&path)));
        }
        Some(Err(error)) => return Err(failed(error)),
        None => {
            let is_kept = has_begun(&path);
            directory.disable_cleanup(is_kept);
            let where_things_are = if is_kept { kept(&path) } else { String::new() };
            screen.plain(&format!("interrupted; all processes have ended. {where_things_are}"));
            return Ok(Exit::Detached);
        }
    };
    // What has gone wrong without having been asked to is worth a look.
    if args.keep || (!report.is_ok() && !args.without_guard) {
        directory.disable_cleanup(true);
        screen.plain(&kept(&path));
    }
    screen.plain(&report.table());
    if args.json {
        println!("{}", report.json());
    }
    Ok(if report.is_ok() { Exit::Done } else { Exit::Failed })
}

/// Whether there is anything to look at.
fn has_begun(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
}

fn kept(path: &Path) -> String {
    format!("Data, logs and history are kept in {}", path.display())
}

/// All of it. The processes end with this, however it ends.
async fn whole(args: DemoArgs, path: &Path, screen: &Screen) -> anyhow::Result<Report> {
    let began = Instant::now();
    let seed = args.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    let rows = match &args.input {
        Some(file) => rows::from_file(file)?,
        None => rows::made(seed, args.rows.unwrap_or(if args.quick { ROWS_QUICK } else { ROWS })),
    };
    let (coordinators, agents) = (args.coordinators, args.agents);
    screen.plain(&format!("palisade demo, seed {seed}; everything is in {}", path.display()));
    screen.waits_for("the processes to start");
    let plan = Plan { directory: path.to_owned(), coordinators, agents, fast: false };
    let cluster = Cluster::start(plan).await?;
    screen.say(&format!("{} and {agents} agents are up", cluster::how_many(coordinators)));
    let admin = cluster.admin();
    let monitor = Monitor::start(admin.clone());
    let router = Router::connect(admin.clone(), RouterOptions::default());
    let (recorder, recording) = Recorder::begin(&path.join(HISTORY_FILE), router, TABLE)?;
    screen.watch(&recorder.counts);
    let (screen, facts) = (screen.clone(), Facts::default());
    let mut demo = Demo { args, cluster, admin, recorder, traffic: None, screen, facts };
    let keys: Vec<String> = rows.iter().map(|(key, _)| key.clone()).collect();
    let count = rows.len();
    begin(&demo, rows).await?;
    demo.traffic = Some(Traffic::start(&demo.recorder, keys, seed));
    let steps = Step::all(demo.args.quick);
    for step in &steps {
        if step.fault().is_some() && demo.facts.first_fault_ms.is_none() {
            demo.facts.first_fault_ms = Some(now_ms());
        }
        demo.screen.say(step.title());
        step.run(&mut demo).await.with_context(|| format!("in the step {:?}", step.title()))?;
        demo.facts.faults.extend(step.fault());
    }
    demo.screen.waits_for("the clients to stop");
    if let Some(traffic) = demo.traffic.take() {
        traffic.stop().await?;
    }
    let migrations = finish::run(&demo).await?;
    let seen = monitor.seen();
    let guard_is_off = demo.args.without_guard;
    let Facts { faults, stale_chunks_refused, first_fault_ms, fences } = demo.facts.clone();
    let fences = fences.max(seen.fences);
    let verdict = judged(demo, recording).await?;
    let was_refused = stale_chunks_refused > 0;
    let was_led_on = !steps.contains(&Step::LeaderKilled) || seen.failovers > 0;
    let was_fenced = !steps.contains(&Step::AgentHeldUp) || fences > 0;
    Ok(Report {
        seed,
        duration_s: began.elapsed().as_secs_f64(),
        coordinators,
        agents,
        faults,
        rows: count,
        verdict,
        moves: Moves::of(&migrations, first_fault_ms.unwrap_or(u64::MAX)),
        stale_chunks_refused,
        failovers: seen.failovers,
        fences,
        as_played: (was_refused || guard_is_off) && was_led_on && was_fenced,
    })
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Makes the table and loads the rows.
async fn begin(demo: &Demo, rows: Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let request = pb::CreateTableRequest {
        name: TABLE.to_owned(),
        replication_factor: REPLICAS,
        tablets: TABLETS,
        ..Default::default()
    };
    // It would move what the steps are about to move.
    let alone =
        pb::DisableBalancingRequest { reason: "demonstration".to_owned(), ..Default::default() };
    demo.admin.disable_balancing(alone).await?;
    demo.screen.waits_for("the table");
    demo.admin.create_table(request).await?;
    let (count, began) = (rows.len(), Instant::now());
    demo.screen.waits_for(format!("{count} rows to be loaded"));
    workload::load(&demo.recorder, rows).await?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    demo.screen.say(&format!("{count} rows are loaded, {rate:.0} a second; clients begin"));
    Ok(())
}

/// Stops everything, and judges what was recorded.
async fn judged(demo: Demo, recording: Recording) -> anyhow::Result<checker::Verdict> {
    let Demo { cluster, recorder, screen, .. } = demo;
    drop(recorder);
    let file = recording.end().await?;
    screen.waits_for("the processes to stop");
    cluster.stop().await;
    screen.waits_for("the verdict over the history");
    let judging = tokio::task::spawn_blocking(move || {
        let file = std::io::BufReader::new(std::fs::File::open(file)?);
        anyhow::Ok(checker::check(&History::read(file)?))
    });
    judging.await.context("the checker failed")?
}
