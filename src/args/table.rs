//! `palisade table`.

use super::{ChangeArgs, HoldArgs};
use crate::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// Make a table and place its replicas.
    #[command(before_help = "Examples:\n  palisade table create orders --tablets 32 --rf 3\n  \
                       palisade table create users --ranges splits.txt --dry-run")]
    Create(CreateTableArgs),
    /// All tables.
    #[command(before_help = "Example:\n  palisade table list -o wide")]
    List,
    /// One table, with its tablets.
    #[command(before_help = "Example:\n  palisade table describe orders")]
    Describe {
        /// The table.
        #[arg(add = complete::tables())]
        name: String,
    },
    /// Drop a table and all its data.
    #[command(before_help = "Examples:\n  palisade table drop orders --dry-run\n  \
                       palisade table drop orders --wait --timeout 5m")]
    Drop {
        /// The table.
        #[arg(add = complete::tables())]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        hold: HoldArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateTableArgs {
    /// 1 to 128 letters, digits, '_', '-' or '.'.
    pub(crate) name: String,
    /// Cut the hash space into this many even tablets.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(conflicts_with = "ranges")]
    pub(crate) tablets: u32,
    /// Replicas of each tablet.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rf: u32,
    /// Order keys as they are, and split at the keys in this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) ranges: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}
