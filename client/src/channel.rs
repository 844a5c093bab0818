//! Connections: how they are set up, for coordinators and for agents alike.

use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW, FRAME_SIZE, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    STREAM_WINDOW,
};
use std::time::Duration;
use tonic::transport::Endpoint;

/// An address that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no address: expected HOST:PORT")]
pub(crate) struct BadAddress {
    address: String,
}

/// The endpoint at `host:port`, with windows large enough that one stream fills a fast network.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, BadAddress> {
    let bad = || BadAddress { address: address.to_owned() };
    let uri = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| bad())?;
    if endpoint.uri().port().is_none() {
        return Err(bad());
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// A request that tells the server how long its caller waits.
pub(crate) fn timed<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        assert!(endpoint("127.0.0.1:7400").is_ok());
        assert!(endpoint("http://c1:7400").is_ok());
        assert!(endpoint("c1").is_err());
        assert!(endpoint("not an address").is_err());
    }
}
