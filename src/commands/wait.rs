//! Waiting for a migration: on a terminal one block that is drawn again and again, in a pipe a line
//! for each stage, and for whom it waits when nothing moves.

use super::{Session, interrupts, now_ms, print};
use crate::args::{Output, Span};
use crate::exit::{Exit, Failure};
use crate::render::{self, Board, Paint, Progress};
use crate::terminal::Block;
use client::WaitFor;
use proto::admin::v1 as pb;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// After this long without a change it is said who is waited for.
const SILENCE: Duration = Duration::from_secs(5);
/// How often a block is drawn again, so that its times go on.
const REDRAW: Duration = Duration::from_millis(250);

/// What the caller wants a migration to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// That it reaches its own aim.
    Done,
    /// That it goes back.
    Cancelled,
    /// Nothing: the caller only looks.
    Any,
}

/// What is waited for, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited<'a> {
    /// The migration's id, or the beginning of it.
    pub(super) id: &'a str,
    pub(super) wait_for: WaitFor,
    pub(super) timeout: Option<Span>,
}

/// Waits until a migration has ended or has reached a stage.
pub(super) async fn wait(
    session: &Session,
    waited: Waited<'_>,
    request_id: &str,
    aim: Aim,
) -> Result<Exit, Failure> {
    let until = waited.timeout.map(|timeout| Instant::now() + timeout.0);
    let mut interrupted = interrupts()?;
    let first = session.admin.migration(waited.id).await?;
    let mut saying = Saying::new(session, request_id).await;
    saying.say(&first);
    if waited.wait_for.is_reached(&first) {
        return saying.end(&first, aim);
    }
    let mut watch = session.admin.watch_migrations(&first.id, None);
    let mut last = first;
    loop {
        let again_at = saying.again_at();
        tokio::select! {
            changed = watch.next() => for migration in changed? {
                saying.say(&migration);
                if waited.wait_for.is_reached(&migration) {
                    return saying.end(&migration, aim);
                }
                last = migration;
            },
            () = sleep_until(again_at) => saying.say_again(&last),
            () = sleep_until(until.unwrap_or(again_at)), if until.is_some() => {
                let failure = left(&last, Exit::TimedOut, "the wait timed out");
                return Err(if is_paused(session).await { paused(failure) } else { failure });
            }
            _ = interrupted.recv() => {
                return match aim {
                    Aim::Any => Ok(Exit::Done),
                    Aim::Done | Aim::Cancelled => Err(left(&last, Exit::Detached, "detached")),
                };
            }
        }
    }
}

/// What was said so far, and when.
struct Saying {
    output: Output,
    paint: Paint,
    progress: Progress,
    standing: Option<(i32, i32, u32)>,
    since: Instant,
    /// On a terminal.
    drawn: Option<(Board, Block)>,
}

impl Saying {
    async fn new(session: &Session, request_id: &str) -> Saying {
        let drawn = match session.is_live {
            true => Some((known(session, request_id).await, Block::default())),
            false => None,
        };
        Saying {
            output: session.output,
            paint: session.paint,
            progress: Progress::default(),
            standing: None,
            since: Instant::now(),
            drawn,
        }
    }

    /// When something is said though nothing has changed.
    fn again_at(&self) -> Instant {
        self.since + if self.drawn.is_some() { REDRAW } else { SILENCE }
    }

    fn say(&mut self, migration: &pb::Migration) {
        let standing = Some((migration.state, migration.stage, migration.attempt));
        let has_moved = self.standing != standing;
        self.standing = standing;
        if self.drawn.is_some() {
            self.say_again(migration);
            return;
        }
        match self.output {
            Output::Table | Output::Wide => {
                for line in self.progress.changes(migration) {
                    print(&format!("{line}\n"));
                    self.since = Instant::now();
                }
            }
            Output::Json | Output::Yaml if has_moved => {
                print(&render::watched(self.output, &render::json(migration)));
            }
            Output::Json | Output::Yaml | Output::Name => {}
        }
    }

    /// The last line, and what became of it.
    fn end(&self, migration: &pb::Migration, aim: Aim) -> Result<Exit, Failure> {
        let exit = ended(migration, aim)?;
        if self.output.is_for_people() {
            print(&format!("\n  {}\n", render::verdict(migration)));
        }
        Ok(exit)
    }

    /// How it stands: the block once more, or who is waited for.
    fn say_again(&mut self, migration: &pb::Migration) {
        self.since = Instant::now();
        if let Some((board, block)) = &mut self.drawn {
            block.draw(&render::board(board, migration, now_ms(), self.paint));
        } else if self.output.is_for_people() {
            for line in Progress::waiting(migration, now_ms()) {
                print(&format!("{line}\n"));
            }
        }
    }
}

/// What a block says beside the migration. It does without what can't be had.
async fn known(session: &Session, request_id: &str) -> Board {
    let nodes = session.admin.list_nodes().await.unwrap_or_default();
    let settings = session.admin.settings().await.ok();
    Board {
        racks: nodes.into_iter().map(|node| (node.name, node.rack)).collect(),
        drain_deadline_ms: settings.map(|settings| u64::from(settings.drain_deadline_ms)),
        request_id: request_id.to_owned(),
    }
}

/// Whether all transitions stand still because somebody wants it so. Nobody waits long to know.
async fn is_paused(session: &Session) -> bool {
    let asked = tokio::time::timeout(Duration::from_secs(1), session.admin.status()).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|status| status.pause.is_some()))
}

fn paused(failure: Failure) -> Failure {
    failure.why("all transitions are paused").next("palisade resume")
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
        [] => failure.why("a wait can be left at any time; the migration does not depend on it"),
        nodes => failure.why(format!("it waits for {}", nodes.join(" "))),
    }
}

/// How a migration that has ended, or has come far enough, compares with what was wanted.
fn ended(migration: &pb::Migration, aim: Aim) -> Result<Exit, Failure> {
    let id = render::short_id(&migration.id);
    let how = match (migration.state(), aim) {
        (pb::MigrationState::Running | pb::MigrationState::Unspecified, _)
        | (_, Aim::Any)
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
        "" => failure.why("nobody has said why"),
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
        assert_eq!(paused(failure).next.as_deref(), Some("palisade resume"));
    }
}
