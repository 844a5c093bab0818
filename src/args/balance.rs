//! `palisade balance`: the moves that Palisade begins by itself.

use super::{ChangeArgs, HoldArgs, Span};
use crate::complete;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum BalanceCommand {
    /// Whether it may act, what it has under way, and why it does nothing more.
    #[command(before_help = "Example:\n  palisade balance status")]
    Status,
    /// What it would do next; nothing is done.
    #[command(before_help = "Example:\n  palisade balance plan")]
    Plan,
    /// It may begin moves again.
    #[command(before_help = "Example:\n  palisade balance enable --table orders")]
    Enable {
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// It begins no move any more; what it has begun goes on.
    #[command(
        before_help = "Examples:\n  palisade balance disable --reason 'network work' --for 2h\n  \
                       palisade balance disable --table orders --reason 'bulk load' --wait"
    )]
    Disable {
        #[command(flatten)]
        scope: ScopeArgs,
        /// Why, for those who look later.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Enabled again by itself after this; without it, never.
        #[arg(long = "for", value_name = "DURATION")]
        lasts: Option<Span>,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        hold: HoldArgs,
    },
}

/// What a switch is about: the whole cluster, unless it is said.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ScopeArgs {
    /// Only this table's tablets.
    #[arg(long, default_value = "", hide_default_value = true, add = complete::tables())]
    #[arg(conflicts_with = "node")]
    pub(crate) table: String,
    /// Only this node's replicas, and new ones on it.
    #[arg(long, default_value = "", hide_default_value = true, add = complete::nodes())]
    pub(crate) node: String,
}
