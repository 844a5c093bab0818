//! Who is attached, and how orders reach them. One attachment a node: the newest.

use crate::limits::ORDERS_QUEUED;
use crate::metrics::Metrics;
use crate::wait::Wait;
use migrations::id::NodeId;
use migrations::version::Incarnation;
use process::wait::bounded;
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
    asked: Mutex<HashMap<u64, Question>>,
    next: AtomicU64,
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Question {
    /// Over which attachment it went out. When that ends, nobody will answer.
    attachment: u64,
    answer: oneshot::Sender<Answer>,
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
        let before = lock(&self.inner.attached).insert(node, attachment);
        if let Some(before) = before {
            before.end.cancel();
            self.leave_unanswered(before.number);
        }
        number
    }

    /// Ends each attachment whose process is not the admitted one.
    pub(crate) fn end_all_but(&self, admitted: impl Fn(NodeId) -> Option<Incarnation>) {
        for (node, attachment) in &*lock(&self.inner.attached) {
            if admitted(*node) != Some(attachment.incarnation) {
                attachment.end.cancel();
            }
        }
    }

    /// Takes an attachment out, unless a newer one is there; whether it was there.
    pub(super) fn detach(&self, node: NodeId, number: u64) -> bool {
        let mut attached = lock(&self.inner.attached);
        let is_current = attached.get(&node).is_some_and(|found| found.number == number);
        if is_current {
            attached.remove(&node);
        }
        drop(attached);
        self.leave_unanswered(number);
        is_current
    }

    /// Tells those who have asked over an attachment that no answer will come.
    fn leave_unanswered(&self, attachment: u64) {
        lock(&self.inner.asked).retain(|_, question| question.attachment != attachment);
    }

    /// The number of a node's attachment.
    fn attachment(&self, node: NodeId) -> Option<u64> {
        lock(&self.inner.attached).get(&node).map(|attachment| attachment.number)
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
    pub(crate) fn tell_all(&self, order: &attach_response::Order) {
        for (node, _) in self.attached() {
            self.send(node, order.clone());
        }
    }

    /// Puts a question and waits for its answer, up to a bound.
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        question: ask::Question,
    ) -> Result<answer::Outcome, AskError> {
        let ticket = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let attachment = self.attachment(node).ok_or(AskError::NotAttached)?;
        let (answer, receiver) = oneshot::channel();
        lock(&self.inner.asked).insert(ticket, Question { attachment, answer });
        let _asked = Asked { inner: &self.inner, ticket };
        // Its end before this is seen here, a later one ends the question.
        if self.attachment(node) != Some(attachment) {
            return Err(AskError::NoAnswer);
        }
        let ask = Ask { ticket, question: Some(question) };
        self.send(node, attach_response::Order::Ask(ask));
        let answered = bounded(Wait::Ask, Wait::Ask.bound(), receiver).await;
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
            let _ = waiting.answer.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::version::TopologyVersion;
    use proto::agent::v1::AskDigest;
    use std::time::Duration;

    /// What was asked over an attachment that ends, or that a newer one takes the place of, is
    /// known at once to stay unanswered.
    #[tokio::test]
    async fn a_question_ends_with_the_attachment_that_it_went_out_over() {
        let node = NodeId::from_u64(1).expect("not 0");
        let incarnation = Incarnation(TopologyVersion::from_parts(0, 1));
        for is_replaced in [true, false] {
            let agents = Agents::new(Arc::new(Metrics::new()));
            let attach = || {
                let (orders, outbox) = Agents::channel();
                (agents.attach(node, incarnation, orders, CancellationToken::new()), outbox)
            };
            let (number, mut outbox) = attach();
            let asking = agents.clone();
            let question = ask::Question::Digest(AskDigest::default());
            let asked = tokio::spawn(async move { asking.ask(node, question).await });
            outbox.recv().await.expect("it went out");
            let _newer = is_replaced.then(attach);
            assert_eq!(agents.detach(node, number), !is_replaced);
            let told = tokio::time::timeout(Duration::from_secs(5), asked).await;
            let told = told.expect("at once").expect("no panic");
            assert!(matches!(told, Err(AskError::NoAnswer)), "{told:?}");
        }
    }
}
