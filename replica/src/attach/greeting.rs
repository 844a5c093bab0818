//! The begin of an attachment: who is there, the drain before an admission, the full state.

use super::Ended;
use crate::agent::Agent;
use crate::stream::{Own, Puller};
use crate::tablets::{CopyState, Tablets, TakenOn, Unlisted};
use crate::wait::{Wait, bounded};
use migrations::id::NodeId;
use migrations::record::TabletRecord;
use migrations::settings::Settings;
use migrations::version::{Incarnation, TopologyVersion};
use proto::agent::v1::attach_request::Event;
use proto::agent::v1::attach_response::Order;
use proto::agent::v1::{
    AttachRequest, AttachResponse, Drained, FullStateDone, Hello, Lost, Received, Welcome,
};
use proto::convert;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Streaming;

type Outbox = mpsc::Sender<AttachRequest>;

pub(super) async fn say(outbox: &Outbox, event: Event) -> Result<(), Ended> {
    outbox.send(AttachRequest { event: Some(event) }).await.map_err(|_| Ended::Closed)
}

pub(super) async fn next(
    settings: &Settings,
    orders: &mut Streaming<AttachResponse>,
) -> Result<Order, Ended> {
    let next = bounded(Wait::Greeting, settings, orders.message()).await;
    let message = next??.ok_or(Ended::Closed)?;
    message.order.ok_or_else(|| Ended::Protocol("an order that this build doesn't know".into()))
}

/// Says who is there. A process that was not admitted draws a token first, durably: by it group0
/// knows the directory again, should the answer be lost. One with which nobody can have asked yet
/// is used again: the directory holds a few only, and who asks for a leader asks often.
pub(super) async fn greet(agent: &Agent, outbox: &Outbox) -> Result<(), Ended> {
    let admitted = agent.admitted();
    let identity = agent.directory.identity();
    let token = match admitted {
        Some(_) => identity.tokens.first().copied(),
        None => Some(match agent.unspent() {
            Some(token) => token,
            None => agent.directory.draw_token()?,
        }),
    };
    let token = token.ok_or_else(|| Ended::Protocol("an admission without a token".into()))?;
    let proof = agent.directory.proof()?;
    let location = agent.location().clone();
    let highest_floor = agent.tablets.store().highest_floor();
    let hello = Hello {
        cluster_id: identity.cluster.map(|id| convert::bytes(id.as_uuid())).unwrap_or_default(),
        node_name: identity.node_name.clone(),
        directory_id: convert::bytes(identity.directory.as_uuid()),
        held_tokens: identity.tokens.iter().map(|held| convert::bytes(held.as_uuid())).collect(),
        token: convert::bytes(token.as_uuid()),
        incarnation: identity.node.map(|(_, incarnation)| incarnation.0.into()),
        living: admitted.is_some(),
        boot_id: proof.boot.to_string(),
        lock_device: proof.lock_device,
        lock_inode: proof.lock_inode,
        data_address: location.data_address,
        stream_address: location.stream_address,
        rack: location.rack,
        feature_level: agent.feature_level(),
        lost: agent.tablets.lost().into_iter().map(lost).collect(),
        highest_floor: (highest_floor > TopologyVersion::ZERO).then(|| highest_floor.into()),
    };
    agent.set_asking(token);
    say(outbox, Event::Hello(hello)).await
}

fn lost((tablet, copy): (migrations::id::TabletId, migrations::version::CopyId)) -> Lost {
    Lost { tablet: tablet.as_u64(), copy: Some(copy.0.into()) }
}

/// Waits for the welcome: this process is the admitted one from then on, and its lease counts.
pub(super) async fn welcomed(
    agent: &Arc<Agent>,
    puller: &Puller,
    outbox: &Outbox,
    orders: &mut Streaming<AttachResponse>,
) -> Result<Own, Ended> {
    let mut first = next(&agent.settings(), orders).await?;
    if let Order::CloseAll(_) = first {
        if agent.admitted().is_some() {
            // Fenced without having heard of it. The token that it has is that of an admission
            // that is over, and may be in a copy of the directory: it greets anew with its own.
            return Err(Ended::Fenced);
        }
        // One that can't keep a floor must not be admitted again: it would hold up what it is asked
        // for. Until it can, it goes on serving at the floors that it has.
        agent.tablets.probe().await?;
        // Every session is closed, every guard of both kinds is gone, nothing is opened: then,
        // and only then, may this process be admitted.
        agent.sessions().lease().give_up();
        puller.stop_all().await;
        agent.tablets.close_and_drain_all().await;
        // From here on it may be in a commit whose outcome is never heard of.
        agent.spend_token();
        say(outbox, Event::Drained(Drained {})).await?;
        first = next(&agent.settings(), orders).await?;
    }
    let Order::Welcome(welcome) = first else {
        return Err(Ended::Protocol("no welcome".into()));
    };
    note_welcome(agent, welcome)
}

