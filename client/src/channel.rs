//! Connections: how they are set up, for coordinators and for agents alike.

use crate::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW, FRAME_SIZE, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    STREAM_WINDOW,
};
use std::time::Duration;
use tonic::transport::Endpoint;

/// An address that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAddress {
    /// It can't be read.
    #[error("{0:?} is no address: expected HOST:PORT")]
    Unreadable(String),
    /// It asks for TLS, and nobody has said with which certificates.
    #[error("{0:?} asks for TLS: name --cacert, --cert and --key, or leave https:// away")]
    NoTls(String),
}

/// The endpoint at `host:port`, with windows large enough that one stream fills a fast network.
/// `http://` may stand before it, and `https://` where it is dialled with TLS: it is the
/// certificates that decide which of the two is spoken.
pub(crate) fn endpoint(address: &str, has_tls: bool) -> Result<Endpoint, BadAddress> {
    let bad = || BadAddress::Unreadable(address.to_owned());
    let host = match address.split_once("://") {
        None | Some(("http", _)) => address.trim_start_matches("http://"),
        Some(("https", host)) if has_tls => host,
        Some(("https", _)) => return Err(BadAddress::NoTls(address.to_owned())),
        Some(_) => return Err(bad()),
    };
    let endpoint = Endpoint::from_shared(format!("http://{host}")).map_err(|_| bad())?;
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
        for has_tls in [false, true] {
            assert!(endpoint("127.0.0.1:7400", has_tls).is_ok());
            assert!(endpoint("http://c1:7400", has_tls).is_ok());
            assert!(endpoint("c1", has_tls).is_err());
            assert!(endpoint("not an address", has_tls).is_err());
        }
    }

    #[test]
    fn nobody_who_asks_for_tls_speaks_in_the_clear() {
        let https = "https://c1:7400";
        assert_eq!(endpoint(https, false).err(), Some(BadAddress::NoTls(https.to_owned())));
        let with_tls = endpoint(https, true).expect("there are certificates");
        assert_eq!(with_tls.uri().to_string(), "http://c1:7400/", "the dialler speaks TLS itself");
        for odd in ["ftp://c1:7400", "tls://c1:7400", "HTTPS://c1:7400", "://c1:7400"] {
            for has_tls in [false, true] {
                let unreadable = BadAddress::Unreadable(odd.to_owned());
                assert_eq!(endpoint(odd, has_tls).err(), Some(unreadable));
            }
        }
    }
}
