//! Messages as JSON, by the proto JSON mapping: names in camel case, enums by name, 64-bit numbers
//! as texts, bytes in base 64. Fields that are not set stand there with their defaults; messages
//! and optional fields that are not set are left out.

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use proto::admin::v1 as pb;
use serde_json::Value;
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).expect("what the build has compiled")
});

/// A message that its descriptor is known of.
pub(crate) trait Described: prost::Message {
    /// Its name, with its package.
    const NAME: &'static str;
}

macro_rules! described {
    ($($message:ty: $name:literal,)*) => {
        $(impl Described for $message {
            const NAME: &'static str = $name;
        })*

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

described! {
    pb::Barrier: "palisade.admin.v1.Barrier",
    pb::BarrierHolder: "palisade.admin.v1.BarrierHolder",
    pb::BalanceSwitch: "palisade.admin.v1.BalanceSwitch",
    pb::Coordinator: "palisade.admin.v1.Coordinator",
    pb::CreateTableResponse: "palisade.admin.v1.CreateTableResponse",
    pb::DisableBalancingResponse: "palisade.admin.v1.DisableBalancingResponse",
    pb::DropTableResponse: "palisade.admin.v1.DropTableResponse",
    pb::EnableBalancingResponse: "palisade.admin.v1.EnableBalancingResponse",
    pb::GetBalanceStatusResponse: "palisade.admin.v1.GetBalanceStatusResponse",
    pb::GetStatusResponse: "palisade.admin.v1.GetStatusResponse",
    pb::IntroduceResponse: "palisade.admin.v1.IntroduceResponse",
    pb::KillConnectionResponse: "palisade.admin.v1.KillConnectionResponse",
    pb::ListOrphansResponse: "palisade.admin.v1.ListOrphansResponse",
    pb::Migration: "palisade.admin.v1.Migration",
    pb::Node: "palisade.admin.v1.Node",
    pb::NodeLoad: "palisade.admin.v1.NodeLoad",
    pb::PauseResponse: "palisade.admin.v1.PauseResponse",
    pb::PlanBalanceResponse: "palisade.admin.v1.PlanBalanceResponse",
    pb::PlannedMove: "palisade.admin.v1.PlannedMove",
    pb::PurgeTabletResponse: "palisade.admin.v1.PurgeTabletResponse",
    pb::RemoveMemberResponse: "palisade.admin.v1.RemoveMemberResponse",
    pb::ResumeResponse: "palisade.admin.v1.ResumeResponse",
    pb::Table: "palisade.admin.v1.Table",
    pb::Tablet: "palisade.admin.v1.Tablet",
    pb::TransferLeaderResponse: "palisade.admin.v1.TransferLeaderResponse",
    proto::types::v1::Settings: "palisade.types.v1.Settings",
}

/// A message as one whose fields can be asked for by name.
pub(super) fn reflected<M: Described>(message: &M) -> DynamicMessage {
    let descriptor = POOL.get_message_by_name(M::NAME).expect("a test looks each of them up");
    let mut reflected = DynamicMessage::new(descriptor);
    reflected.transcode_from(message).expect("both are of the same protos");
    reflected
}

/// A message as JSON.
pub(crate) fn json<M: Described>(message: &M) -> Value {
    let options = SerializeOptions::new().skip_default_fields(false);
    let written =
        reflected(message).serialize_with_options(serde_json::value::Serializer, &options);
    written.expect("each field has a form in JSON")
}

/// 16 bytes as a UUID, others in hexadecimal.
pub(super) fn uuid(bytes: &[u8]) -> String {
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    uuid::Uuid::from_slice(bytes).map_or_else(|_| hex(), |uuid| uuid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1::{Stage, TopologyVersion};

    #[test]
    fn each_message_is_among_the_descriptors() {
        for name in NAMES {
            assert!(POOL.get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_message_has_its_defaults_its_enums_by_name_and_wide_numbers_as_texts() {
        let tablet = pb::Tablet {
            id: u64::MAX,
            stage: Stage::UseNew.into(),
            version: Some(TopologyVersion { era: 1, counter: 7 }),
            ..Default::default()
        };
        let expected = serde_json::json!({
            "id": "18446744073709551615",
            "table": "",
            "name": "",
            "version": { "era": 1, "counter": "7" },
            "replicas": [],
            "stage": "STAGE_USE_NEW",
            "migration": "",
            "repairedToMs": "0",
            "digests": [],
        });
        assert_eq!(json(&tablet), expected);
    }
}
