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
