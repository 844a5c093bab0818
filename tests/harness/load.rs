//! Clients that change and read what group0 holds, all the time, and how long each answer took.

use super::Cluster;
use super::look_again;
use client::{AdminClient, AdminOptions, ClientError};
use proto::admin::v1 as pb;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    clients: JoinSet<Result<Vec<Duration>, ClientError>>,
}

impl Load {
    /// So many clients, each of which has a connection, and a switch of its own to turn. An
    /// operation fails if it is not answered within `deadline`, with all its tries.
    pub(crate) fn start(cluster: &Cluster, clients: usize, deadline: Duration) -> Load {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut load = Load { stop, made, clients: JoinSet::new() };
        for client in 0..clients {
            let options = AdminOptions { deadline, ..AdminOptions::default() };
            let admin = cluster.admin_with(options);
            let (stop, made) = (Arc::clone(&load.stop), Arc::clone(&load.made));
            load.clients.spawn(async move {
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match took.len() % 2 {
                        0 => change(&admin, client, took.len()).await?,
                        _ => admin.settings().await.map(drop)?,
                    }
                    took.push(began.elapsed());
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(took)
            });
        }
        load
    }

    /// Waits until so many more operations were answered, or one has failed.
    pub(crate) async fn proceed(&self, more: u64) {
        let goal = self.made.load(Ordering::Relaxed) + more;
        while self.made.load(Ordering::Relaxed) < goal {
            look_again().await;
        }
    }

    /// Ends it: how long each operation took, shortest first.
    pub(crate) async fn stop(self) -> Result<Vec<Duration>, ClientError> {
        self.stop.store(true, Ordering::Relaxed);
        let clients: Result<Vec<_>, _> = self.clients.join_all().await.into_iter().collect();
        let mut took: Vec<Duration> = clients?.into_iter().flatten().collect();
        took.sort_unstable();
        Ok(took)
    }
}

/// Says anew why nobody moves anything, which nobody does.
async fn change(admin: &AdminClient, client: usize, count: usize) -> Result<(), ClientError> {
    let reason = format!("client {client} for the {count}th time");
    let request = pb::DisableBalancingRequest { reason, ..Default::default() };
    admin.disable_balancing(request).await.map(drop)
}

/// What a share of them took at the most: `0.999` for all but one in a thousand.
pub(crate) fn share(took: &[Duration], share: f64) -> Duration {
    let at = (took.len() as f64 * share).ceil() as usize;
    took.get(at.saturating_sub(1)).copied().unwrap_or_default()
}
