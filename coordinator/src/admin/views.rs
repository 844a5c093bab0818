//! The topology as people see it: names instead of ids, all about a thing in one message.

use crate::group0::{Standing, is_too_far};
use crate::now::wall_millis;
use crate::observed::{DiskTrouble, Observed, TabletView, Unfit};
use migrations::clock::HybridTime;
use migrations::evidence::StreamReport;
use migrations::id::{MigrationId, NodeId, TableId, TabletId};
use migrations::replica_set::ReplicaSet;
use migrations::room::Rooms;
use migrations::stage::TransitionKind;
use migrations::switch::Origin;
use migrations::tablet::{
    AcceptedLoss, EndReason, Ending, FinishedMigration, StageRecord, Table, Transition,
};
use migrations::topology::Topology;
use proto::admin::v1 as pb;
use proto::types::v1 as types;
use std::time::Instant;

/// A node's name; its number where it is gone.
pub(super) fn node_name(topology: &Topology, id: NodeId) -> String {
    topology.node(id).map_or_else(|| format!("#{id}"), |node| node.name.clone())
}

fn names(topology: &Topology, nodes: impl Iterator<Item = NodeId>) -> Vec<String> {
    nodes.map(|id| node_name(topology, id)).collect()
}

fn tablet_name(table: &str, id: TabletId) -> String {
    format!("{table}/{id}")
}

/// A table's name; nothing where it is gone.
pub(super) fn table_name(topology: &Topology, table: TableId) -> String {
    topology.state().tables.get(&table).map_or_else(String::new, |table| table.name.clone())
}

/// A tablet as TABLE/NUMBER.
pub(super) fn tablet_shown(topology: &Topology, id: TabletId) -> String {
    let table = topology.tablet(id).map(|tablet| table_name(topology, tablet.table));
    tablet_name(&table.unwrap_or_default(), id)
}

/// The pause, if transitions are paused.
pub(super) fn pause(topology: &Topology) -> Option<pb::Pause> {
    let pause = topology.state().pause.as_ref()?;
    Some(pb::Pause { reason: pause.reason.clone(), since_ms: pause.since_ms })
}

pub(super) fn table(id: TableId, table: &Table) -> pb::Table {
    pb::Table {
        id: id.as_u64(),
        name: table.name.clone(),
        partitioning: types::Partitioning::from(table.partitioning).into(),
        replication_factor: table.replication_factor,
        tablet_count: u32::try_from(table.tablets.len()).unwrap_or(u32::MAX),
        dropping: table.is_dropping,
    }
}

