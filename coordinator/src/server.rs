//! A coordinator put together: what is opened, what serves, and in which order it ends.

use crate::admin::AdminApi;
use crate::agents::{AgentApi, Agents};
use crate::balancing;
use crate::bootstrap::{self, Expected};
use crate::driving::DriverLoop;
use crate::group0::{FatalReason, Group0, Member, Options};
use crate::levels;
use crate::limits::{
    CALLS_PER_CONNECTION, CONNECTIONS, HEADER_BYTES, KEEPALIVE, KEEPALIVE_PATIENCE, MESSAGE_BYTES,
    PORTS, WINDOW_BYTES,
};
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::observed::Observed;
use crate::options::{CoordinatorArgs, Profile};
use crate::proposer::Proposer;
use crate::readiness::Readiness;
use crate::wait::Wait;
use migrations::state::FEATURE_LEVEL;
use process::wait::bounded;
use process::{ListenError, Signals};
use proto::access::FOREIGN_SERVICES;
use proto::agent::v1::agent_service_server::{self, AgentServiceServer};
use proto::raft::v1::raft_service_server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tls::{Bounds, Dial, Kind, Permit, PermittedServer, Tls, TlsError, incoming};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

/// How long calls that are under way may take at the end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Why a coordinator could not be started, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Fault switches were asked for of a build that has none.
    #[error("this build has no fault switches: start it without --faults")]
    NoFaults,
    /// Its certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port could not be served on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others could not reach it under a wildcard.
    #[error("{0} is a wildcard: say with --advertise under which host others reach this one")]
    Wildcard(SocketAddr),
    /// Whom to begin a cluster with is not clear.
    #[error("{0}: name=host:port of every raft port, separated by commas")]
    Peers(String),
    /// The directory could not be opened.
    #[error(transparent)]
    Open(#[from] crate::group0::OpenError),
    /// The directory is empty, and nobody said that a cluster is to begin here.
    #[error(
        "{0} holds no cluster: pass --bootstrap-expect 1 to begin one, or --join to be taken into \
         another"
    )]
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

/// What a coordinator listens on.
struct Listeners {
    admin: TcpListener,
    raft: TcpListener,
    agents: TcpListener,
    metrics: TcpListener,
    health: TcpListener,
}

impl Listeners {
    async fn open(args: &CoordinatorArgs) -> Result<Listeners, ServeError> {
        Ok(Listeners {
            admin: listen(args, args.admin_listen, "--admin-listen").await?,
            raft: listen(args, args.raft_listen, "--raft-listen").await?,
            agents: listen(args, args.agents_listen, "--agents-listen").await?,
            // Nobody is told of these two: they need no address that others could use.
            metrics: args.process.listen(args.metrics_listen, "--metrics-listen").await?,
            health: args.process.listen(args.health_listen, "--health-listen").await?,
        })
    }

    /// This coordinator, as others are told. Its raft address is the one that was agreed on.
    fn member(&self, args: &CoordinatorArgs) -> Member {
        let agreed = args.peers.iter().find(|peer| peer.name == args.name);
        Member {
            name: args.name.clone(),
            raft_address: agreed
                .map_or_else(|| advertised(&self.raft, args), |peer| peer.address.clone()),
            admin_address: advertised(&self.admin, args),
            agents_address: advertised(&self.agents, args),
        }
    }

    fn announce(&self, args: &CoordinatorArgs) {
        args.process.announce(&[
            ("admin", self.admin.local_addr().ok()),
            ("raft", self.raft.local_addr().ok()),
            ("agents", self.agents.local_addr().ok()),
            ("metrics", self.metrics.local_addr().ok()),
            ("health", self.health.local_addr().ok()),
        ]);
    }
}

async fn listen(
    args: &CoordinatorArgs,
    address: SocketAddr,
    flag: &'static str,
) -> Result<TcpListener, ServeError> {
    if address.ip().is_unspecified() && args.advertise.is_none() {
        return Err(ServeError::Wildcard(address));
    }
    Ok(args.process.listen(address, flag).await?)
}

/// Under which address others reach a listener.
fn advertised(listener: &TcpListener, args: &CoordinatorArgs) -> String {
    let Ok(bound) = listener.local_addr() else { return String::new() };
    match &args.advertise {
        Some(host) => format!("{host}:{}", bound.port()),
        None => bound.to_string(),
    }
}

