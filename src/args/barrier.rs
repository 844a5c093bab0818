//! `palisade barrier`.

use super::TabletName;
use crate::complete;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum BarrierCommand {
    /// Barriers that wait, and for whom.
    #[command(before_help = "Example:\n  palisade barrier list")]
    List,
    /// Who holds them up on those nodes.
    #[command(before_help = "Example:\n  palisade barrier holders --tablet orders/17")]
    Holders {
        /// Only of this tablet.
        #[arg(long, add = complete::tablets())]
        tablet: Option<TabletName>,
    },
    /// A node cuts its streams from and to another one; what is cut is tried again.
    #[command(before_help = "Example:\n  palisade barrier kill-connection n4 --peer n1")]
    KillConnection {
        /// The node that cuts.
        #[arg(add = complete::nodes())]
        node: String,
        /// The node at the other end.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        peer: String,
    },
}
