//! Builds, what they can read, and how long certificates are good.

use super::{Finding, Seen, Verdict, named, page};
use client::Validity;
use std::collections::BTreeSet;

pub(super) fn builds(seen: &Seen) -> Finding {
    let answered = seen.asked.iter().filter_map(|asked| {
        let answer = asked.answer.as_ref().ok()?;
        let name = asked.name.clone().unwrap_or_else(|| asked.address.clone());
        Some((name, answer.own.as_ref().map(|own| own.build.clone())))
    });
    let all: Vec<(String, Option<String>)> = answered.collect();
    if all.is_empty() {
        return Finding::unknown("no coordinator answers");
    }
    let distinct: BTreeSet<&Option<String>> = all.iter().map(|(_, build)| build).collect();
    let shown = all.iter().map(|(name, build)| match build {
        Some(build) => format!("{name} is of {build}"),
        None => format!("{name} is too old to say"),
    });
    let shown: Vec<String> = shown.collect();
    if distinct.len() > 1 {
        return Finding::warn(named(&shown), format!("end the upgrade; {}", page("VersionsMixed")));
    }
    match all.first().and_then(|(_, build)| build.as_deref()) {
        Some(build) if build == seen.build => Finding::ok(format!("all are of {build}")),
        other => {
            let theirs = other.unwrap_or("one that is too old to say");
            let text = format!("coordinators are of {theirs}, this program is of {}", seen.build);
            Finding::warn(text, "use the program of the cluster's build")
        }
    }
}

pub(super) fn feature_level(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(why) => return Finding::unknown(why),
    };
    let level = status.feature_level;
    let own = seen.asked.iter().filter_map(|asked| asked.answer.as_ref().ok()?.own.as_ref());
    let coordinators = own.map(|own| (own.name.clone(), own.feature_level));
    let nodes = status.nodes.iter().map(|node| (node.name.clone(), node.feature_level));
    let all: Vec<(String, u32)> = coordinators.chain(nodes).collect();
    let newest = all.iter().map(|(_, reads)| *reads).max().unwrap_or(level);
    if newest > level {
        let older = all.iter().filter(|(_, reads)| *reads < newest);
        let older: Vec<String> = older.map(|(name, reads)| format!("{name} ({reads})")).collect();
        let text = match older.is_empty() {
            true => format!("{level}; all read {newest}: it rises by itself"),
            false => format!("{level}; some read {newest}, not yet {}", named(&older)),
        };
        return Finding::warn(text, "end the upgrade: the level rises with the last process");
    }
    match level > seen.feature_level {
        true => Finding::warn(
            format!("{level}; this program reads {}", seen.feature_level),
            "use the program of the cluster's build",
        ),
        false => Finding::ok(format!("{level}")),
    }
}

/// How a certificate stands: who renews them does so when a third of the time is left.
fn judged(validity: Validity, now_s: i64) -> Verdict {
    let whole = validity.until_s.saturating_sub(validity.from_s);
    let left = validity.until_s.saturating_sub(now_s);
    match left {
        _ if left <= whole / 20 || now_s < validity.from_s => Verdict::Fail,
        _ if left <= whole / 4 => Verdict::Warn,
        _ => Verdict::Ok,
    }
}

pub(super) fn certificates(seen: &Seen) -> Finding {
    if !seen.has_tls {
        let remedy = "--cacert, --cert, --key; OPERATIONS.md, Identities";
        return Finding::warn("asked in the clear: nobody has to show who it is", remedy);
    }
    let now_s = i64::try_from(seen.now_ms / 1_000).unwrap_or(i64::MAX);
    let servers = seen.asked.iter().filter_map(|asked| {
        let answer = asked.answer.as_ref().ok()?;
        Some((asked.name.clone().unwrap_or_else(|| asked.address.clone()), answer.validity))
    });
    let all = [("one's own".to_owned(), seen.own)].into_iter().chain(servers);
    let (mut worst, mut found, mut soonest) = (Verdict::Ok, Vec::new(), i64::MAX);
    for (name, validity) in all {
        let Some(validity) = validity else {
            worst = worst.max(Verdict::Warn);
            found.push(format!("that of {name} can't be read"));
            continue;
        };
        let verdict = judged(validity, now_s);
        soonest = soonest.min(validity.until_s);
        if verdict != Verdict::Ok {
            worst = worst.max(verdict);
            found.push(format!("that of {name} ends {}", when(validity.until_s, now_s)));
        }
    }
    if found.is_empty() {
        return Finding::ok(format!("the first to end does so {}", when(soonest, now_s)));
    }
    let remedy = "have it issued anew: files are read again; OPERATIONS.md, Identities";
    Finding { verdict: worst, seen: named(&found), remedy: remedy.to_owned() }
}

/// When something is, from now.
fn when(at_s: i64, now_s: i64) -> String {
    let hours = at_s.saturating_sub(now_s) / 3_600;
    match hours {
        ..0 => format!("{} h ago", -hours),
        0..48 => format!("in {hours} h"),
        _ => format!("in {} days", hours / 24),
    }
}
