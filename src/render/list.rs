//! Lists: as tables for people, as JSON and YAML, as names.

use super::json::{Described, json};
use super::value;
use super::words::{bytes, enum_name, millis, or_dash, range, short_id, stage, utc, version};
use crate::args::Output;
use proto::admin::v1 as pb;
use proto::types::v1 as types;
use serde_json::Value;

/// A thing of which there are lists.
pub(crate) trait Row: Described {
    /// The list's name in JSON.
    const LIST: &'static str;
    /// The columns.
    const HEADER: &'static [&'static str];
    /// More columns, for those who ask for them.
    const WIDE: &'static [&'static str] = &[];

    /// What stands in the columns.
    fn cells(&self) -> Vec<String>;

    /// What stands in the columns of `WIDE`.
    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it is called.
    fn name(&self) -> String;
}

/// A list, ending with a new line.
pub(crate) fn list<R: Row>(output: Output, rows: &[R]) -> String {
    match output {
        Output::Table => table(R::HEADER, rows.iter().map(Row::cells)),
        Output::Wide => {
            let cells = |row: &R| row.cells().into_iter().chain(row.wide_cells()).collect();
            table(&[R::HEADER, R::WIDE].concat(), rows.iter().map(cells))
        }
        Output::Json | Output::Yaml => {
            let rows: Vec<Value> = rows.iter().map(json).collect();
            value(output, &serde_json::json!({ R::LIST: rows }))
        }
        Output::Name => rows.iter().map(|row| format!("{}\n", row.name())).collect(),
    }
}

/// Columns of text, without lines.
pub(super) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names, with spaces between.
fn joined<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    or_dash(&names.join(" "))
}

/// `yes` or `no`.
pub(super) fn yes_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

