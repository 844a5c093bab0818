//! A small server for signals: few connections, each of which has to say something soon, and of
//! which the oldest goes when one more comes, so that none keeps out who asks for health.
//!
//! Not for the project's own services: those are served by tonic.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tls::Door;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Calls at a time on one connection.
const STREAMS_PER_CONNECTION: u32 = 32;
/// How long a connection may take to send its first byte, and a whole header.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether its other end is there, and how long it has.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be taken: the process may be out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Serves until `stop`. Connections that are open end with it.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    protocol: Protocol,
    stop: CancellationToken,
) {
    let door = Door::new(CONNECTIONS, 0);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (place, given_up) = door.enter(from);
        let (routes, stop) = (routes.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = given_up => {}
                () = converse(stream, routes, protocol) => {}
            }
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, routes: Router, protocol: Protocol) {
    // Who says nothing takes no place for long; for what follows the protocol has its own bounds.
    if !matches!(tokio::time::timeout(HEADER_TIME, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_PER_CONNECTION);
    http2.keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
    let builder = match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    };
    let service = TowerToHyperService::new(routes);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for signals ended");
    }
}
