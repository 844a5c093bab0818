//! What moves, what stands still, and what keeps it from moving.

use super::{Finding, Seen, named, page};
use crate::render::{scope, stage, utc};
use client::api as pb;
use proto::types::v1::{Settings, Stage};

/// What a stage may take beyond its own bounds: proposals, a change of leader, clocks apart.
const SLACK_MS: u64 = 10_000;

/// How long a barrier may take: whoever holds it up is forced out, or loses its lease.
fn barrier_bound_ms(settings: &Settings) -> u64 {
    let lease = settings.lease.map_or(0, |lease| lease.length_ms);
    u64::from(lease) + u64::from(settings.drain_deadline_ms) + SLACK_MS
}

/// How long nothing may move in a stage of streams: a stall is seen, and the next attempt begins.
fn stream_bound_ms(settings: &Settings) -> u64 {
    u64::from(settings.stall_ms) + u64::from(settings.backoff_max_ms) + barrier_bound_ms(settings)
}

/// For how long a migration is in its stage, if that is longer than it may be.
fn overdue_ms(migration: &pb::Migration, settings: &Settings, now_ms: u64) -> Option<u64> {
    let entered = migration.stages.last()?.entered_ms;
    let held = now_ms.saturating_sub(entered);
    let streams = matches!(migration.stage(), Stage::Streaming | Stage::Repair);
    let flows = migration.streams.iter().any(|one| one.bytes > 0 || one.paused);
    let bound = match streams {
        true if flows => return None,
        true => stream_bound_ms(settings),
        false => barrier_bound_ms(settings),
    };
    (held > bound).then_some(held)
}

pub(super) fn migrations(seen: &Seen) -> Finding {
    let (running, settings) = match (&seen.migrations, &seen.settings) {
        (Ok(running), Ok(settings)) => (running, settings),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(why),
    };
    let is_paused = seen.status.as_ref().is_ok_and(|status| status.pause.is_some());
    if is_paused {
        return Finding::ok(format!("{} under way, paused", running.len()));
    }
    let mut still = running.iter().filter_map(|one| {
        let held = overdue_ms(one, settings, seen.now_ms)?;
        let (name, stage) = (&one.tablet_name, stage(one.stage()));
        let whom = match one.waiting_for.as_slice() {
            [] => String::new(),
            nodes => format!(", waits for {}", nodes.join(" ")),
        };
        Some((name, format!("{name} in {stage} for {} s{whom}", held / 1_000)))
    });
    let Some((first, text)) = still.next() else {
        return Finding::ok(format!("{} under way, none stands still", running.len()));
    };
    let found: Vec<String> = [text].into_iter().chain(still.map(|(_, text)| text)).collect();
    let remedy = format!("palisade tablet explain {first}; {}", page("MigrationsStandStill"));
    Finding::fail(named(&found), remedy)
}

pub(super) fn attempts(seen: &Seen) -> Finding {
    let running = match &seen.migrations {
        Ok(running) => running,
        Err(why) => return Finding::unknown(why),
    };
    let again = running.iter().filter(|one| one.attempt > 1).map(|one| {
        let failed = one.stages.iter().rev().find(|stage| !stage.failure.is_empty());
        let why = failed.map_or(String::new(), |stage| format!(", the last: {}", stage.failure));
        format!("{} in attempt {}{why}", one.tablet_name, one.attempt)
    });
    let found: Vec<String> = again.collect();
    match found.is_empty() {
        true => Finding::ok("none is tried again"),
        false => {
            let remedy = format!("palisade migration describe ID; {}", page("StreamsFail"));
            Finding::warn(named(&found), remedy)
        }
    }
}

pub(super) fn barriers(seen: &Seen) -> Finding {
    let (waiting, settings) = match (&seen.barriers, &seen.settings) {
        (Ok(waiting), Ok(settings)) => (waiting, settings),
        (Err(why), _) | (_, Err(why)) => return Finding::unknown(why),
    };
    let lease = settings.lease.map_or(0, |lease| u64::from(lease.length_ms));
    let long: Vec<&pb::Barrier> = waiting.iter().filter(|one| one.waiting_ms > lease).collect();
    let shown = long.iter().map(|one| {
        let (name, seconds, nodes) =
            (&one.tablet_name, one.waiting_ms / 1_000, one.waiting_for.join(" "));
        let held = one.holders.iter().filter_map(|held| held.holder.as_ref());
        let held: Vec<String> =
            held.map(|one| format!("{} for {}", one.operation, one.peer)).collect();
        let by = if held.is_empty() { String::new() } else { format!(" ({})", named(&held)) };
        format!("{name} waits for {nodes} for {seconds} s{by}")
    });
    let shown: Vec<String> = shown.collect();
    let remedy = format!("palisade barrier holders; {}", page("BarrierWaits"));
    let bound = barrier_bound_ms(settings);
    match long.iter().map(|one| one.waiting_ms).max() {
        None => Finding::ok(format!("{} wait, none longer than a lease", waiting.len())),
        Some(longest) if longest > bound => Finding::fail(named(&shown), remedy),
        Some(_) => Finding::warn(named(&shown), remedy),
    }
}

pub(super) fn pause(seen: &Seen) -> Finding {
    let status = match &seen.status {
        Ok(status) => status,
        Err(why) => return Finding::unknown(why),
    };
    match &status.pause {
        None => Finding::ok("transitions are not paused"),
        Some(pause) => {
            let text = format!("paused since {}: {}", utc(pause.since_ms), reason(&pause.reason));
            Finding::warn(text, "palisade resume")
        }
    }
}

fn reason(reason: &str) -> &str {
    if reason.is_empty() { "nobody has said why" } else { reason }
}

pub(super) fn balancing(seen: &Seen) -> Finding {
    let balancing = match &seen.status {
        Ok(status) => status.balancing.clone().unwrap_or_default(),
        Err(why) => return Finding::unknown(why),
    };
    let shown = balancing.switches.iter().map(|switch| {
        let (of, since) = (scope(switch.scope.as_ref()), utc(switch.since_ms));
        let until = match switch.until_ms {
            0 => String::new(),
            until => format!(" until {}", utc(until)),
        };
        format!("disabled for {of} since {since}{until}: {}", reason(&switch.reason))
    });
    let found: Vec<String> = shown.collect();
    if !found.is_empty() {
        return Finding::warn(named(&found), "palisade balance enable");
    }
    let (planned, running) = (balancing.planned, balancing.running);
    if planned > 0 && running == 0 && !balancing.held_by.is_empty() {
        let text = format!("{planned} moves are due and none begins: {}", balancing.held_by);
        return Finding::warn(text, "palisade balance plan; palisade balance status");
    }
    Finding::ok(format!("enabled; {running} under way, {planned} to come"))
}
