//! Watches that outlive their connections: after a break they go on where they stopped, at
//! another coordinator if need be; where that is no longer kept, they begin anew.

use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::leader::Leader;
use crate::limits::{ADMIN_PAUSE, ADMIN_PAUSE_MAX, WATCH_IDLE};
use crate::reasons::is_passing;
use migrations::version::TopologyVersion;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// What is watched.
pub(crate) trait Subscription: Send {
    /// What comes.
    type Message: Send + 'static;

    /// Opens it after a version, or from the beginning.
    fn open(
        &self,
        channel: Channel,
        after: Option<TopologyVersion>,
    ) -> impl Future<Output = Result<Response<Streaming<Self::Message>>, Status>> + Send;

    /// From where it can be resumed once this message was taken; `None` leaves it as it was.
    fn resume_at(&self, message: &Self::Message) -> Option<TopologyVersion>;
}

/// A watch with its place.
pub(crate) struct Watch<S: Subscription> {
    leader: Leader,
    subscription: S,
    after: Option<TopologyVersion>,
    stream: Option<(crate::leader::Connected, Streaming<S::Message>)>,
    backoff: Backoff,
    failing_since: Option<Instant>,
}

impl<S: Subscription> Watch<S> {
    pub(crate) fn new(leader: Leader, subscription: S, after: Option<TopologyVersion>) -> Watch<S> {
        let backoff = Backoff::new(ADMIN_PAUSE, ADMIN_PAUSE_MAX);
        Watch { leader, subscription, after, stream: None, backoff, failing_since: None }
    }

    /// The next message. Fails once nothing has come for `patience`, or at a refusal that another
    /// try won't change. Cancel safe: the place is noted only with the message that is returned.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<S::Message, ClientError> {
        loop {
            let error = match self.one_try().await {
                Ok(message) => {
                    self.failing_since = None;
                    self.backoff = Backoff::new(ADMIN_PAUSE, ADMIN_PAUSE_MAX);
                    if let Some(version) = self.subscription.resume_at(&message) {
                        self.after = Some(version);
                    }
                    return Ok(message);
                }
                Err(error) => error,
            };
            let since = *self.failing_since.get_or_insert_with(Instant::now);
            if is_final(&error) || since.elapsed() >= patience {
                return Err(error);
            }
            let pause = match self.is_begun_anew(&error) {
                true => Duration::ZERO,
                false => self.backoff.pause(),
            };
            tracing::debug!(%error, ?pause, "watch is opened again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Forgets the place if it is no longer kept.
    fn is_begun_anew(&mut self, error: &ClientError) -> bool {
        let is_compacted = error.reason() == Some(Reason::Compacted) && self.after.is_some();
        if is_compacted {
            self.after = None;
        }
        is_compacted
    }

    async fn one_try(&mut self) -> Result<S::Message, ClientError> {
        if self.stream.is_none() {
            let connected = self.leader.connected().await?;
            let open = self.subscription.open(connected.channel.clone(), self.after);
            let opened = timeout(WATCH_IDLE, open).await;
            match opened.unwrap_or_else(|_| Err(Status::unavailable("the watch did not open"))) {
                Ok(response) => self.stream = Some((connected, response.into_inner())),
                Err(status) => return Err(self.broken(&connected, &status)),
            }
        }
        let Some((connected, stream)) = &mut self.stream else {
            return Err(ClientError::Unreachable { detail: "the watch is closed".to_owned() });
        };
        let came = timeout(WATCH_IDLE, stream.message()).await;
        let status = match came {
            Ok(Ok(Some(message))) => return Ok(message),
            Ok(Ok(None)) => Status::unavailable("the watch has ended"),
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable("the watch is silent"),
        };
        let connected = connected.clone();
        self.stream = None;
        Err(self.broken(&connected, &status))
    }

    fn broken(&self, connected: &crate::leader::Connected, status: &Status) -> ClientError {
        let refusal = Refusal::from_status(status);
        let hint = refusal.as_ref().and_then(|refusal| refusal.get("address")).map(str::to_owned);
        if refusal.as_ref().is_none_or(|refusal| is_passing(refusal.reason)) {
            self.leader.leave(connected, hint.filter(|hint| !hint.is_empty()));
        }
        match refusal {
            Some(refusal) => ClientError::Refused(Box::new(refusal)),
            None => ClientError::Unreachable { detail: status.message().to_owned() },
        }
    }
}

/// Whether another try can't be answered otherwise. A place that is no longer kept can.
fn is_final(error: &ClientError) -> bool {
    error.reason().is_some_and(|reason| reason != Reason::Compacted && !is_passing(reason))
}
