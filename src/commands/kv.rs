//! `palisade kv`: rows, through the router.

use super::{Session, print};
use crate::args::{KvCommand, LoadArgs, Output, WorkloadArgs};
use crate::checker::{self, History};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::workload::{self, Recorder, Traffic};
use client::{Router, RouterOptions, ScanRow};
use serde_json::{Value, json};
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;
use tokio::task::JoinSet;

/// Rows of one step of a scan.
const SCAN_STEP: usize = 500;

pub(super) async fn run(session: &Session, command: KvCommand) -> Result<Exit, Failure> {
    let default = RouterOptions::default();
    let deadline = default.deadline.min(session.admin.options().deadline);
    let options = RouterOptions { deadline, ..default };
    let router = || Router::connect(session.admin.clone(), options);
    match command {
        KvCommand::Put { table, key, value } => {
            let timestamp = router().put(&table, key.as_bytes(), value.as_bytes()).await?;
            written(session, "put", &key, timestamp.time);
        }
        KvCommand::Delete { table, key } => {
            let timestamp = router().delete(&table, key.as_bytes()).await?;
            written(session, "deleted", &key, timestamp.time);
        }
        KvCommand::Get { table, key } => return get(session, &router(), &table, &key).await,
        KvCommand::Scan { table, limit } => scan(session, &router(), &table, limit).await?,
        KvCommand::Load(args) => load(session, &router(), args).await?,
        KvCommand::Workload(args) => return workload(session, router(), args).await,
        KvCommand::Check { file } => return check(session, &file),
    }
    Ok(Exit::Done)
}

fn written(session: &Session, what: &str, key: &str, time: migrations::clock::HybridTime) {
    print(&match session.output {
        Output::Table | Output::Wide => format!("{what} {key} at {time}\n"),
        Output::Json | Output::Yaml => {
            render::watched(session.output, &json!({ "key": key, "time": time.0.to_string() }))
        }
        Output::Name => format!("{key}\n"),
    });
}

async fn get(session: &Session, router: &Router, table: &str, key: &str) -> Result<Exit, Failure> {
    let Some(found) = router.get(table, key.as_bytes()).await? else {
        let error = format!("{table} has no key {key:?}");
        return Err(Failure::new(Exit::NotFound, error)
            .now("nothing was changed")
            .why("a majority of its replicas has no value of it")
            .next(format!("palisade kv scan {table}")));
    };
    print(&match session.output {
        Output::Table | Output::Wide | Output::Name => {
            format!("{}\n", String::from_utf8_lossy(&found.value))
        }
        Output::Json | Output::Yaml => {
            let time = found.timestamp.time.0.to_string();
            let found = json!({ "key": key, "value": text(&found.value), "time": time });
            render::watched(session.output, &found)
        }
    });
    Ok(Exit::Done)
}

/// Bytes as text; what is no text stands there with replacements.
fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

async fn scan(
    session: &Session,
    router: &Router,
    table: &str,
    limit: usize,
) -> Result<(), Failure> {
    let mut at = Some(Vec::new());
    let mut left = limit;
    while let Some(start) = at
        && left > 0
    {
        let page = router.scan(table, &start, left.min(SCAN_STEP)).await?;
        left = left.saturating_sub(page.rows.len());
        print(&page.rows.iter().map(|row| line(session.output, row)).collect::<String>());
        at = page.next;
    }
    Ok(())
}

fn line(output: Output, row: &ScanRow) -> String {
    let key = String::from_utf8_lossy(&row.key);
    match output {
        Output::Table | Output::Wide => {
            format!("{key}\t{}\n", String::from_utf8_lossy(&row.value.value))
        }
        Output::Json | Output::Yaml => {
            let time = row.value.timestamp.time.0.to_string();
            let value = text(&row.value.value);
            render::watched(output, &json!({ "key": key, "value": value, "time": time }))
        }
        Output::Name => format!("{key}\n"),
    }
}

