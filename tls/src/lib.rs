//! Who is at the other end: TLS 1.3 in which both sides show a certificate with an identity of
//! Palisade, and the connections of all ports, with or without it.
//!
//! Not here: what an identity may do.

#[cfg(feature = "authority")]
pub mod authority;
mod dial;
mod files;
mod identity;
mod incoming;
mod verify;

pub use dial::{Dial, DialError, Dialled};
pub use files::{Tls, TlsArgs, TlsError};
pub use identity::{Identity, Kind, NotAnIdentity, Role};
pub use incoming::{Bounds, Incoming, Peer, incoming};
