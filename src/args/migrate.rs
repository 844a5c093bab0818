//! `palisade migrate` and `palisade replica-set`: what begins a job.

use super::{ConnectArgs, JobArgs, TabletName};
use crate::complete;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// The tablet, TABLE/NUMBER or NUMBER.
    #[arg(add = complete::tablets())]
    pub(crate) tablet: TabletName,
    /// The node that loses its replica.
    #[arg(long, value_name = "NODE", add = complete::nodes())]
    pub(crate) from: String,
    /// The node that gets one.
    #[arg(long, value_name = "NODE", add = complete::nodes())]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) job: JobArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaSetCommand {
    /// One more replica.
    #[command(before_help = "Example:\n  palisade replica-set add orders/17 --to n4 --wait")]
    Add {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        /// The node that gets it.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        to: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// One replica fewer.
    #[command(before_help = "Example:\n  palisade replica-set remove orders/17 --from n1 --wait")]
    Remove {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        /// The node that loses it.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        from: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// A replica whose node is dead, or whose data is lost, made anew elsewhere.
    #[command(
        before_help = "Example:\n  palisade replica-set rebuild orders/17 --from n1 --to n4 --wait"
    )]
    Rebuild {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        /// The node whose replica is dead.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        from: String,
        /// The node that gets one.
        #[arg(long, value_name = "NODE", add = complete::nodes())]
        to: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Let the replicas exchange what differs.
    #[command(before_help = "Example:\n  palisade replica-set repair orders/17 --wait")]
    Repair {
        /// The tablet, TABLE/NUMBER or NUMBER.
        #[arg(add = complete::tablets())]
        tablet: TabletName,
        #[command(flatten)]
        job: JobArgs,
    },
}
