//! Messages as JSON, by the proto JSON mapping: names in camel case, enums by name, 64-bit numbers
//! as texts, bytes in base 64. Fields that are not set stand there with their defaults.

use super::base64::encode;
use proto::admin::v1 as pb;
use proto::agent::v1::Holder;
use proto::types::v1::{PositionRange, TopologyVersion};
use serde_json::{Value, json};

/// A message that has a form in JSON.
pub(crate) trait Json {
    /// The form.
    fn json(&self) -> Value;
}

/// A 64-bit number: a text, since not every reader of JSON can hold it.
fn number(number: u64) -> Value {
    Value::String(number.to_string())
}

fn all<T: Json>(items: &[T]) -> Value {
    items.iter().map(Json::json).collect()
}

fn optional<T: Json>(item: Option<&T>) -> Value {
    item.map_or(Value::Null, Json::json)
}

/// 16 bytes as a UUID, others in base 64.
pub(super) fn uuid(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map_or_else(|_| encode(bytes), |uuid| uuid.to_string())
}

impl Json for TopologyVersion {
    fn json(&self) -> Value {
        json!({ "era": self.era, "counter": number(self.counter) })
    }
}

impl Json for PositionRange {
    fn json(&self) -> Value {
        let end = self.end.as_ref().map_or(Value::Null, |end| json!(encode(end)));
        json!({ "start": encode(&self.start), "end": end })
    }
}

impl Json for pb::Table {
    fn json(&self) -> Value {
        json!({
            "id": number(self.id),
            "name": self.name,
            "partitioning": self.partitioning().as_str_name(),
            "replicationFactor": self.replication_factor,
            "tabletCount": self.tablet_count,
            "dropping": self.dropping,
        })
    }
}

impl Json for pb::TabletReplica {
    fn json(&self) -> Value {
        json!({
            "node": self.node,
            "copy": optional(self.copy.as_ref()),
            "lost": self.lost,
            "old": self.old,
            "next": self.next,
        })
    }
}

impl Json for pb::ReplicaDigest {
    fn json(&self) -> Value {
        json!({
            "node": self.node,
            "rows": number(self.rows),
            "tombstones": number(self.tombstones),
            "sum": self.sum,
            "error": self.error,
        })
    }
}

impl Json for pb::Tablet {
    fn json(&self) -> Value {
        json!({
            "id": number(self.id),
            "table": self.table,
            "name": self.name,
            "range": optional(self.range.as_ref()),
            "version": optional(self.version.as_ref()),
            "replicas": all(&self.replicas),
            "stage": self.stage().as_str_name(),
            "migration": self.migration,
            "repairedToMs": number(self.repaired_to_ms),
            "digests": all(&self.digests),
        })
    }
}

impl Json for pb::StreamProgress {
    fn json(&self) -> Value {
        json!({
            "source": self.source,
            "receiver": self.receiver,
            "rows": number(self.rows),
            "bytes": number(self.bytes),
            "bytesPerSecond": number(self.bytes_per_second),
            "paused": self.paused,
            "sum": self.sum,
        })
    }
}

impl Json for pb::StageHistory {
    fn json(&self) -> Value {
        json!({
            "stage": self.stage().as_str_name(),
            "version": optional(self.version.as_ref()),
            "attempt": self.attempt,
            "enteredMs": number(self.entered_ms),
            "acknowledged": all(&self.acknowledged),
            "streams": all(&self.streams),
            "failure": self.failure,
        })
    }
}

impl Json for pb::BarrierAcknowledgement {
    fn json(&self) -> Value {
        json!({ "node": self.node, "atMs": number(self.at_ms) })
    }
}

impl Json for Holder {
    fn json(&self) -> Value {
        let session = self.session.as_ref().map_or(Value::Null, |bytes| json!(encode(bytes)));
        json!({
            "session": session,
            "version": optional(self.version.as_ref()),
            "operation": self.operation,
            "peer": self.peer,
            "heldMs": number(self.held_ms),
            "bytes": number(self.bytes),
        })
    }
}

impl Json for pb::BarrierHolder {
    fn json(&self) -> Value {
        json!({ "node": self.node, "holder": optional(self.holder.as_ref()) })
    }
}

impl Json for pb::Migration {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind().as_str_name(),
            "tablet": number(self.tablet),
            "tabletName": self.tablet_name,
            "from": self.from,
            "to": self.to,
            "state": self.state().as_str_name(),
            "stage": self.stage().as_str_name(),
            "attempt": self.attempt,
            "session": self.session,
            "before": self.before,
            "after": self.after,
            "streams": all(&self.streams),
            "stages": all(&self.stages),
            "reason": self.reason,
            "cancelled": self.cancelled,
            "waitingFor": self.waiting_for,
            "holders": all(&self.holders),
            "note": self.note,
            "endedMs": number(self.ended_ms),
            "version": optional(self.version.as_ref()),
        })
    }
}

impl Json for pb::Barrier {
    fn json(&self) -> Value {
        json!({
            "tablet": number(self.tablet),
            "tabletName": self.tablet_name,
            "version": optional(self.version.as_ref()),
            "stage": self.stage().as_str_name(),
            "waitingMs": number(self.waiting_ms),
            "waitingFor": self.waiting_for,
            "holders": all(&self.holders),
        })
    }
}

impl Json for pb::Node {
    fn json(&self) -> Value {
        json!({
            "id": number(self.id),
            "name": self.name,
            "dataAddress": self.data_address,
            "streamAddress": self.stream_address,
            "rack": self.rack,
            "incarnation": optional(self.incarnation.as_ref()),
            "state": self.state().as_str_name(),
            "attached": self.attached,
            "replicaCount": self.replica_count,
        })
    }
}

impl Json for pb::ReplicaPurge {
    fn json(&self) -> Value {
        json!({ "node": self.node, "removed": number(self.removed), "error": self.error })
    }
}

impl Json for pb::GetStatusResponse {
    fn json(&self) -> Value {
        json!({
            "clusterId": self.cluster_id,
            "leader": number(self.leader),
            "term": number(self.term),
            "committedIndex": number(self.committed_index),
            "appliedIndex": number(self.applied_index),
            "voters": self.voters.iter().copied().map(number).collect::<Vec<_>>(),
            "version": optional(self.version.as_ref()),
            "nodes": all(&self.nodes),
            "tables": all(&self.tables),
            "migrations": all(&self.migrations),
            "migrationCount": self.migration_count,
            "tabletCount": self.tablet_count,
        })
    }
}
