//! A replica agent put together: what is opened, what serves, and in which order it ends.

use crate::agent::Agent;
use crate::attach::{self, Attachments};
use crate::clock::NodeClock;
use crate::data::DataApi;
use crate::lease::Lease;
use crate::limits::{CONNECTIONS, EVENTS_QUEUED, PORTS, SHUTDOWN_PATIENCE};
use crate::metrics::Syncs;
use crate::options::ReplicaArgs;
use crate::sessions::Sessions;
use crate::store::{Directory, SledStore, StoreError, StoreOptions, TabletStore};
use crate::stream::{Puller, Standing, StreamApi, transport};
use crate::tablets::Tablets;
use crate::wait::{Wait, bounded};
use migrations::node::NodeLocation;
use migrations::state::FEATURE_LEVEL;
use process::{ListenError, Signals};
use proto::data::v1::data_service_server::{self, DataServiceServer};
use proto::stream::v1::stream_service_server;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tls::{Kind, Tls, TlsError, incoming};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why an agent could not be started, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port could not be served on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Others could not reach it under a wildcard.
    #[error("{0} is a wildcard: say with --advertise under which host others reach this node")]
    Wildcard(SocketAddr),
    /// Fault switches were asked for of a build that has none.
    #[error("this build has no fault switches: start it without --faults")]
    NoFaults,
    /// The directory, or the store in it.
    #[error("{}: {source}{}", path.display(), hint(source))]
    Store {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
    /// A server ended by itself.
    #[error("a server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What to do about a store that can't be opened.
fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::DiskFull { .. } => ". Free some space, then start it again",
        StoreError::Disk { .. } => ". Look at the disk and its permissions, then start it again",
        StoreError::Damaged { .. } => {
            ". Keep the directory aside; start this node on an empty one under a new name"
        }
        StoreError::AlreadyRunning(_) => ". Stop that process, or choose another with --data",
        StoreError::NeverAdmitted(_) | StoreError::IsOfCluster(_) => "",
        StoreError::NodeMismatch { .. } => ". Start it with its own --name, or on another --data",
        StoreError::FormatTooOld { .. } => "",
        StoreError::FormatTooNew { .. } => ". Start it with the newer program",
    }
}

/// Runs an agent until `stop`.
///
/// # Errors
///
/// Every [`ServeError`]; nothing acknowledged is lost by any.
pub async fn run(args: ReplicaArgs, stop: CancellationToken) -> Result<(), ServeError> {
    #[cfg(not(feature = "faults"))]
    if args.faults {
        return Err(ServeError::NoFaults);
    }
    process::log_as_node(&args.name);
    process::take_detours(&args.process.dial_through);
    let traces = args.process.traces.begin("palisade-replica", &args.name);
    let served = run_agent(args, stop).await;
    traces.end().await;
    served
}

async fn run_agent(args: ReplicaArgs, stop: CancellationToken) -> Result<(), ServeError> {
    let tls = args.process.tls.serve_as(Kind::Agent, &args.name)?;
    let bounds = CONNECTIONS.at_most(process::descriptors() / 2 / PORTS);
    let data = listen(args.data_listen, "--data-listen", &args).await?;
    let stream = listen(args.stream_listen, "--stream-listen", &args).await?;
    let metrics = args.process.listen(args.metrics_listen, "--metrics-listen").await?;
    let health = args.process.listen(args.health_listen, "--health-listen").await?;
    let location = NodeLocation {
        data_address: advertised(&data, args.advertise_data.as_ref(), &args),
        stream_address: advertised(&stream, args.advertise_stream.as_ref(), &args),
        rack: args.rack.clone(),
    };
    let (agent, syncs) = open(&args, location, tls.as_ref()).await?;
    let (agent, tasks) = (Arc::new(agent), TaskTracker::new());
    let ports = [
        ("data", data.local_addr().ok()),
        ("stream", stream.local_addr().ok()),
        ("metrics", metrics.local_addr().ok()),
        ("health", health.local_addr().ok()),
    ];
    tasks.spawn(signals(&agent, &syncs).serve(metrics, health, stop.clone()));
    let (events, reports) = mpsc::channel(EVENTS_QUEUED);
    let standing: Arc<dyn Standing> = Arc::clone(&agent) as Arc<dyn Standing>;
    let tablets = Arc::clone(&agent.tablets);
    let puller = Puller::new(
        Arc::clone(&standing),
        Arc::clone(&tablets),
        events,
        agent.throttle().into.clone(),
    );
    let reporting = tokio::spawn(attach::forward(Arc::clone(&agent), reports));
    let attachments =
        Attachments::new(Arc::clone(&agent), puller.clone(), args.coordinators.clone());
    tasks.spawn(attachments.run(stop.clone()));
    let expiry = tokio::spawn(attach::watch_expiry(Arc::clone(&agent)));
    let data_service = DataServiceServer::new(DataApi::new(Arc::clone(&agent)))
        .max_decoding_message_size(transport::MESSAGE_BYTES);
    let stream_service =
        StreamApi::new(standing, tablets, agent.throttle().out.clone()).into_service();
    let serve_data = transport::server(&[data_service_server::SERVICE_NAME])
        .add_service(data_service)
        .serve_with_incoming_shutdown(
            incoming(data, tls.clone(), bounds),
            stop.clone().cancelled_owned(),
        );
    #[cfg_attr(not(feature = "faults"), allow(unused_mut))]
    let mut services = vec![stream_service_server::SERVICE_NAME];
    #[cfg(feature = "faults")]
    if args.faults {
        services.extend(crate::faults_api::SERVICES);
    }
    #[cfg_attr(not(feature = "faults"), allow(unused_mut))]
    let mut streams = transport::server(&services).add_service(stream_service);
    #[cfg(feature = "faults")]
    if args.faults {
        streams = streams
            .add_service(crate::faults_api::service(&agent, &puller))
            .add_service(crate::faults_api::waits(&agent));
    }
    let serve_streams = streams.serve_with_incoming_shutdown(
        incoming(stream, tls, bounds),
        stop.clone().cancelled_owned(),
    );
    args.process.announce(&ports);
    let ended = tokio::select! {
        ended = async { tokio::try_join!(serve_data, serve_streams) } => ended.map(drop),
        () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_PATIENCE).await } => Ok(()),
    };
    stop.cancel();
    expiry.abort();
    reporting.abort();
    tasks.close();
    let settled = async {
        puller.stop_all().await;
        tasks.wait().await;
        agent.tablets.store().durable().wait().await
    };
    match bounded(Wait::Stop, &agent.settings(), settled).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the last sync failed; nothing acknowledged is lost");
        }
        Err(overdue) => {
            tracing::warn!(%overdue, "what is under way does not end; nothing acknowledged is lost");
        }
    }
    Ok(ended?)
}

