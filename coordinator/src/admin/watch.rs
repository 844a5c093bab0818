//! Watches: all that is asked for first, then each change, resumable at a version.

use super::{AdminApi, names, views};
use crate::limits::{RECORDS_PER_MESSAGE, WATCH_HEARTBEAT, WATCH_PROGRESS};
use crate::machine::Machine;
use crate::observed::Observed;
use crate::status::{Port, read_error, shutting_down};
use crate::wait::Wait;
use migrations::id::{MigrationId, TabletId};
use migrations::state::FINISHED_MIGRATIONS;
use migrations::topology::Topology;
use migrations::version::TopologyVersion;
use process::wait::bounded;
use proto::admin::v1 as pb;
use proto::admin::v1::topology_service_server::TopologyService;
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::collections::BTreeSet;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Messages that wait for a slow watcher; it is then behind, and reads the rest from the changes.
const MESSAGES_QUEUED: usize = 16;

type Sender<T> = mpsc::Sender<Result<T, Status>>;
type Receiver<T> = ReceiverStream<Result<T, Status>>;

/// Above which version a watch begins; `None`: with everything.
fn after(
    after: Option<proto::types::v1::TopologyVersion>,
) -> Result<Option<TopologyVersion>, Status> {
    Ok(after.map(|after| convert::version("after", Some(after))).transpose()?)
}

fn compacted() -> Status {
    Refusal::new(Reason::Compacted, "what has changed since that version is no longer known").into()
}

impl AdminApi {
    /// A watch that begins with everything begins with the newest. A watcher may come from a
    /// coordinator that is ahead of this one: it waits until this one is as far. What is ahead of
    /// the newest was never given out in this history.
    async fn reach(&self, after: Option<TopologyVersion>) -> Result<(), Status> {
        let Some(after) = after else { return self.in_touch().await };
        let is_behind = |topology: &Topology| after > topology.version();
        if !self.group0.read(|machine| is_behind(&machine.topology)) {
            return Ok(());
        }
        match self.read(is_behind).await? {
            true => Err(compacted()),
            false => Ok(()),
        }
    }

    /// A watch says that it is alive only while this coordinator hears of what is committed: one
    /// that is cut off would keep a watcher for ever from what has happened elsewhere.
    async fn in_touch(&self) -> Result<(), Status> {
        self.group0.catch_up().await.map_err(|error| read_error(&error, Port::Admin))
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = std::sync::Arc::clone(&self.watches).try_acquire_owned();
        place.map_err(|_| Refusal::new(Reason::Overloaded, "too many watches are open").into())
    }
}

