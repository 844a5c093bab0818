//! From what people say to what the topology knows.

use migrations::command::{Missing, Rejected};
use migrations::id::{MigrationId, NodeId, TableId, TabletId};
use migrations::topology::Topology;
use proto::reasons::Reason;
use proto::status::Refusal;
use tonic::Status;
use uuid::Uuid;

use crate::status::rejected;

/// What was looked for in the newest state, and is not there.
pub(super) fn not_found(kind: &'static str, name: &str) -> Status {
    let message = format!("{kind} {name} does not exist");
    Refusal::new(Reason::NotFound, message).of_resource(kind, name).into()
}

/// The node of this name.
pub(super) fn node(topology: &Topology, name: &str) -> Result<NodeId, Status> {
    topology.node_named(name).map(|(id, _)| id).ok_or_else(|| not_found("node", name))
}

/// The table of this name.
pub(super) fn table(topology: &Topology, name: &str) -> Result<TableId, Status> {
    topology.table_named(name).map(|(id, _)| id).ok_or_else(|| not_found("table", name))
}

/// The tablet of this number.
pub(super) fn tablet(topology: &Topology, number: u64) -> Result<TabletId, Status> {
    let id = TabletId::from_u64(number).ok_or_else(|| not_found("tablet", "0"))?;
    match topology.tablet(id) {
        Some(_) => Ok(id),
        None => Err(rejected(&Rejected::NotFound(Missing::Tablet(id)))),
    }
}

/// The migration of this id, or the only one whose id begins so.
pub(super) fn migration(topology: &Topology, text: &str) -> Result<MigrationId, Status> {
    if let Some(id) = Uuid::parse_str(text).ok().and_then(MigrationId::from_uuid) {
        return Ok(id);
    }
    let is_prefix = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_prefix {
        let problem = "must be a migration's UUID, or its first 4 or more characters";
        return Err(Refusal::invalid_field("id", problem).into());
    }
    let running = topology.in_transition().filter_map(|id| topology.transition(id));
    let running = running.map(|transition| transition.record.migration);
    let finished = topology.state().finished.iter().map(|finished| finished.migration);
    let mut found: Vec<MigrationId> =
        running.chain(finished).filter(|id| id.to_string().starts_with(text)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(not_found("migration", text)),
        _ => Err(Refusal::invalid_field("id", "more than one migration begins so").into()),
    }
}
