//! Who is attached, and how orders reach them. One attachment a node: the newest.

use super::Everywhere;
use crate::limits::{ASK_DEADLINE, ORDERS_QUEUED};
use crate::metrics::Metrics;
use migrations::id::NodeId;
use migrations::version::Incarnation;
use proto::agent::v1::{Answer, Ask, AttachResponse, answer, ask, attach_response};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// One attachment.
#[derive(Debug)]
struct Attachment {
    number: u64,
    incarnation: Incarnation,
    orders: mpsc::Sender<AttachResponse>,
    end: CancellationToken,
}

/// All attachments. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Agents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    metrics: Arc<Metrics>,
    attached: Mutex<HashMap<NodeId, Attachment>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
}

/// Why a question to an agent has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AskError {
    /// Its agent is not attached.
    #[error("its agent is not attached")]
    NotAttached,
    /// It did not answer in time, or its attachment ended.
    #[error("its agent did not answer")]
    NoAnswer,
    /// It could not do it.
    #[error("{reason}: {detail}")]
    Failed { reason: String, detail: String },
}

/// What ends with its owner: a place among the questions.
struct Asked<'a> {
    inner: &'a Inner,
    ticket: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.inner.asked).remove(&self.ticket);
    }
}

/// These locks guard single tables and are never held while anything can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agents {
    /// No agent is attached.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Agents {
        let (attached, asked) = (Mutex::default(), Mutex::default());
        Agents { inner: Arc::new(Inner { metrics, attached, asked, next: AtomicU64::new(0) }) }
    }

    /// A channel for orders of the right size.
    pub(super) fn channel() -> (mpsc::Sender<AttachResponse>, mpsc::Receiver<AttachResponse>) {
        mpsc::channel(ORDERS_QUEUED)
    }

    /// Takes an attachment in. One that was there before ends. Answers its number.
    pub(super) fn attach(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        orders: mpsc::Sender<AttachResponse>,
        end: CancellationToken,
    ) -> u64 {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let attachment = Attachment { number, incarnation, orders, end };
        if let Some(before) = lock(&self.inner.attached).insert(node, attachment) {
            before.end.cancel();
        }
        number
    }

    /// Takes an attachment out, unless a newer one is there; whether it was there.
    pub(super) fn detach(&self, node: NodeId, number: u64) -> bool {
        let mut attached = lock(&self.inner.attached);
        let is_current = attached.get(&node).is_some_and(|found| found.number == number);
        if is_current {
            attached.remove(&node);
        }
        is_current
    }

    /// Ends a node's attachment, e.g. when its incarnation is fenced.
    pub(crate) fn end(&self, node: NodeId) {
        if let Some(found) = lock(&self.inner.attached).get(&node) {
            found.end.cancel();
        }
    }

    /// Ends all attachments: this coordinator leads no more.
    pub(crate) fn end_all(&self) {
        lock(&self.inner.attached).values().for_each(|attachment| attachment.end.cancel());
    }

    /// The nodes that are attached, with their incarnations.
    pub(crate) fn attached(&self) -> Vec<(NodeId, Incarnation)> {
        let attached = lock(&self.inner.attached);
        attached.iter().map(|(node, attachment)| (*node, attachment.incarnation)).collect()
    }

    /// Sends an order. An agent that lets too many pile up is detached: it gets a full state when
    /// it attaches again.
    pub(crate) fn send(&self, node: NodeId, order: attach_response::Order) {
        let attached = lock(&self.inner.attached);
        let Some(attachment) = attached.get(&node) else { return };
        if let attach_response::Order::Barrier(barrier) = &order {
            self.inner.metrics.barrier_sent(barrier.records.len());
        }
        if attachment.orders.try_send(AttachResponse { order: Some(order) }).is_err() {
            tracing::warn!(peer = %node, "orders pile up; the agent is detached");
            attachment.end.cancel();
        }
    }

    /// Tells all that are attached.
    pub(crate) fn tell_all(&self, everywhere: Everywhere) {
        for (node, _) in self.attached() {
            self.send(node, everywhere.order());
        }
    }

    /// Puts a question and waits for its answer, up to a bound.
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        question: ask::Question,
    ) -> Result<answer::Outcome, AskError> {
        let ticket = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.inner.asked).insert(ticket, sender);
        let _asked = Asked { inner: &self.inner, ticket };
        if !lock(&self.inner.attached).contains_key(&node) {
            return Err(AskError::NotAttached);
        }
        let ask = Ask { ticket, question: Some(question) };
        self.send(node, attach_response::Order::Ask(ask));
        let answered = tokio::time::timeout(ASK_DEADLINE, receiver).await;
        let answer = answered.map_err(|_| AskError::NoAnswer)?.map_err(|_| AskError::NoAnswer)?;
        match answer.outcome {
            Some(answer::Outcome::Failed(failed)) => {
                Err(AskError::Failed { reason: failed.reason, detail: failed.detail })
            }
            Some(outcome) => Ok(outcome),
            None => Err(AskError::NoAnswer),
        }
    }

    /// An agent has answered a question.
    pub(super) fn answered(&self, answer: Answer) {
        if let Some(waiting) = lock(&self.inner.asked).remove(&answer.ticket) {
            let _ = waiting.send(answer);
        }
    }
}
