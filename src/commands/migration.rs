//! `palisade migration`.

use super::wait::{Aim, Waited, wait};
use super::{Session, interrupts, now_ms, print, unchanged};
use crate::args::{ChangeArgs, MigrationCommand, Output, WaitArgs};
use crate::exit::{Exit, Failure};
use crate::render::{self, Row};
use crate::terminal::Block;
use client::WaitFor;
use proto::admin::v1 as pb;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// So many migrations that have ended stay on the screen.
const ENDED_SHOWN: usize = 5;

pub(super) async fn run(session: &Session, command: MigrationCommand) -> Result<Exit, Failure> {
    match command {
        MigrationCommand::List { running } => {
            session.show_all(&session.admin.list_migrations(running).await?);
        }
        MigrationCommand::Describe { id } => {
            let found = session.admin.migration(&id).await?;
            session.show(&found, &found.id, || render::migration(&found, now_ms()));
        }
        MigrationCommand::Watch { id: Some(id) } => {
            let waited = Waited { id: &id, wait_for: WaitFor::End, timeout: None };
            return wait(session, waited, "", Aim::Any).await;
        }
        MigrationCommand::Watch { id: None } => return watch(session).await,
        MigrationCommand::Wait { id, stage, timeout } => {
            let waited = Waited { id: &id, wait_for: stage.0, timeout };
            return wait(session, waited, "", Aim::Done).await;
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
    if change.dry_run || waits.wait.is_none() || session.output.is_for_people() {
        session.show(&migration, &migration.id, || match change.dry_run {
            true => "it can be cancelled; nothing was done\n".to_owned(),
            false => {
                let headline = render::headline(&migration, "");
                format!("{headline}\nit goes back from here; the replicas stay as they were\n")
            }
        });
    }
    match waits.wait {
        Some(stage) if !change.dry_run => {
            let timeout = waits.timeout;
            let waited = Waited { id: &migration.id, wait_for: stage.0, timeout };
            wait(session, waited, "", Aim::Cancelled).await
        }
        Some(_) | None => Ok(Exit::Done),
    }
}

/// All migrations as they change, until Ctrl-C.
async fn watch(session: &Session) -> Result<Exit, Failure> {
    let mut interrupted = interrupts()?;
    let mut watch = session.admin.watch_migrations("", None);
    let mut screen = Screen::default();
    // What was said last of each that runs: progress within a stage is no change.
    let mut said: HashMap<String, (i32, i32, u32)> = HashMap::new();
    loop {
        let changed = tokio::select! {
            changed = watch.next() => changed?,
            _ = interrupted.recv() => return Ok(Exit::Done),
        };
        if session.is_live {
            screen.take(changed);
            screen.block.draw(&screen.lines(session.output));
            continue;
        }
        for migration in changed {
            let standing = (migration.state, migration.stage, migration.attempt);
            if said.get(&migration.id) == Some(&standing) {
                continue;
            }
            print(&line(session.output, &migration));
            match migration.state() {
                pb::MigrationState::Running => said.insert(migration.id.clone(), standing),
                _ => said.remove(&migration.id),
            };
        }
    }
}

/// What runs, and what has ended last.
#[derive(Default)]
struct Screen {
    running: BTreeMap<String, pb::Migration>,
    ended: VecDeque<pb::Migration>,
    block: Block,
}

impl Screen {
    fn take(&mut self, changed: Vec<pb::Migration>) {
        for migration in changed {
            if migration.state() == pb::MigrationState::Running {
                self.running.insert(migration.id.clone(), migration);
                continue;
            }
            self.running.remove(&migration.id);
            self.ended.retain(|ended| ended.id != migration.id);
            self.ended.push_back(migration);
            // They come in no order at first.
            self.ended.make_contiguous().sort_by_key(|ended| ended.ended_ms);
            if self.ended.len() > ENDED_SHOWN {
                self.ended.pop_front();
            }
        }
    }

    fn lines(&self, output: Output) -> Vec<String> {
        let rows: Vec<pb::Migration> =
            self.running.values().chain(self.ended.iter().rev()).cloned().collect();
        let mut lines: Vec<String> =
            render::list(output, &rows).lines().map(str::to_owned).collect();
        lines.push(format!("{} under way; Ctrl-C ends the watch", self.running.len()));
        lines
    }
}

fn line(output: Output, migration: &pb::Migration) -> String {
    match output {
        Output::Table => format!("{}\n", migration.cells().join("  ")),
        Output::Wide => {
            let cells = [migration.cells(), migration.wide_cells()].concat();
            format!("{}\n", cells.join("  "))
        }
        Output::Json | Output::Yaml => render::watched(output, &render::json(migration)),
        Output::Name => format!("{}\n", migration.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_has_what_runs_and_the_last_that_ended() {
        let mut screen = Screen::default();
        let migration = |id: String, state: pb::MigrationState, ended_ms| pb::Migration {
            id,
            state: state.into(),
            ended_ms,
            ..Default::default()
        };
        let ended = |number: u64| migration(format!("m{number}"), pb::MigrationState::Done, number);
        screen.take((1..=8).rev().map(ended).collect());
        screen.take(vec![migration("r".to_owned(), pb::MigrationState::Running, 0)]);
        let lines = screen.lines(Output::Name);
        assert_eq!(
            lines,
            ["r", "m8", "m7", "m6", "m5", "m4", "1 under way; Ctrl-C ends the watch"]
        );
        screen.take(vec![migration("r".to_owned(), pb::MigrationState::Done, 9)]);
        assert_eq!(screen.lines(Output::Name)[0], "r");
        assert_eq!(screen.running.len(), 0);
    }
}
