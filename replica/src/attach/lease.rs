//! Keeping the lease: renewals on their own way, so that they never wait behind orders.

use super::Ended;
use crate::agent::Agent;
use crate::fitness::{DiskTrouble, Unfit};
use crate::lease::{self, LeaseTerms};
use crate::limits::{COORDINATORS_MAX, SIZES_A_RENEWAL};
use crate::store::{Sizes, rows_in};
use crate::stream::Own;
use crate::wait::{Wait, bounded};
use migrations::id::TabletId;
use migrations::version::CopyId;
use proto::agent::v1 as pb;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::{RenewLeaseRequest, RenewLeaseResponse};
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

/// Where coordinators take agents now. Most that are remembered: as many as there may be.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<Vec<String>>);

impl Live {
    fn set(&self, mut coordinators: Vec<String>) {
        coordinators.truncate(COORDINATORS_MAX);
        // One that says nothing of it is of an earlier build.
        if !coordinators.is_empty() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = coordinators;
        }
    }

    pub(super) fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Renews until the attachment has to end: fenced, or no answer for half a lease. Says in
/// `is_settled` once the lease is held, or is not asked for.
pub(super) async fn keep(
    agent: &Agent,
    mut client: AgentServiceClient<Channel>,
    admitted: Own,
    live: &Live,
    is_settled: &watch::Sender<bool>,
) -> Ended {
    let mut silent_since = tokio::time::Instant::now();
    // An attachment begins with the first: a leader may have come that knows nothing of them.
    let mut sized = None;
    loop {
        // It has given its lease up until it is admitted anew, and no answer brings that back. It
        // goes on asking: only so it learns that the leader hears nobody, and goes to another one.
        let is_unfit = agent.tablets.fitness().unfit().is_some();
        if is_unfit {
            is_settled.send_replace(true);
        }
        let terms = agent.settings().lease;
        let length = Duration::from_millis(u64::from(terms.length_ms));
        // Four in the length of a lease.
        let interval = Wait::Renewal.bound(&agent.settings());
        // Counted from before it is sent: the leader counts from when it comes in.
        let sent = lease::now();
        let renewal = client.renew_lease(request(agent, admitted, &mut sized));
        let renewal = bounded(Wait::Renewal, &agent.settings(), renewal).await;
        match renewal.map(|answer| answer.map(tonic::Response::into_inner)) {
            Ok(Ok(RenewLeaseResponse { lease, coordinators })) => {
                live.set(coordinators);
                let terms = lease.map_or(terms, |said| LeaseTerms {
                    length_ms: said.length_ms,
                    drift_per_mille: said.drift_per_mille,
                });
                agent.sessions().lease().renewed(terms, sent);
                is_settled.send_replace(true);
                silent_since = tokio::time::Instant::now();
            }
            Ok(Err(status)) if is_fenced(&status) => {
                agent.sessions().lease().give_up();
                agent.sessions().fire_all();
                return Ended::Fenced;
            }
            Ok(Err(status)) if is_unfit && says_unfit(&status) => {
                silent_since = tokio::time::Instant::now();
            }
            Ok(Err(status)) => tracing::debug!(error = %status.message(), "no renewal"),
            Err(error) => tracing::debug!(%error, "a renewal was not answered in time"),
        }
        // What still runs under a lease that has run out is told to stop; data requests go on.
        if !agent.sessions().lease().is_held() {
            agent.sessions().fire_all();
        }
        if silent_since.elapsed() > length / 2 {
            return Ended::Closed;
        }
        tokio::time::sleep(interval).await;
    }
}

/// A renewal; it says the sizes of some copies, in turn: of those after `sized`.
fn request(agent: &Agent, admitted: Own, sized: &mut Option<TabletId>) -> RenewLeaseRequest {
    let (room_bytes, copies) = room(agent, sized);
    let trouble = agent.tablets.disk_trouble();
    let disk = trouble.map(|DiskTrouble { reason, detail, since, .. }| pb::DiskTrouble {
        reason: reason.name().to_owned(),
        detail,
        for_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    // Also to who leads since: its word on the attachment may not have come through.
    let unfit = agent.tablets.fitness().unfit();
    let unfit = unfit
        .map(|Unfit { reason, detail }| pb::Unfit { reason: reason.name().to_owned(), detail });
    RenewLeaseRequest {
        disk,
        unfit,
        room_bytes,
        copies,
        cluster_id: convert::bytes(admitted.cluster.as_uuid()),
        node_id: admitted.node.as_u64(),
        incarnation: Some(admitted.incarnation.0.into()),
    }
}

/// How many bytes of rows may still come, and how many are in the next copies.
fn room(agent: &Agent, sized: &mut Option<TabletId>) -> (Option<u64>, Vec<pb::CopySize>) {
    #[cfg(feature = "faults")]
    if agent.faults.disk.room().is_untold {
        return (None, Vec::new());
    }
    let store = agent.tablets.store();
    let Sizes { copies, after } = store.sizes(*sized, SIZES_A_RENEWAL);
    *sized = after;
    let said = |(tablet, copy, bytes): (TabletId, CopyId, u64)| pb::CopySize {
        tablet: tablet.as_u64(),
        copy: Some(copy.0.into()),
        bytes,
    };
    (store.room_for_rows().ok().map(rows_in), copies.into_iter().map(said).collect())
}

fn is_fenced(status: &Status) -> bool {
    Refusal::from_status(status).is_some_and(|refusal| refusal.reason == Reason::NodeFenced)
}

/// Whether the leader leaves the lease to run out: said only after it has heard a majority.
fn says_unfit(status: &Status) -> bool {
    Refusal::from_status(status).is_some_and(|refusal| refusal.reason == Reason::NodeNotReady)
}

/// Fires what runs under the lease when it runs out, also while no coordinator is attached to.
/// Runs as long as the process.
pub(crate) async fn watch_expiry(agent: std::sync::Arc<Agent>) {
    let mut was_held = false;
    loop {
        let length = u64::from(agent.settings().lease.length_ms);
        tokio::time::sleep(Duration::from_millis(length / 20 + 1)).await;
        let is_held = agent.sessions().lease().is_held();
        if was_held && !is_held {
            tracing::warn!("the lease has run out: session work stops, data requests go on");
            agent.sessions().fire_all();
        }
        was_held = is_held;
    }
}
