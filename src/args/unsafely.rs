//! `palisade unsafe`.

use super::{JobArgs, TabletName};
use crate::complete;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum UnsafeCommand {
    /// Give up the dead replicas of a tablet that has lost a majority, for one transition of it:
    /// the running one, or a rebuild (--from and --to) or removal (--from) that begins with it.
    /// What only they held is lost.
    #[command(before_help = "Examples:\n  \
                       palisade unsafe accept-data-loss orders/17 --reason 'both burnt'\n  \
                       palisade unsafe accept-data-loss orders/17 --from n1 --to n4 \
                       --confirm orders/17 --wait")]
    AcceptDataLoss {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        /// The node whose replica is dead, for a rebuild or a removal that begins with it.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        from: Option<String>,
        /// The node that gets one, for a rebuild.
        #[arg(long, value_name = "NODE", requires = "from", add = complete::nodes())]
        to: Option<String>,
        /// The tablet's name once more, TABLE/NUMBER; without it, it is asked for.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        #[command(flatten)]
        job: Box<JobArgs>,
    },
}
