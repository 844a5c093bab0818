//! `palisade tablet`.

use super::TabletName;
use crate::complete;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum TabletCommand {
    /// Tablets, of one table or of all.
    #[command(before_help = "Example:\n  palisade tablet list --table orders -o wide")]
    List {
        /// Only of this table.
        #[arg(long, default_value = "", hide_default_value = true, add = complete::tables())]
        table: String,
    },
    /// One tablet.
    #[command(before_help = "Example:\n  palisade tablet describe orders/17 --digest")]
    Describe {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        /// Ask each replica what it holds.
        #[arg(long)]
        digest: bool,
    },
    /// What a tablet waits for, what its lost and silent replicas mean, and what to do.
    #[command(before_help = "Example:\n  palisade tablet explain orders/17")]
    Explain {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
    },
    /// Remove tombstones that every replica has.
    #[command(before_help = "Example:\n  palisade tablet purge orders/17")]
    Purge {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
    },
}
