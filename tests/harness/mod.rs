//! What process tests stand on: clusters of real processes, a proxy to put between any two of
//! them, and a source of streams that says what a script says.
//!
//! Waits by what the processes say, never by sleeping; keeps their logs and data when a test
//! fails; prints the seed of what was drawn.
//!
//! Not here: scenarios, and what a workload remembers.

mod calls;
mod cluster;
mod links;
mod nodes;
mod papers;
mod seed;
mod server;
mod shape;

pub(crate) mod load;
pub(crate) mod middle;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod steps;

pub(crate) use cluster::Cluster;
pub(crate) use links::Loss;
pub(crate) use papers::Papers;
pub(crate) use seed::{Seed, rounds};
pub(crate) use server::Server;
pub(crate) use shape::Shape;

use std::time::Duration;

/// Nothing that a test waits for takes this long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at something that nothing tells of. Without one the look takes the
/// processor from those who are looked at.
pub(crate) async fn look_again() {
    tokio::time::sleep(LOOK_AGAIN).await;
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A future that must not take longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what}: not after {PATIENCE:?}"))
}
