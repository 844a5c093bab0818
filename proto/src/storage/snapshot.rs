//! The whole state, and the memory of requests in it.
//!
//! A snapshot is one message, written and read piece by piece: with a million tablets the whole of
//! it, as a message, would be several times as large as the state. Nor are its bytes ever held
//! whole: the longest field is the memory of requests, which has a bound.

use super::field::{there, version};
use super::node::{node, node_to_wire};
use super::outcome::{outcome, outcome_to_wire};
use super::switch::{switch, switch_to_wire};
use super::tablet::{table, table_to_wire, tablet, tablet_to_wire};
use super::{DecodeError, FORMAT, check_format, check_whole};
use crate::Malformed;
use crate::convert::{bytes, cluster_id, request_id, settings_unchecked, sum, sum_bytes};
use crate::generated::storage::v1 as pb;
use migrations::command::Outcome;
use migrations::id::{ClusterId, RequestId, TabletId};
use migrations::request::{Remembered, RequestMemory};
use migrations::shared_map::SharedMap;
use migrations::state::State;
use migrations::tablet::{FinishedMigration, Tablet};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint};
use std::collections::BTreeMap;
use std::io::{self, BufRead, ErrorKind, Read as _, Write};

/// The field of a snapshot that holds its tablets.
const TABLETS: u32 = 11;
/// About how many bytes are written at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The longest field that is read; no snapshot is longer.
const FIELD_BYTES: u64 = 1 << 30;
/// The longest varint.
const VARINT_BYTES: usize = 10;

/// Writes a state, piece by piece.
pub(super) fn write(state: &State, mut out: impl Write) -> io::Result<()> {
    let mut before = without_tablets(state);
    let after = pb::Snapshot {
        requests: before.requests.take(),
        finished: std::mem::take(&mut before.finished),
        balancing: std::mem::take(&mut before.balancing),
        pause: before.pause.take(),
        ..pb::Snapshot::default()
    };
    out.write_all(&before.encode_to_vec())?;
    let mut piece = Vec::new();
    for (id, tablet) in &state.tablets {
        let tablet = tablet_to_wire(*id, tablet);
        prost::encoding::message::encode(TABLETS, &tablet, &mut piece);
        if piece.len() >= PIECE_BYTES {
            out.write_all(&piece)?;
            piece.clear();
        }
    }
    out.write_all(&piece)?;
    out.write_all(&after.encode_to_vec())
}

/// Reads a state, field by field. Each has to be what would be written of it, and in its place.
pub(super) fn read(mut input: impl BufRead, level: u32) -> Result<State, DecodeError> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut tablets = SharedMap::new();
    let (mut field, mut written) = (Vec::new(), Vec::new());
    let mut next = next_field(&mut input, &mut field)?;
    check_format(&field)?;
    let mut last = 0;
    while let Some(number) = next {
        if number < last {
            return Err(UNKNOWN);
        }
        last = number;
        if number == TABLETS {
            let wire = tablet_of(&field)?;
            written.clear();
            prost::encoding::message::encode(TABLETS, &wire, &mut written);
            check_whole(written == field)?;
            let (id, tablet) = tablet(wire)?;
            if tablets.insert(id, tablet).is_some() {
                return Err(Malformed::Field { field: "tablets", problem: "two of one id" }.into());
            }
        } else {
            let rest = if number < TABLETS { &mut before } else { &mut after };
            rest.extend_from_slice(&field);
        }
        next = next_field(&mut input, &mut field)?;
    }
    let rest = [before, after].concat();
    let wire = pb::Snapshot::decode(&rest[..])?;
    if wire.feature_level > level {
        return Err(DecodeError::Unknown { what: "feature level" });
    }
    check_whole(wire.encode_to_vec() == rest)?;
    state(wire, tablets)
}

fn tablet_of(mut field: &[u8]) -> Result<pb::Tablet, DecodeError> {
    let (_, wire_type) = decode_key(&mut field)?;
    let mut wire = pb::Tablet::default();
    prost::encoding::message::merge(wire_type, &mut wire, &mut field, DecodeContext::default())?;
    Ok(wire)
}

/// Reads the next field, its key and length included, into `field`: its number, or none at the end.
fn next_field(input: &mut impl BufRead, field: &mut Vec<u8>) -> Result<Option<u32>, DecodeError> {
    field.clear();
    if input.fill_buf().map_err(unread)?.is_empty() {
        return Ok(None);
    }
    take_varint(input, field)?;
    let (number, wire_type) = decode_key(&mut &field[..])?;
    let length = match wire_type {
        WireType::Varint => take_varint(input, field).map(|_| 0)?,
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => take_varint(input, field)?,
        WireType::StartGroup | WireType::EndGroup => return Err(UNKNOWN),
    };
    if length > FIELD_BYTES {
        return Err(DecodeError::NotProtobuf(format!("a field of {length} bytes")));
    }
    // It grows with what is there, whatever the length says.
    let taken = input.take(length).read_to_end(field).map_err(unread)?;
    if taken as u64 != length {
        return Err(unread(ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(number))
}

/// Reads a varint, and appends its bytes.
fn take_varint(input: &mut impl BufRead, field: &mut Vec<u8>) -> Result<u64, DecodeError> {
    let start = field.len();
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte).map_err(unread)?;
        field.extend_from_slice(&byte);
        if byte[0] < 0x80 || field.len() - start == VARINT_BYTES {
            return Ok(decode_varint(&mut &field[start..])?);
        }
    }
}