/// What this agent says of itself.
fn signals(agent: &Arc<Agent>, syncs: &Syncs) -> Signals {
    let (measured, asked) = (Arc::clone(agent), Arc::clone(agent));
    let registry = agent.metrics().registry(syncs);
    Signals::new(registry, move || measured.measure(), move || asked.ready(), Vec::new())
}

async fn open(
    args: &ReplicaArgs,
    location: NodeLocation,
    tls: Option<&Tls>,
) -> Result<(Agent, Syncs), ServeError> {
    let (path, name) = (args.data.clone(), args.name.clone());
    let options = StoreOptions { reserve_bytes: args.reserve_bytes, ..StoreOptions::default() };
    #[cfg(feature = "faults")]
    let disk = Arc::clone(&options.faults);
    let opened = tokio::task::spawn_blocking(move || {
        let directory = Arc::new(Directory::open(&path, &name)?);
        let lease = Arc::new(Lease::new());
        let sessions = Arc::new(Sessions::new(Arc::clone(&lease)));
        let clock = Arc::new(NodeClock::new());
        let store = SledStore::open(Arc::clone(&directory), lease, options)?;
        let syncs = store.syncs().clone();
        let store: Arc<dyn TabletStore> = Arc::new(store);
        let identity = directory.identity();
        let own = identity.node.map(|(node, _)| node);
        let tablets = Tablets::open(store, sessions, Arc::clone(&clock), own);
        let tablets = if identity.adopted { tablets.awaiting_all() } else { tablets };
        Ok((directory, Arc::new(tablets), clock, syncs))
    });
    let store = |source| ServeError::Store { path: args.data.clone(), source };
    let gave_up = |error: tokio::task::JoinError| {
        store(StoreError::Damaged { detail: format!("opening it failed: {error}") })
    };
    let (directory, tablets, clock, syncs) = opened.await.map_err(gave_up)?.map_err(store)?;
    if let Some(cluster) = directory.identity().cluster {
        process::log_as_of_cluster(&cluster);
    }
    let agent = Agent::new(directory, tablets, clock, location)
        .of_level(args.process.feature_level(FEATURE_LEVEL))
        .showing(tls.cloned());
    #[cfg(feature = "faults")]
    let agent = agent.on_disk(disk);
    Ok((agent, syncs))
}

async fn listen(
    address: SocketAddr,
    flag: &'static str,
    args: &ReplicaArgs,
) -> Result<TcpListener, ServeError> {
    if address.ip().is_unspecified() && args.advertise.is_none() {
        return Err(ServeError::Wildcard(address));
    }
    Ok(args.process.listen(address, flag).await?)
}

/// Under which address others reach a listener.
fn advertised(listener: &TcpListener, said: Option<&String>, args: &ReplicaArgs) -> String {
    if let Some(said) = said {
        return said.clone();
    }
    let Ok(bound) = listener.local_addr() else { return String::new() };
    match &args.advertise {
        Some(host) => format!("{host}:{}", bound.port()),
        None => bound.to_string(),
    }
}
