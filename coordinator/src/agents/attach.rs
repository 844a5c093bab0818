//! One attachment from its greeting to its end.

use super::admission::{self, Greeting, NotAdmitted};
use super::inbound::{self, Inbound};
use super::order::names;
use super::{AgentApi, Agents, Everywhere};
use crate::group0::Leadership;
use crate::limits::RECORDS_PER_MESSAGE;
use crate::now::wall_millis;
use crate::status::{Port, fenced, not_leader, read_error, rejected, submit_error};
use crate::wait::Wait;
use migrations::driver::Event;
use migrations::id::{ClusterId, NodeId};
use migrations::node::Node;
use migrations::record::TabletRecord;
use migrations::version::{Incarnation, TopologyVersion};
use process::wait::{Overdue, bounded, watched};
use proto::agent::v1::attach_request::Event as Said;
use proto::agent::v1::attach_response::Order;
use proto::agent::v1::{AttachRequest, AttachResponse, Barrier, CloseAll, FullState, Welcome};
use proto::reasons::Reason;
use proto::status::Refusal;
use tls::Caller;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

type Outbox = mpsc::Sender<Result<AttachResponse, Status>>;

/// Serves an attachment until it ends; with what it ends, if not with the agent's own end of it.
pub(super) async fn serve(
    mut api: AgentApi,
    leadership: Leadership,
    caller: Option<Caller>,
    mut said: Streaming<AttachRequest>,
    outbox: &Outbox,
) -> Result<(), Status> {
    // What this attachment reports is for the driver of this leadership, and for no other.
    api.driver = api.driver.of(leadership);
    let Said::Hello(hello) = next(&mut said, Wait::Hello).await? else {
        return Err(protocol("an attachment begins with Hello"));
    };
    // It acts for its own name only, and says nothing for another's.
    if let Some(caller) = caller {
        caller.must_be_node(&hello.node_name)?;
    }
    let mut greeting = inbound::greeting(hello)?;
    admission::check_cluster(&api.group0, &greeting)
        .map_err(|error| not_admitted(&greeting.admit.name, error))?;
    // Before anything is told: what a deposed leader thinks of a process may be long out of date.
    let confirmed = api.group0.confirm_leadership().await;
    confirmed.map_err(|error| read_error(&error, Port::Agents))?;
    greeting.is_living = admission::is_living(&api.group0, &greeting);
    if !greeting.is_living {
        check_admissible(&api, &greeting.admit.name).await?;
        // Before the commit that admits a process, all that an earlier admission left in it has
        // drained, and it opens nothing.
        send(outbox, Order::CloseAll(CloseAll {})).await?;
        let Said::Drained(_) = next(&mut said, Wait::Drained).await? else {
            return Err(protocol("CloseAll is answered with Drained"));
        };
    }
    let (cluster, node, incarnation) = admit(&api, greeting).await?;
    let version = full_state(&api, outbox, cluster, node, incarnation).await?;
    let Said::FullStateDone(_) = until_full_state_done(&mut said, &api, node, incarnation).await?
    else {
        return Err(protocol("no order is begun before the full state is worked off"));
    };
    let end = CancellationToken::new();
    let (orders, mut waiting) = Agents::channel();
    let attachment = api.agents.attach(node, incarnation, orders, end.clone());
    // It may have been fenced while it was greeted. From here on a fence ends its attachment.
    if !is_admitted(&api, node, incarnation) {
        api.agents.detach(node, attachment);
        return Err(fenced(incarnation));
    }
    tracing::info!(peer = %node, %incarnation, "agent attached");
    send_newer(&api, node, version);
    api.driver.report(Event::Attached { node, attachment }).await;
    let inbound = Inbound { api: &api, node, incarnation };
    let mut leading = api.group0.leadership();
    let mut held = None;
    let ended = loop {
        tokio::select! {
            () = end.cancelled() => break Err(ended_here(&api, node, incarnation)),
            order = waiting.recv(), if held.is_none() => match order {
                Some(order) => held = Some(order),
                None => break Ok(()),
            },
            // An arm of its own: while the agent reads nothing, what it says is read all the same.
            // Else each end could wait for the other.
            place = outbox.reserve(), if held.is_some() => match (place, held.take()) {
                (Ok(place), Some(order)) => place.send(Ok(order)),
                _ => break Ok(()),
            },
            message = watched(Wait::Said, said.message()) => match message {
                Ok(Some(message)) => if let Err(status) = inbound.take(message).await {
                    break Err(status);
                },
                Ok(None) | Err(_) => break Ok(()),
            },
            changed = leading.changed() => {
                if changed.is_err() || *leading.borrow_and_update() != Some(leadership) {
                    break Err(not_leader(&api.group0));
                }
            }
        }
    };
    if api.agents.detach(node, attachment) {
        tracing::info!(peer = %node, %incarnation, "agent detached");
        api.driver.report(Event::Detached { node, attachment }).await;
    }
    ended
}

fn is_admitted(api: &AgentApi, node: NodeId, incarnation: Incarnation) -> bool {
    let now = api.group0.read(|m| m.topology.node(node).and_then(Node::admitted));
    now == Some(incarnation)
}

