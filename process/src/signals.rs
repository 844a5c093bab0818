//! What a process says of itself: metrics and health over HTTP, health over gRPC.
//!
//! `/livez` says that the process answers, and nothing more: restarting a process never brings a
//! quorum back. `/readyz` is what the process itself means by ready.

use crate::exposition;
use crate::serve::{Protocol, serve};
use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// How often what gRPC health says is brought up to date.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The name under which gRPC health says whether the process lives.
pub const LIVEZ: &str = "livez";
/// The name under which gRPC health says whether it is ready; so does the empty name.
pub const READYZ: &str = "readyz";

/// Brings metrics that are computed, not counted, up to date.
type Refresh = Box<dyn Fn() + Send + Sync>;
/// Whether the process is ready; if not, why.
type Ready = Box<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

struct Inner {
    registry: Registry,
    refresh: Refresh,
    ready: Ready,
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

/// The signals of a process. Cheap to clone.
#[derive(Clone)]
pub struct Signals {
    inner: Arc<Inner>,
}

/// Health as a gRPC service, for a port that serves others too.
pub type GrpcHealth = HealthServer<HealthService>;

impl Signals {
    /// The signals of a process with these metrics. `refresh` is called before each scrape,
    /// `ready` at each question and ten times a second; both must be quick. `services` are the
    /// names of the gRPC services that are ready when the process is.
    pub fn new(
        registry: Registry,
        refresh: impl Fn() + Send + Sync + 'static,
        ready: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static,
        services: Vec<&'static str>,
    ) -> Signals {
        let (refresh, ready) = (Box::new(refresh), Box::new(ready));
        let reporter = HealthReporter::new();
        let inner = Inner { registry, refresh, ready, reporter, services };
        Signals { inner: Arc::new(inner) }
    }

    /// Health as a gRPC service. It says the truth while [`Signals::serve`] runs.
    pub fn grpc_health(&self) -> GrpcHealth {
        HealthServer::new(HealthService::from_health_reporter(self.inner.reporter.clone()))
    }

    /// Serves metrics and health over HTTP on one port and gRPC health on another, until `stop`.
    /// From then on gRPC health says that nothing is ready.
    pub async fn serve(self, http: TcpListener, health: TcpListener, stop: CancellationToken) {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .with_state(self.clone());
        let grpc = Routes::new(self.grpc_health()).prepare().into_axum_router();
        tokio::join!(
            serve(http, routes, Protocol::Http1, stop.clone()),
            serve(health, grpc, Protocol::Http2, stop.clone()),
            self.follow(stop),
        );
    }

    /// Keeps what gRPC health says up to date.
    async fn follow(&self, stop: CancellationToken) {
        let reporter = &self.inner.reporter;
        reporter.set_service_status(LIVEZ, ServingStatus::Serving).await;
        let mut said = None;
        loop {
            let is_ready = (self.inner.ready)().is_ok() && !stop.is_cancelled();
            if said != Some(is_ready) {
                said = Some(is_ready);
                let serving = ServingStatus::Serving;
                let status = if is_ready { serving } else { ServingStatus::NotServing };
                for name in ["", READYZ].iter().chain(&self.inner.services) {
                    reporter.set_service_status(*name, status).await;
                }
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// All metrics as they are now, as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// A metric that can't be written.
    pub fn scrape(&self) -> Result<String, std::fmt::Error> {
        (self.inner.refresh)();
        exposition::encode(&self.inner.registry)
    }
}

async fn metrics(State(signals): State<Signals>, headers: HeaderMap) -> impl IntoResponse {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = accepts.contains("application/openmetrics-text");
    let Ok(text) = signals.scrape() else {
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
        let text = "the metrics can't be written\n".to_owned();
        return (StatusCode::INTERNAL_SERVER_ERROR, headers, text);
    };
    let (kind, text) = match is_open {
        true => (exposition::OPEN_METRICS, text),
        false => (exposition::PROMETHEUS, exposition::prometheus_text(&text)),
    };
    (StatusCode::OK, [(CONTENT_TYPE, kind)], text)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(signals): State<Signals>) -> (StatusCode, String) {
    match (signals.inner.ready)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
