//! A coordinator put together: what is opened, what serves, and in which order it ends.

use crate::admin::AdminApi;
use crate::agents::{AgentApi, Agents};
use crate::balancing;
use crate::driving::DriverLoop;
use crate::group0::{FatalReason, Group0, Member, Options};
use crate::limits::{MESSAGE_BYTES, PROPOSAL_DEADLINE};
use crate::machine::Machine;
use crate::observed::Observed;
use crate::options::{CoordinatorArgs, Profile};
use crate::proposer::Proposer;
use migrations::command::{Bootstrap, Command};
use migrations::id::ClusterId;
use migrations::settings::Settings;
use process::ListenError;
use proto::agent::v1::agent_service_server::AgentServiceServer;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use uuid::Uuid;

/// The Raft id of the one voter that there is.
const RAFT_ID: u64 = 1;
/// How often a silent connection is asked whether its other end is there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long calls that are under way may take at the end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Why a coordinator could not be started, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port could not be served on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The directory could not be opened.
    #[error(transparent)]
    Open(#[from] crate::group0::OpenError),
    /// The directory is empty, and nobody said that a cluster is to begin here.
    #[error("{0} holds no cluster: pass --bootstrap-expect 1 to begin one")]
    NotBootstrapped(std::path::PathBuf),
    /// A cluster could not be begun.
    #[error("can't begin a cluster: {0}")]
    Bootstrap(String),
    /// group0 can't go on in this process.
    #[error("{0}")]
    Fatal(FatalReason),
    /// A server ended by itself.
    #[error("a server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs a coordinator until `stop`.
///
/// # Errors
///
/// Every [`ServeError`]; nothing acknowledged is lost by any.
pub async fn run(args: CoordinatorArgs, stop: CancellationToken) -> Result<(), ServeError> {
    let admin = args.process.listen(args.admin_listen, "--admin-listen").await?;
    let for_agents = args.process.listen(args.agents_listen, "--agents-listen").await?;
    let address = admin.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let options = Options::new(&args.data, RAFT_ID, address);
    let group0 = Group0::open(options, Machine::default()).await?;
    let tasks = TaskTracker::new();
    let served = tokio::select! {
        reason = group0.fatal() => Err(ServeError::Fatal(reason)),
        served = serve(&args, &group0, admin, for_agents, &tasks, &stop) => served,
    };
    // Agents and callers first, then those who work for them, group0 last.
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if let Err(reason) = group0.shutdown().await {
        tracing::warn!(%reason, "group0 did not stop cleanly; nothing acknowledged is lost");
    }
    served
}

async fn serve(
    args: &CoordinatorArgs,
    group0: &Group0<Machine>,
    admin: TcpListener,
    for_agents: TcpListener,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    let proposer = Proposer::start(group0.clone(), stop.clone());
    bootstrap(args, group0, &proposer).await?;
    let agents = Agents::default();
    let observed = Observed::default();
    let (driving, driver) =
        DriverLoop::new(group0.clone(), proposer.clone(), agents.clone(), observed.clone());
    tasks.spawn(driving.run(stop.clone()));
    tasks.spawn(balancing::run(group0.clone(), proposer.clone(), stop.clone()));
    let ports = [("admin", admin.local_addr().ok()), ("agents", for_agents.local_addr().ok())];
    let agent_api =
        AgentApi::new(group0.clone(), proposer.clone(), agents.clone(), driver, observed.clone());
    let admin_api = AdminApi::new(group0.clone(), proposer, agents, observed);
    let agent_service = AgentServiceServer::new(agent_api).max_decoding_message_size(MESSAGE_BYTES);
    let serve_agents = server()
        .add_service(agent_service)
        .serve_with_incoming_shutdown(incoming(for_agents), stop.clone().cancelled_owned());
    let serve_admin = admin_api
        .router(server())
        .serve_with_incoming_shutdown(incoming(admin), stop.clone().cancelled_owned());
    args.process.announce(&ports);
    tokio::select! {
        ended = async { tokio::try_join!(serve_agents, serve_admin) } => Ok(ended.map(drop)?),
        () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_PATIENCE).await } => Ok(()),
    }
}

fn server() -> Server {
    Server::builder().http2_keepalive_interval(Some(KEEPALIVE))
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    // Set on the listener: the builder's own is not looked at when it serves a given listener.
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Begins a cluster in an empty directory, if that was asked for. The cluster's id is the first
/// entry of its log.
async fn bootstrap(
    args: &CoordinatorArgs,
    group0: &Group0<Machine>,
    proposer: &Proposer,
) -> Result<(), ServeError> {
    let failed = |error: &dyn std::fmt::Display| ServeError::Bootstrap(error.to_string());
    let is_initialized = group0.is_initialized().await.map_err(|error| failed(&error))?;
    if !is_initialized && args.bootstrap_expect.is_none() {
        return Err(ServeError::NotBootstrapped(args.data.clone()));
    }
    if !is_initialized {
        let address = args.admin_listen.to_string();
        let members = BTreeMap::from([(RAFT_ID, Member { address })]);
        group0.bootstrap(members).await.map_err(|error| failed(&error))?;
    }
    let mut leadership = group0.leadership();
    let leads = tokio::time::timeout(PROPOSAL_DEADLINE, leadership.wait_for(Option::is_some)).await;
    if !matches!(leads, Ok(Ok(_))) {
        return Err(ServeError::Bootstrap("nobody leads after the deadline".to_owned()));
    }
    if group0.read(|machine| machine.topology.state().cluster).is_some() {
        return Ok(());
    }
    let settings = match args.profile {
        Profile::Standard => Settings::DEFAULT,
        Profile::Fast => Settings::FAST,
    };
    let cluster = ClusterId::from_uuid(Uuid::new_v4());
    let cluster = cluster.ok_or_else(|| failed(&"no randomness"))?;
    let command = Command::Bootstrap(Bootstrap { cluster, settings });
    let committed = proposer.submit(command).await.map_err(|error| failed(&error))?;
    committed.outcome.map_err(|rejected| failed(&rejected))?;
    tracing::info!(%cluster, "a new cluster begins");
    Ok(())
}
