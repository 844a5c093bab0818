//! Migrations: asked for, looked at, watched, cancelled.

use super::change::{Changed, answer, bounded};
use super::page::PageRequest;
use super::{AdminApi, names, views, watch};
use crate::driving::{fresh_migration, fresh_session};
use crate::now::wall_millis;
use crate::observed::Observed;
use migrations::clock::HybridTime;
use migrations::command::{Applied, Change, Start};
use migrations::id::{NodeId, TabletId};
use migrations::room::TooLittleRoom;
use migrations::stage::TransitionKind;
use migrations::topology::Topology;
use proto::admin::v1 as pb;
use proto::admin::v1::migration_service_server::MigrationService;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::collections::BTreeSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// What the four kinds of start have in common.
struct Asked<'a> {
    kind: TransitionKind,
    tablet: u64,
    from: Option<&'a str>,
    to: Option<&'a str>,
    note: &'a str,
}

/// The command that begins a transition, its names looked up in the newest state.
fn start(observed: &Observed, topology: &Topology, asked: &Asked<'_>) -> Result<Change, Status> {
    Ok(Change::Start(starting(observed, topology, asked)?))
}

fn starting(observed: &Observed, topology: &Topology, asked: &Asked<'_>) -> Result<Start, Status> {
    bounded("reason", asked.note)?;
    let named = |name: Option<&str>| name.map(|name| names::node(topology, name)).transpose();
    let (tablet, to) = (names::tablet(topology, asked.tablet)?, named(asked.to)?);
    if let Some(to) = to {
        takes_rows(observed, to)?;
        has_room(observed, topology, tablet, to)?;
    }
    let is_repair = asked.kind == TransitionKind::Repair;
    Ok(Start {
        migration: fresh_migration(),
        tablet,
        kind: asked.kind,
        from: named(asked.from)?,
        to,
        session: is_repair.then(fresh_session),
        proposed_promise: is_repair.then(|| HybridTime::from_millis(wall_millis())),
        note: asked.note.to_owned(),
    })
}

/// Refuses a node whose disk takes no more rows, by its own word.
fn takes_rows(observed: &Observed, to: NodeId) -> Result<(), Status> {
    let Some(trouble) = observed.disk_of(to) else { return Ok(()) };
    let reason = match trouble.reason {
        Reason::DiskFull => Reason::NodeFull,
        other => other,
    };
    Err(Refusal::new(reason, format!("its disk takes no more rows: {}", trouble.detail)).into())
}

/// Refuses a node that has too little room for a tablet beside what is on its way there, as far as
/// agents have said how much that is.
fn has_room(
    observed: &Observed,
    topology: &Topology,
    tablet: TabletId,
    to: NodeId,
) -> Result<(), Status> {
    let Err(little) = observed.rooms().check(topology, tablet, to) else { return Ok(()) };
    let TooLittleRoom { needed, room, kept } = little;
    let (tablet, node) = (views::tablet_shown(topology, tablet), views::node_name(topology, to));
    let message = format!(
        "{tablet} has {needed} bytes of rows, and {node} has room for {} more: for {room}, less \
         {kept} for moves under way to it; give its volume more room, or name a node with more: \
         palisade node list -o wide",
        room.saturating_sub(kept)
    );
    let refusal = Refusal::new(Reason::NodeFull, message).of_resource("node", node);
    let said = [("needed_bytes", needed), ("room_bytes", room), ("kept_bytes", kept)];
    let with = |refusal: Refusal, (name, bytes): (&str, u64)| refusal.with(name, bytes.to_string());
    Err(said.into_iter().fold(refusal, with).into())
}

