//! The nodes: who is away, who is unfit, whose disk is in trouble.

use super::{Finding, Seen, named, page};
use client::api as pb;

/// Whether a node serves and takes part.
pub(super) fn is_up(node: &pb::Node) -> bool {
    node.attached && node.state() == pb::NodeState::Admitted
}

pub(super) fn nodes(seen: &Seen) -> Finding {
    let all = match &seen.status {
        Ok(status) => &status.nodes,
        Err(why) => return Finding::unknown(why),
    };
    let (mut away, mut going) = (Vec::new(), Vec::new());
    for node in all {
        let how = match (node.state() == pb::NodeState::Fenced, node.attached) {
            (true, _) => "fenced",
            (false, false) => "not attached",
            (false, true) if node.draining && node.replica_count > 0 => {
                let count = node.replica_count;
                going.push(format!("{} is being drained and holds {count} replicas", node.name));
                continue;
            }
            (false, true) => continue,
        };
        match node.leaving {
            true => going.push(format!("{} goes for good, {how}", node.name)),
            false => away.push((node.name.clone(), format!("{} is {how}", node.name))),
        }
    }
    let up = all.iter().filter(|node| is_up(node)).count();
    let text = |found: Vec<String>| format!("{up} of {} are up; {}", all.len(), named(&found));
    match (away.first(), going.is_empty()) {
        (Some((name, _)), _) => {
            let remedy = format!("palisade node describe {name}; {}", page("AgentDown"));
            let found = away.iter().map(|(_, how)| how.clone()).chain(going).collect();
            Finding::fail(text(found), remedy)
        }
        (None, false) => Finding::warn(text(going), "palisade balance status; palisade node list"),
        (None, true) if all.is_empty() => {
            Finding::warn("there are none", "palisade replica --coordinators HOST:PORT,…")
        }
        (None, true) => Finding::ok(format!("{up} of {} are up", all.len())),
    }
}

/// Nodes of which something is said.
fn said(seen: &Seen, what: impl Fn(&pb::Node) -> &str, alert: &str, well: &str) -> Finding {
    let all = match &seen.status {
        Ok(status) => &status.nodes,
        Err(why) => return Finding::unknown(why),
    };
    let of = |node: &pb::Node| {
        let why = what(node);
        (!why.is_empty()).then(|| format!("{}: {why}", node.name))
    };
    let found: Vec<String> = all.iter().filter_map(of).collect();
    match found.is_empty() {
        true => Finding::ok(well),
        false => {
            Finding::fail(named(&found), format!("palisade node list -o wide; {}", page(alert)))
        }
    }
}

pub(super) fn fitness(seen: &Seen) -> Finding {
    said(seen, |node| &node.unfit, "NodeUnfit", "no node is unfit")
}

pub(super) fn disks(seen: &Seen) -> Finding {
    said(seen, |node| &node.disk_trouble, "DiskTrouble", "each disk takes rows")
}
