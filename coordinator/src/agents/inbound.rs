//! What agents say, checked in form and handed on. Nothing is decided here.

use super::AgentApi;
use super::admission::Greeting;
use crate::now::wall_millis;
use migrations::clock::HybridTime;
use migrations::command::{Admit, Command};
use migrations::driver::{Event, Ordered, Unfit};
use migrations::evidence::{Acknowledgement, DropReport, FailureReason, StreamReport};
use migrations::id::NodeId;
use migrations::node::{NodeLocation, ProcessProof};
use migrations::record::StreamPair;
use migrations::row::RowSum;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use proto::agent::v1 as pb;
use proto::agent::v1::attach_request::Event as Said;
use proto::agent::v1::attach_response::Order;
use proto::agent::v1::stream_report::Report;
use proto::convert;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::collections::BTreeMap;
use tonic::Status;

/// Checks a greeting in form.
pub(super) fn greeting(hello: pb::Hello) -> Result<Greeting, Status> {
    let cluster = match hello.cluster_id.is_empty() {
        true => None,
        false => Some(convert::cluster_id("cluster_id", &hello.cluster_id)?),
    };
    let token = |bytes: &bytes::Bytes| convert::admission_token("held_tokens", bytes);
    let held_tokens = hello.held_tokens.iter().map(token).collect::<Result<Vec<_>, _>>()?;
    let lost = |lost: pb::Lost| {
        let tablet = convert::tablet_id("lost.tablet", lost.tablet)?;
        Ok::<_, proto::Malformed>((tablet, CopyId(convert::version("lost.copy", lost.copy)?)))
    };
    let known = hello.incarnation.map(|known| convert::version("incarnation", Some(known)));
    let highest_floor = match hello.highest_floor {
        Some(floor) => convert::version("highest_floor", Some(floor))?,
        None => TopologyVersion::ZERO,
    };
    let admit = Admit {
        name: hello.node_name,
        directory: convert::directory_id("directory_id", &hello.directory_id)?,
        known_incarnation: known.transpose()?.map(Incarnation),
        held_tokens,
        token: convert::admission_token("token", &hello.token)?,
        process: ProcessProof {
            boot: hello.boot_id,
            lock_device: hello.lock_device,
            lock_inode: hello.lock_inode,
        },
        location: NodeLocation {
            data_address: hello.data_address,
            stream_address: hello.stream_address,
            rack: hello.rack,
        },
        feature_level: hello.feature_level,
        fresh: BTreeMap::new(),
        lost: hello.lost.into_iter().map(lost).collect::<Result<_, _>>()?,
        highest_floor: Some(highest_floor),
    };
    Ok(Greeting { cluster, is_living: hello.living, admit })
}

/// What an attached agent says.
pub(super) struct Inbound<'a> {
    pub(super) api: &'a AgentApi,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
}

