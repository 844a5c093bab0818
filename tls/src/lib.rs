//! Who is at the other end: TLS 1.3 in which both sides show a certificate with an identity of
//! Palisade, and the connections of all ports, with or without it.
//!
//! Who may call what stands in the protos, as an option of each method; here each call is held
//! against it before anybody else sees it ([`Permit`]).

mod arriving;
#[cfg(feature = "authority")]
pub mod authority;
mod call;
mod dial;
mod door;
mod files;
mod identity;
mod incoming;
mod permit;
mod validity;
mod verify;

pub use arriving::{LARGE_BYTES, MESSAGE_TIME, SMALL_BYTES};
pub use call::{Caller, caller, note_request, note_trial, note_version};
pub use dial::{Dial, DialError, Dialled, causes};
pub use door::{Door, GivenUp, Place};
pub use files::{Tls, TlsArgs, TlsError};
pub use identity::{Identity, Kind, NotAnIdentity};
pub use incoming::{Bounds, Incoming, Peer, incoming};
pub use permit::{Permit, Permitted, PermittedServer};
pub use proto::access::Role;
pub use validity::Validity;
