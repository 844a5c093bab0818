//! `palisade context`: clusters by name, kept in the user's configuration.

use super::Output;
use crate::complete;
use clap::{Args, Subcommand};
use client::TlsArgs;

#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    pub(crate) command: ContextCommand,
    /// How answers are written.
    #[arg(short, long, env = "PALISADE_OUTPUT", value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// All contexts; the current one is marked.
    #[command(before_help = "Example:\n  palisade context list")]
    List,
    /// Make one the current.
    #[command(before_help = "Example:\n  palisade context use production")]
    Use {
        /// Its name.
        #[arg(add = complete::contexts())]
        name: String,
    },
    /// Make or change one; the first is the current one at once.
    #[command(
        before_help = "Example:\n  palisade context set production --coordinators c1:7400,c2:7400"
    )]
    Set {
        /// Its name.
        name: String,
        /// The coordinators' admin addresses, `host:port`, separated by commas.
        #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", required = true)]
        coordinators: Vec<String>,
        /// As whom, over TLS.
        #[command(flatten)]
        tls: TlsArgs,
    },
    /// Forget one.
    #[command(before_help = "Example:\n  palisade context remove production")]
    Remove {
        /// Its name.
        #[arg(add = complete::contexts())]
        name: String,
    },
}
