//! How connections that carry bulk are tuned. Bulk comes as answers, so it is the calling end that
//! takes much at a time: with HTTP/2's defaults a stream gets a third of what the network gives. What
//! is sent to a server is small, and so is what it lets anybody send.

use crate::limits::{CALLS_PER_CONNECTION, HEADER_BYTES, WINDOW_BYTES};
use std::time::Duration;
use tls::{Permit, PermittedServer};
use tonic::transport::{Endpoint, Error, Server};

/// Largest message on the wire.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// What one stream may have in flight.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// What all streams of a connection may have in flight.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest frame.
pub const FRAME_BYTES: u32 = 1 << 20;
/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection that says nothing is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long the answer to that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a peer is reached, `host:port`, with the tuning.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{}", process::dialled(address)))?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    Ok(endpoint)
}

/// A server that sends bulk, by these services. What it listens on comes from [`tls::incoming`],
/// which does the part of it that a server given its listener doesn't do itself.
pub fn server(services: &[&'static str]) -> PermittedServer {
    keep_buffers();
    Server::builder()
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(Permit::to(services))
}

/// Has the allocator keep the memory of buffers that are freed, as the next ones are as large.
///
/// glibc gives the top of a heap back to the kernel whenever more of it is free than twice the
/// largest block it has seen come back from a mapping of its own. Four buffers as long as a chunk
/// are in use on the way of each; without this, all of them are mapped, and zeroed, anew for each
/// chunk. Other allocators see a block that nobody uses.
fn keep_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(MESSAGE_BYTES)));
}
