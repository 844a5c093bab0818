//! The cluster as a whole, its nodes, and barriers that wait.

use super::change::{answer, answered, bounded, checked_stamp, marked};
use super::page::PageRequest;
use super::{AdminApi, balance_api, names, views};
use crate::agents::AskError;
use crate::call;
use crate::limits::PAGE_SIZE_DEFAULT;
use crate::observed::TabletView;
use migrations::barrier::asked;
use migrations::command::Change;
use migrations::id::{NodeId, TabletId};
use migrations::retry::ChangeOutcome;
use migrations::topology::Topology;
use migrations::version::CopyId;
use proto::admin::v1 as pb;
use proto::admin::v1::barrier_service_server::BarrierService;
use proto::admin::v1::cluster_service_server::ClusterService;
use proto::admin::v1::node_service_server::NodeService;
use proto::agent::v1::{AskCopies, AskCutPeer, AskDropAside, HeldCopy, PeerCut, answer, ask};
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1 as types;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ClusterService for AdminApi {
    async fn get_status(
        &self,
        _request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        // Who leads, by what is known after the confirmation: the caller may name it as the one
        // that is to hand over.
        self.read_leading(|_| ()).await?;
        let raft = self.group0.metrics();
        let standings = self.group0.members();
        let status = self.group0.read(|machine| {
            let topology = &machine.topology;
            let state = topology.state();
            let nodes = self.nodes(topology);
            let in_flight: Vec<TabletId> = topology.in_transition().collect();
            let shown = in_flight.iter().take(PAGE_SIZE_DEFAULT);
            let tables = state.tables.iter().map(|(id, table)| views::table(*id, table));
            pb::GetStatusResponse {
                cluster_id: state.cluster.map_or_else(String::new, |id| id.to_string()),
                leader: raft.leader.unwrap_or_default(),
                term: raft.term,
                committed_index: raft.committed.unwrap_or_default(),
                applied_index: raft.applied.unwrap_or_default(),
                voters: raft.voters.clone(),
                version: Some(topology.version().into()),
                tables: tables.collect(),
                migrations: shown
                    .filter_map(|id| views::running(topology, &self.observed, *id))
                    .collect(),
                migration_count: u32::try_from(in_flight.len()).unwrap_or(u32::MAX),
                tablet_count: u32::try_from(state.tablets.len()).unwrap_or(u32::MAX),
                balancing: Some(balance_api::status(topology, &self.observed, &nodes)),
                pause: views::pause(topology),
                nodes,
                failure_tolerance: self.group0.failure_tolerance(&standings),
                coordinators: views::coordinators(standings),
                answered_by: self.group0.member().name.clone(),
                feature_level: state.feature_level,
            }
        });
        Ok(Response::new(status))
    }

    async fn introduce(
        &self,
        _request: Request<pb::IntroduceRequest>,
    ) -> Result<Response<pb::IntroduceResponse>, Status> {
        let raft = self.group0.metrics();
        let cluster = self.group0.read(|machine| machine.topology.state().cluster);
        Ok(Response::new(pb::IntroduceResponse {
            name: self.group0.member().name.clone(),
            raft_id: self.group0.raft_id(),
            cluster_id: cluster.map_or_else(String::new, |id| id.to_string()),
            leader: raft.leader.unwrap_or_default(),
            term: raft.term,
            committed_index: raft.committed.unwrap_or_default(),
            applied_index: raft.applied.unwrap_or_default(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            feature_level: self.group0.reads_level(),
        }))
    }

    async fn pause(
        &self,
        request: Request<pb::PauseRequest>,
    ) -> Result<Response<pb::PauseResponse>, Status> {
        let changed = self
            .change(request.into_inner(), |_, request| {
                bounded("reason", &request.reason)?;
                Ok(Change::Pause { reason: request.reason.clone() })
            })
            .await?;
        let pause = self.group0.read(|machine| views::pause(&machine.topology));
        Ok(answer(&changed, pb::PauseResponse { pause }))
    }

    async fn resume(
        &self,
        request: Request<pb::ResumeRequest>,
    ) -> Result<Response<pb::ResumeResponse>, Status> {
        let changed = self.change(request.into_inner(), |_, _| Ok(Change::Resume)).await?;
        Ok(answer(&changed, pb::ResumeResponse {}))
    }

    async fn get_settings(
        &self,
        request: Request<pb::GetSettingsRequest>,
    ) -> Result<Response<pb::GetSettingsResponse>, Status> {
        let is_stale = request.into_inner().stale;
        let read = self.read_at(is_stale, |topology| topology.state().settings);
        let (version, settings) = read.await?;
        Ok(Response::new(pb::GetSettingsResponse {
            settings: Some((&settings).into()),
            version: Some(version.into()),
        }))
    }

    async fn set_settings(
        &self,
        request: Request<pb::SetSettingsRequest>,
    ) -> Result<Response<pb::SetSettingsResponse>, Status> {
        let changed = self
            .change(request.into_inner(), |topology, request| {
                let parsed = |field, settings: Option<types::Settings>| {
                    convert::settings(field, settings).map_err(|error| {
                        Status::from(Refusal::invalid_field(field, error.to_string()))
                    })
                };
                if request.only.is_empty() {
                    return Ok(Change::Configure {
                        expected: parsed("expected", request.expected)?,
                        settings: parsed("settings", request.settings)?,
                    });
                }
                let expected = topology.state().settings;
                let wanted = request.settings.unwrap_or_default();
                let merged = convert::merged((&expected).into(), &wanted, &request.only);
                let merged = merged.map_err(|unknown| {
                    Refusal::invalid_field("only", format!("there is no setting {unknown}"))
                })?;
                Ok(Change::Configure { expected, settings: parsed("settings", Some(merged))? })
            })
            .await?;
        let settings = self.group0.read(|machine| machine.topology.state().settings);
        Ok(answer(&changed, pb::SetSettingsResponse { settings: Some((&settings).into()) }))
    }
}

/// A node's agent can't be asked to do something.
fn not_ready(name: &str, why: &str) -> Status {
    Refusal::new(Reason::NodeNotReady, format!("{name}: {why}")).into()
}

fn not_applied(refused: Status) -> Status {
    marked(refused, ChangeOutcome::NotApplied)
}

impl AdminApi {
    /// All nodes.
    pub(super) fn nodes(&self, topology: &Topology) -> Vec<pb::Node> {
        let attached: BTreeSet<NodeId> =
            self.agents.attached().into_iter().map(|(node, _)| node).collect();
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        for node in topology.state().tablets.values().flat_map(asked) {
            *counts.entry(node).or_default() += 1;
        }
        let rooms = self.observed.rooms();
        let kept = rooms.kept(topology);
        let ids = topology.state().nodes.keys();
        ids.filter_map(|id| {
            let count = counts.get(id).copied().unwrap_or_default();
            let unfit = self.observed.why_unfit(*id);
            let disk = self.observed.disk_of(*id);
            let room = (rooms.of(*id), kept.get(id).copied().unwrap_or_default());
            views::node(topology, *id, attached.contains(id), count, unfit, disk.as_ref(), room)
        })
        .collect()
    }

    /// A node as it is here and now, for the answer to a change of it.
    fn node_as_it_is(&self, name: &str) -> Option<pb::Node> {
        let nodes = self.group0.read(|machine| self.nodes(&machine.topology));
        nodes.into_iter().find(|node| node.name == name)
    }

    fn barrier(&self, topology: &Topology, id: TabletId) -> Option<pb::Barrier> {
        let tablet = topology.tablet(id)?;
        let transition = tablet.transition.as_deref()?;
        let is_current = |view: &TabletView| view.version == tablet.version;
        let view = self.observed.of(id).filter(is_current)?;
        if view.waiting_for.is_empty() {
            return None;
        }
        let waiting_for = view.waiting_for.iter().map(|node| views::node_name(topology, *node));
        let waiting_ms = views::in_stage_ms(transition);
        Some(pb::Barrier {
            tablet: id.as_u64(),
            tablet_name: views::tablet_shown(topology, id),
            version: Some(tablet.version.into()),
            stage: types::Stage::from(transition.record.stage).into(),
            waiting_ms,
            waiting_for: waiting_for.collect(),
            holders: views::holders(topology, id, &view, waiting_ms),
        })
    }
}

#[tonic::async_trait]
impl NodeService for AdminApi {
    async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>, Status> {
        let pb::ListNodesRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::new(page_size, page_token);
        let after = page.after_number()?;
        let (nodes, next_page_token) = self
            .read_leading(|topology| {
                let nodes = self.nodes(topology).into_iter().map(|node| (node.id, node));
                page.cut(nodes.filter(|(id, _)| *id > after))
            })
            .await?;
        Ok(Response::new(pb::ListNodesResponse { nodes, next_page_token }))
    }

    async fn get_node(
        &self,
        request: Request<pb::GetNodeRequest>,
    ) -> Result<Response<pb::GetNodeResponse>, Status> {
        let pb::GetNodeRequest { name } = request.into_inner();
        let node = self
            .read_leading(|topology| {
                let id = names::node(topology, &name)?.as_u64();
                Ok::<_, Status>(self.nodes(topology).into_iter().find(|node| node.id == id))
            })
            .await??;
        Ok(Response::new(pb::GetNodeResponse { node }))
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        let changed = self
            .change(request, |topology, request| {
                bounded("reason", &request.reason)?;
                let node = names::node(topology, &request.name)?;
                Ok(Change::Drain { node, reason: request.reason.clone() })
            })
            .await?;
        Ok(answer(&changed, pb::DrainNodeResponse { node: self.node_as_it_is(&name) }))
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        let request = request.into_inner();
        let (name, is_trial) = (request.name.clone(), request.validate_only);
        let changed = self
            .change(request, |topology, request| {
                bounded("reason", &request.reason)?;
                let node = names::node(topology, &request.name)?;
                Ok(Change::RemoveNode { node, reason: request.reason.clone() })
            })
            .await?;
        if !is_trial {
            tracing::warn!(audit = true, node = name, "a node is removed");
        }
        Ok(answer(&changed, pb::RemoveNodeResponse { node: self.node_as_it_is(&name) }))
    }

    async fn list_orphans(
        &self,
        request: Request<pb::ListOrphansRequest>,
    ) -> Result<Response<pb::ListOrphansResponse>, Status> {
        let pb::ListOrphansRequest { node: only } = request.into_inner();
        let nodes = self
            .read_leading(|topology| {
                if !only.is_empty() {
                    return Ok(vec![(names::node(topology, &only)?, only.clone())]);
                }
                let all = topology.state().nodes.iter();
                Ok::<_, Status>(all.map(|(id, node)| (*id, node.name.clone())).collect())
            })
            .await??;
        let mut found = pb::ListOrphansResponse::default();
        let asked = nodes
            .into_iter()
            .map(|(id, name)| async move { (name.clone(), self.orphans(name, id).await) });
        for (node, orphans) in futures::future::join_all(asked).await {
            match orphans {
                Ok(orphans) => found.orphans.extend(orphans),
                Err(error) => {
                    found.unknown.push(pb::UnknownHoldings { node, why: error.to_string() });
                }
            }
        }
        Ok(Response::new(found))
    }

    async fn undrain_node(
        &self,
        request: Request<pb::UndrainNodeRequest>,
    ) -> Result<Response<pb::UndrainNodeResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        let changed = self
            .change(request, |topology, request| {
                Ok(Change::Undrain { node: names::node(topology, &request.name)? })
            })
            .await?;
        Ok(answer(&changed, pb::UndrainNodeResponse { node: self.node_as_it_is(&name) }))
    }

    async fn drop_orphan(
        &self,
        request: Request<pb::DropOrphanRequest>,
    ) -> Result<Response<pb::DropOrphanResponse>, Status> {
        let mut request = request.into_inner();
        let is_trial = std::mem::take(&mut request.validate_only);
        let stamp = checked_stamp(&mut request, is_trial)?;
        let pb::DropOrphanRequest { node, tablet, copy, .. } = request;
        let found = self.read_leading(|topology| names::node(topology, &node)).await;
        let id = found.and_then(std::convert::identity).map_err(not_applied)?;
        if is_trial {
            if !self.agents.attached().iter().any(|(attached, _)| *attached == id) {
                return Err(not_applied(not_ready(&node, "its agent is not attached")));
            }
            return Ok(answered(ChangeOutcome::NotApplied, pb::DropOrphanResponse {}));
        }
        call::proposes();
        let question = ask::Question::DropAside(AskDropAside {
            tablet,
            copy,
            request_id: proto::convert::bytes(stamp.id.as_uuid()),
        });
        let told = |reason: Reason, detail: String, outcome| {
            let message = format!("{node}: {detail}");
            Err(marked(Refusal::new(reason, message).into(), outcome))
        };
        match self.agents.ask(id, question).await {
            Ok(answer::Outcome::Copies(_)) => {}
            Err(AskError::Failed { reason, detail }) if reason == Reason::NotFound.name() => {
                return told(Reason::NotFound, detail, ChangeOutcome::NotApplied);
            }
            Err(AskError::Failed { reason, detail })
                if reason == Reason::RequestIdReused.name() =>
            {
                return told(Reason::RequestIdReused, detail, ChangeOutcome::NotApplied);
            }
            Err(error @ AskError::NotAttached) => {
                let outcome = ChangeOutcome::NotApplied;
                return told(Reason::NodeNotReady, error.to_string(), outcome);
            }
            // It may have dropped it, or may yet.
            Err(error @ (AskError::NoAnswer | AskError::Failed { .. })) => {
                let outcome = ChangeOutcome::Unknown;
                return told(Reason::NodeNotReady, error.to_string(), outcome);
            }
            Ok(_) => {
                let detail = "it has answered something else".to_owned();
                return told(Reason::NodeNotReady, detail, ChangeOutcome::Unknown);
            }
        }
        self.note_version();
        tracing::warn!(audit = true, node, tablet, "an orphan is dropped by order");
        Ok(answered(ChangeOutcome::Applied, pb::DropOrphanResponse {}))
    }
}

