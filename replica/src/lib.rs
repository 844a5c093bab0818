//! Palisade's replica agent, one by each storage node: sessions and guards, the tablet store, the
//! agent's part of every barrier, streams, data.
//!
//! What is decided is decided in `migrations`; this crate acts. Modules are declared in order of
//! dependency, which is the order to read them in.

pub mod limits;
mod lock;
mod rule;
pub mod wait;
pub mod metrics;
pub mod lease;
pub mod clock;
pub mod holders;
pub mod guard;
pub mod sessions;
pub mod fitness;
pub mod store;
pub mod tablets;
#[cfg(feature = "faults")]
pub mod faults;
pub mod stream;
pub mod agent;
pub mod data;
pub mod attach;
#[cfg(feature = "faults")]
mod faults_api;
mod options;
mod server;
#[cfg(test)]
mod interleavings;

pub use options::ReplicaArgs;
pub use server::{ServeError, run};