/// The command that gives up the dead replicas of a tablet.
fn accept(
    observed: &Observed,
    topology: &Topology,
    request: &pb::AcceptDataLossRequest,
) -> Result<Change, Status> {
    let (from, to) = (request.from.as_str(), request.to.as_str());
    let (tablet, note) = (request.tablet, request.reason.as_str());
    bounded("reason", note)?;
    let begins = |kind, to| {
        let asked = Asked { kind, tablet, from: Some(from), to, note };
        starting(observed, topology, &asked).map(|start| Some(Box::new(start)))
    };
    let start = match (from.is_empty(), to.is_empty()) {
        (true, true) => None,
        (false, false) => begins(TransitionKind::Rebuild, Some(to))?,
        (false, true) => begins(TransitionKind::RemoveReplica, None)?,
        (true, false) => {
            let problem = "a rebuild needs the node whose replica is dead";
            return Err(Refusal::invalid_field("from", problem).into());
        }
    };
    let tablet = names::tablet(topology, tablet)?;
    let named = request.dead.iter().map(|name| names::node(topology, name));
    let named = named.collect::<Result<BTreeSet<_>, Status>>()?;
    let nodes = named.into_iter().collect();
    Ok(Change::AcceptLoss { tablet, start, nodes, note: note.to_owned() })
}

impl AdminApi {
    /// The migration that a change has begun or marked.
    fn begun(&self, changed: &Changed) -> Option<pb::Migration> {
        let Changed::Applied(Applied::Migration(id)) = changed else {
            return Some(pb::Migration::default());
        };
        self.group0.read(|machine| views::migration(&machine.topology, &self.observed, *id))
    }
}

#[tonic::async_trait]
impl MigrationService for AdminApi {
    type WatchMigrationsStream = ReceiverStream<Result<pb::WatchMigrationsResponse, Status>>;

    async fn migrate(
        &self,
        request: Request<pb::MigrateRequest>,
    ) -> Result<Response<pb::MigrateResponse>, Status> {
        let build = |topology: &Topology, request: &pb::MigrateRequest| {
            let (from, to) = (Some(request.from.as_str()), Some(request.to.as_str()));
            let (tablet, note) = (request.tablet, request.reason.as_str());
            start(
                &self.observed,
                topology,
                &Asked { kind: TransitionKind::Migrate, tablet, from, to, note },
            )
        };
        let changed = self.change(request.into_inner(), build).await?;
        Ok(answer(&changed, pb::MigrateResponse { migration: self.begun(&changed) }))
    }

    async fn add_replica(
        &self,
        request: Request<pb::AddReplicaRequest>,
    ) -> Result<Response<pb::AddReplicaResponse>, Status> {
        let build = |topology: &Topology, request: &pb::AddReplicaRequest| {
            let (from, to) = (None, Some(request.to.as_str()));
            let (tablet, note) = (request.tablet, request.reason.as_str());
            start(
                &self.observed,
                topology,
                &Asked { kind: TransitionKind::AddReplica, tablet, from, to, note },
            )
        };
        let changed = self.change(request.into_inner(), build).await?;
        Ok(answer(&changed, pb::AddReplicaResponse { migration: self.begun(&changed) }))
    }

    async fn remove_replica(
        &self,
        request: Request<pb::RemoveReplicaRequest>,
    ) -> Result<Response<pb::RemoveReplicaResponse>, Status> {
        let build = |topology: &Topology, request: &pb::RemoveReplicaRequest| {
            let (from, to) = (Some(request.from.as_str()), None);
            let (tablet, note) = (request.tablet, request.reason.as_str());
            start(
                &self.observed,
                topology,
                &Asked { kind: TransitionKind::RemoveReplica, tablet, from, to, note },
            )
        };
        let changed = self.change(request.into_inner(), build).await?;
        Ok(answer(&changed, pb::RemoveReplicaResponse { migration: self.begun(&changed) }))
    }

    async fn rebuild_replica(
        &self,
        request: Request<pb::RebuildReplicaRequest>,
    ) -> Result<Response<pb::RebuildReplicaResponse>, Status> {
        let build = |topology: &Topology, request: &pb::RebuildReplicaRequest| {
            let (from, to) = (Some(request.from.as_str()), Some(request.to.as_str()));
            let (tablet, note) = (request.tablet, request.reason.as_str());
            start(
                &self.observed,
                topology,
                &Asked { kind: TransitionKind::Rebuild, tablet, from, to, note },
            )
        };
        let changed = self.change(request.into_inner(), build).await?;
        Ok(answer(&changed, pb::RebuildReplicaResponse { migration: self.begun(&changed) }))
    }