impl AdminApi {
    /// The copies on a node's disk that it does not have to keep, by what it says itself.
    async fn orphans(&self, name: String, node: NodeId) -> Result<Vec<pb::OrphanCopy>, AskError> {
        let question = ask::Question::Copies(AskCopies {});
        let said = match self.agents.ask(node, question).await? {
            answer::Outcome::Copies(said) => said.copies,
            _ => return Err(AskError::NoAnswer),
        };
        Ok(self.group0.read(|machine| {
            let orphan = |held: HeldCopy| {
                let id = TabletId::from_u64(held.tablet)?;
                let copy = CopyId(convert::version("copy", held.copy).ok()?);
                let record = machine.topology.record(id);
                let why = match &record {
                    _ if held.aside => "set aside after a restore: yours to drop",
                    Some(record) if record.given(node) == Some(copy) => return None,
                    Some(record) if record.both().contains(&node) => "its drop is owed",
                    Some(_) => "the tablet has no replica there",
                    None => "there is no such tablet",
                };
                let (node, why, copy) = (name.clone(), why.to_owned(), held.copy);
                Some(pb::OrphanCopy { node, tablet: held.tablet, copy, why, aside: held.aside })
            };
            said.into_iter().filter_map(orphan).collect()
        }))
    }
}

#[tonic::async_trait]
impl BarrierService for AdminApi {
    async fn kill_connection(
        &self,
        request: Request<pb::KillConnectionRequest>,
    ) -> Result<Response<pb::KillConnectionResponse>, Status> {
        let pb::KillConnectionRequest { node, peer } = request.into_inner();
        let found = self.read_leading(|topology| {
            Ok::<_, Status>((names::node(topology, &node)?, names::node(topology, &peer)?))
        });
        let (id, other) = found.await??;
        let question = ask::Question::CutPeer(AskCutPeer { peer: other.as_u64() });
        let streams = match self.agents.ask(id, question).await {
            Ok(answer::Outcome::PeerCut(PeerCut { streams })) => streams,
            Ok(_) => return Err(not_ready(&node, "it has answered something else")),
            Err(error) => return Err(not_ready(&node, &error.to_string())),
        };
        tracing::warn!(audit = true, node, peer, streams, "streams are cut by order");
        Ok(Response::new(pb::KillConnectionResponse { streams }))
    }

    async fn list_barriers(
        &self,
        request: Request<pb::ListBarriersRequest>,
    ) -> Result<Response<pb::ListBarriersResponse>, Status> {
        let pb::ListBarriersRequest { tablet, page_size, page_token } = request.into_inner();
        let page = PageRequest::new(page_size, page_token);
        let after = TabletId::from_u64(page.after_number()?);
        let only = TabletId::from_u64(tablet);
        let (barriers, next_page_token) = self
            .read_leading(|topology| {
                let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
                let ids: BTreeSet<TabletId> = topology.in_transition().collect();
                let wanted = ids.range(from).filter(|id| only.is_none_or(|only| only == **id));
                page.cut(wanted.filter_map(|id| {
                    self.barrier(topology, *id).map(|barrier| (id.as_u64(), barrier))
                }))
            })
            .await?;
        Ok(Response::new(pb::ListBarriersResponse { barriers, next_page_token }))
    }
}
