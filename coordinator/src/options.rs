//! How a coordinator is started: flags, each with its `PALISADE_*` variable. No file.

use crate::group0::{DIGEST_EVERY, SNAPSHOT_EVERY};
use clap::{Args, ValueEnum};
use process::ProcessArgs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

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

    /// Where other coordinators reach it.
    #[arg(long, env = "PALISADE_RAFT_LISTEN", default_value = "127.0.0.1:7401")]
    pub raft_listen: SocketAddr,

    /// Where replica agents attach.
    #[arg(long, env = "PALISADE_AGENTS_LISTEN", default_value = "127.0.0.1:7402")]
    pub agents_listen: SocketAddr,

    /// The host that others are told; needed where it listens on a wildcard.
    #[arg(long, env = "PALISADE_ADVERTISE")]
    pub advertise: Option<String>,

    /// Where metrics, `/livez` and `/readyz` are served over HTTP.
    #[arg(long, env = "PALISADE_METRICS_LISTEN", default_value = "127.0.0.1:7403")]
    pub metrics_listen: SocketAddr,

    /// Where health is served over gRPC, and nothing else.
    #[arg(long, env = "PALISADE_HEALTH_LISTEN", default_value = "127.0.0.1:7404")]
    pub health_listen: SocketAddr,

    /// Begin a new cluster of this many coordinators (1, 3 or 5), if the directory is empty.
    #[arg(long, env = "PALISADE_BOOTSTRAP_EXPECT", value_parser = voters)]
    pub bootstrap_expect: Option<u8>,

    /// All coordinators that a cluster begins with, this one among them: NAME=HOST:PORT of their
    /// raft ports, separated by commas. Needed to begin with more than one.
    #[arg(long, env = "PALISADE_PEERS", value_delimiter = ',')]
    pub peers: Vec<Peer>,

    /// Wait to be taken into a cluster that runs, if the directory is empty: until there
    /// `palisade raft add` names this one.
    #[arg(long, env = "PALISADE_JOIN", conflicts_with_all = ["bootstrap_expect", "peers"])]
    pub join: bool,

    /// What a new cluster begins with: bounds for real machines, or short ones for tests.
    #[arg(long, env = "PALISADE_PROFILE", value_enum, default_value_t = Profile::Standard)]
    pub profile: Profile,

    /// What all servers have.
    #[command(flatten)]
    pub process: ProcessArgs,

    /// Coordinators compare what they hold each time this many entries have been applied; the same
    /// for all of them.
    #[arg(long, env = "PALISADE_DIGEST_EVERY", default_value_t = DIGEST_EVERY, hide = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub digest_every: u64,

    /// A snapshot is made each time this many entries have been committed since the last; a fifth of
    /// them stays in the log for coordinators that lag.
    #[arg(long, env = "PALISADE_SNAPSHOT_EVERY", default_value_t = SNAPSHOT_EVERY, hide = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_every: u64,

    /// Serve the fault switches on the agents' port: for tests only.
    #[arg(long, env = "PALISADE_FAULTS", hide = true)]
    pub faults: bool,
}

/// One of the coordinators that a cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where its raft port is reached, `host:port`.
    pub address: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let malformed = || format!("{text:?} is not NAME=HOST:PORT");
        let (name, address) = text.split_once('=').ok_or_else(malformed)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
        if name.is_empty() || host.is_empty() || !port.parse().is_ok_and(|port: u16| port > 0) {
            return Err(malformed());
        }
        Ok(Peer { name: name.to_owned(), address: address.to_owned() })
    }
}

/// How many coordinators a cluster may begin with.
fn voters(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("1, 3 or 5".to_owned()),
    }
}

/// The settings of a new cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Lease 6 s, drain deadline 30 s.
    Standard,
    /// Lease 1 s, drain deadline 3 s: for tests on one machine.
    Fast,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_and_have_ports() {
        let peer = "c1=coordinator-0.palisade:7401".parse::<Peer>();
        let (name, address) = ("c1".to_owned(), "coordinator-0.palisade:7401".to_owned());
        assert_eq!(peer, Ok(Peer { name, address }));
        for wrong in ["c1", "c1=", "=h:1", "c1=h", "c1=:1", "c1=h:0", "c1=h:x"] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
        assert_eq!(["1", "3", "5"].map(voters), [Ok(1), Ok(3), Ok(5)]);
        assert!(["0", "2", "4", "7", ""].iter().all(|wrong| voters(wrong).is_err()));
    }
}
