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
}
