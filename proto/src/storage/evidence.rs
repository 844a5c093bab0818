//! What a stage has brought, and why one failed.

use super::DecodeError;
use super::field::{copy, incarnation, named, there, time_number, version};
use crate::convert::{bytes, node_id, session_id, sum, sum_bytes};
use crate::generated::storage::v1 as pb;
use crate::generated::types::v1 as types;
use migrations::clock::HybridTime;
use migrations::evidence::{Acknowledgement, DropReport, Evidence, FailureReason, StreamReport};
use migrations::record::StreamPair;
use migrations::row::RowSum;
use migrations::tablet::EndReason;

impl From<&Evidence> for pb::Evidence {
    fn from(evidence: &Evidence) -> pb::Evidence {
        let Evidence { acknowledged, streams, drops } = evidence;
        pb::Evidence {
            acknowledged: acknowledged.iter().map(Into::into).collect(),
            streams: streams.iter().map(Into::into).collect(),
            drops: drops.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Evidence> for Evidence {
    type Error = DecodeError;
    fn try_from(wire: pb::Evidence) -> Result<Evidence, DecodeError> {
        let pb::Evidence { acknowledged, streams, drops } = wire;
        let acknowledged = acknowledged.into_iter().map(Acknowledgement::try_from);
        let drops = drops.into_iter().map(DropReport::try_from);
        Ok(Evidence {
            acknowledged: acknowledged.collect::<Result<_, _>>()?,
            streams: streams.into_iter().map(StreamReport::try_from).collect::<Result<_, _>>()?,
            drops: drops.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Acknowledgement> for pb::Acknowledgement {
    fn from(acknowledgement: &Acknowledgement) -> pb::Acknowledgement {
        let Acknowledgement { node, incarnation, version, promised, at_ms } = *acknowledgement;
        pb::Acknowledgement {
            node: node.as_u64(),
            incarnation: Some(incarnation.0.into()),
            version: Some(version.into()),
            promised: time_number(promised),
            at_ms,
        }
    }
}

impl TryFrom<pb::Acknowledgement> for Acknowledgement {
    type Error = DecodeError;
    fn try_from(wire: pb::Acknowledgement) -> Result<Acknowledgement, DecodeError> {
        let pb::Acknowledgement { node, incarnation: of_node, version: at, promised, at_ms } = wire;
        Ok(Acknowledgement {
            node: node_id("acknowledged.node", node)?,
            incarnation: incarnation("acknowledged.incarnation", of_node)?,
            version: version("acknowledged.version", at)?,
            promised: promised.map(HybridTime),
            at_ms,
        })
    }
}

impl From<&StreamReport> for pb::StreamReport {
    fn from(report: &StreamReport) -> pb::StreamReport {
        let StreamReport {
            session,
            pair: StreamPair { source, receiver },
            source_incarnation,
            receiver_incarnation,
            rows,
            bytes: byte_count,
            sent: RowSum(sent),
            stored: RowSum(stored),
        } = *report;
        let pair = types::StreamPair { source: source.as_u64(), receiver: receiver.as_u64() };
        pb::StreamReport {
            session: bytes(session.as_uuid()),
            pair: Some(pair),
            source_incarnation: Some(source_incarnation.0.into()),
            receiver_incarnation: Some(receiver_incarnation.0.into()),
            rows,
            bytes: byte_count,
            sent: sum_bytes(sent),
            stored: sum_bytes(stored),
        }
    }
}

impl TryFrom<pb::StreamReport> for StreamReport {
    type Error = DecodeError;
    fn try_from(wire: pb::StreamReport) -> Result<StreamReport, DecodeError> {
        let pb::StreamReport {
            session,
            pair,
            source_incarnation,
            receiver_incarnation,
            rows,
            bytes,
            sent,
            stored,
        } = wire;
        let types::StreamPair { source, receiver } = there("streams.pair", pair)?;
        let source = node_id("streams.pair.source", source)?;
        let receiver = node_id("streams.pair.receiver", receiver)?;
        Ok(StreamReport {
            session: session_id("streams.session", &session)?,
            pair: StreamPair { source, receiver },
            source_incarnation: incarnation("streams.source_incarnation", source_incarnation)?,
            receiver_incarnation: incarnation(
                "streams.receiver_incarnation",
                receiver_incarnation,
            )?,
            rows,
            bytes,
            sent: RowSum(sum("streams.sent", &sent)?),
            stored: RowSum(sum("streams.stored", &stored)?),
        })
    }
}

impl From<&DropReport> for pb::DropReport {
    fn from(report: &DropReport) -> pb::DropReport {
        let DropReport { node, incarnation, copy, version } = *report;
        pb::DropReport {
            node: node.as_u64(),
            incarnation: Some(incarnation.0.into()),
            copy: Some(copy.0.into()),
            version: Some(version.into()),
        }
    }
}

impl TryFrom<pb::DropReport> for DropReport {
    type Error = DecodeError;
    fn try_from(wire: pb::DropReport) -> Result<DropReport, DecodeError> {
        let pb::DropReport { node, incarnation: of_node, copy: dropped, version: at } = wire;
        Ok(DropReport {
            node: node_id("drops.node", node)?,
            incarnation: incarnation("drops.incarnation", of_node)?,
            copy: copy("drops.copy", dropped)?,
            version: version("drops.version", at)?,
        })
    }
}

impl From<FailureReason> for pb::FailureReason {
    fn from(reason: FailureReason) -> pb::FailureReason {
        match reason {
            FailureReason::StreamProtocol => pb::FailureReason::StreamProtocol,
            FailureReason::StreamStalled => pb::FailureReason::StreamStalled,
            FailureReason::ChecksumMismatch => pb::FailureReason::ChecksumMismatch,
            FailureReason::DigestMismatch => pb::FailureReason::DigestMismatch,
            FailureReason::PeerClosed => pb::FailureReason::PeerClosed,
            FailureReason::DiskError => pb::FailureReason::DiskError,
            FailureReason::DiskFull => pb::FailureReason::DiskFull,
            FailureReason::DataDamaged => pb::FailureReason::DataDamaged,
            FailureReason::SessionUnknown => pb::FailureReason::SessionUnknown,
            FailureReason::SessionClosing => pb::FailureReason::SessionClosing,
            FailureReason::LeaseExpired => pb::FailureReason::LeaseExpired,
            FailureReason::NodeFenced => pb::FailureReason::NodeFenced,
            FailureReason::NodeFull => pb::FailureReason::NodeFull,
            FailureReason::StaleVersion => pb::FailureReason::StaleVersion,
        }
    }
}

/// Why the work of a stage failed.
pub(super) fn failure(field: &'static str, wire: i32) -> Result<FailureReason, DecodeError> {
    named(field, "reason of a failure", wire, |wire| {
        let known = pb::FailureReason::try_from(wire).ok()?;
        FailureReason::ALL.into_iter().find(|reason| pb::FailureReason::from(*reason) == known)
    })
}

/// Why the work of a stage failed, as it is written.
pub(super) fn failure_number(reason: FailureReason) -> i32 {
    pb::FailureReason::from(reason).into()
}

impl From<EndReason> for pb::EndReason {
    fn from(reason: EndReason) -> pb::EndReason {
        use pb::end_reason::Kind;
        let kind = match reason {
            EndReason::Cancelled => Kind::Cancelled(pb::Nothing {}),
            EndReason::NodeFenced(node) => Kind::NodeFenced(node.as_u64()),
            EndReason::ReplicaLost(node) => Kind::ReplicaLost(node.as_u64()),
            EndReason::NoLiveMajority => Kind::NoLiveMajority(pb::Nothing {}),
            EndReason::NoSources => Kind::NoSources(pb::Nothing {}),
            EndReason::Failed(reason) => Kind::Failed(failure_number(reason)),
            EndReason::TableDropped => Kind::TableDropped(pb::Nothing {}),
        };
        pb::EndReason { kind: Some(kind) }
    }
}

impl TryFrom<pb::EndReason> for EndReason {
    type Error = DecodeError;
    fn try_from(wire: pb::EndReason) -> Result<EndReason, DecodeError> {
        use pb::end_reason::Kind;
        let pb::EndReason { kind } = wire;
        Ok(match kind.ok_or(DecodeError::Unknown { what: "reason of an end" })? {
            Kind::Cancelled(pb::Nothing {}) => EndReason::Cancelled,
            Kind::NodeFenced(node) => EndReason::NodeFenced(node_id("reason.node_fenced", node)?),
            Kind::ReplicaLost(node) => {
                EndReason::ReplicaLost(node_id("reason.replica_lost", node)?)
            }
            Kind::NoLiveMajority(pb::Nothing {}) => EndReason::NoLiveMajority,
            Kind::NoSources(pb::Nothing {}) => EndReason::NoSources,
            Kind::Failed(reason) => EndReason::Failed(failure("reason.failed", reason)?),
            Kind::TableDropped(pb::Nothing {}) => EndReason::TableDropped,
        })
    }
}
