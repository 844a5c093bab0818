//! What is looked at before anything is mended, and what a report of a fault takes.

use super::ConnectArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// One file with all that a report of a fault needs. No keys and values of rows, no keys of
    /// certificates; texts that operators gave as reasons are in it.
    #[command(before_help = "Examples:\n  palisade debug bundle\n  \
                       palisade debug bundle --to fault.tar.gz --log c1/log --metrics c1:7403")]
    Bundle(BundleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The file that is written; it must not be there yet [default: palisade-bundle-TIME.tar.gz].
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
    /// Where a process serves metrics; may be given several times. A cluster file names them.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Vec<String>,
    /// A log, of which the end is taken; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Vec<PathBuf>,
}
