//! Single fields of what is stored: as they were written, whether or not they make sense.

use super::DecodeError;
use crate::Malformed;
use crate::convert;
use crate::generated::types::v1 as types;
use bytes::Bytes;
use migrations::clock::HybridTime;
use migrations::id::{NodeId, SessionId};
use migrations::position::Partitioning;
use migrations::stage::{Stage, TransitionKind};
use migrations::version::{CopyId, Incarnation, TopologyVersion};

/// A field that has to be there.
pub(super) fn there<T>(field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or_else(|| Malformed::Missing { field }.into())
}

/// A version that has to be there. Zero is allowed: the state before bootstrap has it.
pub(super) fn version(
    field: &'static str,
    wire: Option<types::TopologyVersion>,
) -> Result<TopologyVersion, DecodeError> {
    let types::TopologyVersion { era, counter } = there(field, wire)?;
    Ok(TopologyVersion::from_parts(era, counter))
}

/// An incarnation that has to be there.
pub(super) fn incarnation(
    field: &'static str,
    wire: Option<types::TopologyVersion>,
) -> Result<Incarnation, DecodeError> {
    version(field, wire).map(Incarnation)
}

/// A copy's number that has to be there.
pub(super) fn copy(
    field: &'static str,
    wire: Option<types::TopologyVersion>,
) -> Result<CopyId, DecodeError> {
    version(field, wire).map(CopyId)
}

/// Ids of nodes.
pub(super) fn nodes(field: &'static str, wire: Vec<u64>) -> Result<Vec<NodeId>, DecodeError> {
    wire.into_iter().map(|node| Ok(convert::node_id(field, node)?)).collect()
}

/// A session, if there is one.
pub(super) fn session(
    field: &'static str,
    wire: Option<Bytes>,
) -> Result<Option<SessionId>, DecodeError> {
    Ok(wire.map(|session| convert::session_id(field, &session)).transpose()?)
}

/// A session, if there is one, as it is written.
pub(super) fn session_bytes(session: Option<SessionId>) -> Option<Bytes> {
    session.map(|session| convert::bytes(session.as_uuid()))
}

/// A hybrid time, if there is one, as it is written.
pub(super) fn time_number(time: Option<HybridTime>) -> Option<u64> {
    time.map(|HybridTime(time)| time)
}

/// The value of an enum: none is missing, and one without a name here is a newer build's.
pub(super) fn named<T>(
    field: &'static str,
    what: &'static str,
    wire: i32,
    value: impl FnOnce(i32) -> Option<T>,
) -> Result<T, DecodeError> {
    match wire {
        0 => Err(Malformed::Missing { field }.into()),
        wire => value(wire).ok_or(DecodeError::Unknown { what }),
    }
}

/// A stage.
pub(super) fn stage(field: &'static str, wire: i32) -> Result<Stage, DecodeError> {
    named(field, "stage", wire, |wire| convert::stage(field, wire).ok())
}

/// A stage as it is written.
pub(super) fn stage_number(stage: Stage) -> i32 {
    types::Stage::from(stage).into()
}

/// A kind of transition.
pub(super) fn kind(field: &'static str, wire: i32) -> Result<TransitionKind, DecodeError> {
    named(field, "kind of transition", wire, |wire| convert::transition_kind(field, wire).ok())
}

/// A kind of transition as it is written.
pub(super) fn kind_number(kind: TransitionKind) -> i32 {
    types::TransitionKind::from(kind).into()
}

/// A table's partitioning.
pub(super) fn partitioning(field: &'static str, wire: i32) -> Result<Partitioning, DecodeError> {
    named(field, "partitioning", wire, |wire| convert::partitioning(field, wire).ok())
}

/// A table's partitioning as it is written.
pub(super) fn partitioning_number(partitioning: Partitioning) -> i32 {
    types::Partitioning::from(partitioning).into()
}
