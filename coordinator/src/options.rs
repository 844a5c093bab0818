//! How a coordinator is started: flags, each with its `PALISADE_*` variable. No file.

use clap::{Args, ValueEnum};
use process::ProcessArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `palisade coordinator` and of `palisade-coordinator`.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorArgs {
    /// This coordinator's name.
    #[arg(long, env = "PALISADE_NAME", default_value = "c1")]
    pub name: String,

    /// Directory that holds its part of group0; made if it is missing.
    #[arg(long, env = "PALISADE_DATA")]
    pub data: PathBuf,

    /// Where people and programs reach the admin API.
    #[arg(long, env = "PALISADE_ADMIN_LISTEN", default_value = "127.0.0.1:7400")]
    pub admin_listen: SocketAddr,

    /// Where replica agents attach.
    #[arg(long, env = "PALISADE_AGENTS_LISTEN", default_value = "127.0.0.1:7402")]
    pub agents_listen: SocketAddr,

    /// Begin a new cluster of this many coordinators, if the directory is empty.
    #[arg(long, env = "PALISADE_BOOTSTRAP_EXPECT", value_parser = clap::value_parser!(u8).range(1..=1))]
    pub bootstrap_expect: Option<u8>,

    /// What a new cluster begins with: bounds for real machines, or short ones for tests.
    #[arg(long, env = "PALISADE_PROFILE", value_enum, default_value_t = Profile::Standard)]
    pub profile: Profile,

    /// What all servers have.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The settings of a new cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Lease 6 s, drain deadline 30 s.
    Standard,
    /// Lease 1 s, drain deadline 3 s: for tests on one machine.
    Fast,
}
