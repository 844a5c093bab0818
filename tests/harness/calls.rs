//! What tests ask a cluster for, through the client library.

use super::{Cluster, soon};
use client::WaitFor;
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use proto::data::v1 as data;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::faults::v1 as faults;
use proto::types::v1::{Stage, TopologyVersion};

/// A read that stands still.
pub(crate) type Stuck =
    tokio::task::JoinHandle<Result<tonic::Response<data::GetResponse>, tonic::Status>>;

impl Cluster {
    /// Makes a table of three replicas.
    pub(crate) async fn create_table(&self, name: &str, tablets: u32) -> Vec<pb::Tablet> {
        self.create_table_of(name, tablets, 3).await
    }

    /// Makes a table of so many replicas.
    pub(crate) async fn create_table_of(
        &self,
        name: &str,
        tablets: u32,
        replication_factor: u32,
    ) -> Vec<pb::Tablet> {
        let name = name.to_owned();
        let request =
            pb::CreateTableRequest { name, replication_factor, tablets, ..Default::default() };
        let table = request.name.clone();
        self.admin().create_table(request).await.expect("a table");
        self.admin().list_tablets(&table).await.expect("its tablets")
    }

    /// Asks for a migration and answers its id.
    pub(crate) async fn migrate(&self, tablet: &pb::Tablet, from: &str, to: &str) -> String {
        let (from, to) = (from.to_owned(), to.to_owned());
        let request = pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() };
        let migration = self.admin().migrate(request).await.expect("it begins").migration;
        migration.expect("a migration").id
    }

    /// Takes a replica away and waits for the end of it.
    pub(crate) async fn remove_replica(&self, tablet: &pb::Tablet, from: &str) -> pb::Migration {
        let from = from.to_owned();
        let request = pb::RemoveReplicaRequest { tablet: tablet.id, from, ..Default::default() };
        let begun = self.admin().remove_replica(request).await.expect("it begins").migration;
        self.ended(&begun.expect("a migration").id).await
    }

    /// Waits until a migration has ended.
    pub(crate) async fn ended(&self, id: &str) -> pb::Migration {
        let admin = self.admin();
        let what = format!("the end of migration {id}");
        soon(&what, admin.wait_migration(id, WaitFor::End, |_| {})).await.expect("it is known")
    }

    /// Waits until a migration has reached a stage, or has ended.
    pub(crate) async fn reached(&self, id: &str, stage: Stage) -> pb::Migration {
        let admin = self.admin();
        let what = format!("{} of migration {id}", stage.as_str_name());
        let reached = admin.wait_migration(id, WaitFor::Stage(stage), |_| {});
        soon(&what, reached).await.expect("it is known")
    }

    /// Moves a tablet, which must succeed.
    pub(crate) async fn moved(&self, tablet: &pb::Tablet, from: &str, to: &str) -> pb::Migration {
        let id = self.migrate(tablet, from, to).await;
        let ended = self.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        ended
    }

    /// The tablet now, with what each replica holds.
    pub(crate) async fn digest(&self, tablet: &pb::Tablet) -> pb::Tablet {
        let id = TabletId::from_u64(tablet.id).expect("an id");
        self.admin().tablet(id, true).await.expect("the tablet")
    }

    /// After a repair every replica of a tablet holds the same, and says so. (Before one they may
    /// differ: a write is acknowledged by a majority.)
    pub(crate) async fn replicas_agree(&self, tablet: &pb::Tablet) -> pb::Tablet {
        let repaired = self.repair(tablet).await;
        assert_eq!(repaired.state(), pb::MigrationState::Done, "{repaired:#?}");
        let tablet = self.digest(tablet).await;
        for digest in &tablet.digests {
            assert_eq!(digest.error, "", "{}: {}", tablet.name, digest.node);
            assert_eq!(digest.sum, tablet.digests[0].sum, "{}: {:#?}", tablet.name, tablet.digests);
        }
        tablet
    }

    /// Repairs a tablet and waits for the end of it.
    pub(crate) async fn repair(&self, tablet: &pb::Tablet) -> pb::Migration {
        let request = pb::RepairTabletRequest { tablet: tablet.id, ..Default::default() };
        let begun = self.admin().repair_tablet(request).await.expect("it begins").migration;
        self.ended(&begun.expect("a migration").id).await
    }

    /// A read that stands still on a node, under the version that the tablet has now.
    pub(crate) async fn stuck_read(&self, node: &str, tablet: &pb::Tablet) -> Stuck {
        let mut faults = self.faults(node);
        let hold = faults::HoldNextDataRequest { tablet: tablet.id };
        faults.hold_next_data(hold).await.expect("wanted");
        let header = self.header(node, tablet, tablet.version).await;
        let position = b"12345678key".to_vec().into();
        let get = data::GetRequest { header: Some(header), position };
        let mut direct = DataServiceClient::new(self.channel(node, "data"));
        let stuck = tokio::spawn(async move { direct.get(get).await });
        let held = faults::AwaitDataHeldRequest { tablet: tablet.id };
        soon("the read", faults.await_data_held(held)).await.expect("held");
        stuck
    }

    /// The header of a request by hand to a node, for a tablet at some version.
    pub(crate) async fn header(
        &self,
        node: &str,
        tablet: &pb::Tablet,
        version: Option<TopologyVersion>,
    ) -> data::RequestHeader {
        let status = self.admin().status().await.expect("a status");
        let cluster_id = uuid::Uuid::parse_str(&status.cluster_id).expect("a UUID");
        let cluster_id = bytes::Bytes::copy_from_slice(cluster_id.as_bytes());
        let nodes = self.admin().list_nodes().await.expect("the nodes");
        let node = nodes.iter().find(|one| one.name == node).expect("it was admitted").id;
        data::RequestHeader { cluster_id, tablet: tablet.id, version, clock: 0, node }
    }
}
