//! The cluster on one screen, and in one line.

use super::balance::{doing, standing};
use super::list::{Row, list};
use super::screens::facts;
use super::words::{or_dash, utc, version};
use crate::args::Output;
use proto::admin::v1 as pb;
use std::fmt::Write;

/// Who leads, in a few words.
fn leader(status: &pb::GetStatusResponse) -> String {
    if status.leader == 0 {
        return "none: transitions stand still, tablets go on being served".to_owned();
    }
    let named = status.coordinators.iter().find(|one| one.raft_id == status.leader);
    let name = named.map_or_else(|| status.leader.to_string(), |one| one.name.clone());
    format!("{name}, term {}", status.term)
}

/// Coordinators with another state than the leader has: a bug, and nothing else says it as early; and
/// those whose clocks are not the leader's.
fn alarm(status: &pb::GetStatusResponse) -> Option<String> {
    let mut found = Vec::new();
    for one in &status.coordinators {
        let name = if one.name.is_empty() { one.raft_id.to_string() } else { one.name.clone() };
        if let Some(entry) = one.state_differs_at {
            found.push(format!("{name} has another state than the leader as of entry {entry}"));
        }
        if let Some(ahead_ms) = one.clock_ahead_ms {
            let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
            let seconds = ahead_ms.unsigned_abs() as f64 / 1_000.0;
            found.push(format!("the clock of {name} is {seconds:.1} s {side} the leader's"));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// How many nodes are up.
fn up(status: &pb::GetStatusResponse) -> usize {
    let is_up = |node: &&pb::Node| node.attached && node.state() == pb::NodeState::Admitted;
    status.nodes.iter().filter(is_up).count()
}

fn voters(status: &pb::GetStatusResponse) -> String {
    let voters = status.voters.len();
    match status.failure_tolerance {
        0 => format!("{voters}; the loss of one stops all transitions"),
        some => format!("{voters}; the loss of {some} is borne"),
    }
}

fn pause(pause: &pb::Pause) -> String {
    let since = format!("since {}", utc(pause.since_ms));
    let why = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("{since}{why}; palisade resume")
}

/// One screen about the cluster.
pub(crate) fn status(output: Output, status: &pb::GetStatusResponse) -> String {
    let mut rows = vec![
        ("cluster", or_dash(&status.cluster_id)),
        ("leader", leader(status)),
        ("coordinators", voters(status)),
        ("applied", format!("{} of {}", status.applied_index, status.committed_index)),
        ("version", version(status.version)),
        ("nodes", format!("{} of {} are up", up(status), status.nodes.len())),
        ("tablets", format!("{} in {} tables", status.tablet_count, status.tables.len())),
        ("migrations", format!("{} under way", status.migration_count)),
    ];
    if let Some(alarm) = alarm(status) {
        rows.push(("alarm", alarm));
    }
    if let Some(balancing) = &status.balancing {
        rows.push(("balancing", format!("{}; {}", standing(balancing), doing(balancing))));
    }
    if let Some(paused) = &status.pause {
        rows.push(("paused", pause(paused)));
    }
    if !status.answered_by.is_empty() {
        rows.push(("answered by", status.answered_by.clone()));
    }
    let mut text = facts(&rows);
    fn section<R: Row>(text: &mut String, output: Output, rows: &[R]) {
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&list(output, rows));
        }
    }
    section(&mut text, output, &status.coordinators);
    section(&mut text, output, &status.nodes);
    section(&mut text, output, &status.tables);
    section(&mut text, output, &status.migrations);
    let hidden = (status.migration_count as usize).saturating_sub(status.migrations.len());
    if hidden > 0 {
        // Writing to a text can't fail.
        let _ = writeln!(text, "and {hidden} more: palisade migration list --running");
    }
    text
}

/// The cluster in one line: what changes when something has happened.
pub(crate) fn status_line(status: &pb::GetStatusResponse) -> String {
    let mut line = format!(
        "leader {}  nodes {}/{}  tablets {}  migrations {}",
        leader(status),
        up(status),
        status.nodes.len(),
        status.tablet_count,
        status.migration_count,
    );
    if let Some(balancing) = &status.balancing {
        let _ = write!(line, "  balancing {}", standing(balancing));
    }
    if status.pause.is_some() {
        line.push_str("  paused");
    }
    if let Some(alarm) = alarm(status) {
        let _ = write!(line, "  alarm {alarm}");
    }
    line
}

/// `raft status`.
pub(crate) fn raft(output: Output, status: &pb::GetStatusResponse) -> String {
    let mut text = facts(&[
        ("leader", leader(status)),
        ("voters", voters(status)),
        ("committed", status.committed_index.to_string()),
        ("applied", status.applied_index.to_string()),
    ]);
    text.push('\n');
    text.push_str(&list(output, &status.coordinators));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> pb::GetStatusResponse {
        let coordinator = |raft_id, name: &str, leader| pb::Coordinator {
            raft_id,
            name: name.to_owned(),
            admin_address: format!("{name}:7400"),
            leader,
            voter: true,
            matched_index: 40 + raft_id,
            lag: Some(2 - raft_id.min(2)),
            silent_ms: Some(if leader { 0 } else { 200 }),
            ..Default::default()
        };
        let node = pb::Node {
            name: "n1".to_owned(),
            state: pb::NodeState::Admitted.into(),
            attached: true,
            rack: "a".to_owned(),
            replica_count: 8,
            draining: true,
            ..Default::default()
        };
        pb::GetStatusResponse {
            cluster_id: "5c1f".to_owned(),
            leader: 2,
            term: 3,
            committed_index: 42,
            applied_index: 42,
            voters: vec![1, 2, 3],
            failure_tolerance: 1,
            coordinators: vec![coordinator(1, "c1", false), coordinator(2, "c2", true)],
            nodes: vec![node],
            tablet_count: 8,
            balancing: Some(pb::GetBalanceStatusResponse { planned: 2, ..Default::default() }),
            pause: Some(pb::Pause { reason: "switch".to_owned(), since_ms: 0 }),
            answered_by: "c2".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn one_screen_has_all_that_is_looked_at_first() {
        let expected = "\
cluster       5c1f
leader        c2, term 3
coordinators  3; the loss of 1 is borne
applied       42 of 42
version       -
nodes         1 of 1 are up
tablets       8 in 0 tables
migrations    0 under way
balancing     enabled; 0 under way, 2 to come
paused        since 1970-01-01T00:00:00Z: switch; palisade resume
answered by   c2

NAME  ID  ROLE    HAS  LAG  HEARD      ADMIN
c1    1   voter   41   1    0.2 s ago  c1:7400
c2    2   leader  42   0    0.0 s ago  c2:7400

NAME  STATE     ATTACHED  RACK  REPLICAS  DRAINING
n1    admitted  yes       a     8         yes
";
        assert_eq!(status(Output::Table, &cluster()), expected);
        let line =
            "leader c2, term 3  nodes 1/1  tablets 8  migrations 0  balancing enabled  paused";
        assert_eq!(status_line(&cluster()), line);
    }

    #[test]
    fn a_coordinator_with_another_state_is_named() {
        let mut cluster = cluster();
        cluster.coordinators[0].state_differs_at = Some(8_192);
        let alarm = "c1 has another state than the leader as of entry 8192";
        assert!(status(Output::Table, &cluster).contains(&format!("alarm         {alarm}\n")));
        assert!(status_line(&cluster).ends_with(&format!("  alarm {alarm}")));
    }

    #[test]
    fn a_clock_that_is_not_the_leaders_is_named() {
        let mut cluster = cluster();
        cluster.coordinators[0].clock_ahead_ms = Some(-108_000_049);
        let alarm = "the clock of c1 is 108000.0 s behind the leader's";
        assert!(status(Output::Table, &cluster).contains(&format!("alarm         {alarm}\n")));
        cluster.coordinators[0].clock_ahead_ms = Some(1_200);
        let alarm = "the clock of c1 is 1.2 s ahead of the leader's";
        assert!(status_line(&cluster).ends_with(&format!("  alarm {alarm}")));
    }

    #[test]
    fn without_a_leader_the_screen_says_what_goes_on() {
        let shown = status(Output::Table, &pb::GetStatusResponse::default());
        assert!(shown.contains("leader        none: transitions stand still"), "{shown}");
        assert!(shown.contains("the loss of one stops all transitions"), "{shown}");
    }

    #[test]
    fn the_raft_group_is_listed_with_how_far_each_has_come() {
        let expected = "\
leader     c2, term 3
voters     3; the loss of 1 is borne
committed  42
applied    42

NAME  ID  ROLE    HAS  LAG  HEARD      ADMIN
c1    1   voter   41   1    0.2 s ago  c1:7400
c2    2   leader  42   0    0.0 s ago  c2:7400
";
        assert_eq!(raft(Output::Table, &cluster()), expected);
    }
}
