//! How a replica agent is started: flags, each with its `PALISADE_*` variable. No file.

use crate::limits::RESERVE_BYTES;
use clap::Args;
use process::ProcessArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `palisade replica` and of `palisade-replica`.
#[derive(Debug, Clone, Args)]
pub struct ReplicaArgs {
    /// The node's name; the directory keeps it.
    #[arg(long, env = "PALISADE_NAME")]
    pub name: String,

    /// Directory that holds its copies of tablets; made if it is missing.
    #[arg(long, env = "PALISADE_DATA")]
    pub data: PathBuf,

    /// Where coordinators take agents, `host:port`, separated by commas.
    #[arg(long, env = "PALISADE_SEEDS", value_delimiter = ',', required = true)]
    pub coordinators: Vec<String>,

    /// Where routers reach it.
    #[arg(long, env = "PALISADE_DATA_LISTEN", default_value = "127.0.0.1:7410")]
    pub data_listen: SocketAddr,

    /// Where other agents reach it.
    #[arg(long, env = "PALISADE_STREAM_LISTEN", default_value = "127.0.0.1:7411")]
    pub stream_listen: SocketAddr,

    /// Where metrics, `/livez` and `/readyz` are served over HTTP.
    #[arg(long, env = "PALISADE_METRICS_LISTEN", default_value = "127.0.0.1:7413")]
    pub metrics_listen: SocketAddr,

    /// Where health is served over gRPC, and nothing else.
    #[arg(long, env = "PALISADE_HEALTH_LISTEN", default_value = "127.0.0.1:7414")]
    pub health_listen: SocketAddr,

    /// The host that others are told; needed where it listens on a wildcard.
    #[arg(long, env = "PALISADE_ADVERTISE")]
    pub advertise: Option<String>,

    /// Where other agents are told that they reach it, if that is not where it listens: behind an
    /// address translation, or a proxy.
    #[arg(long, env = "PALISADE_ADVERTISE_STREAM", value_name = "HOST:PORT", hide = true)]
    pub advertise_stream: Option<String>,

    /// Where routers are told that they reach it, likewise.
    #[arg(long, env = "PALISADE_ADVERTISE_DATA", value_name = "HOST:PORT", hide = true)]
    pub advertise_data: Option<String>,

    /// Its rack: at most one replica of a tablet in each. Empty: racks are not told apart.
    #[arg(long, env = "PALISADE_RACK", default_value = "")]
    pub rack: String,

    /// Rows are refused while less than this many bytes are free on the disk.
    #[arg(long, env = "PALISADE_RESERVE_BYTES", default_value_t = RESERVE_BYTES)]
    pub reserve_bytes: u64,

    /// What all servers have.
    #[command(flatten)]
    pub process: ProcessArgs,

    /// Serve the fault switches on the stream port: for demonstrations and tests only.
    #[arg(long, env = "PALISADE_FAULTS", hide = true)]
    pub faults: bool,
}