/// Works off the full state, and answers the version that it was read at. No other order of this
/// attachment is begun before that is said.
pub(super) async fn work_off(
    agent: &Arc<Agent>,
    own: Own,
    outbox: &Outbox,
    orders: &mut Streaming<AttachResponse>,
) -> Result<TopologyVersion, Ended> {
    let (version, records) = full_state(agent, orders).await?;
    say(outbox, Event::Received(Received { ticket: 0 })).await?;
    // At the first admission to a cluster that was restored, group0 may have forgotten what it gave
    // this node: nothing is dropped on its word.
    let is_adopted = agent.directory.identity().adopted;
    let unlisted = if is_adopted { Unlisted::SetAside } else { Unlisted::Drop };
    if is_adopted {
        warn_of_older(&agent.tablets, &records);
    }
    let done = agent.tablets.full_state(version, &records, own.node, unlisted).await?;
    agent.directory.worked_off()?;
    agent.wake_catching_up();
    for taken in &done.taken {
        report_lost(outbox, taken).await?;
    }
    for (tablet, copy) in &done.set_aside {
        tracing::warn!(%tablet, %copy, "set aside what the full state does not give this node");
    }
    for (tablet, copy) in &done.dropped {
        tracing::info!(%tablet, %copy, "dropped what the full state does not give this node");
    }
    Ok(version)
}

/// Says that the full state is worked off: from here on there are orders.
pub(super) async fn worked_off(outbox: &Outbox, version: TopologyVersion) -> Result<(), Ended> {
    say(outbox, Event::FullStateDone(FullStateDone { version: Some(version.into()) })).await
}

/// Says of which tablets this node has last heard that they are elsewhere than the full state has
/// them: the state that was restored is older, and what was written since may be on others only.
fn warn_of_older(tablets: &Tablets, records: &[Arc<TabletRecord>]) {
    for record in records {
        let before = tablets.record(record.tablet).map(|before| before.both());
        if let Some(before) = before.filter(|before| *before != record.both()) {
            let tablet = record.tablet;
            tracing::warn!(%tablet, nodes = ?before, "an older state of the tablet was restored");
        }
    }
}

pub(super) async fn report_lost(outbox: &Outbox, taken: &TakenOn) -> Result<(), Ended> {
    if let CopyState::Lost(copy) = taken.copy {
        say(outbox, Event::Lost(lost((taken.tablet, copy)))).await?;
    }
    Ok(())
}

/// Takes the welcome in: durably, if it is an admission.
fn note_welcome(agent: &Agent, welcome: Welcome) -> Result<Own, Ended> {
    let Welcome { cluster_id, node_id, incarnation, settings, wall_ms: _, paused, nodes } = welcome;
    let malformed = |error: proto::Malformed| Ended::Protocol(error.to_string());
    let cluster = convert::cluster_id("cluster_id", &cluster_id).map_err(malformed)?;
    let node: NodeId = convert::node_id("node_id", node_id).map_err(malformed)?;
    let version = convert::version("incarnation", incarnation).map_err(malformed)?;
    let settings = convert::settings("settings", settings).map_err(malformed)?;
    let admitted = Own { cluster, node, incarnation: Incarnation(version) };
    if agent.admitted() != Some(admitted) {
        let token = agent.asking();
        let token =
            token.ok_or_else(|| Ended::Protocol("a welcome that nobody asked for".into()))?;
        agent.directory.admitted(cluster, node, admitted.incarnation, token)?;
        agent.set_admitted(Some(admitted));
        agent.sessions().lease().take_up();
    }
    agent.set_names(nodes);
    agent.set_settings(settings, paused);
    Ok(admitted)
}

async fn full_state(
    agent: &Agent,
    orders: &mut Streaming<AttachResponse>,
) -> Result<(TopologyVersion, Vec<Arc<TabletRecord>>), Ended> {
    let mut records = Vec::new();
    loop {
        let Order::FullState(part) = next(&agent.settings(), orders).await? else {
            return Err(Ended::Protocol("an order before the end of the full state".into()));
        };
        let malformed = |error: proto::Malformed| Ended::Protocol(error.to_string());
        for record in part.records {
            let record = TabletRecord::try_from(record).map_err(malformed)?;
            records.push(Arc::new(record));
        }
        if part.last {
            let version = convert::version("version", part.version).map_err(malformed)?;
            return Ok((version, records));
        }
    }
}