    async fn accept_data_loss(
        &self,
        request: Request<pb::AcceptDataLossRequest>,
    ) -> Result<Response<pb::AcceptDataLossResponse>, Status> {
        let request = request.into_inner();
        let (tablet, reason) = (request.tablet, request.reason.clone());
        let build = |topology: &Topology, request: &pb::AcceptDataLossRequest| {
            accept(&self.observed, topology, request)
        };
        let changed = self.change(request, build).await?;
        let migration = self.begun(&changed);
        if let (Changed::Applied(_), Some(migration)) = (&changed, &migration) {
            tracing::warn!(audit = true, tablet, name = migration.tablet_name, reason,
                migration = migration.id, given_up = ?migration.given_up,
                "the loss of a tablet's data was accepted");
        }
        Ok(answer(&changed, pb::AcceptDataLossResponse { migration }))
    }

    async fn repair_tablet(
        &self,
        request: Request<pb::RepairTabletRequest>,
    ) -> Result<Response<pb::RepairTabletResponse>, Status> {
        let build = |topology: &Topology, request: &pb::RepairTabletRequest| {
            let (tablet, note) = (request.tablet, request.reason.as_str());
            let kind = TransitionKind::Repair;
            start(&self.observed, topology, &Asked { kind, tablet, from: None, to: None, note })
        };
        let changed = self.change(request.into_inner(), build).await?;
        Ok(answer(&changed, pb::RepairTabletResponse { migration: self.begun(&changed) }))
    }

    async fn list_migrations(
        &self,
        request: Request<pb::ListMigrationsRequest>,
    ) -> Result<Response<pb::ListMigrationsResponse>, Status> {
        let pb::ListMigrationsRequest { running_only, page_size, page_token } =
            request.into_inner();
        let page = PageRequest::new(page_size, page_token);
        let after = page.after_number()?;
        let (migrations, next_page_token) = self
            .read_leading(|topology| {
                let mut seen = BTreeSet::new();
                let ids = topology.in_transition().filter(|id| {
                    let transition = topology.transition(*id);
                    transition.is_some_and(|transition| seen.insert(transition.record.migration))
                });
                let running: Vec<_> = ids.collect();
                let running = running.iter();
                let running =
                    running.filter_map(|id| views::running(topology, &self.observed, *id));
                let finished = topology.state().finished.iter().rev();
                let finished = finished.filter(|_| !running_only);
                let finished = finished.map(|over| views::finished(topology, over));
                // Numbered by their place: what ends between two pages may be given twice.
                page.cut((1..).zip(running.chain(finished)).skip(after as usize))
            })
            .await?;
        Ok(Response::new(pb::ListMigrationsResponse { migrations, next_page_token }))
    }

    async fn get_migration(
        &self,
        request: Request<pb::GetMigrationRequest>,
    ) -> Result<Response<pb::GetMigrationResponse>, Status> {
        let pb::GetMigrationRequest { id } = request.into_inner();
        let migration = self
            .read_leading(|topology| {
                let found = names::migration(topology, &id)?;
                let shown = views::migration(topology, &self.observed, found);
                shown.ok_or_else(|| names::not_found("migration", &id))
            })
            .await??;
        Ok(Response::new(pb::GetMigrationResponse { migration: Some(migration) }))
    }

    async fn cancel_migration(
        &self,
        request: Request<pb::CancelMigrationRequest>,
    ) -> Result<Response<pb::CancelMigrationResponse>, Status> {
        let request = request.into_inner();
        let id = request.id.clone();
        let build = |topology: &Topology, request: &pb::CancelMigrationRequest| {
            Ok(Change::Cancel { migration: names::migration(topology, &request.id)? })
        };
        let changed = self.change(request, build).await?;
        let migration = self.group0.read(|machine| {
            let found = names::migration(&machine.topology, &id).ok()?;
            views::migration(&machine.topology, &self.observed, found)
        });
        Ok(answer(&changed, pb::CancelMigrationResponse { migration }))
    }

    async fn watch_migrations(
        &self,
        request: Request<pb::WatchMigrationsRequest>,
    ) -> Result<Response<Self::WatchMigrationsStream>, Status> {
        watch::migrations(self, request.into_inner()).await.map(Response::new)
    }
}
