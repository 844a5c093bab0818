//! The whole state, and the memory of requests in it.

use super::field::{there, version};
use super::node::{node, node_to_wire};
use super::outcome::{outcome, outcome_to_wire};
use super::switch::{switch, switch_to_wire};
use super::tablet::{table, table_to_wire, tablet, tablet_to_wire};
use super::{DecodeError, FORMAT};
use crate::Malformed;
use crate::convert::{bytes, cluster_id, request_id, settings_unchecked, sum, sum_bytes};
use crate::generated::storage::v1 as pb;
use migrations::command::Outcome;
use migrations::id::{ClusterId, RequestId};
use migrations::request::{Remembered, RequestMemory};
use migrations::state::State;
use migrations::tablet::FinishedMigration;
use std::collections::BTreeMap;

impl From<&State> for pb::Snapshot {
    fn from(state: &State) -> pb::Snapshot {
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
            tablets,
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
            tablets: tablets.iter().map(|(id, tablet)| tablet_to_wire(*id, tablet)).collect(),
            requests: Some(memory_to_wire(requests)),
            finished: finished.iter().map(Into::into).collect(),
            balancing: balancing.iter().map(|(of, switch)| switch_to_wire(*of, switch)).collect(),
            pause: pause.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::Snapshot> for State {
    type Error = DecodeError;
    fn try_from(wire: pb::Snapshot) -> Result<State, DecodeError> {
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
            tablets,
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
            tablets: one_of_each("tablets", tablets.into_iter().map(tablet))?,
            requests: memory(there("requests", requests)?)?,
            finished: finished.collect::<Result<_, _>>()?,
            balancing: one_of_each("balancing", balancing.into_iter().map(switch))?,
            pause: pause.map(Into::into),
        })
    }
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
        one_of_each("requests.remembered", remembered)?,
        one_of_each("requests.caller_horizons", caller_horizons)?,
        horizon,
    ))
}
