//! Palisade's coordinator: a voter of group0, the topology coordinator on its leader, and the
//! admin API.
//!
//! Decisions are the core's (`migrations`); here they are replicated, performed and shown. No
//! code in this crate matches on a stage.

pub mod group0;

mod admin;
mod agents;
pub mod backup;
mod balancing;
mod bootstrap;
mod call;
mod driving;
#[cfg(feature = "faults")]
mod faults_api;
mod levels;
mod limits;
mod machine;
mod metrics;
mod now;
mod observed;
mod options;
mod progress;
mod proposer;
mod readiness;
mod server;
mod status;
mod wait;

pub use options::{CoordinatorArgs, Peer, Profile};
pub use server::{ServeError, run};
