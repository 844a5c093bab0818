//! Waiting for a migration: a line for each stage, and for whom it waits when nothing moves.

use super::{Session, now_ms, print};
use crate::args::{Output, Span};
use crate::exit::{Exit, Failure};
use crate::render::{self, Json, Progress};
use client::WaitFor;
use proto::admin::v1 as pb;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// After this long without a change it is said who is waited for.
const SILENCE: Duration = Duration::from_secs(5);

/// What the caller wants a migration to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// That it reaches its own aim.
    Done,
    /// That it goes back.
    Cancelled,
}

/// Waits until a migration has ended or has reached a stage.
pub(super) async fn wait(
    session: &Session,
    id: &str,
    wait_for: WaitFor,
    timeout: Option<Span>,
    aim: Aim,
) -> Result<Exit, Failure> {
    let until = timeout.map(|timeout| Instant::now() + timeout.0);
    let first = session.admin.migration(id).await?;
    let mut saying = Saying::new(session);
    saying.say(&first);
    if wait_for.is_reached(&first) {
        return saying.end(&first, aim);
    }
    let mut watch = session.admin.watch_migrations(&first.id, None);
    let mut last = first;
    loop {
        let silent_at = saying.since + SILENCE;
        tokio::select! {
            changed = watch.next() => for migration in changed? {
                saying.say(&migration);
                if wait_for.is_reached(&migration) {
                    return saying.end(&migration, aim);
                }
                last = migration;
            },
            () = sleep_until(silent_at) => saying.say_who(&last),
            () = sleep_until(until.unwrap_or(silent_at)), if until.is_some() => {
                return Err(left(&last, Exit::TimedOut, "the wait timed out"));
            }
            _ = tokio::signal::ctrl_c() => {
                return Err(left(&last, Exit::Detached, "detached"));
            }
        }
    }
}

/// What was said so far, and when.
struct Saying {
    output: Output,
    progress: Progress,
    standing: Option<(i32, i32, u32)>,
    since: Instant,
}

impl Saying {
    fn new(session: &Session) -> Saying {
        let (progress, since) = (Progress::default(), Instant::now());
        Saying { output: session.output, progress, standing: None, since }
    }

    fn say(&mut self, migration: &pb::Migration) {
        let standing = Some((migration.state, migration.stage, migration.attempt));
        let has_moved = self.standing != standing;
        self.standing = standing;
        match self.output {
            Output::Table => {
                for line in self.progress.changes(migration) {
                    print(&format!("{line}\n"));
                    self.since = Instant::now();
                }
            }
            Output::Json if has_moved => print(&format!("{}\n", migration.json())),
            Output::Json | Output::Name => {}
        }
    }

    /// The last line, and what became of it.
    fn end(&self, migration: &pb::Migration, aim: Aim) -> Result<Exit, Failure> {
        let exit = ended(migration, aim)?;
        if self.output == Output::Table {
            print(&format!("\n  {}\n", render::verdict(migration)));
        }
        Ok(exit)
    }

    fn say_who(&mut self, migration: &pb::Migration) {
        self.since = Instant::now();
        if self.output == Output::Table {
            for line in Progress::waiting(migration, now_ms()) {
                print(&format!("{line}\n"));
            }
        }
    }
}

/// The job goes on without us.
fn left(migration: &pb::Migration, exit: Exit, what: &str) -> Failure {
    let id = render::short_id(&migration.id);
    let stage = render::stage(migration.stage());
    let failure =
        Failure::new(exit, format!("{what}: migration {id} of {} goes on", migration.tablet_name))
            .now(format!("it is in {stage}; the tablet is being served"))
            .next(format!("palisade migration wait {id}     or: migration cancel {id}"));
    match migration.waiting_for.as_slice() {
        [] => failure,
        nodes => failure.why(format!("it waits for {}", nodes.join(" "))),
    }
}

/// How a migration that has ended, or has come far enough, compares with what was wanted.
fn ended(migration: &pb::Migration, aim: Aim) -> Result<Exit, Failure> {
    let id = render::short_id(&migration.id);
    let how = match (migration.state(), aim) {
        (pb::MigrationState::Running | pb::MigrationState::Unspecified, _)
        | (pb::MigrationState::Done, Aim::Done)
        | (pb::MigrationState::Cancelled | pb::MigrationState::Reverted, Aim::Cancelled) => {
            return Ok(Exit::Done);
        }
        (pb::MigrationState::Done, Aim::Cancelled) => "was done before it could be cancelled",
        (pb::MigrationState::Cancelled, Aim::Done) => "was cancelled",
        (pb::MigrationState::Reverted, Aim::Done) => "was reverted",
    };
    let serving = match migration.state() {
        pb::MigrationState::Done => &migration.after,
        _ => &migration.before,
    };
    let error = format!("migration {id} of {} {how}", migration.tablet_name);
    let failure = Failure::new(Exit::Failed, error)
        .now(format!("{} are serving", serving.join(", ")))
        .next(format!("palisade migration describe {id}     tells of each attempt"));
    Err(match migration.reason.as_str() {
        "" => failure,
        reason => failure.why(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(state: pb::MigrationState) -> pb::Migration {
        pb::Migration { state: state.into(), reason: "PEER_CLOSED".into(), ..Default::default() }
    }

    #[test]
    fn nothing_answers_ok_for_a_reverted_move() {
        assert_eq!(ended(&migration(pb::MigrationState::Done), Aim::Done), Ok(Exit::Done));
        for state in [pb::MigrationState::Reverted, pb::MigrationState::Cancelled] {
            let failure = ended(&migration(state), Aim::Done).expect_err("short of its aim");
            assert_eq!(failure.exit.code(), 1);
            assert_eq!(failure.why.as_deref(), Some("PEER_CLOSED"));
            assert_eq!(ended(&migration(state), Aim::Cancelled), Ok(Exit::Done));
        }
        assert!(ended(&migration(pb::MigrationState::Done), Aim::Cancelled).is_err());
    }

    #[test]
    fn a_wait_that_is_left_says_that_the_job_goes_on() {
        let failure = left(&migration(pb::MigrationState::Running), Exit::TimedOut, "timed out");
        assert_eq!(failure.exit.code(), 124);
        assert!(failure.error.contains("goes on"));
    }
}
