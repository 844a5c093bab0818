//! Settings and terms of leases.

use crate::Malformed;
use crate::types::v1 as pb;
use migrations::lease::LeaseTerms;
use migrations::settings::Settings;

impl From<LeaseTerms> for pb::LeaseTerms {
    fn from(terms: LeaseTerms) -> pb::LeaseTerms {
        let LeaseTerms { length_ms, drift_per_mille } = terms;
        pb::LeaseTerms { length_ms, drift_per_mille }
    }
}

impl From<&Settings> for pb::Settings {
    fn from(settings: &Settings) -> pb::Settings {
        let Settings {
            lease,
            attempts,
            backoff_ms,
            backoff_max_ms,
            drain_deadline_ms,
            stall_ms,
            skew_bound_ms,
            streams_per_node,
            bytes_per_second,
        } = *settings;
        pb::Settings {
            lease: Some(lease.into()),
            attempts,
            backoff_ms,
            backoff_max_ms,
            drain_deadline_ms,
            stall_ms,
            skew_bound_ms,
            streams_per_node,
            bytes_per_second,
        }
    }
}

/// Settings that have to be there and must not contradict themselves.
pub fn settings(field: &'static str, wire: Option<pb::Settings>) -> Result<Settings, Malformed> {
    let settings = settings_unchecked(field, wire)?;
    match settings.contradiction() {
        Some(problem) => Err(Malformed::Field { field, problem: problem.words() }),
        None => Ok(settings),
    }
}

/// The settings `now` with those that `only` names, as `wanted` has them.
///
/// # Errors
///
/// The first name that is none.
pub fn merged<'a>(
    now: pb::Settings,
    wanted: &pb::Settings,
    only: &'a [String],
) -> Result<pb::Settings, &'a str> {
    let mut merged = now;
    let (from, mut to) = (wanted.lease.unwrap_or_default(), merged.lease.unwrap_or_default());
    for name in only {
        match name.as_str() {
            "lease.length_ms" => to.length_ms = from.length_ms,
            "lease.drift_per_mille" => to.drift_per_mille = from.drift_per_mille,
            "attempts" => merged.attempts = wanted.attempts,
            "backoff_ms" => merged.backoff_ms = wanted.backoff_ms,
            "backoff_max_ms" => merged.backoff_max_ms = wanted.backoff_max_ms,
            "drain_deadline_ms" => merged.drain_deadline_ms = wanted.drain_deadline_ms,
            "stall_ms" => merged.stall_ms = wanted.stall_ms,
            "skew_bound_ms" => merged.skew_bound_ms = wanted.skew_bound_ms,
            "streams_per_node" => merged.streams_per_node = wanted.streams_per_node,
            "bytes_per_second" => merged.bytes_per_second = wanted.bytes_per_second,
            unknown => return Err(unknown),
        }
    }
    merged.lease = Some(to);
    Ok(merged)
}

/// Settings that have to be there, and may contradict themselves: `apply` refuses those, so the
/// log may hold them.
pub(crate) fn settings_unchecked(
    field: &'static str,
    wire: Option<pb::Settings>,
) -> Result<Settings, Malformed> {
    let pb::Settings {
        lease,
        attempts,
        backoff_ms,
        backoff_max_ms,
        drain_deadline_ms,
        stall_ms,
        skew_bound_ms,
        streams_per_node,
        bytes_per_second,
    } = wire.ok_or(Malformed::Missing { field })?;
    let pb::LeaseTerms { length_ms, drift_per_mille } =
        lease.ok_or(Malformed::Missing { field: "settings.lease" })?;
    Ok(Settings {
        lease: LeaseTerms { length_ms, drift_per_mille },
        attempts,
        backoff_ms,
        backoff_max_ms,
        drain_deadline_ms,
        stall_ms,
        skew_bound_ms,
        streams_per_node,
        bytes_per_second,
    })
}
