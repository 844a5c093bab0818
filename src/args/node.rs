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
    /// It goes for good: at once if it holds nothing, a dead one once its replicas are rebuilt.
    #[command(before_help = "Example:\n  palisade node remove n1 --reason 'it burnt' --wait")]
    Remove {
        /// Its name.
        #[arg(add = complete::nodes())]
        name: String,
        /// Why, for those who look later.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        hold: HoldArgs,
    },
    /// Copies that do not belong where they are, and drops that are owed.
    #[command(before_help = "Example:\n  palisade node orphans\n  \
                       palisade node orphans --drop n1/17/42")]
    Orphans {
        /// Drop this one for good, which was set aside after a restore: NODE/TABLET/COPY.
        #[arg(long, value_name = "ORPHAN", conflicts_with = "name")]
        drop: Option<String>,
        #[command(flatten)]
        change: ChangeArgs,
        /// Only of this node.
        #[arg(default_value = "", hide_default_value = true, add = complete::nodes())]
        name: String,
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