pub(super) fn node(
    topology: &Topology,
    id: NodeId,
    is_attached: bool,
    replica_count: u32,
    unfit: Option<Unfit>,
    disk: Option<&DiskTrouble>,
    (room_bytes, room_kept_bytes): (Option<u64>, u64),
) -> Option<pb::Node> {
    let node = topology.node(id)?;
    let state = if node.is_fenced { pb::NodeState::Fenced } else { pb::NodeState::Admitted };
    Some(pb::Node {
        id: id.as_u64(),
        name: node.name.clone(),
        data_address: node.location.data_address.clone(),
        stream_address: node.location.stream_address.clone(),
        rack: node.location.rack.clone(),
        incarnation: Some(node.incarnation.0.into()),
        state: state.into(),
        attached: is_attached,
        draining: node.drain.is_some(),
        drain_reason: node.drain.as_ref().map_or_else(String::new, |drain| drain.reason.clone()),
        replica_count,
        leaving: node.is_leaving,
        repair_owed: node.is_repair_owed,
        unfit: unfit.map_or_else(String::new, |unfit| unfit.why.to_string()),
        disk_trouble: disk
            .map_or_else(String::new, |disk| format!("{}: {}", disk.reason, disk.detail)),
        disk_trouble_ms: disk.map_or(0, |disk| millis(disk.since.elapsed())),
        feature_level: node.feature_level,
        room_bytes,
        room_kept_bytes,
        unfit_ms: unfit.map_or(0, |unfit| millis(unfit.since.elapsed())),
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn tablet(topology: &Topology, rooms: &Rooms, id: TabletId) -> Option<pb::Tablet> {
    let found = topology.tablet(id)?;
    let record = topology.record(id)?;
    let table = table_name(topology, found.table);
    let replica = |node: NodeId| {
        let (old, next) = (record.replicas.on(node), record.next().on(node));
        let any = old.or(next);
        pb::TabletReplica {
            node: node_name(topology, node),
            copy: any.map(|replica| replica.copy.0.into()),
            lost: any.is_some_and(|replica| replica.lost),
            old: old.is_some(),
            next: next.is_some(),
            bytes: any.and_then(|replica| rooms.copy(node, id, replica.copy)),
        }
    };
    let transition = record.transition.as_ref();
    let stage = transition.map(|transition| types::Stage::from(transition.stage));
    Some(pb::Tablet {
        id: id.as_u64(),
        name: tablet_name(&table, id),
        table,
        range: Some((&record.range).into()),
        version: Some(record.version.into()),
        replicas: record.both().into_iter().map(replica).collect(),
        stage: stage.unwrap_or_default().into(),
        migration: transition.map_or_else(String::new, |t| t.migration.to_string()),
        repaired_to_ms: found.promise.max(HybridTime::ZERO).millis(),
        digests: Vec::new(),
    })
}

/// A migration that runs, by one of its tablets.
pub(super) fn running(
    topology: &Topology,
    observed: &Observed,
    id: TabletId,
) -> Option<pb::Migration> {
    let tablet = topology.tablet(id)?;
    let transition = tablet.transition.as_deref()?;
    let record = &transition.record;
    let view = observed.of(id).filter(|view| view.version == tablet.version);
    let waiting_for = view.iter().flat_map(|view| view.waiting_for.iter().copied());
    let mut shown = shape(topology, record.kind, id, &tablet.replicas, &record.next);
    shown.id = record.migration.to_string();
    shown.tablet_name = tablet_name(&table_name(topology, tablet.table), id);
    shown.state = pb::MigrationState::Running.into();
    shown.stage = types::Stage::from(record.stage).into();
    shown.attempt = record.attempt;
    shown.session = record.session.map_or_else(String::new, |session| session.to_string());
    shown.streams = streams(topology, transition, view.as_ref());
    shown.stages = stages(topology, &transition.stages);
    shown.reason = reason(topology, transition.reason);
    shown.cancelled = transition.is_cancelled;
    shown.waiting_for = names(topology, waiting_for);
    let held = view.map(|view| holders(topology, id, &view, in_stage_ms(transition)));
    // Who is silent is among those that it waits for.
    let held = held.into_iter().flatten().filter(|held| held.holder.is_some());
    shown.holders = held.collect();
    shown.note = transition.note.clone();
    shown.by_balancer = transition.origin == Origin::Balancer;
    shown.started_ms = transition.started_ms;
    give_up(topology, &mut shown, transition.accepted_loss.as_ref());
    shown.version = Some(topology.version().into());
    Some(shown)
}

/// A migration that is over.
pub(super) fn finished(topology: &Topology, over: &FinishedMigration) -> pb::Migration {
    let state = match over.ending {
        Ending::Done => pb::MigrationState::Done,
        Ending::Reverted => pb::MigrationState::Reverted,
        Ending::Cancelled => pb::MigrationState::Cancelled,
    };
    let mut shown = shape(topology, over.kind, over.tablet, &over.replicas, &over.next);
    shown.id = over.migration.to_string();
    shown.tablet_name = tablet_name(&over.table_name, over.tablet);
    shown.state = state.into();
    shown.attempt = over.attempt;
    shown.stages = stages(topology, &over.stages);
    shown.reason = reason(topology, over.reason);
    shown.cancelled = over.ending == Ending::Cancelled;
    shown.note = over.note.clone();
    shown.by_balancer = over.origin == Origin::Balancer;
    shown.started_ms = over.started_ms;
    shown.ended_ms = over.ended_ms;
    give_up(topology, &mut shown, over.accepted_loss.as_ref());
    shown.version = Some(topology.version().into());
    shown
}

/// Says which replicas were given up for the sake of a migration.
fn give_up(topology: &Topology, shown: &mut pb::Migration, loss: Option<&AcceptedLoss>) {
    let Some(loss) = loss else { return };
    shown.given_up = names(topology, loss.nodes.iter().copied());
    shown.given_up_reason = loss.note.clone();
}

/// A migration, running or remembered.
pub(super) fn migration(
    topology: &Topology,
    observed: &Observed,
    id: MigrationId,
) -> Option<pb::Migration> {
    if let Some(tablet) = topology.tablets_of(id).next() {
        return running(topology, observed, tablet);
    }
    let over = topology.state().finished.iter().rev().find(|over| over.migration == id);
    over.map(|over| finished(topology, over))
}

/// What running and finished ones have in common.
fn shape(
    topology: &Topology,
    kind: TransitionKind,
    tablet: TabletId,
    old: &ReplicaSet,
    next: &ReplicaSet,
) -> pb::Migration {
    let named =
        |node: Option<NodeId>| node.map_or_else(String::new, |node| node_name(topology, node));
    pb::Migration {
        kind: types::TransitionKind::from(kind).into(),
        tablet: tablet.as_u64(),
        from: named(old.minus(next).next().map(|replica| replica.node)),
        to: named(next.minus(old).next().map(|replica| replica.node)),
        before: names(topology, old.nodes()),
        after: names(topology, next.nodes()),
        ..pb::Migration::default()
    }
}

fn streams(
    topology: &Topology,
    transition: &Transition,
    view: Option<&TabletView>,
) -> Vec<pb::StreamProgress> {
    let pairs = transition.record.streams.iter();
    let stream = |pair: &migrations::record::StreamPair| {
        let progress = view.and_then(|view| view.progress.get(pair)).copied();
        let per_second = progress.map_or(0, |progress| {
            let seconds = Instant::now().duration_since(progress.began).as_secs_f64().max(0.001);
            (progress.bytes as f64 / seconds) as u64
        });
        pb::StreamProgress {
            source: node_name(topology, pair.source),
            receiver: node_name(topology, pair.receiver),
            rows: progress.map_or(0, |progress| progress.rows),
            bytes: progress.map_or(0, |progress| progress.bytes),
            bytes_per_second: per_second,
            paused: progress.is_some_and(|progress| progress.is_paused),
            sum: String::new(),
            bytes_total: progress.map_or(0, |progress| progress.bytes_total),
        }
    };
    pairs.map(stream).collect()
}

fn stages(topology: &Topology, stages: &[StageRecord]) -> Vec<pb::StageHistory> {
    let stream = |report: &StreamReport| pb::StreamProgress {
        source: node_name(topology, report.pair.source),
        receiver: node_name(topology, report.pair.receiver),
        rows: report.rows,
        bytes: report.bytes,
        bytes_per_second: 0,
        paused: false,
        sum: format!("{:032x}", report.stored.0),
        bytes_total: report.bytes,
    };
    let said = |(node, at_ms): &(NodeId, u64)| {
        let (node, at_ms) = (node_name(topology, *node), *at_ms);
        pb::BarrierAcknowledgement { node, at_ms }
    };
    let stage = |stage: &StageRecord| pb::StageHistory {
        stage: types::Stage::from(stage.stage).into(),
        version: Some(stage.version.into()),
        attempt: stage.attempt,
        entered_ms: stage.entered_ms,
        acknowledged: stage.acknowledged.iter().map(said).collect(),
        streams: stage.streams.iter().map(stream).collect(),
        failure: stage.failure.map_or_else(String::new, |failure| failure.name().to_owned()),
    };
    stages.iter().map(stage).collect()
}

/// Who holds up a tablet that waits for so long: what each node that it waits for says, or
/// that it says nothing.
pub(super) fn holders(
    topology: &Topology,
    id: TabletId,
    view: &TabletView,
    waiting_ms: u64,
) -> Vec<pb::BarrierHolder> {
    let shown = |node: &NodeId, holder| pb::BarrierHolder {
        node: node_name(topology, *node),
        holder,
        tablet_name: tablet_shown(topology, id),
        waiting_ms,
    };
    let of = |node| match view.holders.get(node).map_or(&[][..], Vec::as_slice) {
        [] => vec![shown(node, None)],
        holders => holders.iter().map(|holder| shown(node, Some(holder.clone()))).collect(),
    };
    view.waiting_for.iter().flat_map(of).collect()
}

/// For how long a transition has been in its stage. All that it waits for were asked when it came
/// there, by whichever leader.
pub(super) fn in_stage_ms(transition: &Transition) -> u64 {
    let entered_ms = transition.stages.last().map(|stage| stage.entered_ms);
    entered_ms.map_or(0, |entered| wall_millis().saturating_sub(entered))
}

fn reason(topology: &Topology, reason: Option<EndReason>) -> String {
    match reason {
        None => String::new(),
        Some(EndReason::Cancelled) => "cancelled".to_owned(),
        Some(EndReason::NodeFenced(node)) => {
            format!("NODE_FENCED: {}", node_name(topology, node))
        }
        Some(EndReason::ReplicaLost(node)) => {
            format!("DATA_DAMAGED: the copy on {} is lost", node_name(topology, node))
        }
        Some(EndReason::NoLiveMajority) => "the new set has no live majority".to_owned(),
        Some(EndReason::NoSources) => "the live replicas may miss acknowledged writes".to_owned(),
        Some(EndReason::Failed(failure)) => failure.name().to_owned(),
        Some(EndReason::TableDropped) => "the table was dropped".to_owned(),
    }
}

/// The members of group0, in order of name.
pub(super) fn coordinators(standings: Vec<Standing>) -> Vec<pb::Coordinator> {
    let newest = standings.iter().filter_map(|one| one.matched).max();
    let mut coordinators: Vec<pb::Coordinator> = standings
        .into_iter()
        .map(|one| {
            let Standing { raft_id, member, voter, leads, matched, silent, .. } = one;
            pb::Coordinator {
                raft_id,
                state_differs_at: one.state_differs_at,
                clock_ahead_ms: one.clock_ahead_ms.filter(|ahead| is_too_far(*ahead)),
                name: member.name,
                admin_address: member.admin_address,
                raft_address: member.raft_address,
                agents_address: member.agents_address,
                leader: leads,
                voter,
                matched_index: matched.unwrap_or_default(),
                lag: matched.and_then(|matched| Some(newest?.saturating_sub(matched))),
                silent_ms: silent
                    .map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            }
        })
        .collect();
    coordinators.sort_by(|a, b| a.name.cmp(&b.name));
    coordinators
}
