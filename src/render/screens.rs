//! One thing at a time: what `describe` and `status` show to people.

use super::list::{Row, kind, list, replicas, standing, table as columns, way};
use super::progress::{Progress, verdict};
use super::words::{or_dash, range, stage, utc, version};
use crate::args::Output;
use proto::admin::v1 as pb;
use std::fmt::Write;

/// Lines of name and value.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in facts {
        // Writing to a text can't fail.
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    text
}

/// A table with its tablets.
pub(crate) fn table(output: Output, table: &pb::Table, tablets: &[pb::Tablet]) -> String {
    let mut text = list(output, std::slice::from_ref(table));
    if !tablets.is_empty() {
        text.push('\n');
        text.push_str(&list(output, tablets));
    }
    text
}

/// A tablet, with digests if they were asked for.
pub(crate) fn tablet(tablet: &pb::Tablet) -> String {
    let running = match tablet.migration.as_str() {
        "" => "-".to_owned(),
        migration => format!("{migration}, {}", stage(tablet.stage())),
    };
    let repaired = match tablet.repaired_to_ms {
        0 => "never".to_owned(),
        at => format!("up to {}", utc(at)),
    };
    let mut text = facts(&[
        ("tablet", tablet.name.clone()),
        ("version", version(tablet.version)),
        ("range", range(tablet.range.as_ref())),
        ("replicas", replicas(tablet)),
        ("migration", running),
        ("repaired", repaired),
    ]);
    if !tablet.digests.is_empty() {
        let row = |digest: &pb::ReplicaDigest| {
            let sum = if digest.error.is_empty() { &digest.sum } else { &digest.error };
            let (rows, tombstones) = (digest.rows.to_string(), digest.tombstones.to_string());
            vec![digest.node.clone(), rows, tombstones, sum.clone()]
        };
        text.push('\n');
        let header = ["node", "rows", "tombstones", "sum"];
        text.push_str(&columns(&header, tablet.digests.iter().map(row)));
    }
    text
}

/// What a purge did on each replica.
pub(crate) fn purge(replicas: &[pb::ReplicaPurge]) -> String {
    let row = |replica: &pb::ReplicaPurge| {
        vec![replica.node.clone(), replica.removed.to_string(), or_dash(&replica.error)]
    };
    columns(&["node", "removed", "error"], replicas.iter().map(row))
}

/// A node.
pub(crate) fn node(node: &pb::Node) -> String {
    let names = <pb::Node as Row>::HEADER.iter().chain(<pb::Node as Row>::WIDE).copied();
    let cells = node.cells().into_iter().chain(node.wide_cells());
    facts(&names.zip(cells).collect::<Vec<_>>())
}

/// Copies that do not belong where they are.
pub(crate) fn orphans(found: &pb::ListOrphansResponse) -> String {
    let cells = |one: &pb::OrphanCopy| {
        vec![one.node.clone(), one.tablet.to_string(), version(one.copy), one.why.clone()]
    };
    let mut text = match found.orphans.as_slice() {
        [] => "no node that could be asked has a copy that it does not have to keep\n".to_owned(),
        orphans => columns(&["node", "tablet", "copy", "why"], orphans.iter().map(cells)),
    };
    for one in &found.unknown {
        let _ = writeln!(text, "{}: not known, {}", one.node, one.why);
    }
    text
}

/// A migration with all its stages.
pub(crate) fn migration(migration: &pb::Migration, now_ms: u64) -> String {
    let mut text = facts(&[
        ("migration", migration.id.clone()),
        ("tablet", migration.tablet_name.clone()),
        ("kind", kind(migration)),
        ("nodes", way(migration)),
        ("state", standing(migration)),
        ("before", or_dash(&migration.before.join(" "))),
        ("after", or_dash(&migration.after.join(" "))),
        ("session", or_dash(&migration.session)),
        ("begun by", if migration.by_balancer { "balancing" } else { "a request" }.to_owned()),
        ("reason", or_dash(&migration.reason)),
        ("note", or_dash(&migration.note)),
        ("given up", or_dash(&migration.given_up.join(" "))),
    ]);
    text.push('\n');
    let mut progress = Progress::default();
    for line in progress.changes(migration) {
        text.push_str(&line);
        text.push('\n');
    }
    if migration.state() == pb::MigrationState::Running {
        for line in Progress::waiting(migration, now_ms) {
            text.push_str(&line);
            text.push('\n');
        }
    } else {
        let _ = writeln!(text, "  {}", verdict(migration));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_is_missing_says_why() {
        let digest = pb::ReplicaDigest {
            node: "n1".to_owned(),
            error: "not reachable".to_owned(),
            ..Default::default()
        };
        let shown = tablet(&pb::Tablet { digests: vec![digest], ..Default::default() });
        assert!(shown.contains("n1    0     0           not reachable"), "{shown}");
    }
}