/// Runs a coordinator until `stop`.
///
/// # Errors
///
/// Every [`ServeError`]; nothing acknowledged is lost by any.
pub async fn run(args: CoordinatorArgs, stop: CancellationToken) -> Result<(), ServeError> {
    #[cfg(not(feature = "faults"))]
    if args.faults {
        return Err(ServeError::NoFaults);
    }
    process::log_as_node(&args.name);
    process::take_detours(&args.process.dial_through);
    let traces = args.process.traces.begin("palisade-coordinator", &args.name);
    let served = run_member(args, stop).await;
    traces.end().await;
    served
}

async fn run_member(args: CoordinatorArgs, stop: CancellationToken) -> Result<(), ServeError> {
    let tls = args.process.tls.serve_as(Kind::Coordinator, &args.name)?;
    let bounds = CONNECTIONS.at_most(process::descriptors() / 2 / PORTS);
    let listeners = Listeners::open(&args).await?;
    let mut options = Options::new(&args.data, listeners.member(&args));
    options.digest_every = args.digest_every;
    options.snapshot_every = args.snapshot_every;
    options.keep = args.snapshot_every / 5;
    options.dial = Dial::new(tls.clone(), Kind::Coordinator);
    let options = match args.profile {
        Profile::Standard => options,
        Profile::Fast => options.fast(),
    };
    let reads = args.process.feature_level(FEATURE_LEVEL);
    let options = Options { feature_level: reads, ..options };
    let group0 = Group0::open(options, Machine::reading(reads)).await?;
    let expected = match bootstrap::expected(&args, &group0).await {
        Ok(expected) => expected,
        Err(refused) => {
            shut_down(&group0).await;
            return Err(refused);
        }
    };
    listeners.announce(&args);
    let tasks = TaskTracker::new();
    let Listeners { admin, raft, agents, metrics, health } = listeners;
    let ports = Ports {
        reads,
        admin,
        agents,
        metrics,
        health,
        tls: tls.clone(),
        bounds,
        #[cfg(feature = "faults")]
        faults: args.faults,
    };
    let mut serve_raft = tokio::spawn(
        server(&[raft_service_server::SERVICE_NAME])
            .add_service(group0.raft_service())
            .serve_with_incoming(incoming(raft, tls, bounds)),
    );
    // Another one leads before anything ends here: else moves and changes would stand still for
    // as long as this one takes to stop.
    let ending = CancellationToken::new();
    let hand_over = async {
        stop.cancelled().await;
        group0.stand_back();
        group0.hand_over().await;
        ending.cancel();
        std::future::pending().await
    };
    let served = tokio::select! {
        reason = group0.fatal() => Err(ServeError::Fatal(reason)),
        ended = &mut serve_raft => ended.map_or(Ok(()), |ended| Ok(ended?)),
        served = serve(expected, args.profile, &group0, ports, &tasks, &ending) => served,
        never = hand_over => never,
    };
    // Agents and callers first, then those who work for them, then group0; the raft port last.
    stop.cancel();
    ending.cancel();
    tasks.close();
    let ended = bounded(Wait::UnderWay, Wait::UnderWay.bound(), tasks.wait()).await;
    if let Err(overdue) = ended {
        tracing::warn!(%overdue, "what is under way does not end; nothing acknowledged is lost");
    }
    shut_down(&group0).await;
    serve_raft.abort();
    served
}

async fn shut_down(group0: &Group0<Machine>) {
    if let Err(reason) = group0.shutdown().await {
        tracing::warn!(%reason, "group0 did not stop cleanly; nothing acknowledged is lost");
    }
}

/// What is served until `stop`: all but the raft port, which is served to the very end.
struct Ports {
    /// The highest feature level that this process reads.
    reads: u32,
    admin: TcpListener,
    agents: TcpListener,
    metrics: TcpListener,
    health: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    /// Whether the fault switches are served with what agents attach to.
    #[cfg(feature = "faults")]
    faults: bool,
}

