//! The attachment to the coordinator that leads: greeting, admission, full state, orders.
//!
//! One attachment at a time, the newest. Whatever ends it, the next one begins with a full state,
//! and the leader repeats what it still needs: nothing that was said here has to arrive.

mod greeting;
mod lease;
mod orders;
mod performing;
mod reports;
mod seeds;
#[cfg(test)]
mod tests;

pub(crate) use lease::watch_expiry;
pub(crate) use reports::forward;

use crate::agent::{Agent, Outbox};
use crate::fitness::Unfit;
use crate::limits::EVENTS_QUEUED;
use crate::stream::Puller;
use crate::stream::transport::endpoint;
use crate::wait::{Wait, bounded};
use process::wait::watched;
use proto::agent::v1::agent_service_client::AgentServiceClient;
use proto::agent::v1::attach_request::Event;
use proto::agent::v1::{self as pb, AttachRequest};
use proto::reasons::Reason;
use proto::status::Refusal;
use seeds::Seeds;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

/// Keeps an agent attached.
#[derive(Debug)]
pub struct Attachments {
    agent: Arc<Agent>,
    puller: Puller,
    coordinators: Vec<String>,
    /// Where coordinators are by the word of the one that renewed the lease last.
    live: lease::Live,
}

/// Why an attachment ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("can't reach it: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error("{0}")]
    Silent(#[from] process::wait::Overdue),
    #[error("it closed the attachment")]
    Closed,
    #[error("it sent what doesn't belong: {0}")]
    Protocol(String),
    #[error("this node can't go on: {0}")]
    Store(#[from] crate::store::StoreError),
    #[error("this incarnation is fenced")]
    Fenced,
    #[error("an order could not be performed: {0}")]
    Broken(tokio::task::JoinError),
}

impl Ended {
    /// The coordinator that leads, where the one that was asked has said so.
    fn leader(&self) -> Option<String> {
        let Ended::Refused(status) = self else { return None };
        let refusal = Refusal::from_status(status)?;
        let address = refusal.get("address").filter(|_| refusal.reason == Reason::NotLeader)?;
        (!address.is_empty()).then(|| address.to_owned())
    }
}

impl Attachments {
    /// Attachments to one of these coordinators, `host:port` each, or of those that have come since.
    pub fn new(agent: Arc<Agent>, puller: Puller, coordinators: Vec<String>) -> Attachments {
        Attachments { agent, puller, coordinators, live: lease::Live::default() }
    }

    /// Attaches, and attaches again, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut seeds = Seeds::new(self.coordinators.clone());
        loop {
            seeds.learn(&self.coordinators, self.live.get());
            let Some(coordinator) = seeds.current() else { return };
            let began = tokio::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.attach(&coordinator) => ended,
            };
            self.agent.set_outbox(None);
            if matches!(ended, Ended::Fenced) {
                // From here on this process is a new one: admitted only after all has drained.
                self.agent.set_admitted(None);
            }
            let message = "the attachment ended; trying again";
            match &ended {
                Ended::Store(_) | Ended::Fenced | Ended::Broken(_) => {
                    tracing::warn!(%coordinator, error = %ended, "{message}");
                }
                _ => tracing::info!(%coordinator, error = %ended, "{message}"),
            }
            let pause = seeds.failed(ended.leader(), began.elapsed());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn attach(&self, coordinator: &str) -> Ended {
        match self.try_attach(coordinator).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn try_attach(&self, coordinator: &str) -> Result<std::convert::Infallible, Ended> {
        // A coordinator that is gone must not cost the lease while another leads.
        let settings = self.agent.settings();
        let dialled = endpoint(coordinator)?;
        let dial = self.agent.dial_coordinators();
        let channel: Channel = bounded(Wait::Dial, &settings, dial.connect(&dialled)).await??;
        let mut client = AgentServiceClient::new(channel.clone());
        let (outbox, messages) = mpsc::channel(EVENTS_QUEUED);
        greeting::greet(&self.agent, &outbox).await?;
        // Answered at once, also by one that doesn't lead.
        let attached = client.attach(ReceiverStream::new(messages));
        let mut orders = bounded(Wait::Attach, &settings, attached).await??.into_inner();
        let admitted = greeting::welcomed(&self.agent, &self.puller, &outbox, &mut orders).await?;
        self.agent.metrics().attached();
        process::log_as_of_cluster(&admitted.cluster);
        tracing::info!(%coordinator, node_id = %admitted.node, incarnation = %admitted.incarnation,
            "attached");
        let mut performing = performing::Performing::new(&self.agent, &self.puller, admitted);
        let end = CancellationToken::new();
        let (is_settled, mut lease) = watch::channel(self.agent.sessions().lease().is_held());
        let obey = async {
            let worked_off = greeting::work_off(&self.agent, admitted, &outbox, &mut orders).await;
            let version = match worked_off {
                Ok(version) => version,
                Err(ended) => return ended,
            };
            // Without a lease it could do nothing of what it would be ordered, and a stream would
            // fail for that. Whoever keeps the lease bounds this, too.
            let held = async { lease.wait_for(|is_settled| *is_settled).await.is_ok() };
            if !watched(Wait::Renewal, held).await {
                return Ended::Closed;
            }
            if let Err(ended) = greeting::worked_off(&outbox, version).await {
                return ended;
            }
            let messages = outbox.clone();
            self.agent.set_outbox(Some(Outbox { messages, end: end.clone() }));
            performing.run(&mut orders).await
        };
        // From the welcome on: a large full state must not cost the lease.
        let renewals = AgentServiceClient::new(channel);
        let ended = tokio::select! {
            ended = obey => ended,
            () = end.cancelled() => Ended::Closed,
            ended = say_unfit(&self.agent, &outbox) => ended,
            ended = lease::keep(&self.agent, renewals, admitted, &self.live, &is_settled) => ended,
        };
        // A step that goes on after this could undo what the next greeting closes.
        performing.stop().await;
        Err(ended)
    }
}

/// Says that this node is unfit, whenever it finds that it is; until the attachment ends.
async fn say_unfit(agent: &Agent, outbox: &mpsc::Sender<AttachRequest>) -> Ended {
    let mut changes = agent.tablets.fitness().changes();
    loop {
        let unfit = changes.wait_for(Option::is_some).await.map(|unfit| unfit.clone());
        if let Ok(Some(Unfit { reason, detail })) = unfit {
            let unfit = pb::Unfit { reason: reason.name().to_owned(), detail };
            if let Err(ended) = greeting::say(outbox, Event::Unfit(unfit)).await {
                return ended;
            }
        }
        if changes.wait_for(Option::is_none).await.is_err() {
            return Ended::Closed;
        }
    }
}
