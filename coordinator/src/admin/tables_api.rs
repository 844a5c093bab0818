//! Tables.

use super::change::{Changed, answer};
use super::page::PageRequest;
use super::{AdminApi, names, views};
use crate::driving::fresh_migration;
use migrations::command::{Applied, Change, CreateTable};
use migrations::id::{NodeId, TableId};
use migrations::placement::place_except;
use migrations::position::{Partitioning, Position, ranges_between};
use migrations::topology::Topology;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_server::TableService;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::collections::BTreeSet;
use std::ops::Bound;
use tonic::{Request, Response, Status};

/// Most tablets of a new table.
const TABLETS_MAX: u32 = 100_000;

#[tonic::async_trait]
impl TableService for AdminApi {
    async fn create_table(
        &self,
        request: Request<pb::CreateTableRequest>,
    ) -> Result<Response<pb::CreateTableResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        let build = |topology: &Topology, request: &pb::CreateTableRequest| {
            create_table(&self.observed.with_disk_trouble(), topology, request)
        };
        let changed = self.change(request, build).await?;
        let table = self.group0.read(|machine| {
            let topology = &machine.topology;
            match changed {
                Changed::Applied(Applied::Table(id)) => {
                    topology.state().tables.get(&id).map(|table| views::table(id, table))
                }
                Changed::Applied(_) => None,
                Changed::Valid => Some(pb::Table { name, ..pb::Table::default() }),
            }
        });
        Ok(answer(&changed, pb::CreateTableResponse { table }))
    }

    async fn list_tables(
        &self,
        request: Request<pb::ListTablesRequest>,
    ) -> Result<Response<pb::ListTablesResponse>, Status> {
        let pb::ListTablesRequest { page_size, page_token, stale } = request.into_inner();
        let page = PageRequest::new(page_size, page_token);
        let after = TableId::from_u64(page.after_number()?);
        let (version, (tables, next_page_token)) = self
            .read_at(stale, |topology| {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let tables = topology.state().tables.range((from, Bound::Unbounded));
                page.cut(tables.map(|(id, table)| (id.as_u64(), views::table(*id, table))))
            })
            .await?;
        Ok(Response::new(pb::ListTablesResponse {
            tables,
            next_page_token,
            version: Some(version.into()),
        }))
    }

    async fn get_table(
        &self,
        request: Request<pb::GetTableRequest>,
    ) -> Result<Response<pb::GetTableResponse>, Status> {
        let pb::GetTableRequest { name, stale } = request.into_inner();
        let (version, table) = self
            .read_at(stale, |topology| {
                let id = names::table(topology, &name)?;
                let found = topology.state().tables.get(&id);
                Ok::<_, Status>(found.map(|table| views::table(id, table)))
            })
            .await?;
        Ok(Response::new(pb::GetTableResponse { table: table?, version: Some(version.into()) }))
    }

    async fn drop_table(
        &self,
        request: Request<pb::DropTableRequest>,
    ) -> Result<Response<pb::DropTableResponse>, Status> {
        let changed = self
            .change(request.into_inner(), |topology, request| {
                let table = names::table(topology, &request.name)?;
                Ok(Change::DropTable { table, migration: fresh_migration() })
            })
            .await?;
        let migration = match changed {
            Changed::Applied(Applied::Migration(migration)) => migration.to_string(),
            Changed::Applied(_) | Changed::Valid => String::new(),
        };
        Ok(answer(&changed, pb::DropTableResponse { migration }))
    }
}

fn invalid(field: &'static str, problem: &str) -> Status {
    Refusal::invalid_field(field, problem).into()
}

/// The command that makes a table: cut where it says, its replicas placed by the newest state.
fn create_table(
    except: &BTreeSet<NodeId>,
    topology: &Topology,
    request: &pb::CreateTableRequest,
) -> Result<Change, Status> {
    let bounds: Vec<Position> = request.split_keys.iter().map(|key| key.to_vec()).collect();
    let (partitioning, ranges) = match (request.tablets, bounds.is_empty()) {
        (0, true) => return Err(invalid("tablets", "say how many, or where to split")),
        (1..=TABLETS_MAX, true) => (Partitioning::Hash, Partitioning::even_ranges(request.tablets)),
        (_, true) => return Err(invalid("tablets", "at most 100000")),
        (0, false) => (Partitioning::Range, ranges_between(&bounds)),
        (_, false) => return Err(invalid("tablets", "either a number or split keys")),
    };
    let placed = place_except(topology, ranges.len(), request.replication_factor, except);
    let placed = placed.map_err(|too_few| {
        let refusal = Refusal::new(Reason::PlacementViolation, too_few.to_string());
        Status::from(refusal.with("found", too_few.found.to_string()))
    })?;
    Ok(Change::CreateTable(CreateTable {
        name: request.name.clone(),
        partitioning,
        replication_factor: request.replication_factor,
        tablets: ranges.into_iter().zip(placed).collect(),
    }))
}
