//! How many orders of an attachment are performed at a time: each in a task of its own, so that a
//! slow tablet delays no other one, and the rest in a queue. All are read as they come: whether they
//! have come is what the leader asks for, and that answer waits for none of them.

use super::Ended;
use super::orders::{One, Todo};
use crate::agent::Agent;
use crate::limits::{ORDERS_AT_ONCE, ORDERS_WAITING};
use crate::stream::{Own, PullOrder, Puller};
use crate::wait::Wait;
use futures::{Stream, StreamExt};
use migrations::record::TabletRecord;
use migrations::version::{CopyId, Incarnation};
use process::wait::watched;
use proto::agent::v1 as pb;
use proto::agent::v1::attach_response::Order;
use proto::convert;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinSet;
use tonic::Status;

/// The orders of one attachment that are being performed. They end with it; what they had begun
/// durably stays, and is ordered again.
pub(super) struct Performing {
    agent: Arc<Agent>,
    puller: Puller,
    admitted: Own,
    at_once: usize,
    tasks: JoinSet<()>,
    waiting: VecDeque<Todo>,
}

impl Performing {
    pub(super) fn new(agent: &Arc<Agent>, puller: &Puller, admitted: Own) -> Performing {
        let (agent, puller) = (Arc::clone(agent), puller.clone());
        let (tasks, waiting) = (JoinSet::new(), VecDeque::new());
        Performing { agent, puller, admitted, at_once: ORDERS_AT_ONCE, tasks, waiting }
    }

    /// Performs orders until the attachment ends.
    pub(super) async fn run(
        &mut self,
        orders: &mut (impl Stream<Item = Result<pb::AttachResponse, Status>> + Unpin),
    ) -> Ended {
        loop {
            tokio::select! {
                done = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    // Neither obeyed nor refused: only a new attachment has it ordered again.
                    if let Some(Err(broken)) = done {
                        return Ended::Broken(broken);
                    }
                    self.begin_waiting();
                }
                // What is not read yet waits at the leader, with its question whether it has come.
                message = watched(Wait::Order, orders.next()),
                    if self.waiting.len() < ORDERS_WAITING => match message {
                    Some(Ok(message)) => {
                        if let Err(ended) = self.take(message.order) {
                            return ended;
                        }
                        self.begin_waiting();
                    }
                    None => return Ended::Closed,
                    Some(Err(status)) => return Ended::Refused(status),
                },
            }
        }
    }

    /// Ends what is being performed, and returns once nothing of it goes on.
    pub(super) async fn stop(&mut self) {
        self.waiting.clear();
        self.tasks.shutdown().await;
    }

    fn take(&mut self, order: Option<Order>) -> Result<(), Ended> {
        let protocol = |what: &str| Ended::Protocol(what.to_owned());
        match order.ok_or_else(|| protocol("an order that this build doesn't know"))? {
            Order::Barrier(barrier) => {
                for record in barrier.records {
                    self.waiting.push_back(Todo::Barrier(parse(Some(record))?));
                }
            }
            Order::Pull(pull) => self.waiting.push_back(Todo::Pull(pull_order(pull)?)),
            Order::Drop(drop) => {
                let record = parse(drop.record)?;
                let copy = CopyId(convert::version("copy", drop.copy).map_err(malformed)?);
                self.waiting.push_back(Todo::Drop(record, copy));
            }
            Order::TakeOn(take_on) => {
                self.waiting.push_back(Todo::TakeOn(parse(take_on.record)?));
            }
            Order::Confirm(pb::Confirm { ticket }) => {
                // One question is out at a time, and this takes no place of an order's.
                let one = self.one();
                self.tasks.spawn(async move { one.received(ticket).await });
            }
            Order::Ask(ask) => self.waiting.push_back(Todo::Ask(ask)),
            Order::SettingsChanged(changed) => {
                let settings = convert::settings("settings", changed.settings);
                self.agent.set_names(changed.nodes);
                self.agent.set_settings(settings.map_err(malformed)?, changed.paused);
            }
            Order::Welcome(_) | Order::FullState(_) | Order::CloseAll(_) => {
                return Err(protocol("a greeting in the middle of an attachment"));
            }
        }
        Ok(())
    }

    /// Begins those that wait, as far as there is a place.
    fn begin_waiting(&mut self) {
        while self.tasks.len() < self.at_once
            && let Some(todo) = self.waiting.pop_front()
        {
            let one = self.one();
            self.tasks.spawn(one.perform(todo));
        }
    }

    fn one(&self) -> One {
        let (agent, puller) = (Arc::clone(&self.agent), self.puller.clone());
        One { agent, puller, admitted: self.admitted }
    }
}

fn pull_order(pull: pb::Pull) -> Result<PullOrder, Ended> {
    let source = convert::node_id("source", pull.source).map_err(malformed)?;
    let incarnation = convert::version("source_incarnation", pull.source_incarnation);
    Ok(PullOrder {
        record: parse(pull.record)?,
        source,
        source_address: pull.source_address,
        source_incarnation: Incarnation(incarnation.map_err(malformed)?),
    })
}

fn malformed(error: proto::Malformed) -> Ended {
    Ended::Protocol(error.to_string())
}

fn parse(record: Option<proto::types::v1::TabletRecord>) -> Result<Arc<TabletRecord>, Ended> {
    let record = record.ok_or_else(|| Ended::Protocol("an order without a record".into()))?;
    TabletRecord::try_from(record).map(Arc::new).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{agent, record, version};
    use super::*;
    use crate::agent::Outbox;
    use proto::agent::v1::attach_request::Event;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tokio_util::sync::CancellationToken;

    fn barrier(record: &Arc<TabletRecord>) -> Order {
        Order::Barrier(pb::Barrier { records: vec![(&**record).into()] })
    }

    /// All places are taken by an order that waits for a guard, and one more waits for a place. What
    /// the leader asks behind them is answered: they have come.
    #[tokio::test]
    async fn the_word_that_orders_have_come_waits_for_no_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let (agent, puller, admitted) = agent(dir.path());
        let mut performing = Performing::new(&agent, &puller, admitted);
        performing.at_once = 1;
        let own = admitted.node;
        agent.take_on(&record(1, 2), own).await.expect("newer");
        let guard = agent.tablets.version_guard(record(1, 2).tablet, version(2)).expect("served");
        let (messages, mut said) = mpsc::channel(16);
        agent.set_outbox(Some(Outbox { messages, end: CancellationToken::new() }));
        let (orders, given) = mpsc::channel(16);
        let mut given = ReceiverStream::new(given);
        let confirm = Order::Confirm(pb::Confirm { ticket: 7 });
        for order in [barrier(&record(1, 3)), barrier(&record(2, 3)), confirm] {
            let order = pb::AttachResponse { order: Some(order) };
            orders.send(Ok(order)).await.expect("there is room");
        }
        let mut heard = async || loop {
            // What is said of the one that waits depends on how long this test does.
            match said.recv().await.expect("it lives").event.expect("something") {
                Event::Waiting(_) => {}
                event => return event,
            }
        };
        let hearing = async {
            let first = heard().await;
            assert!(matches!(first, Event::Received(pb::Received { ticket: 7 })), "{first:?}");
            drop(guard);
            for tablet in [1, 2] {
                let next = heard().await;
                let Event::Acknowledged(said) = &next else { panic!("{next:?}") };
                assert_eq!(said.tablet, tablet, "in order, one at a time");
            }
        };
        tokio::select! {
            ended = performing.run(&mut given) => panic!("{ended}"),
            () = hearing => {}
        }
        performing.stop().await;
    }
}
