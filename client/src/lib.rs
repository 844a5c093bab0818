//! Palisade's client library: the admin client, which finds the leader and knows what became of a
//! change, and the router, which reads and writes rows through majorities of replicas.
//!
//! What is decided is decided in `migrations`: the next try of a change, the next step of an
//! operation. This crate keeps connections and waits.

mod admin;
mod backoff;
mod channel;
mod error;
mod leader;
mod limits;
mod reasons;
pub mod router;
mod wait;
mod watch;

pub use admin::AdminClient;
pub use error::{ClientError, DataError};
pub use leader::{AdminOptions, new_request_id};
pub use router::{Retries, Router, RouterOptions, ScanPage, ScanRow, Value};
pub use wait::{MigrationWatch, WaitFor};