fn unread(error: io::Error) -> DecodeError {
    match error.kind() {
        ErrorKind::UnexpectedEof => DecodeError::NotProtobuf("it ends within a field".to_owned()),
        _ => DecodeError::Unread(error.to_string()),
    }
}

const UNKNOWN: DecodeError = DecodeError::Unknown { what: "field or value" };

fn without_tablets(state: &State) -> pb::Snapshot {
    let State {
        cluster,
        version,
        feature_level,
        settings,
        next_table,
        next_tablet,
        next_node,
        nodes,
        tables,
        tablets: _,
        requests,
        finished,
        balancing,
        pause,
    } = state;
    pb::Snapshot {
        format: FORMAT,
        cluster: cluster.map(ClusterId::as_uuid).map(bytes),
        version: Some((*version).into()),
        feature_level: *feature_level,
        settings: Some(settings.into()),
        next_table: *next_table,
        next_tablet: *next_tablet,
        next_node: *next_node,
        nodes: nodes.iter().map(|(id, node)| node_to_wire(*id, node)).collect(),
        tables: tables.iter().map(|(id, table)| table_to_wire(*id, table)).collect(),
        tablets: Vec::new(),
        requests: Some(memory_to_wire(requests)),
        finished: finished.iter().map(Into::into).collect(),
        balancing: balancing.iter().map(|(of, switch)| switch_to_wire(*of, switch)).collect(),
        pause: pause.as_ref().map(Into::into),
    }
}

fn state(wire: pb::Snapshot, tablets: SharedMap<TabletId, Tablet>) -> Result<State, DecodeError> {
    let pb::Snapshot {
        format: _,
        cluster,
        version: at,
        feature_level,
        settings,
        next_table,
        next_tablet,
        next_node,
        nodes,
        tables,
        tablets: _,
        requests,
        finished,
        balancing,
        pause,
    } = wire;
    let cluster = cluster.map(|cluster| cluster_id("cluster", &cluster)).transpose()?;
    let finished = finished.into_iter().map(FinishedMigration::try_from);
    Ok(State {
        cluster,
        version: version("version", at)?,
        feature_level,
        settings: settings_unchecked("settings", settings)?,
        next_table,
        next_tablet,
        next_node,
        nodes: one_of_each("nodes", nodes.into_iter().map(node))?,
        tables: one_of_each("tables", tables.into_iter().map(table))?,
        tablets,
        requests: memory(there("requests", requests)?)?,
        finished: finished.collect::<Result<_, _>>()?,
        balancing: one_of_each("balancing", balancing.into_iter().map(switch))?,
        pause: pause.map(Into::into),
    })
}

fn one_of_each<K: Ord, V>(
    field: &'static str,
    pairs: impl Iterator<Item = Result<(K, V), DecodeError>>,
) -> Result<BTreeMap<K, V>, DecodeError> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair?;
        if map.insert(key, value).is_some() {
            return Err(Malformed::Field { field, problem: "two of one id" }.into());
        }
    }
    Ok(map)
}

fn memory_to_wire(memory: &RequestMemory<Outcome>) -> pb::RequestMemory {
    let remembered = |(id, kept): (&RequestId, &Remembered<Outcome>)| {
        let Remembered { digest, caller, outcome } = kept;
        pb::RememberedRequest {
            id: bytes(id.as_uuid()),
            digest: sum_bytes(*digest),
            caller: caller.clone(),
            outcome: Some(outcome_to_wire(outcome)),
        }
    };
    let horizon = |(caller, horizon): (&String, &RequestId)| {
        let (caller, horizon) = (caller.clone(), bytes(horizon.as_uuid()));
        pb::CallerHorizon { caller, horizon }
    };
    pb::RequestMemory {
        limit: memory.limit() as u64,
        remembered: memory.remembered().iter().map(remembered).collect(),
        caller_horizons: memory.caller_horizons().iter().map(horizon).collect(),
        horizon: memory.horizon().map(RequestId::as_uuid).map(bytes),
    }
}

fn memory(wire: pb::RequestMemory) -> Result<RequestMemory<Outcome>, DecodeError> {
    let pb::RequestMemory { limit, remembered, caller_horizons, horizon } = wire;
    // Else a memory that keeps nothing: each request would take effect as often as it comes.
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
    let problem = "keeps nothing, or more than fits";
    let limit = limit.ok_or(Malformed::Field { field: "requests.limit", problem })?;
    let remembered = remembered.into_iter().map(|wire| {
        let pb::RememberedRequest { id, digest, caller, outcome: of_request } = wire;
        let id = request_id("requests.remembered.id", &id)?;
        let digest = sum("requests.remembered.digest", &digest)?;
        let outcome = outcome(there("requests.remembered.outcome", of_request)?)?;
        Ok((id, Remembered { digest, caller, outcome }))
    });
    let caller_horizons = caller_horizons.into_iter().map(|wire| {
        let pb::CallerHorizon { caller, horizon } = wire;
        Ok((caller, request_id("requests.caller_horizons.horizon", &horizon)?))
    });
    let horizon = horizon.map(|horizon| request_id("requests.horizon", &horizon)).transpose()?;
    Ok(RequestMemory::from_parts(
        limit,
        one_of_each("requests.remembered", remembered)?.into(),
        one_of_each("requests.caller_horizons", caller_horizons)?,
        horizon,
    ))
}
