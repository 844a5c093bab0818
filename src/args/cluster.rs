//! What is about the cluster as a whole: its status, its pause, its settings, its coordinators.

use super::{ChangeArgs, ConnectArgs, Span};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Again and again, until Ctrl-C; in a pipe one line a change.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "1s")]
    #[arg(value_name = "EVERY")]
    pub(crate) watch: Option<Span>,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Why, for those who look later.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// All settings, or one.
    #[command(
        before_help = "Examples:\n  palisade config get\n  palisade config get lease.length_ms"
    )]
    Get {
        /// Its name, as `palisade config get` lists it.
        key: Option<String>,
    },
    /// Change settings; refused if somebody else has changed them meanwhile.
    #[command(before_help = "Examples:\n  palisade config set attempts=5 --dry-run\n  \
                       palisade config set stall_ms=4000 lease.length_ms=8000")]
    Set {
        /// NAME=VALUE.
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RaftCommand {
    /// The coordinators: who leads, who votes, how far each has come.
    #[command(before_help = "Example:\n  palisade raft status")]
    Status,
}
