//! `palisade dev`: a whole cluster on this machine, as processes of its own. Ctrl-C stops it.
//!
//! The directory keeps the cluster: started again on it, it goes on where it stopped.

use crate::cluster::{self, Cluster, Plan};
use clap::Args;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Flags of `palisade dev`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    /// How many coordinators: 1, 3 or 5.
    #[arg(long, default_value = "3", value_parser = cluster::coordinators)]
    coordinators: u8,
    /// How many replica agents, each in a rack of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    agents: u8,
    /// Where everything is kept.
    #[arg(long, default_value = crate::args::DEV_DIRECTORY)]
    data: PathBuf,
    /// Short leases and deadlines.
    #[arg(long)]
    fast: bool,
}

/// Runs the cluster until it is interrupted, or one of its processes ends.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let DevArgs { coordinators, agents, data, fast } = args;
    let plan = Plan { directory: data, coordinators, agents, fast };
    let mut cluster = tokio::select! {
        started = Cluster::start(plan) => started?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!(
        "a cluster of {} and {agents} agents is up; Ctrl-C stops it",
        cluster::how_many(coordinators)
    );
    println!("  admin   {}", cluster.admin_addresses().join(","));
    println!("  ports   {}", cluster.file().display());
    println!("  logs    {}/*/log", cluster.directory().display());
    println!("  next    palisade status        (in another terminal, in this directory)");
    let ended = tokio::select! {
        error = cluster.any_ended() => Err(error),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    cluster.stop().await;
    ended
}
