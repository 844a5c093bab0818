//! Balancing: its switches, what it has under way, and what it would do next.

use super::change::{Changed, answer, bounded};
use super::{AdminApi, names, views};
use crate::balancing;
use crate::now::wall_millis;
use crate::observed::Observed;
use migrations::balancer::Held;
use migrations::command::Change;
use migrations::id::TabletId;
use migrations::switch::{BalanceScope, BalanceSwitch, Origin};
use migrations::topology::Topology;
use proto::admin::v1 as pb;
use proto::admin::v1::balance_service_server::BalanceService;
use proto::status::Refusal;
use tonic::{Request, Response, Status};

/// What a switch is about, its names looked up in the newest state.
fn scope(topology: &Topology, asked: Option<&pb::BalanceScope>) -> Result<BalanceScope, Status> {
    let named = asked.map(|scope| (scope.table.as_str(), scope.node.as_str()));
    match named.unwrap_or_default() {
        ("", "") => Ok(BalanceScope::Cluster),
        (table, "") => Ok(BalanceScope::Table(names::table(topology, table)?)),
        ("", node) => Ok(BalanceScope::Node(names::node(topology, node)?)),
        _ => Err(Refusal::invalid_field("scope", "either a table or a node").into()),
    }
}

fn shown_scope(topology: &Topology, scope: BalanceScope) -> pb::BalanceScope {
    let (mut table, mut node) = (String::new(), String::new());
    match scope {
        BalanceScope::Cluster => {}
        BalanceScope::Table(id) => table = views::table_name(topology, id),
        BalanceScope::Node(id) => node = views::node_name(topology, id),
    }
    pb::BalanceScope { table, node }
}

fn shown_switch(
    topology: &Topology,
    scope: BalanceScope,
    switch: &BalanceSwitch,
) -> pb::BalanceSwitch {
    pb::BalanceSwitch {
        scope: Some(shown_scope(topology, scope)),
        reason: switch.reason.clone(),
        since_ms: switch.since_ms,
        until_ms: switch.until_ms.unwrap_or_default(),
    }
}

/// Moves that balancing has begun and that run, within a scope.
fn running(topology: &Topology, scope: BalanceScope) -> Vec<TabletId> {
    let is_in_scope = |id: &TabletId| {
        let Some(tablet) = topology.tablet(*id) else { return false };
        let Some(transition) = &tablet.transition else { return false };
        transition.origin == Origin::Balancer
            && match scope {
                BalanceScope::Cluster => true,
                BalanceScope::Table(table) => tablet.table == table,
                BalanceScope::Node(node) => {
                    tablet.replicas.contains(node) || transition.record.next.contains(node)
                }
            }
    };
    topology.in_transition().filter(is_in_scope).collect()
}

/// Why no more is begun, for people; nothing where all is in balance.
fn held_by(topology: &Topology, observed: &Observed, held: Option<&Held>) -> String {
    let size = |id: TabletId| {
        let size = topology.tablet(id).and_then(|tablet| observed.rooms().size(id, tablet));
        size.unwrap_or_default()
    };
    match held {
        None => String::new(),
        Some(Held::Paused) => "the cluster is paused".to_owned(),
        Some(Held::Disabled(BalanceScope::Cluster)) => "balancing is disabled".to_owned(),
        Some(Held::Disabled(scope)) => {
            let pb::BalanceScope { table, node } = shown_scope(topology, *scope);
            format!("balancing is disabled for {table}{node}")
        }
        Some(Held::Limits) => "as many moves as the limits allow are under way".to_owned(),
        Some(Held::NoMajority(tablet)) => {
            let tablet = views::tablet_shown(topology, *tablet);
            format!("a majority of {tablet} is dead: palisade tablet explain {tablet}")
        }
        Some(Held::NoRoom(node)) => {
            let node = views::node_name(topology, *node);
            format!("no other node may take what {node} holds")
        }
        Some(Held::TooLarge(tablet, node)) => {
            let (size, node) = (size(*tablet), views::node_name(topology, *node));
            let tablet = views::tablet_shown(topology, *tablet);
            format!(
                "no node that may take the replica of {tablet} on {node} has room for its {size} \
                 bytes: palisade node list -o wide"
            )
        }
    }
}

