//! The admin API: one file a subject. Reads are linearizable; changes go through `change`.

mod balance_api;
mod calls;
mod change;
mod members_api;
mod migrations_api;
mod names;
mod nodes_api;
mod page;
mod snapshots_api;
mod tables_api;
mod tablets_api;
mod views;
mod watch;

use self::calls::Calls;
use crate::agents::Agents;
use crate::group0::Group0;
use crate::limits::{MESSAGE_BYTES, WATCHES};
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::observed::Observed;
use crate::proposer::Proposer;
use crate::status::{Port, read_error};
use migrations::topology::Topology;
use migrations::version::TopologyVersion;
use proto::admin::v1::balance_service_server::BalanceServiceServer;
use proto::admin::v1::barrier_service_server::BarrierServiceServer;
use proto::admin::v1::cluster_service_server::ClusterServiceServer;
use proto::admin::v1::member_service_server::MemberServiceServer;
use proto::admin::v1::migration_service_server::MigrationServiceServer;
use proto::admin::v1::node_service_server::NodeServiceServer;
use proto::admin::v1::snapshot_service_server::SnapshotServiceServer;
use proto::admin::v1::table_service_server::TableServiceServer;
use proto::admin::v1::tablet_service_server::TabletServiceServer;
use proto::admin::v1::topology_service_server::TopologyServiceServer;
use std::sync::Arc;
use tls::{Permit, PermittedServer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::server::NamedService;
use tonic::transport::server::Router;
use tower_layer::{Identity, Stack};

/// Serves people, command lines and programs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AdminApi {
    group0: Group0<Machine>,
    proposer: Proposer,
    agents: Agents,
    observed: Observed,
    watches: Arc<Semaphore>,
    saving: Arc<Semaphore>,
    /// Ends watches, which would go on for ever.
    stop: CancellationToken,
}

impl AdminApi {
    pub(crate) fn new(
        group0: Group0<Machine>,
        proposer: Proposer,
        agents: Agents,
        observed: Observed,
        stop: CancellationToken,
    ) -> AdminApi {
        let watches = Arc::new(Semaphore::new(WATCHES));
        let saving = Arc::new(Semaphore::new(1));
        AdminApi { group0, proposer, agents, observed, watches, saving, stop }
    }

    /// The names of all services.
    pub(crate) const SERVICES: [&str; 10] = [
        ClusterServiceServer::<AdminApi>::NAME,
        TableServiceServer::<AdminApi>::NAME,
        TabletServiceServer::<AdminApi>::NAME,
        MigrationServiceServer::<AdminApi>::NAME,
        NodeServiceServer::<AdminApi>::NAME,
        BalanceServiceServer::<AdminApi>::NAME,
        BarrierServiceServer::<AdminApi>::NAME,
        TopologyServiceServer::<AdminApi>::NAME,
        SnapshotServiceServer::<AdminApi>::NAME,
        MemberServiceServer::<AdminApi>::NAME,
    ];

    /// Has the audit log say which version is known here by now: of a change that has taken effect.
    fn note_version(&self) {
        tls::note_version(self.group0.read(|machine| machine.topology.version()));
    }

    /// Brings metrics that are computed up to date.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let watches = WATCHES.saturating_sub(self.watches.available_permits());
        metrics.look(&self.group0, &self.agents, &self.observed, watches);
    }

    /// All services, each call under its deadline, with reflection so that foreign clients need no
    /// files of ours.
    pub(crate) fn router(
        self,
        server: PermittedServer,
    ) -> Router<Stack<Calls, Stack<Permit, Identity>>> {
        macro_rules! sized {
            ($service:ident) => {
                $service::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES)
            };
        }
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        };
        server
            .layer(Calls::new())
            .add_optional_service(reflection().build_v1().ok())
            .add_optional_service(reflection().build_v1alpha().ok())
            .add_service(sized!(ClusterServiceServer))
            .add_service(sized!(TableServiceServer))
            .add_service(sized!(TabletServiceServer))
            .add_service(sized!(MigrationServiceServer))
            .add_service(sized!(NodeServiceServer))
            .add_service(sized!(BalanceServiceServer))
            .add_service(sized!(BarrierServiceServer))
            .add_service(sized!(TopologyServiceServer))
            .add_service(sized!(SnapshotServiceServer))
            .add_service(sized!(MemberServiceServer))
    }

    /// Looks at the topology, and says at which version: at the newest, wherever this coordinator
    /// is asked; if the caller wants no more, at what is known here.
    async fn read_at<T>(
        &self,
        is_stale: bool,
        look: impl FnOnce(&Topology) -> T,
    ) -> Result<(TopologyVersion, T), Status> {
        let look = |topology: &Topology| (topology.version(), look(topology));
        match is_stale {
            true => Ok(self.group0.read(|machine| look(&machine.topology))),
            false => self.read(look).await,
        }
    }

    /// Looks at the topology where the leader's own observations go with it: what is attached,
    /// how far streams are. Refused by whoever doesn't lead.
    async fn read_leading<T>(&self, look: impl FnOnce(&Topology) -> T) -> Result<T, Status> {
        let looked = self.group0.leaders_read(|machine| look(&machine.topology)).await;
        looked.map_err(|error| read_error(&error, Port::Admin))
    }

    /// Looks at the topology as of a moment after the call.
    async fn read<T>(&self, look: impl FnOnce(&Topology) -> T) -> Result<T, Status> {
        let looked = self.group0.linearizable_read(|machine| look(&machine.topology)).await;
        looked.map_err(|error| read_error(&error, Port::Admin))
    }
}
