//! `palisade node`.

use super::{ChangeArgs, HoldArgs};
use crate::complete;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// All nodes.
    #[command(before_help = "Example:\n  palisade node list -o wide")]
    List,
    /// One node.
    #[command(before_help = "Example:\n  palisade node describe n1")]
    Describe {
        /// Its name.
        #[arg(add = complete::nodes())]
        name: String,
    },
    /// It is to hold nothing any more: balancing takes its replicas elsewhere.
    #[command(before_help = "Example:\n  palisade node drain n1 --reason 'new disks' --wait")]
    Drain {
        /// Its name.
        #[arg(add = complete::nodes())]
        name: String,
        /// Why, for those who look later.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        hold: HoldArgs,
    },
    /// End a drain; what was moved stays where it is.
    #[command(before_help = "Example:\n  palisade node undrain n1")]
    Undrain {
        /// Its name.
        #[arg(add = complete::nodes())]
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}