/// Begins a watch of migrations.
pub(super) async fn migrations(
    api: &AdminApi,
    request: pb::WatchMigrationsRequest,
) -> Result<Receiver<pb::WatchMigrationsResponse>, Status> {
    let pb::WatchMigrationsRequest { id, after: from } = request;
    let only = match id.is_empty() {
        true => None,
        // One that lags behind may not have heard of it yet.
        false => match api.group0.read(|machine| known(api, &machine.topology, &id)) {
            Ok(known) => Some(known),
            Err(_) => Some(api.read(|topology| known(api, topology, &id)).await??),
        },
    };
    let after = after(from)?;
    let place = api.place()?;
    let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED);
    let api = api.clone();
    tokio::spawn(async move {
        let _place = place;
        if let Err(status) = watch_migrations(&api, only, after, &sender).await {
            let said = sender.send(Err(status));
            let _ = bounded(Wait::Watch, Wait::Watch.bound(), said).await;
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// A migration that runs or is remembered: one that is neither would never be heard of.
fn known(api: &AdminApi, topology: &Topology, id: &str) -> Result<MigrationId, Status> {
    let found = names::migration(topology, id)?;
    let shown = views::migration(topology, &api.observed, found);
    shown.map(|_| found).ok_or_else(|| names::not_found("migration", id))
}

async fn watch_migrations(
    api: &AdminApi,
    only: Option<MigrationId>,
    after: Option<TopologyVersion>,
    sender: &Sender<pb::WatchMigrationsResponse>,
) -> Result<(), Status> {
    api.reach(after).await?;
    let mut applied = api.group0.applied();
    let mut seen = after;
    let now = Instant::now();
    let (mut last_said, mut last_progress, mut in_touch) = (now, now, now);
    loop {
        if in_touch.elapsed() >= WATCH_HEARTBEAT {
            api.in_touch().await?;
            in_touch = Instant::now();
        }
        applied.borrow_and_update();
        let is_first = seen.is_none();
        let is_due = last_progress.elapsed() >= WATCH_PROGRESS;
        let (version, migrations) = api.group0.read(|machine| {
            let looked = news(&api.observed, machine, seen, only, is_due);
            looked.map(|news| (machine.topology.version(), news))
        })?;
        seen = Some(version);
        if is_due {
            last_progress = Instant::now();
        }
        if is_first || !migrations.is_empty() || last_said.elapsed() >= WATCH_HEARTBEAT {
            last_said = Instant::now();
            if !say(sender, message(version, migrations)).await {
                return Ok(());
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() {
                return Ok(());
            },
            () = tokio::time::sleep(WATCH_PROGRESS) => {}
            () = sender.closed() => return Ok(()),
            () = api.stop.cancelled() => return Err(shutting_down()),
        }
    }
}

fn message(
    version: TopologyVersion,
    migrations: Vec<pb::Migration>,
) -> pb::WatchMigrationsResponse {
    pb::WatchMigrationsResponse { migrations, version: Some(version.into()) }
}

/// Says something; whether the watcher is still there and takes it.
async fn say<T>(sender: &Sender<T>, message: T) -> bool {
    let taken = bounded(Wait::Watch, Wait::Watch.bound(), sender.send(Ok(message))).await;
    matches!(taken, Ok(Ok(())))
}

fn running(
    observed: &Observed,
    topology: &Topology,
    only: Option<MigrationId>,
) -> Vec<pb::Migration> {
    let wanted = |id: &TabletId| {
        let running = topology.transition(*id).map(|transition| transition.record.migration);
        running.is_some_and(|running| only.is_none_or(|only| only == running))
    };
    let ids = topology.in_transition().filter(wanted);
    ids.filter_map(|id| views::running(topology, observed, id)).collect()
}

/// What a watcher hears of that has seen this version: all that runs, if it has seen none; else
/// what has changed above it, and, where its progress is due, all the rest that runs.
fn news(
    observed: &Observed,
    machine: &Machine,
    seen: Option<TopologyVersion>,
    only: Option<MigrationId>,
    is_due: bool,
) -> Result<Vec<pb::Migration>, Status> {
    let topology = &machine.topology;
    let one = only.map(|id| {
        // What is watched has ended, and so many others since that it is no longer kept.
        let gone = || names::not_found("migration", &id.to_string());
        views::migration(topology, observed, id).ok_or_else(gone)
    });
    let one = one.transpose()?;
    let Some(seen) = seen else {
        return Ok(match only {
            Some(_) => one.into_iter().collect(),
            None => running(observed, topology, None),
        });
    };
    let mut all = changed_migrations(observed, machine, seen, only)?;
    if is_due {
        let rest = running(observed, topology, only);
        let is_new = |one: &pb::Migration| all.iter().all(|known| known.id != one.id);
        let rest: Vec<pb::Migration> = rest.into_iter().filter(is_new).collect();
        all.extend(rest);
    }
    Ok(all)
}

/// The migrations that have changed above a version: running ones as they are, and those that
/// have ended since.
fn changed_migrations(
    observed: &Observed,
    machine: &Machine,
    seen: TopologyVersion,
    only: Option<MigrationId>,
) -> Result<Vec<pb::Migration>, Status> {
    let topology = &machine.topology;
    let changes = machine.changes_since(seen).ok_or_else(compacted)?;
    let finished = &topology.state().finished;
    // Older ones that ended above it may have been given up for these.
    let is_newer = finished.front().is_some_and(|oldest| oldest.version > seen);
    if only.is_none() && is_newer && finished.len() >= FINISHED_MIGRATIONS {
        return Err(compacted());
    }
    let touched: BTreeSet<TabletId> =
        changes.iter().flat_map(|change| change.touched.iter().copied()).collect();
    let is_wanted = |id: MigrationId| only.is_none_or(|only| only == id);
    // A drop is one migration of many tablets: over when the last of them is.
    let is_over = |id: MigrationId| is_wanted(id) && topology.tablets_of(id).next().is_none();
    let ended = finished.iter().rev();
    let ended = ended.take_while(|over| over.version > seen).filter(|o| is_over(o.migration));
    let mut all: Vec<pb::Migration> = ended.map(|over| views::finished(topology, over)).collect();
    all.reverse();
    let is_running = |id: &&TabletId| {
        let running = topology.transition(**id).map(|transition| transition.record.migration);
        running.is_some_and(is_wanted)
    };
    let running = touched.iter().filter(is_running);
    all.extend(running.filter_map(|id| views::running(topology, observed, *id)));
    Ok(all)
}

#[tonic::async_trait]
impl TopologyService for AdminApi {
    type WatchTopologyStream = Receiver<pb::WatchTopologyResponse>;

    async fn watch_topology(
        &self,
        request: Request<pb::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let after = after(request.into_inner().after)?;
        let place = self.place()?;
        let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED);
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(status) = watch_topology(&api, after, &sender).await {
                let said = sender.send(Err(status));
                let _ = bounded(Wait::Watch, Wait::Watch.bound(), said).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn watch_topology(
    api: &AdminApi,
    after: Option<TopologyVersion>,
    sender: &Sender<pb::WatchTopologyResponse>,
) -> Result<(), Status> {
    match api.reach(after).await {
        // Who begins is told what is known here: a map that is too old is found out by the first
        // that is asked for rows, and without a quorum there is no other.
        Err(_) if after.is_none() => {}
        reached => reached?,
    }
    let mut applied = api.group0.applied();
    let mut seen = after;
    loop {
        applied.borrow_and_update();
        let coordinators = api.group0.addresses(|member| &member.admin_address);
        let part = api.group0.read(|machine| part_since(api, machine, seen, coordinators))?;
        let version = part.version;
        let is_newer = seen != Some(version);
        seen = Some(version);
        if is_newer {
            for message in part.into_messages() {
                if !say(sender, message).await {
                    return Ok(());
                }
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() {
                return Ok(());
            },
            () = tokio::time::sleep(WATCH_HEARTBEAT) => {
                api.in_touch().await?;
                let alive = pb::WatchTopologyResponse {
                    version: Some(version.into()),
                    last: true,
                    coordinators: api.group0.addresses(|member| &member.admin_address),
                    ..Default::default()
                };
                if !say(sender, alive).await {
                    return Ok(());
                }
            }
            () = sender.closed() => return Ok(()),
            () = api.stop.cancelled() => return Err(shutting_down()),
        }
    }
}

/// What brings a watcher from one version to the newest.
struct Part {
    version: TopologyVersion,
    head: pb::WatchTopologyResponse,
    tablets: Vec<proto::types::v1::TabletRecord>,
}

fn part_since(
    api: &AdminApi,
    machine: &Machine,
    seen: Option<TopologyVersion>,
    coordinators: Vec<String>,
) -> Result<Part, Status> {
    let topology = &machine.topology;
    let state = topology.state();
    let version = topology.version();
    let (touched, is_wider) = match seen {
        None => (state.tablets.keys().copied().collect(), true),
        Some(seen) => {
            let changes = machine.changes_since(seen).ok_or_else(compacted)?;
            let touched: BTreeSet<TabletId> =
                changes.iter().flat_map(|change| change.touched.iter().copied()).collect();
            (touched, changes.iter().any(|change| change.is_wider))
        }
    };
    let records = touched.iter().filter_map(|id| topology.record(*id));
    let tablets = records.map(|record| (&record).into()).collect();
    let gone = touched.iter().filter(|id| topology.tablet(**id).is_none());
    let tables = state.tables.iter().map(|(id, table)| views::table(*id, table));
    let head = pb::WatchTopologyResponse {
        cluster_id: state.cluster.map(|id| convert::bytes(id.as_uuid())).unwrap_or_default(),
        version: Some(version.into()),
        snapshot: seen.is_none(),
        gone: gone.map(|id| id.as_u64()).collect(),
        tables: if is_wider { tables.collect() } else { Vec::new() },
        nodes: if is_wider { api.nodes(topology) } else { Vec::new() },
        wider: is_wider,
        settings: Some((&state.settings).into()),
        coordinators: if is_wider { coordinators } else { Vec::new() },
        ..Default::default()
    };
    Ok(Part { version, head, tablets })
}

impl Part {
    /// In messages of a bounded size; the version is reached with the last.
    fn into_messages(self) -> Vec<pb::WatchTopologyResponse> {
        let Part { version, head, tablets } = self;
        let mut messages = vec![head];
        for records in tablets.chunks(RECORDS_PER_MESSAGE) {
            messages.push(pb::WatchTopologyResponse {
                version: Some(version.into()),
                tablets: records.to_vec(),
                ..Default::default()
            });
        }
        if let Some(last) = messages.last_mut() {
            last.last = true;
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::id::TableId;
    use migrations::replica_set::ReplicaSet;
    use migrations::stage::TransitionKind;
    use migrations::state::State;
    use migrations::switch::Origin;
    use migrations::tablet::{Ending, FinishedMigration};
    use uuid::Uuid;

    fn at(counter: u64) -> TopologyVersion {
        TopologyVersion::from_parts(1, counter)
    }

    fn id(counter: u64) -> MigrationId {
        MigrationId::from_uuid(Uuid::from_u128(u128::from(counter))).expect("not nil")
    }

    fn over(counter: u64) -> FinishedMigration {
        FinishedMigration {
            migration: id(counter),
            kind: TransitionKind::Repair,
            table: TableId::from_u64(1).expect("not 0"),
            table_name: "orders".to_owned(),
            tablet: TabletId::from_u64(1).expect("not 0"),
            replicas: ReplicaSet::default(),
            next: ReplicaSet::default(),
            ending: Ending::Done,
            reason: None,
            attempt: 1,
            ended_ms: 0,
            version: at(counter),
            note: String::new(),
            origin: Origin::Request,
            started_ms: 0,
            stages: Vec::new(),
            accepted_loss: None,
        }
    }

    /// A watcher that was elsewhere while more ended than are kept is told so; one that waits for
    /// a migration that is no longer kept hears that, and does not wait for ever.
    #[test]
    fn ends_that_are_no_longer_kept_are_not_passed_over() {
        let kept = u64::try_from(FINISHED_MIGRATIONS).expect("small");
        let (oldest, newest) = (10, 10 + kept - 1);
        let finished = (oldest..=newest).map(over).collect();
        let state = State { version: at(newest), finished, ..State::default() };
        let topology = Topology::from_state(state).expect("it holds together");
        let mut machine = Machine::default();
        machine.topology = topology;
        let observed = Observed::default();
        let look = |seen, only| news(&observed, &machine, Some(seen), only, false);
        let reason = |told: Result<Vec<pb::Migration>, Status>| {
            Refusal::from_status(&told.expect_err("refused")).expect("ours").reason
        };
        assert_eq!(reason(look(at(oldest - 1), None)), Reason::Compacted);
        assert_eq!(look(at(oldest), None).expect("the rest").len(), FINISHED_MIGRATIONS - 1);
        assert_eq!(reason(look(at(newest), Some(id(oldest - 1)))), Reason::NotFound);
        assert_eq!(look(at(oldest - 1), Some(id(oldest))).expect("it is kept").len(), 1);
    }
}
