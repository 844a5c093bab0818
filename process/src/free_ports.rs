//! Ports for processes on this machine that must know them before they start, and have the same
//! ones when they start again.
//!
//! Below what systems hand out by themselves, so that no connection that is made in between has
//! taken one when its process comes back.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpSocket;

/// The first port that is tried.
const FIRST: u16 = 20_000;
/// How many there are.
const COUNT: u32 = 12_000;

/// So many different ports of 127.0.0.1 that nobody listens on now. No port is answered twice in
/// one process.
///
/// # Errors
///
/// [`std::io::ErrorKind::AddrInUse`] when all have been tried; else what the system said to the
/// request for a socket.
pub fn free_ports(count: usize) -> std::io::Result<Vec<SocketAddr>> {
    // Processes that look at the same time begin at different places.
    static BEGIN: OnceLock<u32> = OnceLock::new();
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let begin = *BEGIN.get_or_init(|| RandomState::new().build_hasher().finish() as u32 % COUNT);
    let mut found = Vec::new();
    while found.len() < count {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        if tried >= COUNT {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        let port = FIRST + ((begin + tried) % COUNT) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpSocket::new_v4()?.bind(address).is_ok() {
            found.push(address);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn no_port_is_answered_twice_and_each_can_be_listened_on() {
        let mut all = free_ports(5).expect("there are some");
        all.extend(free_ports(5).expect("there are some"));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 10);
        for address in all {
            assert!((FIRST..FIRST + COUNT as u16).contains(&address.port()));
            TcpListener::bind(address).await.expect("nobody listens there");
        }
    }
}