/// How balancing stands.
pub(super) fn status(
    topology: &Topology,
    observed: &Observed,
    nodes: &[pb::Node],
) -> pb::GetBalanceStatusResponse {
    let plan = balancing::plan(topology, observed);
    let whole = balancing::whole_plan(topology, observed);
    let now = wall_millis();
    let in_force = topology.state().balancing.iter().filter(|(_, switch)| switch.is_in_force(now));
    let load = |node: &pb::Node| pb::NodeLoad {
        node: node.name.clone(),
        rack: node.rack.clone(),
        replicas: node.replica_count,
        draining: node.draining,
    };
    pb::GetBalanceStatusResponse {
        switches: in_force.map(|(scope, switch)| shown_switch(topology, *scope, switch)).collect(),
        running: count(running(topology, BalanceScope::Cluster).len()),
        planned: count(whole.moves.len()),
        held_by: held_by(topology, observed, plan.held_by.as_ref()),
        nodes: nodes.iter().map(load).collect(),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[tonic::async_trait]
impl BalanceService for AdminApi {
    async fn get_balance_status(
        &self,
        _request: Request<pb::GetBalanceStatusRequest>,
    ) -> Result<Response<pb::GetBalanceStatusResponse>, Status> {
        let looked = self
            .read_leading(|topology| status(topology, &self.observed, &self.nodes(topology)))
            .await;
        looked.map(Response::new)
    }

    async fn plan_balance(
        &self,
        _request: Request<pb::PlanBalanceRequest>,
    ) -> Result<Response<pb::PlanBalanceResponse>, Status> {
        let planned = self
            .read_leading(|topology| {
                let plan = balancing::plan(topology, &self.observed);
                let moves = plan.moves.iter().map(|planned| pb::PlannedMove {
                    tablet: planned.tablet.as_u64(),
                    tablet_name: views::tablet_shown(topology, planned.tablet),
                    from: views::node_name(topology, planned.from),
                    to: views::node_name(topology, planned.to),
                    reason: planned.why.to_string(),
                });
                pb::PlanBalanceResponse {
                    moves: moves.collect(),
                    held_by: held_by(topology, &self.observed, plan.held_by.as_ref()),
                }
            })
            .await;
        planned.map(Response::new)
    }

    async fn disable_balancing(
        &self,
        request: Request<pb::DisableBalancingRequest>,
    ) -> Result<Response<pb::DisableBalancingResponse>, Status> {
        let request = request.into_inner();
        let asked = request.scope.clone();
        let changed = self
            .change(request, |topology, request| {
                bounded("reason", &request.reason)?;
                let since_ms = wall_millis();
                let until_ms = match (request.until_ms, request.lasts_ms) {
                    (0, 0) => None,
                    (until_ms, 0) => Some(until_ms),
                    (0, lasts_ms) => Some(since_ms.saturating_add(lasts_ms)),
                    (_, _) => {
                        let problem = "is given beside until_ms";
                        return Err(Refusal::invalid_field("lasts_ms", problem).into());
                    }
                };
                let reason = request.reason.clone();
                Ok(Change::DisableBalancing {
                    scope: scope(topology, request.scope.as_ref())?,
                    switch: BalanceSwitch { reason, since_ms, until_ms },
                })
            })
            .await?;
        let shown = self.group0.read(|machine| {
            let topology = &machine.topology;
            let Ok(scope) = scope(topology, asked.as_ref()) else {
                return pb::DisableBalancingResponse::default();
            };
            let switch = topology.state().balancing.get(&scope);
            let ids = running(topology, scope).into_iter();
            let migration = |id| Some(topology.transition(id)?.record.migration.to_string());
            pb::DisableBalancingResponse {
                switch: switch.map(|switch| shown_switch(topology, scope, switch)),
                running: ids.filter_map(migration).collect(),
            }
        });
        Ok(answer(&changed, shown))
    }

    async fn enable_balancing(
        &self,
        request: Request<pb::EnableBalancingRequest>,
    ) -> Result<Response<pb::EnableBalancingResponse>, Status> {
        let changed: Changed = self
            .change(request.into_inner(), |topology, request| {
                Ok(Change::EnableBalancing { scope: scope(topology, request.scope.as_ref())? })
            })
            .await?;
        Ok(answer(&changed, pb::EnableBalancingResponse {}))
    }
}