impl Row for pb::Table {
    const LIST: &'static str = "tables";
    const HEADER: &'static [&'static str] = &["name", "id", "tablets", "rf", "order", "state"];

    fn cells(&self) -> Vec<String> {
        let order = enum_name(self.partitioning().as_str_name(), "PARTITIONING_");
        let state = if self.dropping { "dropping" } else { "ready" };
        let (tablets, rf) = (self.tablet_count.to_string(), self.replication_factor.to_string());
        vec![self.name.clone(), self.id.to_string(), tablets, rf, order, state.to_owned()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// The replicas of a tablet: `+n4` is coming, `-n1` is leaving, `n2!` is lost.
pub(super) fn replicas(tablet: &pb::Tablet) -> String {
    let shown = tablet.replicas.iter().map(|replica| {
        let sign = match (replica.old, replica.next) {
            (true, false) => "-",
            (false, true) => "+",
            (true, true) | (false, false) => "",
        };
        format!("{sign}{}{}", replica.node, if replica.lost { "!" } else { "" })
    });
    shown.collect::<Vec<_>>().join(" ")
}

impl Row for pb::Tablet {
    const LIST: &'static str = "tablets";
    const HEADER: &'static [&'static str] =
        &["tablet", "version", "replicas", "stage", "migration", "range"];
    const WIDE: &'static [&'static str] = &["copies", "size", "repaired up to"];

    fn wide_cells(&self) -> Vec<String> {
        let copy =
            |replica: &pb::TabletReplica| format!("{}@{}", replica.node, version(replica.copy));
        let copies: Vec<String> = self.replicas.iter().map(copy).collect();
        let repaired = if self.repaired_to_ms == 0 { "-".into() } else { utc(self.repaired_to_ms) };
        let size = self.replicas.iter().filter_map(|replica| replica.bytes).max();
        vec![copies.join(" "), size.map_or_else(|| "-".to_owned(), bytes), repaired]
    }

    fn cells(&self) -> Vec<String> {
        let stage = match self.stage() {
            types::Stage::Unspecified => "-".to_owned(),
            running => stage(running),
        };
        let migration = or_dash(short_id(&self.migration));
        let (version, range) = (version(self.version), range(self.range.as_ref()));
        vec![self.name.clone(), version, replicas(self), stage, migration, range]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// From where to where a migration goes.
pub(super) fn way(migration: &pb::Migration) -> String {
    match (migration.from.as_str(), migration.to.as_str()) {
        ("", "") => migration.before.join(" "),
        (from, "") => format!("-{from}"),
        ("", to) => format!("+{to}"),
        (from, to) => format!("{from} → {to}"),
    }
}

/// The stage while it runs, then how it ended.
pub(super) fn standing(migration: &pb::Migration) -> String {
    match migration.state() {
        pb::MigrationState::Running => stage(migration.stage()),
        ended => enum_name(ended.as_str_name(), "MIGRATION_STATE_"),
    }
}

pub(super) fn kind(migration: &pb::Migration) -> String {
    enum_name(migration.kind().as_str_name(), "TRANSITION_KIND_")
}

impl Row for pb::Migration {
    const LIST: &'static str = "migrations";
    const HEADER: &'static [&'static str] =
        &["migration", "tablet", "kind", "nodes", "state", "attempt", "waits for", "reason"];
    const WIDE: &'static [&'static str] =
        &["began", "took", "bytes", "by", "session", "asked for because"];

    fn wide_cells(&self) -> Vec<String> {
        let began = if self.started_ms == 0 { "-".to_owned() } else { utc(self.started_ms) };
        let took = match (self.started_ms, self.ended_ms) {
            (0, _) | (_, 0) => "-".to_owned(),
            (began, ended) => millis(ended.saturating_sub(began)),
        };
        let over = self.stages.last().map(|stage| stage.streams.as_slice()).unwrap_or_default();
        let streams = if self.streams.is_empty() { over } else { &self.streams };
        let moved = streams.iter().fold(0u64, |sum, stream| sum.saturating_add(stream.bytes));
        let by = if self.by_balancer { "balancing" } else { "a request" };
        let session = or_dash(short_id(&self.session));
        vec![began, took, bytes(moved), by.to_owned(), session, or_dash(&self.note)]
    }

    fn cells(&self) -> Vec<String> {
        vec![
            short_id(&self.id).to_owned(),
            self.tablet_name.clone(),
            kind(self),
            way(self),
            standing(self),
            self.attempt.to_string(),
            joined(&self.waiting_for),
            or_dash(&self.reason),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

impl Row for pb::Node {
    const LIST: &'static str = "nodes";
    const HEADER: &'static [&'static str] =
        &["name", "state", "attached", "rack", "replicas", "draining"];
    const WIDE: &'static [&'static str] = &[
        "data",
        "stream",
        "incarnation",
        "drained because",
        "goes",
        "unfit",
        "disk",
        "room",
        "repair owed",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            enum_name(self.state().as_str_name(), "NODE_STATE_"),
            yes_no(self.attached),
            or_dash(&self.rack),
            self.replica_count.to_string(),
            yes_no(self.draining),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![
            self.data_address.clone(),
            self.stream_address.clone(),
            version(self.incarnation),
            or_dash(&self.drain_reason),
            yes_no(self.leaving),
            match self.unfit.as_str() {
                "" => "-".to_owned(),
                why => format!("for {}: {why}", millis(self.unfit_ms)),
            },
            match self.disk_trouble.as_str() {
                "" => "-".to_owned(),
                why => format!("for {}: {why}", millis(self.disk_trouble_ms)),
            },
            room(self),
            yes_no(self.repair_owed),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// How many bytes of rows a node could still take, and how many of these are on their way.
fn room(node: &pb::Node) -> String {
    match (node.room_bytes, node.room_kept_bytes) {
        (None, _) => "-".to_owned(),
        (Some(room), 0) => bytes(room),
        (Some(room), kept) => format!("{}, {} of it kept", bytes(room), bytes(kept)),
    }
}

impl Row for pb::Barrier {
    const LIST: &'static str = "barriers";
    const HEADER: &'static [&'static str] = &["tablet", "version", "stage", "for", "waits for"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.tablet_name.clone(),
            version(self.version),
            stage(self.stage()),
            millis(self.waiting_ms),
            joined(&self.waiting_for),
        ]
    }

    fn name(&self) -> String {
        self.tablet_name.clone()
    }
}

impl Row for pb::BarrierHolder {
    const LIST: &'static str = "holders";
    const HEADER: &'static [&'static str] =
        &["tablet", "node", "waits", "operation", "for", "held", "bytes", "of"];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.tablet_name.clone(), self.node.clone(), millis(self.waiting_ms)];
        let Some(holder) = &self.holder else {
            cells.extend(["silent", "-", "-", "-", "-"].map(str::to_owned));
            return cells;
        };
        let of = match &holder.session {
            Some(session) => format!("session {}", super::json::uuid(session)),
            None => format!("version {}", version(holder.version)),
        };
        cells.extend([
            or_dash(&holder.operation),
            or_dash(&holder.peer),
            millis(holder.held_ms),
            bytes(holder.bytes),
            of,
        ]);
        cells
    }

    fn name(&self) -> String {
        self.node.clone()
    }
}

