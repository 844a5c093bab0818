//! What is about the cluster as a whole: its status, its pause, its settings, its coordinators.

use super::{ChangeArgs, ConnectArgs, HoldArgs, Span};
use crate::complete;
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
    /// Take in an empty coordinator, one started with --join; it votes once it has caught up.
    #[command(before_help = "Example:\n  palisade raft add c4 --raft 10.0.0.4:7401 --wait")]
    Add {
        /// Its name.
        name: String,
        /// Where other coordinators reach it.
        #[arg(long, value_name = "HOST:PORT")]
        raft: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        hold: HoldArgs,
    },
    /// A coordinator goes for good, whether it runs or not; a leader hands over first.
    #[command(before_help = "Example:\n  palisade raft remove c1 --dry-run")]
    Remove {
        /// Its name.
        #[arg(add = complete::coordinators())]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Another coordinator leads: this one, or whoever is best.
    #[command(before_help = "Examples:\n  palisade raft transfer-leader\n  \
                       palisade raft transfer-leader c2")]
    TransferLeader {
        /// Its name.
        #[arg(default_value = "", hide_default_value = true, add = complete::coordinators())]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}
