//! The admin client: every RPC of the admin API, typed. Changes are tried under one request id
//! until it is known what became of them; lists are read to their end.

use crate::channel::timed;
use crate::error::ClientError;
use crate::leader::{AdminOptions, Leader, new_request_id};
use crate::limits::PAGE_ROWS;
use migrations::id::{RequestId, TabletId};
use proto::Malformed;
use proto::admin::v1 as pb;
use proto::admin::v1::balance_service_client::BalanceServiceClient;
use proto::admin::v1::barrier_service_client::BarrierServiceClient;
use proto::admin::v1::cluster_service_client::ClusterServiceClient;
use proto::admin::v1::member_service_client::MemberServiceClient;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::admin::v1::node_service_client::NodeServiceClient;
use proto::admin::v1::snapshot_service_client::SnapshotServiceClient;
use proto::admin::v1::table_service_client::TableServiceClient;
use proto::admin::v1::tablet_service_client::TabletServiceClient;
use std::time::Duration;
use tls::Tls;
use tonic::{Response, Status};
use uuid::Uuid;

/// Speaks to the leader of the coordinators. Cheap to clone; clones share a connection.
#[derive(Debug, Clone)]
pub struct AdminClient {
    pub(crate) leader: Leader,
}

/// One change: the request id is taken from the request, or made if it names none.
macro_rules! change {
    ($(#[$doc:meta])* $name:ident, $client:ident, $request:ident -> $response:ident) => {
        $(#[$doc])*
        pub async fn $name(
            &self,
            mut request: pb::$request,
        ) -> Result<pb::$response, ClientError> {
            let id = request_id(&mut request.request_id)?;
            let call = |channel, timeout| {
                let request = timed(request.clone(), timeout);
                async move { $client::new(channel).$name(request).await }
            };
            if request.validate_only {
                // Nothing is done: what came of it is never unknown.
                return self.leader.read(self.leader.options.try_timeout, call).await;
            }
            self.leader.change(id, call).await
        }
    };
}

/// One list, read page by page to its end.
macro_rules! list {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*), $client:ident,
     $request:ident -> $rows:ident: $row:ident) => {
        $(#[$doc])*
        pub async fn $name(&self, $($arg: $type),*) -> Result<Vec<pb::$row>, ClientError> {
            let mut rows = Vec::new();
            let mut page_token = String::new();
            loop {
                #[allow(clippy::needless_update, reason = "not all of them have more")]
                let request = pb::$request {
                    $($arg: $arg.to_owned(),)*
                    page_size: PAGE_ROWS,
                    page_token,
                    ..Default::default()
                };
                let call = |channel, timeout| {
                    let request = timed(request.clone(), timeout);
                    async move { $client::new(channel).$name(request).await }
                };
                let page = self.leader.read(self.leader.options.try_timeout, call).await?;
                rows.extend(page.$rows);
                if page.next_page_token.is_empty() {
                    return Ok(rows);
                }
                page_token = page.next_page_token;
            }
        }
    };
}

/// One read of the whole answer to a question without words.
macro_rules! read {
    ($(#[$doc:meta])* $name:ident, $client:ident,
     $method:ident($request:ident) -> $response:ident) => {
        $(#[$doc])*
        pub async fn $name(&self) -> Result<pb::$response, ClientError> {
            let call = |channel, timeout| async move {
                $client::new(channel).$method(timed(pb::$request {}, timeout)).await
            };
            self.leader.read(self.leader.options.try_timeout, call).await
        }
    };
}

/// One read of one thing, which has to be in the answer.
macro_rules! get {
    ($name:ident, $client:ident, $request:ident -> $field:ident: $type:ty) => {
        async fn $name(
            &self,
            request: pb::$request,
            one_try: Duration,
        ) -> Result<$type, ClientError> {
            let call = |channel, timeout| {
                let request = timed(request.clone(), timeout);
                async move { $client::new(channel).$name(request).await }
            };
            let answer = self.leader.read(one_try, call).await?;
            Ok(answer.$field.ok_or(Malformed::Missing { field: stringify!($field) })?)
        }
    };
}

impl AdminClient {
    /// A client of the coordinators at these addresses (`host:port`). Connects at the first call.
    pub fn connect(endpoints: Vec<String>) -> AdminClient {
        AdminClient::connect_with(endpoints, AdminOptions::default())
    }

    /// The same with bounds of its own.
    pub fn connect_with(endpoints: Vec<String>, options: AdminOptions) -> AdminClient {
        AdminClient::connect_as(endpoints, options, None)
    }

    /// The same over TLS, as whom the certificate names; in the clear without one. A [`Router`]
    /// over it dials the agents likewise. New certificates are read when their files change; a
    /// server ends the connections of those that have run out, and they are made anew.
    ///
    /// [`Router`]: crate::Router
    pub fn connect_as(
        endpoints: Vec<String>,
        options: AdminOptions,
        tls: Option<Tls>,
    ) -> AdminClient {
        AdminClient { leader: Leader::new(endpoints, options, tls) }
    }

    /// Its bounds.
    pub fn options(&self) -> AdminOptions {
        self.leader.options
    }

    change! {
        /// Makes a table. With `validate_only`, nothing is done.
        create_table, TableServiceClient, CreateTableRequest -> CreateTableResponse
    }
    change! {
        /// Drops a table and all its data.
        drop_table, TableServiceClient, DropTableRequest -> DropTableResponse
    }
    change! {
        /// Moves one replica to another node.
        migrate, MigrationServiceClient, MigrateRequest -> MigrateResponse
    }
    change! {
        /// One more replica.
        add_replica, MigrationServiceClient, AddReplicaRequest -> AddReplicaResponse
    }
    change! {
        /// One replica fewer.
        remove_replica, MigrationServiceClient, RemoveReplicaRequest -> RemoveReplicaResponse
    }
    change! {
        /// The replicas exchange what differs.
        repair_tablet, MigrationServiceClient, RepairTabletRequest -> RepairTabletResponse
    }
    change! {
        /// A dead replica is made anew on another node.
        rebuild_replica, MigrationServiceClient, RebuildReplicaRequest -> RebuildReplicaResponse
    }
    change! {
        /// Gives up the dead replicas of a tablet, for one transition of it.
        accept_data_loss, MigrationServiceClient, AcceptDataLossRequest -> AcceptDataLossResponse
    }
    change! {
        /// Asks a migration to end without its aim.
        cancel_migration, MigrationServiceClient, CancelMigrationRequest -> CancelMigrationResponse
    }

    change! {
        /// No transition goes past its next safe stage, and streams stand still.
        pause, ClusterServiceClient, PauseRequest -> PauseResponse
    }
    change! {
        /// Transitions go on.
        resume, ClusterServiceClient, ResumeRequest -> ResumeResponse
    }
    change! {
        /// Changes what is the same everywhere.
        set_settings, ClusterServiceClient, SetSettingsRequest -> SetSettingsResponse
    }
    change! {
        /// Takes an empty coordinator in. Recognised by its Raft id: once at most.
        add_member, MemberServiceClient, AddMemberRequest -> AddMemberResponse
    }
    change! {
        /// A coordinator goes for good. Name its Raft id, so that a late try never removes another
        /// one of the same name.
        remove_member, MemberServiceClient, RemoveMemberRequest -> RemoveMemberResponse
    }
    change! {
        /// Another coordinator leads. Name the Raft id of the one that does now, so that a late try
        /// finds it done.
        transfer_leader, MemberServiceClient, TransferLeaderRequest -> TransferLeaderResponse
    }
    change! {
        /// The node is to hold nothing any more.
        drain_node, NodeServiceClient, DrainNodeRequest -> DrainNodeResponse
    }
    change! {
        /// The node goes for good.
        remove_node, NodeServiceClient, RemoveNodeRequest -> RemoveNodeResponse
    }
    change! {
        /// Drops a copy that was set aside, for good.
        drop_orphan, NodeServiceClient, DropOrphanRequest -> DropOrphanResponse
    }
    change! {
        /// Ends a drain.
        undrain_node, NodeServiceClient, UndrainNodeRequest -> UndrainNodeResponse
    }
    change! {
        /// Balancing begins no move any more, in a scope.
        disable_balancing, BalanceServiceClient, DisableBalancingRequest -> DisableBalancingResponse
    }
    change! {
        /// Balancing may begin moves again, in a scope.
        enable_balancing, BalanceServiceClient, EnableBalancingRequest -> EnableBalancingResponse
    }

    read! {
        /// Whether balancing may act, and what it does.
        balance_status, BalanceServiceClient,
        get_balance_status(GetBalanceStatusRequest) -> GetBalanceStatusResponse
    }
    read! {
        /// What balancing would do next.
        plan_balance, BalanceServiceClient,
        plan_balance(PlanBalanceRequest) -> PlanBalanceResponse
    }
    read! {
        /// The screen, as it comes.
        read_status, ClusterServiceClient, get_status(GetStatusRequest) -> GetStatusResponse
    }

    /// One screen: leader, nodes, tables, running migrations. Coordinators that it names are known
    /// to this client from then on.
    pub async fn status(&self) -> Result<pb::GetStatusResponse, ClientError> {
        let status = self.read_status().await?;
        let live = status.coordinators.iter().map(|one| one.admin_address.clone());
        self.leader.learn(live.filter(|address| !address.is_empty()).collect());
        Ok(status)
    }

    list! {
        /// All tables, in order of id.
        list_tables(), TableServiceClient, ListTablesRequest -> tables: Table
    }
    list! {
        /// Tablets in order of id, of one table or, if that is empty, of all.
        list_tablets(table: &str), TabletServiceClient, ListTabletsRequest -> tablets: Tablet
    }
    list! {
        /// Migrations: running ones, then (unless `running_only`) finished ones, newest first.
        list_migrations(running_only: bool), MigrationServiceClient,
        ListMigrationsRequest -> migrations: Migration
    }
    list! {
        /// All nodes, in order of id.
        list_nodes(), NodeServiceClient, ListNodesRequest -> nodes: Node
    }
    list! {
        /// Barriers that wait, of one tablet or, if that is 0, of all.
        list_barriers(tablet: u64), BarrierServiceClient, ListBarriersRequest -> barriers: Barrier
    }

    get! {
        get_settings, ClusterServiceClient, GetSettingsRequest -> settings: proto::types::v1::Settings
    }
    get! {
        get_table, TableServiceClient, GetTableRequest -> table: pb::Table
    }
    get! {
        get_tablet, TabletServiceClient, GetTabletRequest -> tablet: pb::Tablet
    }
    get! {
        get_migration, MigrationServiceClient, GetMigrationRequest -> migration: pb::Migration
    }
    get! {
        get_node, NodeServiceClient, GetNodeRequest -> node: pb::Node
    }

    fn one_try(&self) -> Duration {
        self.leader.options.try_timeout
    }

    /// The table of this name.
    pub async fn table(&self, name: &str) -> Result<pb::Table, ClientError> {
        self.get_table(pb::GetTableRequest { name: name.to_owned(), stale: false }, self.one_try())
            .await
    }

    /// A tablet, if asked for with the digest of each replica.
    pub async fn tablet(
        &self,
        tablet: TabletId,
        with_digest: bool,
    ) -> Result<pb::Tablet, ClientError> {
        let tablet = tablet.as_u64();
        // It asks every replica for its digest: one try may take all the time there is.
        let one_try = if with_digest { self.leader.options.deadline } else { self.one_try() };
        self.get_tablet(pb::GetTabletRequest { tablet, with_digest, stale: false }, one_try).await
    }

    /// The migration of this id, or the only one whose id begins so.
    pub async fn migration(&self, id: &str) -> Result<pb::Migration, ClientError> {
        self.get_migration(pb::GetMigrationRequest { id: id.to_owned() }, self.one_try()).await
    }

    /// What is the same everywhere.
    pub async fn settings(&self) -> Result<proto::types::v1::Settings, ClientError> {
        self.get_settings(pb::GetSettingsRequest { stale: false }, self.one_try()).await
    }

    /// The node of this name.
    pub async fn node(&self, name: &str) -> Result<pb::Node, ClientError> {
        self.get_node(pb::GetNodeRequest { name: name.to_owned() }, self.one_try()).await
    }

    /// Copies that do not belong where they are, of one node or, if that is empty, of all.
    pub async fn list_orphans(&self, node: &str) -> Result<pb::ListOrphansResponse, ClientError> {
        let node = node.to_owned();
        let call = |channel, timeout| {
            let request = timed(pb::ListOrphansRequest { node: node.clone() }, timeout);
            async move { NodeServiceClient::new(channel).list_orphans(request).await }
        };
        self.leader.read(self.leader.options.deadline, call).await
    }

    /// All that group0 holds at a moment after the call, as the bytes of a snapshot file.
    ///
    /// Their digest is not checked here.
    pub async fn save_snapshot(&self) -> Result<Vec<u8>, ClientError> {
        let call = |channel, timeout| async move {
            let request = timed(pb::SaveSnapshotRequest {}, timeout);
            let answer = SnapshotServiceClient::new(channel).save_snapshot(request).await?;
            let mut parts = answer.into_inner();
            let mut file = Vec::new();
            let mut whole = None;
            while let Some(part) = parts.message().await? {
                whole = Some(part.file_bytes);
                file.extend_from_slice(&part.chunk);
            }
            if whole != u64::try_from(file.len()).ok() {
                return Err(Status::unavailable("the snapshot ended before its end"));
            }
            Ok(Response::new(file))
        };
        self.leader.read(self.leader.options.deadline, call).await
    }

    /// One node cuts its streams from and to another one; how many there were. What is cut is tried
    /// again, so cutting twice does no harm.
    pub async fn kill_connection(&self, node: &str, peer: &str) -> Result<u32, ClientError> {
        let (node, peer) = (node.to_owned(), peer.to_owned());
        let call = |channel, timeout| {
            let request = pb::KillConnectionRequest { node: node.clone(), peer: peer.clone() };
            let request = timed(request, timeout);
            async move { BarrierServiceClient::new(channel).kill_connection(request).await }
        };
        let answer = self.leader.read(self.leader.options.deadline, call).await?;
        Ok(answer.streams)
    }

    /// Removes tombstones that every replica has, on each replica. What is gone stays gone, so
    /// it is tried again as it is.
    pub async fn purge_tablet(
        &self,
        tablet: TabletId,
    ) -> Result<Vec<pb::ReplicaPurge>, ClientError> {
        let call = |channel, timeout| async move {
            let request = timed(pb::PurgeTabletRequest { tablet: tablet.as_u64() }, timeout);
            TabletServiceClient::new(channel).purge_tablet(request).await
        };
        Ok(self.leader.read(self.leader.options.deadline, call).await?.replicas)
    }
}

/// The id that a request names, or a fresh one, which it names from now on.
fn request_id(named: &mut String) -> Result<RequestId, ClientError> {
    if named.is_empty() {
        let id = new_request_id();
        *named = id.to_string();
        return Ok(id);
    }
    let uuid = Uuid::parse_str(named).ok();
    uuid.and_then(RequestId::from_uuid).ok_or(ClientError::NotARequestId)
}
