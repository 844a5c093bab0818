//! Watching migrations, and waiting for one of them.

use crate::admin::AdminClient;
use crate::error::ClientError;
use crate::watch::{Subscription, Watch};
use migrations::version::TopologyVersion;
use proto::admin::v1 as pb;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::types::v1::Stage;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// That it has ended, however.
    End,
    /// That it has reached this stage, or has ended.
    Stage(Stage),
}

impl WaitFor {
    /// Whether a migration is there.
    pub fn is_reached(self, migration: &pb::Migration) -> bool {
        let has_ended = migration.state() != pb::MigrationState::Running;
        match self {
            WaitFor::End => has_ended,
            WaitFor::Stage(stage) => {
                let was_there = |past: &pb::StageHistory| past.stage() == stage;
                has_ended || migration.stage() == stage || migration.stages.iter().any(was_there)
            }
        }
    }
}

/// Migrations as they change.
pub struct MigrationWatch {
    watch: Watch<Migrations>,
    patience: std::time::Duration,
}

struct Migrations {
    id: String,
}

impl Subscription for Migrations {
    type Message = pb::WatchMigrationsResponse;

    async fn open(
        &self,
        channel: Channel,
        after: Option<TopologyVersion>,
    ) -> Result<Response<Streaming<Self::Message>>, Status> {
        let after = after.map(Into::into);
        let request = pb::WatchMigrationsRequest { id: self.id.clone(), after };
        MigrationServiceClient::new(channel).watch_migrations(tonic::Request::new(request)).await
    }

    fn resume_at(&self, message: &Self::Message) -> Option<TopologyVersion> {
        proto::convert::version("version", message.version).ok()
    }
}

impl MigrationWatch {
    /// Migrations that have changed, each as it is now; empty for a sign of life. Reconnects and
    /// resumes by itself; fails once that has not helped for the client's deadline. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<pb::Migration>, ClientError> {
        Ok(self.watch.next(self.patience).await?.migrations)
    }
}

impl AdminClient {
    /// Migrations as they change: one, or all if `id` is empty; after a version, or all that
    /// there is first.
    pub fn watch_migrations(&self, id: &str, after: Option<TopologyVersion>) -> MigrationWatch {
        let subscription = Migrations { id: id.to_owned() };
        let watch = Watch::new(self.leader.clone(), subscription, after);
        MigrationWatch { watch, patience: self.leader.options.deadline }
    }

    /// Waits for a migration; `on_change` sees it each time something about it is new. Cancel
    /// safe: the migration doesn't care who waits.
    ///
    /// # Errors
    /// `NOT_FOUND` at once if there is none of this id, or it is no longer remembered.
    pub async fn wait_migration(
        &self,
        id: &str,
        wait_for: WaitFor,
        mut on_change: impl FnMut(&pb::Migration),
    ) -> Result<pb::Migration, ClientError> {
        let now = self.migration(id).await?;
        on_change(&now);
        if wait_for.is_reached(&now) {
            return Ok(now);
        }
        let mut watch = self.watch_migrations(&now.id, None);
        loop {
            for migration in watch.next().await? {
                on_change(&migration);
                if wait_for.is_reached(&migration) {
                    return Ok(migration);
                }
            }
        }
    }
}

/// Topology subscriptions are the router's; they share the rest.
pub(crate) struct Topology;

impl Subscription for Topology {
    type Message = pb::WatchTopologyResponse;

    async fn open(
        &self,
        channel: Channel,
        after: Option<TopologyVersion>,
    ) -> Result<Response<Streaming<Self::Message>>, Status> {
        let request = pb::WatchTopologyRequest { after: after.map(Into::into) };
        let mut client = pb::topology_service_client::TopologyServiceClient::new(channel);
        client.watch_topology(tonic::Request::new(request)).await
    }

    fn resume_at(&self, message: &Self::Message) -> Option<TopologyVersion> {
        // A version that is not complete yet would have a gap behind it.
        let version = proto::convert::version("version", message.version).ok();
        version.filter(|_| message.last)
    }
}
