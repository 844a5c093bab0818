//! `palisade migration`.

use super::table::unchanged;
use super::wait::{Aim, wait};
use super::{Session, now_ms, print};
use crate::args::{ChangeArgs, MigrationCommand, Output, WaitArgs};
use crate::exit::{Exit, Failure};
use crate::render::{self, Json, Row};
use proto::admin::v1 as pb;
use std::collections::HashMap;

pub(super) async fn run(session: &Session, command: MigrationCommand) -> Result<Exit, Failure> {
    match command {
        MigrationCommand::List { running } => {
            session.show_all(&session.admin.list_migrations(running).await?);
        }
        MigrationCommand::Describe { id } => {
            let found = session.admin.migration(&id).await?;
            session.show(&found, &found.id, || render::migration(&found, now_ms()));
        }
        MigrationCommand::Watch { id } => return watch(session, id).await,
        MigrationCommand::Wait { id, stage, timeout } => {
            return wait(session, &id, stage.0, timeout, Aim::Done).await;
        }
        MigrationCommand::Cancel { id, change, wait } => {
            return cancel(session, id, change, wait).await;
        }
    }
    Ok(Exit::Done)
}

async fn cancel(
    session: &Session,
    id: String,
    change: ChangeArgs,
    waits: WaitArgs,
) -> Result<Exit, Failure> {
    let request = pb::CancelMigrationRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        id,
    };
    let answer = session.admin.cancel_migration(request).await.map_err(unchanged)?;
    let migration = answer.migration.unwrap_or_default();
    if change.dry_run {
        print("it can be cancelled; nothing was done\n");
        return Ok(Exit::Done);
    }
    if session.output == Output::Table {
        print(&format!("{}\n", render::headline(&migration, "")));
        print("it goes back from here; the replicas stay as they were\n");
    } else if waits.wait.is_none() {
        session.show(&migration, &migration.id, String::new);
    }
    match waits.wait {
        Some(stage) => wait(session, &migration.id, stage.0, waits.timeout, Aim::Cancelled).await,
        None => Ok(Exit::Done),
    }
}

/// One line a change, until Ctrl-C.
async fn watch(session: &Session, id: Option<String>) -> Result<Exit, Failure> {
    let id = match id {
        Some(id) => session.admin.migration(&id).await?.id,
        None => String::new(),
    };
    let mut watch = session.admin.watch_migrations(&id, None);
    // What was said last of each that runs: progress within a stage is no change.
    let mut said: HashMap<String, (i32, i32, u32)> = HashMap::new();
    loop {
        let changed = tokio::select! {
            changed = watch.next() => changed?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        };
        for migration in changed {
            let standing = (migration.state, migration.stage, migration.attempt);
            if said.get(&migration.id) == Some(&standing) {
                continue;
            }
            print(&line(session.output, &migration));
            match migration.state() {
                pb::MigrationState::Running => {
                    said.insert(migration.id.clone(), standing);
                }
                _ => {
                    said.remove(&migration.id);
                    if !id.is_empty() {
                        return Ok(Exit::Done);
                    }
                }
            }
        }
    }
}

fn line(output: Output, migration: &pb::Migration) -> String {
    match output {
        Output::Table => format!("{}\n", migration.cells().join("  ")),
        Output::Json => format!("{}\n", migration.json()),
        Output::Name => format!("{}\n", migration.id),
    }
}
