//! What each server process does alike: flags that all of them have, listeners, the line that says
//! which ports were bound, logs, traces, metrics and health, and the signals that end it.
//!
//! Not here: anything about tablets.

mod descriptors;
mod detour;
pub mod exposition;
mod free_ports;
mod logs;
mod parent;
mod serve;
mod signals;
pub mod traces;
pub mod wait;

pub use descriptors::descriptors;
pub use detour::{Detour, dialled, take_detours};
pub use free_ports::free_ports;
pub use logs::{LogFormat, SERVER_LOGS, init_logs, log_as_node, log_as_of_cluster};
pub use parent::{PARENT, end_with_parent};
pub use signals::{GrpcHealth, LIVEZ, READYZ, Signals};

use clap::Args;
use std::io::Write;
use std::net::SocketAddr;
use tls::TlsArgs;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use traces::TraceArgs;

/// Flags that all servers have.
#[derive(Debug, Clone, Args)]
pub struct ProcessArgs {
    /// Serve without TLS on addresses that are not loopback.
    #[arg(long, env = "PALISADE_INSECURE")]
    pub insecure: bool,

    /// Print one line of JSON with the ports that were bound, once they are listened on.
    #[arg(long, env = "PALISADE_PRINT_PORTS")]
    pub print_ports: bool,

    /// How logs are written, to standard error.
    #[arg(long, env = "PALISADE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,

    /// Who this process is, and whom it trusts.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceArgs,

    /// Where others are dialled, if not where they are told to be: TOLD=THROUGH, separated by
    /// commas, for what is behind an address translation, or a proxy.
    #[arg(
        long,
        env = "PALISADE_DIAL_THROUGH",
        value_name = "TOLD=THROUGH",
        value_delimiter = ',',
        hide = true
    )]
    pub dial_through: Vec<Detour>,
    /// What this process says that its build can do, for tests of upgrades.
    #[cfg(feature = "faults")]
    #[arg(long, env = "PALISADE_FEATURE_LEVEL", value_name = "LEVEL", hide = true)]
    pub feature_level: Option<u32>,
}

impl ProcessArgs {
    /// The feature level of this process: that of its build, unless a test says another one.
    pub fn feature_level(&self, build: u32) -> u32 {
        #[cfg(feature = "faults")]
        let build = self.feature_level.unwrap_or(build);
        build
    }
}

/// Why a listener is not there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address that is not loopback, without TLS.
    #[error(
        "{0} is not a loopback address, and there is no TLS: name certificates with --cacert, \
         --cert and --key, or pass --insecure to serve on it all the same"
    )]
    Insecure(SocketAddr),
    /// A port could not be bound.
    #[error(
        "can't listen on {address}: {source}. Is another process there? Choose another with {flag}"
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// By which flag it was chosen.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ProcessArgs {
    /// Listens on an address that `flag` has chosen. Without TLS only on loopback, unless the
    /// operator insists.
    ///
    /// # Errors
    ///
    /// Every [`ListenError`]: each says which flag to change.
    pub async fn listen(
        &self,
        address: SocketAddr,
        flag: &'static str,
    ) -> Result<TcpListener, ListenError> {
        if !address.ip().is_loopback() && self.tls.cert.is_none() && !self.insecure {
            return Err(ListenError::Insecure(address));
        }
        let listener = TcpListener::bind(address).await;
        listener.map_err(|source| ListenError::Bind { address, flag, source })
    }

    /// Says which ports were bound, if that was asked for: a line of JSON on standard output.
    pub fn announce(&self, ports: &[(&str, Option<SocketAddr>)]) {
        tracing::info!(?ports, "serves");
        if !self.print_ports {
            return;
        }
        let port = |(name, address): &(&str, Option<SocketAddr>)| {
            let address = address.map_or_else(String::new, |address| address.to_string());
            format!("\"{name}\":\"{address}\"")
        };
        let ports: Vec<String> = ports.iter().map(port).collect();
        let mut out = std::io::stdout().lock();
        // Who asked for the line and is gone misses it.
        let _ = writeln!(out, "{{{}}}", ports.join(",")).and_then(|()| out.flush());
    }
}

/// A token that fires at SIGTERM or Ctrl-C; at the second of them the process ends at once.
///
/// # Errors
///
/// What the system said to the request for signals.
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let fired = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        fired.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(stop)
}