impl Row for pb::Coordinator {
    const LIST: &'static str = "coordinators";
    const HEADER: &'static [&'static str] = &["name", "id", "role", "has", "lag", "heard", "admin"];
    const WIDE: &'static [&'static str] = &["raft", "agents"];

    fn cells(&self) -> Vec<String> {
        let role = match (self.leader, self.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let has = match self.matched_index {
            0 => "-".to_owned(),
            index => index.to_string(),
        };
        let heard = match self.silent_ms {
            None => "-".to_owned(),
            Some(silent) => format!("{:.1} s ago", silent as f64 / 1e3),
        };
        let lag = self.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string());
        let (id, admin) = (self.raft_id.to_string(), or_dash(&self.admin_address));
        vec![self.name.clone(), id, role.to_owned(), has, lag, heard, admin]
    }

    fn wide_cells(&self) -> Vec<String> {
        vec![or_dash(&self.raft_address), or_dash(&self.agents_address)]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for pb::PlannedMove {
    const LIST: &'static str = "moves";
    const HEADER: &'static [&'static str] = &["tablet", "nodes", "reason"];

    fn cells(&self) -> Vec<String> {
        let way = format!("{} → {}", self.from, self.to);
        vec![self.tablet_name.clone(), way, or_dash(&self.reason)]
    }

    fn name(&self) -> String {
        self.tablet_name.clone()
    }
}

impl Row for pb::NodeLoad {
    const LIST: &'static str = "nodes";
    const HEADER: &'static [&'static str] = &["node", "rack", "replicas", "draining"];

    fn cells(&self) -> Vec<String> {
        let replicas = self.replicas.to_string();
        vec![self.node.clone(), or_dash(&self.rack), replicas, yes_no(self.draining)]
    }

    fn name(&self) -> String {
        self.node.clone()
    }
}

impl Row for pb::BalanceSwitch {
    const LIST: &'static str = "switches";
    const HEADER: &'static [&'static str] = &["disabled for", "since", "until", "reason"];

    fn cells(&self) -> Vec<String> {
        let until = match self.until_ms {
            0 => "it is enabled".to_owned(),
            at => utc(at),
        };
        vec![scope(self.scope.as_ref()), utc(self.since_ms), until, or_dash(&self.reason)]
    }

    fn name(&self) -> String {
        scope(self.scope.as_ref())
    }
}

/// What a switch is about.
pub(crate) fn scope(scope: Option<&pb::BalanceScope>) -> String {
    match scope {
        Some(scope) if !scope.table.is_empty() => format!("table {}", scope.table),
        Some(scope) if !scope.node.is_empty() => format!("node {}", scope.node),
        Some(_) | None => "the cluster".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablet() -> pb::Tablet {
        let replica = |node: &str, old, next| pb::TabletReplica {
            node: node.to_owned(),
            old,
            next,
            ..Default::default()
        };
        pb::Tablet {
            name: "orders/17".to_owned(),
            replicas: vec![replica("n1", true, false), replica("n4", false, true)],
            stage: types::Stage::Streaming.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_list_has_columns_names_or_json() {
        let rows = [tablet()];
        let shown = list(Output::Table, &rows);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("TABLET     VERSION  REPLICAS  STAGE"), "{shown}");
        assert!(lines[1].starts_with("orders/17  -        -n1 +n4   streaming"), "{shown}");
        assert_eq!(list(Output::Name, &rows), "orders/17\n");
        let wide = list(Output::Wide, &rows);
        assert!(wide.starts_with(lines[0].trim_end()), "{wide}");
        assert!(wide.contains("n1@- n4@-"), "{wide}");
        let json: Value = serde_json::from_str(&list(Output::Json, &rows)).expect("JSON");
        assert_eq!(json["tablets"][0]["stage"], "STAGE_STREAMING");
        assert_eq!(json["tablets"][0]["replicas"][1]["node"], "n4");
    }
}