/// Clients for a while; then each key is read once more, and the history is judged.
async fn workload(session: &Session, router: Router, args: WorkloadArgs) -> Result<Exit, Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, format!("{error:#}"));
    let kept = tempfile::NamedTempFile::new().map_err(|error| failed(error.into()))?;
    let file = args.history.as_deref().unwrap_or(kept.path());
    let (recorder, recording) = Recorder::begin(file, router, &args.table).map_err(failed)?;
    play(&recorder, &args).await.map_err(failed)?;
    drop(recorder);
    let file = recording.end().await.map_err(failed)?;
    check(session, &file)
}

async fn play(recorder: &Recorder, args: &WorkloadArgs) -> anyhow::Result<()> {
    // Nobody has ever written these keys: whatever is read, this has written.
    let run = uuid::Uuid::new_v4().simple().to_string();
    let key = |number: u32| format!("workload-{}-{number:07}", &run[..8]);
    let keys: Vec<String> = (0..args.keys).map(key).collect();
    let rows = keys.iter().map(|key| (key.clone(), format!("loaded-{key}").into_bytes()));
    workload::load(recorder, rows.collect()).await?;
    let traffic = Traffic::start(recorder, keys.clone(), args.seed);
    tokio::select! {
        () = tokio::time::sleep(args.duration.0) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    traffic.stop().await?;
    workload::read(recorder, &keys).await
}

/// Judges a history. Asks nobody.
fn check(session: &Session, file: &Path) -> Result<Exit, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
    };
    let opened = std::fs::File::open(file).map_err(|error| failed(&error))?;
    let history = History::read(BufReader::new(opened));
    let verdict = checker::check(&history.map_err(|error| failed(&format!("{error:#}")))?);
    print(&match session.output {
        Output::Table | Output::Wide | Output::Name => verdict.table(),
        Output::Json | Output::Yaml => {
            render::value(session.output, &Value::Object(verdict.json()))
        }
    });
    Ok(if verdict.holds() { Exit::Done } else { Exit::Failed })
}

/// Stores rows, some at a time; stops at the first that can't be stored.
async fn load(session: &Session, router: &Router, args: LoadArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let mut under_way: JoinSet<Result<(), client::DataError>> = JoinSet::new();
    for number in 0..args.rows {
        if under_way.len() >= usize::from(args.concurrency) {
            joined(under_way.join_next().await)?;
        }
        let (router, table) = (router.clone(), args.table.clone());
        let (key, value) = row(args.seed, number, args.value_bytes);
        under_way
            .spawn(async move { router.put(&table, key.as_bytes(), &value).await.map(|_| ()) });
    }
    while let Some(ended) = under_way.join_next().await {
        joined(Some(ended))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = args.rows as f64 / seconds.max(0.001);
    print(&match session.output {
        Output::Table | Output::Wide | Output::Name => format!(
            "{} rows of {} bytes from seed {} in {seconds:.1} s: {rate:.0} a second\n",
            args.rows, args.value_bytes, args.seed
        ),
        Output::Json | Output::Yaml => {
            let rows = args.rows.to_string();
            let said = json!({ "rows": rows, "seconds": seconds, "rowsPerSecond": rate });
            render::watched(session.output, &said)
        }
    });
    Ok(())
}

type Joined = Result<Result<(), client::DataError>, tokio::task::JoinError>;

fn joined(ended: Option<Joined>) -> Result<(), Failure> {
    match ended {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(error)) => Err(Failure::new(Exit::Failed, error.to_string())),
    }
}

/// The row of a number: the same for the same seed, whatever else is loaded.
fn row(seed: u64, number: u64, value_bytes: u32) -> (String, Vec<u8>) {
    let mut state = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letters = (0..value_bytes).map(|_| {
        state = splitmix(state);
        b'a' + (state % 26) as u8
    });
    (format!("row-{seed}-{number:010}"), letters.collect())
}

/// One step of splitmix64 (Steele, Lea, Flood, 2014).
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_rows_each_time() {
        assert_eq!(row(1, 7, 20), row(1, 7, 20));
        assert_ne!(row(1, 7, 20), row(1, 8, 20));
        assert_ne!(row(1, 7, 20).1, row(2, 7, 20).1);
        assert_eq!(row(1, 7, 20).1.len(), 20);
    }
}
