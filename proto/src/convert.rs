//! Between messages and the core's types: small things here, records and settings below.

mod record;
mod settings;

pub use record::{partitioning, stage, transition_kind};
pub(crate) use record::{replica_set, replicas_to_wire};
pub(crate) use settings::settings_unchecked;
pub use settings::{merged, settings};

use crate::Malformed;
use crate::types::v1 as pb;
use bytes::Bytes;
use migrations::id::{
    AdmissionToken, ClusterId, DirectoryId, MigrationId, NodeId, RequestId, RouterId, SessionId,
    TableId, TabletId,
};
use migrations::version::TopologyVersion;
use std::time::Duration;
use uuid::Uuid;

/// Longest deadline that is taken from a caller.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

macro_rules! uuid_field {
    ($(#[$doc:meta])* $name:ident, $id:ident) => {
        $(#[$doc])*
        pub fn $name(field: &'static str, bytes: &[u8]) -> Result<$id, Malformed> {
            let uuid = Uuid::from_slice(bytes).ok().and_then($id::from_uuid);
            uuid.ok_or(Malformed::Field { field, problem: "not an id of 16 bytes" })
        }
    };
}

macro_rules! number_field {
    ($(#[$doc:meta])* $name:ident, $id:ident) => {
        $(#[$doc])*
        pub fn $name(field: &'static str, number: u64) -> Result<$id, Malformed> {
            $id::from_u64(number).ok_or(Malformed::Field { field, problem: "0 is not an id" })
        }
    };
}

uuid_field!(
    /// A session's id of 16 bytes.
    session_id, SessionId
);
uuid_field!(
    /// A migration's id of 16 bytes.
    migration_id, MigrationId
);
uuid_field!(
    /// A cluster's id of 16 bytes.
    cluster_id, ClusterId
);
uuid_field!(
    /// A directory's id of 16 bytes.
    directory_id, DirectoryId
);
uuid_field!(
    /// An admission token of 16 bytes.
    admission_token, AdmissionToken
);
uuid_field!(
    /// A router's id of 16 bytes.
    router_id, RouterId
);
uuid_field!(
    /// A request's id of 16 bytes.
    request_id, RequestId
);
number_field!(
    /// A node's id.
    node_id, NodeId
);
number_field!(
    /// A table's id.
    table_id, TableId
);
number_field!(
    /// A tablet's id.
    tablet_id, TabletId
);

/// A UUID as 16 bytes.
pub fn bytes(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

/// A version that has to be there and is not zero, which no commit makes.
pub fn version(
    field: &'static str,
    version: Option<pb::TopologyVersion>,
) -> Result<TopologyVersion, Malformed> {
    let pb::TopologyVersion { era, counter } = version.ok_or(Malformed::Missing { field })?;
    let version = TopologyVersion::from_parts(era, counter);
    if version == TopologyVersion::ZERO {
        return Err(Malformed::Field { field, problem: "0 is not a version" });
    }
    Ok(version)
}

impl From<TopologyVersion> for pb::TopologyVersion {
    fn from(version: TopologyVersion) -> pb::TopologyVersion {
        pb::TopologyVersion { era: version.era(), counter: version.counter() }
    }
}

/// A sum of 16 bytes, the highest first.
pub fn sum(field: &'static str, bytes: &[u8]) -> Result<u128, Malformed> {
    let bytes = bytes.try_into();
    bytes.map(u128::from_be_bytes).map_err(|_| Malformed::Field { field, problem: "not 16 bytes" })
}

/// A sum as 16 bytes, the highest first.
pub fn sum_bytes(sum: u128) -> Bytes {
    Bytes::copy_from_slice(&sum.to_be_bytes())
}

/// How long a caller waits, as its `grpc-timeout` says; at most 60 s, and that where it says
/// nothing.
pub fn deadline(metadata: &tonic::metadata::MetadataMap) -> Duration {
    let said = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    said.and_then(parse_timeout).unwrap_or(DEADLINE_MAX).min(DEADLINE_MAX)
}

/// At most eight digits and a unit, as gRPC over HTTP/2 has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nil_short_and_zero_ids_are_malformed() {
        assert!(session_id("session", &[0; 16]).is_err());
        assert!(session_id("session", &[1; 15]).is_err());
        assert!(session_id("session", &[1; 16]).is_ok());
        assert!(tablet_id("tablet", 0).is_err());
        assert!(version("version", None).is_err());
        assert!(version("version", Some(pb::TopologyVersion::default())).is_err());
    }

    #[test]
    fn a_callers_deadline_is_capped() {
        let mut metadata = tonic::metadata::MetadataMap::new();
        assert_eq!(deadline(&metadata), DEADLINE_MAX);
        for (said, meant) in [
            ("250m", Duration::from_millis(250)),
            ("99999999H", DEADLINE_MAX),
            ("x", DEADLINE_MAX),
            ("", DEADLINE_MAX),
            ("1S", Duration::from_secs(1)),
        ] {
            metadata.insert("grpc-timeout", said.parse().expect("ascii"));
            assert_eq!(deadline(&metadata), meant, "{said:?}");
        }
    }
}
