//! Waiting for what has no stages of its own: that a node is empty, that a table is gone, that no
//! move is left.

use super::{Session, interrupts, print};
use crate::args::{HoldArgs, Output};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::terminal::Block;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// How far it is.
pub(super) struct Left {
    /// Nothing is left.
    pub(super) is_over: bool,
    /// For people, a line each; the first says it all in short.
    pub(super) lines: Vec<String>,
    /// For programs.
    pub(super) value: Value,
}

/// Looks again and again until nothing is left. `job` names what goes on without us, `next` the
/// command that tells of it.
pub(super) async fn hold(
    session: &Session,
    args: &HoldArgs,
    (job, next): (&str, &str),
    look: impl AsyncFn() -> Result<Left, Failure>,
) -> Result<Exit, Failure> {
    let mut interrupted = interrupts()?;
    let until = args.timeout.map(|timeout| Instant::now() + timeout.0);
    let far_away = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    let mut said = Said { session, last: None, block: Block::default() };
    let looking = async {
        loop {
            let left = look().await?;
            said.say(&left);
            if left.is_over {
                return Ok(Exit::Done);
            }
            sleep(LOOK).await;
        }
    };
    let ended = tokio::select! {
        ended = looking => return ended,
        () = sleep_until(until.unwrap_or(far_away)) => (Exit::TimedOut, "the wait timed out"),
        _ = interrupted.recv() => (Exit::Detached, "detached"),
    };
    let (exit, what) = ended;
    Err(Failure::new(exit, format!("{what}: {job} goes on"))
        .now(said.last.unwrap_or_else(|| "nobody has said how far it is".to_owned()))
        .why("a wait can be left at any time; what is waited for does not depend on it")
        .next(next))
}

/// What was said so far.
struct Said<'a> {
    session: &'a Session,
    last: Option<String>,
    block: Block,
}

impl Said<'_> {
    fn say(&mut self, left: &Left) {
        let line = left.lines.first().cloned();
        let is_new = self.last != line;
        self.last = line;
        if self.session.is_live {
            self.block.draw(&left.lines);
        } else if is_new {
            match self.session.output {
                Output::Table | Output::Wide => {
                    print(&left.lines.iter().map(|line| format!("{line}\n")).collect::<String>());
                }
                Output::Json | Output::Yaml => {
                    print(&render::watched(self.session.output, &left.value));
                }
                Output::Name => {}
            }
        }
    }
}
