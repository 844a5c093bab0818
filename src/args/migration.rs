//! `palisade migration`.

use super::{ChangeArgs, Span, WaitArgs, WaitStage};
use crate::complete;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum MigrationCommand {
    /// Running ones, then finished ones, the newest first.
    #[command(before_help = "Example:\n  palisade migration list --running -o wide")]
    List {
        /// Only those that run.
        #[arg(long)]
        running: bool,
    },
    /// One migration, with its stages and their evidence.
    #[command(before_help = "Example:\n  palisade migration describe 9f2c")]
    Describe {
        /// Its id, or the beginning of it.
        #[arg(add = complete::migrations())]
        id: String,
    },
    /// Migrations as they change, until Ctrl-C.
    #[command(before_help = "Example:\n  palisade migration watch -o json")]
    Watch {
        /// Only this one: its id, or the beginning of it.
        #[arg(add = complete::migrations())]
        id: Option<String>,
    },
    /// Wait until one has ended, or has reached a stage.
    #[command(
        before_help = "Example:\n  palisade migration wait 9f2c --stage use_new --timeout 5m"
    )]
    Wait {
        /// Its id, or the beginning of it.
        #[arg(add = complete::migrations())]
        id: String,
        /// Until it has reached this stage.
        #[arg(long, default_value = "end", add = complete::stages())]
        stage: WaitStage,
        /// Wait no longer than this; the job goes on.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<Span>,
    },
    /// Ask one to go back, as long as it can.
    #[command(before_help = "Example:\n  palisade migration cancel 9f2c --wait")]
    Cancel {
        /// Its id, or the beginning of it.
        #[arg(add = complete::migrations())]
        id: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}
