//! The coordinators: who answers, who leads, how many may fail, who is behind, who differs.

use super::{Asked, Finding, Seen, named, page};
use client::api as pb;
use std::collections::BTreeSet;

/// Whom the leader has not heard for so long is out of its reach.
const SILENT_MS: u64 = 5_000;
/// Entries that a member may lack: below it, it catches up out of the log.
const LAG: u64 = 5_000;

/// What people call it.
fn name(asked: &Asked) -> String {
    let own = asked.answer.as_ref().ok().and_then(|answer| answer.own.as_ref());
    let named = asked.name.clone().or_else(|| own.map(|own| own.name.clone()));
    named.map_or_else(|| asked.address.clone(), |name| format!("{name} ({})", asked.address))
}

pub(super) fn coordinators(seen: &Seen) -> Finding {
    let silent = seen.asked.iter().filter_map(|asked| {
        let why = asked.answer.as_ref().err()?;
        Some(format!("{}: {why}", name(asked)))
    });
    let silent: Vec<String> = silent.collect();
    let (all, up) = (seen.asked.len(), seen.asked.len() - silent.len());
    if silent.is_empty() && all > 0 {
        return Finding::ok(format!("{up} of {all} answer"));
    }
    let remedy = format!("start it, or look at its log; {}", page("CoordinatorDown"));
    Finding::fail(format!("{up} of {all} answer; not {}", named(&silent)), remedy)
}

pub(super) fn leader(seen: &Seen) -> Finding {
    let opinions = seen.asked.iter().filter_map(|asked| {
        let own = asked.answer.as_ref().ok()?.own.as_ref()?;
        let of_whom = match own.leader {
            0 => "nobody".to_owned(),
            raft_id if raft_id == own.raft_id => "itself".to_owned(),
            raft_id => called(seen, raft_id),
        };
        Some((own.leader, format!("{} takes {of_whom} for the leader", own.name)))
    });
    let (leaders, said): (BTreeSet<u64>, Vec<String>) = opinions.unzip();
    let status = match &seen.status {
        Ok(status) if status.leader != 0 => status,
        Ok(_) => return no_leader("nobody leads", &said),
        Err(why) => return no_leader(why, &said),
    };
    if leaders.iter().any(|leader| *leader != status.leader) {
        let remedy = format!("palisade doctor     again, then {}", page("TwoLeaders"));
        return Finding::warn(named(&said), remedy);
    }
    Finding::ok(format!("{} leads in term {}", called(seen, status.leader), status.term))
}

fn no_leader(why: &str, said: &[String]) -> Finding {
    let said = if said.is_empty() { String::new() } else { format!("; {}", named(said)) };
    Finding::fail(format!("{why}{said}"), page("NoLeader"))
}

/// A member by its Raft id.
fn called(seen: &Seen, raft_id: u64) -> String {
    let members = seen.status.as_ref().map_or(&[][..], |status| &status.coordinators);
    let member = members.iter().find(|one| one.raft_id == raft_id);
    let own = seen.asked.iter().filter_map(|asked| asked.answer.as_ref().ok()?.own.as_ref());
    let own = own.into_iter().find(|own| own.raft_id == raft_id).map(|own| own.name.clone());
    member.map(|one| one.name.clone()).or(own).unwrap_or_else(|| format!("#{raft_id}"))
}

pub(super) fn quorum(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(_) => {
            let (all, up) = (seen.asked.len(), count_up(seen));
            let text = format!("{up} of {all} coordinators that are known of answer");
            let remedy = format!("{}; OPERATIONS.md, A lost majority", page("NoLeader"));
            let has_majority = up > all / 2;
            return match has_majority {
                true => Finding::unknown(&text),
                false => Finding::fail(format!("{text}: no majority"), remedy),
            };
        }
    };
    let (voters, may_fail) = (status.voters.len(), status.failure_tolerance);
    let text = format!("{voters} vote, the loss of {may_fail} more is borne");
    match (voters, may_fail) {
        (0..=2, _) => {
            Finding::warn(text, "palisade raft add NAME --raft HOST:PORT     until there are three")
        }
        (_, 0) => Finding::fail(text, format!("palisade raft status; {}", page("CoordinatorDown"))),
        (voters, some) if (some as usize) < (voters - 1) / 2 => {
            Finding::warn(text, "palisade raft status     says who is away")
        }
        _ => Finding::ok(text),
    }
}

fn count_up(seen: &Seen) -> usize {
    seen.asked.iter().filter(|asked| asked.answer.is_ok()).count()
}

pub(super) fn members(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(why) => return Finding::unknown(why),
    };
    let (mut silent, mut behind) = (Vec::new(), Vec::new());
    for one in status.coordinators.iter().filter(|one| !one.leader) {
        match (one.silent_ms, one.lag) {
            (Some(ms), _) if ms > SILENT_MS => {
                silent.push(format!("{} was not heard for {} s", one.name, ms / 1_000));
            }
            (_, Some(lag)) if lag > LAG => behind.push(format!("{} lacks {lag} entries", one.name)),
            (None, _) => behind.push(format!("{} was not heard since this leader leads", one.name)),
            _ if !one.voter => behind.push(format!("{} has no vote yet", one.name)),
            _ => {}
        }
    }
    let remedy = format!("palisade raft status; {}", page("CoordinatorLags"));
    let found: Vec<String> = silent.iter().chain(&behind).cloned().collect();
    match (silent.is_empty(), behind.is_empty()) {
        (true, true) => Finding::ok(format!("{} keep up", status.coordinators.len())),
        (true, false) => Finding::warn(named(&found), remedy),
        (false, _) => Finding::fail(named(&found), remedy),
    }
}

pub(super) fn clocks(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(why) => return Finding::unknown(why),
    };
    let odd = |one: &pb::Coordinator| {
        let ahead = one.clock_ahead_ms?;
        let (by, how) = (ahead.unsigned_abs(), if ahead < 0 { "behind" } else { "ahead of" });
        Some(format!("{}'s clock is {by} ms {how} the leader's, or more", one.name))
    };
    let found: Vec<String> = status.coordinators.iter().filter_map(odd).collect();
    match found.is_empty() {
        true => Finding::ok("no member's clock is known to be off"),
        false => Finding::fail(named(&found), page("ClocksApart")),
    }
}

pub(super) fn states(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(why) => return Finding::unknown(why),
    };
    let differs = |one: &pb::Coordinator| {
        let at = one.state_differs_at?;
        Some(format!("{} has another state than the leader as of entry {at}", one.name))
    };
    let found: Vec<String> = status.coordinators.iter().filter_map(differs).collect();
    match found.is_empty() {
        true => Finding::ok("no member is known to differ"),
        false => Finding::fail(named(&found), page("StatesDiffer")),
    }
}
