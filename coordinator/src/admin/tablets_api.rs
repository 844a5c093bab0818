//! Tablets: what there is, what each replica holds, and the purge of tombstones.

use super::page::PageRequest;
use super::{AdminApi, names, views};
use migrations::id::{NodeId, TabletId};
use migrations::record::TabletRecord;
use migrations::topology::Topology;
use proto::admin::v1 as pb;
use proto::admin::v1::tablet_service_server::TabletService;
use proto::agent::v1::{AskDigest, AskPurge, answer, ask};
use std::ops::Bound;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl TabletService for AdminApi {
    async fn list_tablets(
        &self,
        request: Request<pb::ListTabletsRequest>,
    ) -> Result<Response<pb::ListTabletsResponse>, Status> {
        let pb::ListTabletsRequest { table, page_size, page_token, stale } = request.into_inner();
        let page = PageRequest::new(page_size, page_token);
        let after = TabletId::from_u64(page.after_number()?);
        let rooms = self.observed.rooms();
        let (version, page) = self
            .read_at(stale, |topology| {
                let only = match table.is_empty() {
                    true => None,
                    false => Some(names::table(topology, &table)?),
                };
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let tablets = topology.state().tablets.range((from, Bound::Unbounded));
                let wanted = tablets.filter(|(_, tablet)| only.is_none_or(|t| t == tablet.table));
                let shown = wanted.filter_map(|(id, _)| {
                    views::tablet(topology, &rooms, *id).map(|shown| (id.as_u64(), shown))
                });
                Ok::<_, Status>(page.cut(shown))
            })
            .await?;
        let (tablets, next_page_token) = page?;
        Ok(Response::new(pb::ListTabletsResponse {
            tablets,
            next_page_token,
            version: Some(version.into()),
        }))
    }

    async fn get_tablet(
        &self,
        request: Request<pb::GetTabletRequest>,
    ) -> Result<Response<pb::GetTabletResponse>, Status> {
        let pb::GetTabletRequest { tablet, with_digest, stale } = request.into_inner();
        let look = |topology: &Topology| {
            let id = names::tablet(topology, tablet)?;
            let rooms = self.observed.rooms();
            let (shown, record) = (views::tablet(topology, &rooms, id), topology.record(id));
            Ok::<_, Status>((topology.version(), shown, record))
        };
        let (version, mut shown, record) = match with_digest {
            // Agents are attached to the leader: only that one can ask them.
            true => self.read_leading(look).await??,
            false => self.read_at(stale, look).await?.1?,
        };
        if let (true, Some(shown), Some(record)) = (with_digest, &mut shown, &record) {
            shown.digests = self.digests(record).await;
        }
        Ok(Response::new(pb::GetTabletResponse { tablet: shown, version: Some(version.into()) }))
    }

    async fn purge_tablet(
        &self,
        request: Request<pb::PurgeTabletRequest>,
    ) -> Result<Response<pb::PurgeTabletResponse>, Status> {
        let pb::PurgeTabletRequest { tablet } = request.into_inner();
        let record = self
            .read_leading(|topology| {
                let id = names::tablet(topology, tablet)?;
                Ok::<_, Status>(topology.record(id))
            })
            .await??;
        let mut replicas = Vec::new();
        for node in record.iter().flat_map(TabletRecord::both) {
            let question = record.as_ref().map(|record| {
                ask::Question::Purge(AskPurge {
                    tablet,
                    version: Some(record.version.into()),
                    promise: record.promise.0,
                })
            });
            let Some(question) = question else { continue };
            let (removed, error) = match self.agents.ask(node, question).await {
                Ok(answer::Outcome::Purged(purged)) => (purged.removed, String::new()),
                Ok(_) => (0, "an answer to something else".to_owned()),
                Err(error) => (0, error.to_string()),
            };
            replicas.push(pb::ReplicaPurge { node: self.name(node), removed, error });
        }
        Ok(Response::new(pb::PurgeTabletResponse { replicas }))
    }
}

impl AdminApi {
    fn name(&self, node: NodeId) -> String {
        self.group0.read(|machine| views::node_name(&machine.topology, node))
    }

    /// What each replica holds, at the version of the record.
    async fn digests(&self, record: &TabletRecord) -> Vec<pb::ReplicaDigest> {
        let digests = record.both().into_iter().map(|node| async move {
            let (tablet, version) = (record.tablet.as_u64(), Some(record.version.into()));
            let question = ask::Question::Digest(AskDigest { tablet, version });
            let mut shown = pb::ReplicaDigest { node: self.name(node), ..Default::default() };
            match self.agents.ask(node, question).await {
                Ok(answer::Outcome::Digest(digest)) => {
                    shown.rows = digest.rows;
                    shown.tombstones = digest.tombstones;
                    shown.sum = digest.sum.iter().map(|byte| format!("{byte:02x}")).collect();
                }
                Ok(_) => shown.error = "an answer to something else".to_owned(),
                Err(error) => shown.error = error.to_string(),
            }
            shown
        });
        futures::future::join_all(digests).await
    }
}
