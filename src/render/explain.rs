//! A tablet, explained: what it does, who serves it, what each replica that is away means, what it
//! waits for, and what to do.

use super::board::sets;
use super::list::{kind, way};
use super::words::{bytes, millis, stage, utc};
use proto::admin::v1 as pb;

/// What is known of a tablet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) tablet: &'a pb::Tablet,
    /// Its migration, if it is in one.
    pub(crate) migration: Option<&'a pb::Migration>,
    pub(crate) nodes: &'a [pb::Node],
    /// Set if all transitions are paused.
    pub(crate) pause: Option<&'a pb::Pause>,
}

/// The explanation.
pub(crate) fn explain(known: Known<'_>, now_ms: u64) -> String {
    let mut lines = Vec::new();
    lines.push(headline(known, now_ms));
    if let Some(migration) = known.migration {
        lines.push(format!("  {}", sets(migration)));
    }
    lines.push(String::new());
    lines.extend(known.tablet.replicas.iter().map(|replica| of_replica(replica, known.nodes)));
    lines.push(String::new());
    let (old, next): (Vec<_>, Vec<_>) = (set(known, |one| one.old), set(known, |one| one.next));
    lines.push(format!("  {}", of_majority("replicas", &old)));
    if old != next && !next.is_empty() {
        lines.push(format!("  {}", of_majority("replicas that it leads to", &next)));
    }
    if let Some(migration) = known.migration {
        lines.extend(of_attempts(migration));
        if !migration.given_up.is_empty() {
            let (nodes, why) = (migration.given_up.join(" "), &migration.given_up_reason);
            lines.push(format!("  given up for its sake: {nodes} ({why})"));
        }
        if let Some(pause) = known.pause {
            let why = if pause.reason.is_empty() { "nobody has said why" } else { &pause.reason };
            lines
                .push(format!("  all transitions are paused since {}: {why}", utc(pause.since_ms)));
        }
        lines.extend(of_wait(migration, now_ms));
    }
    lines.push(format!("  next:  {}", next_step(known)));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn headline(known: Known<'_>, now_ms: u64) -> String {
    let name = &known.tablet.name;
    let Some(migration) = known.migration else {
        let nodes: Vec<&str> =
            known.tablet.replicas.iter().map(|replica| replica.node.as_str()).collect();
        return format!("{name} is in no transition; its replicas are on {}", nodes.join(" "));
    };
    let (what, stage) = (kind(migration), stage(migration.stage()));
    let since = millis(in_stage_ms(migration, now_ms));
    format!("{name} is in {stage} for {since}: {what} {}", way(migration))
}

/// Replicas of a set, each with whether it can answer.
fn set(known: Known<'_>, is_in: impl Fn(&pb::TabletReplica) -> bool) -> Vec<(String, bool)> {
    let of_set = known.tablet.replicas.iter().filter(|replica| is_in(replica));
    of_set.map(|one| (one.node.clone(), !one.lost && trouble(one, known.nodes).is_none())).collect()
}

/// Why a replica's node can't answer.
fn trouble(replica: &pb::TabletReplica, nodes: &[pb::Node]) -> Option<String> {
    let Some(node) = nodes.iter().find(|node| node.name == replica.node) else {
        return Some("its node is not known".to_owned());
    };
    if node.state() == pb::NodeState::Fenced {
        let fenced = "its node is fenced: it serves again once a process is admitted anew";
        return Some(fenced.to_owned());
    }
    let away = "its node is not attached: it may serve while its lease lasts, then it is fenced";
    (!node.attached).then(|| away.to_owned())
}

/// Why its node is about to be fenced, though it serves.
fn unfit(replica: &pb::TabletReplica, nodes: &[pb::Node]) -> Option<String> {
    let node = nodes.iter().find(|node| node.name == replica.node)?;
    let since = millis(node.unfit_ms);
    (!node.unfit.is_empty())
        .then(|| format!("its node is unfit for {since}, and is being fenced: {}", node.unfit))
}

fn of_replica(replica: &pb::TabletReplica, nodes: &[pb::Node]) -> String {
    let role = match (replica.old, replica.next) {
        (true, true) | (false, false) => "stays",
        (true, false) => "leaves",
        (false, true) => "comes",
    };
    let draining = nodes.iter().any(|node| node.name == replica.node && node.draining);
    let mut notes = Vec::new();
    if replica.lost {
        let lost = "its data is gone: it counts as away until it is rebuilt from the others";
        notes.push(lost.to_owned());
    }
    notes.extend(trouble(replica, nodes));
    notes.extend(unfit(replica, nodes));
    if draining {
        notes.push("its node is being drained".to_owned());
    }
    if notes.is_empty() {
        notes.push("up".to_owned());
    }
    format!("  {:12}  {role:6}  {}", replica.node, notes.join("; "))
}

/// What the number of those that can answer means.
fn of_majority(what: &str, set: &[(String, bool)]) -> String {
    let up = set.iter().filter(|(_, is_up)| *is_up).count();
    let needed = set.len() / 2 + 1;
    let means = match up.checked_sub(needed) {
        None => "no majority, so no reads and no writes".to_owned(),
        Some(0) => "a majority, with none to spare".to_owned(),
        Some(spare) => format!("a majority, with {spare} to spare"),
    };
    format!("{up} of {} {what} can answer: {means}", set.len())
}

fn of_attempts(migration: &pb::Migration) -> Vec<String> {
    let failed = migration.stages.iter().filter(|stage| !stage.failure.is_empty());
    failed.map(|one| format!("  attempt {} failed: {}", one.attempt, one.failure)).collect()
}

/// For how long it has been in its stage. All that it waits for were asked when it came there.
fn in_stage_ms(migration: &pb::Migration, now_ms: u64) -> u64 {
    let entered = migration.stages.last().map_or(now_ms, |stage| stage.entered_ms);
    now_ms.saturating_sub(entered)
}

fn of_wait(migration: &pb::Migration, now_ms: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let since = millis(in_stage_ms(migration, now_ms));
    match migration.waiting_for.as_slice() {
        [] if migration.streams.is_empty() => lines.push("  it waits for nobody".to_owned()),
        [] => {}
        nodes => {
            let nodes = nodes.join(" ");
            lines.push(format!("  it waits for the word of {nodes}, for {since}"));
        }
    }
    for stream in &migration.streams {
        let (moved, rate) = (bytes(stream.bytes), bytes(stream.bytes_per_second));
        let pause = if stream.paused { ", waits for bandwidth" } else { "" };
        let (source, receiver) = (&stream.source, &stream.receiver);
        lines.push(format!("    {source} → {receiver}: {moved}, {rate}/s{pause}"));
    }
    for held in &migration.holders {
        let holder = held.holder.clone().unwrap_or_default();
        let (node, held) = (&held.node, millis(holder.held_ms));
        let (operation, peer) = (&holder.operation, &holder.peer);
        lines.push(format!("    {node}: {operation} for {peer}, held {held}"));
    }
    lines
}

fn next_step(known: Known<'_>) -> String {
    let tablet = &known.tablet.name;
    let lost = known.tablet.replicas.iter().find(|replica| replica.lost);
    let silent = known.tablet.replicas.iter().find(|one| trouble(one, known.nodes).is_some());
    match (known.migration, silent, lost) {
        (_, Some(replica), _) => {
            format!("start the agent of {0}; palisade node describe {0}", replica.node)
        }
        (Some(_), None, _) if known.pause.is_some() => "palisade resume".to_owned(),
        (Some(migration), None, _)
            if !migration.waiting_for.is_empty() && migration.streams.is_empty() =>
        {
            format!("palisade barrier holders --tablet {tablet}")
        }
        (Some(migration), None, _) => {
            format!("palisade migration wait {}", super::short_id(&migration.id))
        }
        (None, None, Some(replica)) => format!(
            "palisade replica-set rebuild {tablet} --from {} --to NODE     makes it anew elsewhere",
            replica.node
        ),
        (None, None, None) => "nothing is to be done".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1 as types;

    fn node(name: &str, attached: bool, state: pb::NodeState) -> pb::Node {
        pb::Node { name: name.to_owned(), attached, state: state.into(), ..Default::default() }
    }

    fn replica(node: &str, old: bool, next: bool) -> pb::TabletReplica {
        pb::TabletReplica { node: node.to_owned(), old, next, ..Default::default() }
    }

    fn tablet(replicas: Vec<pb::TabletReplica>) -> pb::Tablet {
        pb::Tablet { name: "orders/17".to_owned(), replicas, ..Default::default() }
    }

    #[test]
    fn a_settled_tablet_has_nothing_to_explain() {
        let tablet = tablet(vec![replica("n1", true, true), replica("n2", true, true)]);
        let nodes = ["n1", "n2"].map(|name| node(name, true, pb::NodeState::Admitted));
        let known = Known { tablet: &tablet, migration: None, nodes: &nodes, pause: None };
        let expected = "\
orders/17 is in no transition; its replicas are on n1 n2

  n1            stays   up
  n2            stays   up

  2 of 2 replicas can answer: a majority, with none to spare
  next:  nothing is to be done
";
        assert_eq!(explain(known, 0), expected);
    }

    #[test]
    fn a_tablet_that_waits_says_for_whom_and_what_those_away_mean() {
        let lost = pb::TabletReplica { lost: true, ..replica("n2", true, true) };
        let tablet = tablet(vec![
            replica("n1", true, false),
            lost,
            replica("n3", true, true),
            replica("n4", false, true),
        ]);
        let stage: i32 = types::Stage::WriteBothReadOld.into();
        let history = pb::StageHistory { stage, entered_ms: 1_000, ..Default::default() };
        let migration = pb::Migration {
            kind: types::TransitionKind::Migrate.into(),
            from: "n1".to_owned(),
            to: "n4".to_owned(),
            stage,
            stages: vec![history],
            waiting_for: vec!["n3".to_owned()],
            before: ["n1", "n2", "n3"].map(str::to_owned).into(),
            after: ["n2", "n3", "n4"].map(str::to_owned).into(),
            ..Default::default()
        };
        let up = pb::NodeState::Admitted;
        let nodes = [
            node("n1", true, up),
            node("n2", true, up),
            node("n3", false, pb::NodeState::Fenced),
            node("n4", true, up),
        ];
        let known =
            Known { tablet: &tablet, migration: Some(&migration), nodes: &nodes, pause: None };
        let expected = "\
orders/17 is in write_both_read_old for 5.0 s: migrate n1 → n4
  reads: n1 n2 n3   writes: n1 n2 n3 + n4

  n1            leaves  up
  n2            stays   its data is gone: it counts as away until it is rebuilt from the others
  n3            stays   its node is fenced: it serves again once a process is admitted anew
  n4            comes   up

  1 of 3 replicas can answer: no majority, so no reads and no writes
  1 of 3 replicas that it leads to can answer: no majority, so no reads and no writes
  it waits for the word of n3, for 5.0 s
  next:  start the agent of n3; palisade node describe n3
";
        assert_eq!(explain(known, 6_000), expected);
        let pause = pb::Pause { reason: "switch".to_owned(), since_ms: 0 };
        let nodes = ["n1", "n2", "n3", "n4"].map(|name| node(name, true, up));
        let shown = explain(Known { nodes: &nodes, pause: Some(&pause), ..known }, 6_000);
        let paused = "  all transitions are paused since 1970-01-01T00:00:00Z: switch\n";
        assert!(shown.contains(paused), "{shown}");
        assert!(shown.ends_with("  next:  palisade resume\n"), "{shown}");
    }
}
