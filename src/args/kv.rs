//! `palisade kv`.

use super::Span;
use crate::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Store a value.
    #[command(before_help = "Example:\n  palisade kv put orders k1 hello")]
    Put {
        /// The table.
        #[arg(add = complete::tables())]
        table: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The value of a key, as it is; exit code 4 if it has none.
    #[command(before_help = "Example:\n  palisade kv get orders k1")]
    Get {
        /// The table.
        #[arg(add = complete::tables())]
        table: String,
        /// The key.
        key: String,
    },
    /// Delete a key.
    #[command(before_help = "Example:\n  palisade kv delete orders k1")]
    Delete {
        /// The table.
        #[arg(add = complete::tables())]
        table: String,
        /// The key.
        key: String,
    },
    /// Rows in order of position.
    #[command(before_help = "Example:\n  palisade kv scan orders --limit 10")]
    Scan {
        /// The table.
        #[arg(add = complete::tables())]
        table: String,
        /// Rows at the most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Store rows made from a seed.
    #[command(before_help = "Example:\n  palisade kv load orders --rows 10000 --seed 1")]
    Load(LoadArgs),
    /// Write, delete and read rows of its own for a while, and judge what came back; exit code 1 if
    /// not everything held.
    #[command(before_help = "Example:\n  palisade kv workload orders --duration 1m")]
    Workload(WorkloadArgs),
    /// Judge a history that `palisade kv workload` or `palisade demo --keep` has recorded; exit code
    /// 1 if not everything held.
    #[command(before_help = "Example:\n  palisade kv check history.ndjson")]
    Check {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The table.
    #[arg(add = complete::tables())]
    pub(crate) table: String,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rows: u64,
    /// The same seed makes the same rows.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) value_bytes: u32,
    /// Rows under way at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
}

#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// The table.
    #[arg(add = complete::tables())]
    pub(crate) table: String,
    /// For how long; Ctrl-C ends it earlier, and judges as well.
    #[arg(long, default_value = "30s")]
    pub(crate) duration: Span,
    /// How many keys; they are new ones each time, and stay.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    pub(crate) keys: u32,
    /// What operations are drawn from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where to keep the history, for `palisade kv check`.
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}