async fn next(said: &mut Streaming<AttachRequest>, wait: Wait) -> Result<Said, Status> {
    let message = bounded(wait, wait.bound(), said.message()).await;
    let late =
        |overdue: Overdue| Status::from(Refusal::new(Reason::QueueTimeout, overdue.to_string()));
    let message = message.map_err(late)??;
    let message = message.ok_or_else(|| protocol("the attachment ended in its greeting"))?;
    message.event.ok_or_else(|| protocol("a message that this build doesn't know"))
}

/// A node that was unfit again and again waits before it is admitted anew, and serves its data at
/// the versions that it knows meanwhile.
async fn check_admissible(api: &AgentApi, name: &str) -> Result<(), Status> {
    let known = api.group0.read(|machine| machine.topology.node_named(name).map(|(id, _)| id));
    let Some(node) = known else { return Ok(()) };
    match api.driver.may_admit(node).await {
        Some(true) => Ok(()),
        Some(false) => {
            let message = "it was unfit again and again; it is admitted after a pause";
            Err(Refusal::new(Reason::NodeNotReady, message).into())
        }
        None => Err(not_leader(&api.group0)),
    }
}

/// Lost copies are reported while the full state is worked off; anything else is not in order.
async fn until_full_state_done(
    said: &mut Streaming<AttachRequest>,
    api: &AgentApi,
    node: NodeId,
    incarnation: Incarnation,
) -> Result<Said, Status> {
    loop {
        match next(said, Wait::FullState).await? {
            Said::Lost(lost) => Inbound { api, node, incarnation }.lost(lost).await?,
            Said::Unfit(unfit) => Inbound { api, node, incarnation }.unfit(unfit).await,
            Said::Received(_) => api.driver.report(Event::HasFullState { node }).await,
            other => return Ok(other),
        }
    }
}

fn protocol(message: &str) -> Status {
    Refusal::new(Reason::StreamProtocol, message).into()
}

async fn send(outbox: &Outbox, order: Order) -> Result<(), Status> {
    let sent = outbox.send(Ok(AttachResponse { order: Some(order) }));
    let sent = bounded(Wait::FullState, Wait::FullState.bound(), sent).await;
    let gone = |_| protocol("the agent is gone");
    sent.map_err(|overdue| protocol(&overdue.to_string()))?.map_err(gone)
}

async fn admit(
    api: &AgentApi,
    greeting: Greeting,
) -> Result<(ClusterId, NodeId, Incarnation), Status> {
    let name = greeting.admit.name.clone();
    // Also a living process is taken up only by a leader that is confirmed to be one.
    let confirmed = api.group0.confirm_leadership().await;
    confirmed.map_err(|error| read_error(&error, Port::Agents))?;
    let admitted = admission::admit(&api.group0, &api.proposer, greeting).await;
    admitted.map_err(|error| not_admitted(&name, error))
}

fn not_admitted(name: &str, error: NotAdmitted) -> Status {
    tracing::warn!(peer = name, %error, "not admitted");
    match error {
        NotAdmitted::Ahead { .. } => Refusal::new(Reason::NodeMismatch, error.to_string()).into(),
        NotAdmitted::ClusterMismatch { .. } => {
            Refusal::new(Reason::ClusterMismatch, error.to_string()).into()
        }
        NotAdmitted::Rejected(error) => rejected(&error),
        NotAdmitted::Submit(error) => submit_error(&error, Port::Agents),
    }
}

/// Sends the full state, read now: at or after the commit that admitted the agent. Answers the
/// version that it was read at.
async fn full_state(
    api: &AgentApi,
    outbox: &Outbox,
    cluster: ClusterId,
    node: NodeId,
    incarnation: Incarnation,
) -> Result<TopologyVersion, Status> {
    let (version, told, nodes, records) = api.group0.read(|machine| {
        let topology = &machine.topology;
        let (version, told) = (topology.version(), Everywhere::of(topology));
        (version, told, names(topology), topology.records_of(node))
    });
    let welcome = Welcome {
        cluster_id: proto::convert::bytes(cluster.as_uuid()),
        node_id: node.as_u64(),
        incarnation: Some(incarnation.0.into()),
        settings: Some((&told.settings).into()),
        wall_ms: wall_millis(),
        paused: told.is_paused,
        nodes,
    };
    send(outbox, Order::Welcome(welcome)).await?;
    let mut parts = records.chunks(RECORDS_PER_MESSAGE).peekable();
    loop {
        let records: &[TabletRecord] = parts.next().unwrap_or_default();
        let last = parts.peek().is_none();
        let records = records.iter().map(Into::into).collect();
        let part = FullState { version: Some(version.into()), records, last };
        send(outbox, Order::FullState(part)).await?;
        if last {
            return Ok(version);
        }
    }
}

/// What has changed since the full state was read; transitions are the driver's business.
fn send_newer(api: &AgentApi, node: NodeId, version: TopologyVersion) {
    let records = api.group0.read(|machine| machine.topology.records_of(node));
    let newer: Vec<_> = records.iter().filter(|record| record.version > version).collect();
    for records in newer.chunks(RECORDS_PER_MESSAGE) {
        let records = records.iter().map(|record| (*record).into()).collect();
        api.agents.send(node, Order::Barrier(Barrier { records }));
    }
}

/// Why this side has ended an attachment: fenced, or another one has taken its place.
fn ended_here(api: &AgentApi, node: NodeId, incarnation: Incarnation) -> Status {
    if is_admitted(api, node, incarnation) {
        return Refusal::new(Reason::NodeNotReady, "a newer attachment has taken its place").into();
    }
    fenced(incarnation)
}
