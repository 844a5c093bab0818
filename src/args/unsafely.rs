//! `palisade unsafe`.

use super::{JobArgs, TabletName};
use crate::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum UnsafeCommand {
    /// Give up the dead replicas of a tablet that has lost a majority, for one transition of it:
    /// the running one, or a rebuild (--from and --to) or removal (--from) that begins with it.
    /// What only they held is lost.
    #[command(before_help = "Examples:\n  \
                       palisade unsafe accept-data-loss orders/17 --reason 'both burnt'\n  \
                       palisade unsafe accept-data-loss orders/17 --from n1 --to n4 \
                       --dead n1,n2 --confirm orders/17 --wait")]
    AcceptDataLoss(AcceptDataLossArgs),
    /// Begin a new cluster with what is left of one whose coordinators have lost their majority for
    /// good. None of them may run. What only those that are gone had is lost. Asks nobody.
    #[command(before_help = "Example:\n  \
                       palisade unsafe recover-quorum --from old/c2 --data c1 --confirm c2")]
    RecoverQuorum(RecoverQuorumArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AcceptDataLossArgs {
    /// The tablet, TABLE/NUMBER or NUMBER.
    #[arg(add = complete::tablets())]
    pub(crate) tablet: TabletName,
    /// The node whose replica is dead, for a rebuild or a removal that begins with it.
    #[arg(long, value_name = "NODE", add = complete::nodes())]
    pub(crate) from: Option<String>,
    /// The node that gets one, for a rebuild.
    #[arg(long, value_name = "NODE", requires = "from", add = complete::nodes())]
    pub(crate) to: Option<String>,
    /// The tablet's name once more, TABLE/NUMBER; without it, it is asked for.
    #[arg(long, value_name = "NAME", requires = "dead")]
    pub(crate) confirm: Option<String>,
    /// The nodes whose replicas are given up, as `palisade tablet explain` shows them, separated by
    /// commas; without it they are shown before the name is asked for. If one more is dead, nothing
    /// is given up.
    #[arg(long, value_name = "NODES", value_delimiter = ',', add = complete::nodes())]
    pub(crate) dead: Vec<String>,
    #[command(flatten)]
    pub(crate) job: Box<JobArgs>,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverQuorumArgs {
    /// The data directory of a coordinator that is left; once for each. The one that has the most
    /// is taken, and all are left as they are.
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) from: Vec<PathBuf>,
    /// The data directory of the new cluster's first coordinator: empty, or not there yet.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Its name.
    #[arg(long, default_value = "c1")]
    pub(crate) name: String,
    /// The era of the new cluster, above the one before; otherwise the seconds since 1970.
    #[arg(long, value_name = "N")]
    pub(crate) era: Option<u32>,
    /// The name of the coordinator whose directory is taken; without it, it is asked for.
    #[arg(long, value_name = "NAME")]
    pub(crate) confirm: Option<String>,
}