async fn serve(
    expected: Option<Expected>,
    profile: Profile,
    group0: &Group0<Machine>,
    ports: Ports,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ServeError> {
    #[cfg(feature = "faults")]
    let faults = ports.faults;
    let Ports {
        reads, admin, agents: for_agents, metrics: metrics_port, health, tls, bounds, ..
    } = ports;
    let metrics = Arc::new(Metrics::new());
    let proposer = Proposer::start(group0.clone(), Arc::clone(&metrics), stop.clone());
    let (agents, observed) = (Agents::new(Arc::clone(&metrics)), Observed::default());
    let admin_api = AdminApi::new(
        group0.clone(),
        proposer.clone(),
        agents.clone(),
        observed.clone(),
        stop.clone(),
    );
    // Before a leader is known: whoever asks meanwhile is told what is awaited.
    let signals = signals(group0, &admin_api, &metrics);
    let grpc_health = signals.grpc_health();
    tasks.spawn(signals.serve(metrics_port, health, stop.clone()));
    tasks.spawn(name_cluster(group0.clone(), stop.clone()));
    let (driving, driver) = DriverLoop::new(
        group0.clone(),
        proposer.clone(),
        agents.clone(),
        observed.clone(),
        Arc::clone(&metrics),
    );
    let (tended, announced) = (group0.clone(), group0.clone());
    let (tending, announcing) = (stop.clone(), stop.clone());
    tasks.spawn(async move { tended.tend_members(tending).await });
    tasks.spawn(async move { announced.announce(announcing).await });
    let (minded, minding) = (group0.clone(), stop.clone());
    tasks.spawn(async move { minded.mind_clocks(minding).await });
    tasks.spawn(levels::run(group0.clone(), proposer.clone(), reads, stop.clone()));
    tasks.spawn(driving.run(stop.clone()));
    let balancing =
        balancing::run(group0.clone(), proposer.clone(), observed.clone(), stop.clone());
    tasks.spawn(balancing);
    let agent_api =
        AgentApi::new(group0.clone(), proposer.clone(), agents, driver, observed, metrics);
    let agent_service = AgentServiceServer::new(agent_api).max_decoding_message_size(MESSAGE_BYTES);
    #[cfg_attr(not(feature = "faults"), allow(unused_mut))]
    let mut services = vec![agent_service_server::SERVICE_NAME];
    #[cfg(feature = "faults")]
    if faults {
        services.extend(crate::faults_api::SERVICES);
    }
    #[cfg_attr(not(feature = "faults"), allow(unused_mut))]
    let mut serve_agents = server(&services).add_service(agent_service);
    #[cfg(feature = "faults")]
    if faults {
        serve_agents = serve_agents
            .add_service(crate::faults_api::service())
            .add_service(crate::faults_api::clock())
            .add_service(crate::faults_api::leader())
            .add_service(crate::faults_api::memory(group0.clone()))
            .add_service(crate::faults_api::state(group0.clone()));
    }
    let serve_agents = serve_agents.serve_with_incoming_shutdown(
        incoming(for_agents, tls.clone(), bounds),
        stop.clone().cancelled_owned(),
    );
    let serve_admin = admin_api
        .router(server(&[&AdminApi::SERVICES[..], &FOREIGN_SERVICES].concat()))
        .add_service(grpc_health)
        .serve_with_incoming_shutdown(incoming(admin, tls, bounds), stop.clone().cancelled_owned());
    let begin = async {
        match bootstrap::run(expected, profile, group0, &proposer).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        ended = async { tokio::try_join!(serve_agents, serve_admin) } => Ok(ended.map(drop)?),
        error = begin => Err(error),
        () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_PATIENCE).await } => Ok(()),
    }
}

/// Has every line of the log name the cluster, once there is one.
async fn name_cluster(group0: Group0<Machine>, stop: CancellationToken) {
    let mut applied = group0.applied();
    loop {
        applied.borrow_and_update();
        if let Some(cluster) = group0.read(|machine| machine.topology.state().cluster) {
            return process::log_as_of_cluster(&cluster);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// What this coordinator says of itself.
fn signals(group0: &Group0<Machine>, admin: &AdminApi, metrics: &Arc<Metrics>) -> Signals {
    let readiness = Readiness::at_start(&group0.metrics());
    let looked = group0.clone();
    let ready = move || readiness.check(&looked.metrics());
    let (admin, metrics, registry) = (admin.clone(), Arc::clone(metrics), metrics.registry());
    Signals::new(registry, move || admin.measure(&metrics), ready, AdminApi::SERVICES.to_vec())
}

/// For a port with these services.
fn server(services: &[&'static str]) -> PermittedServer {
    Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_PATIENCE))
        .layer(Permit::to(services))
}