impl Inbound<'_> {
    /// Takes one message.
    pub(super) async fn take(&self, message: pb::AttachRequest) -> Result<(), Status> {
        let unknown = || Refusal::new(Reason::StreamProtocol, "a message that is not known here");
        match message.event.ok_or_else(unknown)? {
            Said::Acknowledged(said) => self.acknowledged(said).await,
            Said::StreamReport(report) => self.stream_report(report).await,
            Said::Dropped(dropped) => self.dropped(dropped).await,
            Said::Refused(refused) => self.refused(refused).await,
            Said::Waiting(waiting) => self.waiting(waiting),
            Said::CatchUp(ask) => self.catch_up(ask),
            Said::Lost(lost) => self.lost(lost).await,
            Said::Unfit(unfit) => {
                self.unfit(unfit).await;
                Ok(())
            }
            Said::Received(pb::Received { ticket }) => {
                let node = self.node;
                self.api.driver.report(Event::Received { node, ticket }).await;
                Ok(())
            }
            Said::Answer(answer) => {
                self.api.agents.answered(answer);
                Ok(())
            }
            Said::Hello(_) | Said::FullStateDone(_) | Said::Drained(_) => {
                let message = "a greeting in the middle of an attachment";
                Err(Refusal::new(Reason::StreamProtocol, message).into())
            }
        }
    }

    async fn acknowledged(&self, said: pb::Acknowledged) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let said = Acknowledgement {
            node: self.node,
            incarnation: Incarnation(convert::version("incarnation", said.incarnation)?),
            version: convert::version("version", said.version)?,
            promised: said.promised.map(HybridTime),
            at_ms: wall_millis(),
        };
        if let Some(age) = self.api.observed.age(tablet, said.version) {
            self.api.metrics.barrier_acknowledged(age);
        }
        self.api.driver.report(Event::Acknowledged { tablet, said }).await;
        Ok(())
    }

    async fn stream_report(&self, said: pb::StreamReport) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let session = convert::session_id("session", &said.session)?;
        let pair =
            StreamPair { source: convert::node_id("source", said.source)?, receiver: self.node };
        let source = convert::version("source_incarnation", said.source_incarnation)?;
        let event = match said.report {
            Some(Report::Complete(complete)) => Event::Streamed {
                tablet,
                report: StreamReport {
                    session,
                    pair,
                    source_incarnation: Incarnation(source),
                    receiver_incarnation: self.incarnation,
                    rows: complete.rows,
                    bytes: complete.bytes,
                    sent: RowSum(convert::sum("sum_sent", &complete.sum_sent)?),
                    stored: RowSum(convert::sum("sum_stored", &complete.sum_stored)?),
                },
            },
            Some(Report::Failed(failed)) => {
                let reason = FailureReason::from_name(&failed.reason);
                let reason = reason.unwrap_or(FailureReason::StreamProtocol);
                tracing::info!(%tablet, %session, source = %pair.source, receiver = %pair.receiver,
                    %reason, detail = failed.detail, "stream failed");
                Event::StreamFailed { tablet, session, pair, reason }
            }
            Some(Report::Progress(progress)) => {
                self.progress(tablet, pair, &progress);
                Event::StreamGoesOn { tablet, pair }
            }
            None => return Ok(()),
        };
        self.api.driver.report(event).await;
        Ok(())
    }

    fn progress(
        &self,
        tablet: migrations::id::TabletId,
        pair: StreamPair,
        progress: &pb::StreamProgress,
    ) {
        let known = self
            .api
            .group0
            .read(|machine| machine.topology.tablet(tablet).map(|tablet| tablet.version));
        if let Some(version) = known {
            self.api.observed.progress(tablet, version, pair, progress);
        }
    }

    async fn dropped(&self, said: pb::Dropped) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let report = DropReport {
            node: self.node,
            incarnation: Incarnation(convert::version("incarnation", said.incarnation)?),
            copy: CopyId(convert::version("copy", said.copy)?),
            version: convert::version("version", said.version)?,
        };
        self.api.driver.report(Event::Dropped { tablet, report }).await;
        Ok(())
    }

    async fn refused(&self, said: pb::Refused) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let version = convert::version("version", said.version)?;
        let reason = FailureReason::from_name(&said.reason);
        if reason.is_some() {
            tracing::info!(%tablet, %version, peer = %self.node, reason = said.reason,
                detail = said.detail, "an order was refused");
        } else {
            tracing::error!(%tablet, %version, peer = %self.node, reason = said.reason,
                detail = said.detail, "an order was refused for what is no reason to refuse one");
        }
        let order = match said.order() {
            pb::OrderKind::Drop => Ordered::Drop,
            pb::OrderKind::Pull => Ordered::Pull,
            pb::OrderKind::Barrier | pb::OrderKind::Unspecified => Ordered::Barrier,
        };
        let (node, incarnation) = (self.node, self.incarnation);
        let refused = Event::Refused { tablet, version, node, incarnation, order, reason };
        self.api.driver.report(refused).await;
        Ok(())
    }

    fn waiting(&self, said: pb::Waiting) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let version = convert::version("version", said.version)?;
        self.api.observed.holders(tablet, version, self.node, said.holders);
        Ok(())
    }

    /// A router has come to the agent with a version that it has not heard of.
    fn catch_up(&self, ask: pb::CatchUp) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", ask.tablet)?;
        if let Some(record) = self.api.group0.read(|machine| machine.topology.record(tablet)) {
            let order = Order::TakeOn(pb::TakeOn { record: Some((&record).into()) });
            self.api.agents.send(self.node, order);
        }
        Ok(())
    }

    /// It can't keep what it promises: none of its renewals is answered any more.
    pub(super) async fn unfit(&self, said: pb::Unfit) {
        tracing::error!(peer = %self.node, reason = said.reason, detail = said.detail,
            "an agent finds itself unfit");
        let (node, incarnation, why) = (self.node, self.incarnation, unfit_as(&said));
        self.api.driver.report(Event::Unfit { node, incarnation, why }).await;
    }

    /// A copy is lost: group0 marks it before the agent's word for it is all there is.
    pub(super) async fn lost(&self, said: pb::Lost) -> Result<(), Status> {
        let tablet = convert::tablet_id("tablet", said.tablet)?;
        let copy = CopyId(convert::version("copy", said.copy)?);
        tracing::error!(peer = %self.node, %tablet, %copy, "a copy is lost; rebuild it");
        let (node, incarnation) = (self.node, self.incarnation);
        let command = Command::MarkLost { node, incarnation, copies: vec![(tablet, copy)] };
        let (proposer, agents) = (self.api.proposer.clone(), self.api.agents.clone());
        // In a task of its own: what else the agent says does not wait for the commit.
        tokio::spawn(async move {
            if let Err(error) = proposer.submit(command).await {
                tracing::warn!(peer = %node, %error, "the loss of a copy could not be marked");
                // It is said again at the next attachment.
                agents.end(node);
            }
        });
        Ok(())
    }
}

/// Why an agent finds itself unfit.
pub(super) fn unfit_as(said: &pb::Unfit) -> Unfit {
    Unfit::Says(FailureReason::from_name(&said.reason).unwrap_or(FailureReason::DiskError))
}
