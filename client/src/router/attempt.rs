//! One attempt at an operation: one version of the tablet, one timestamp, each target asked once,
//! all at the same time. What the answers mean is the core's to say.

use super::shared::Shared;
use crate::channel::timed;
use crate::limits::{STRAGGLER_FACTOR, STRAGGLER_PATIENCE};
use crate::reasons::refused;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use migrations::clock::{HybridTime, Timestamp};
use migrations::id::{ClusterId, NodeId};
use migrations::position::Position;
use migrations::record::TabletRecord;
use migrations::router::{Access, Operation, Refused, Step};
use migrations::row::RowVersion;
use migrations::version::TopologyVersion;
use proto::convert;
use proto::data::v1 as pb;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::status::Refusal;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::Channel;

/// What each replica is asked to do.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// Store a value.
    Put(pb::PutRequest),
    /// Store a tombstone.
    Delete(pb::DeleteRequest),
    /// Read a row.
    Get(pb::GetRequest),
    /// Read rows.
    Scan(pb::ScanRequest),
}

/// What a replica that has done it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is durable there.
    Written,
    /// The row, be it a tombstone.
    Row(Option<RowVersion>),
    /// Rows in order, and whether there are more behind them.
    Page(Page),
}

/// A page of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<(Position, RowVersion)>,
    pub(crate) more: bool,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A majority of each set has agreed; these are its answers.
    Done(Vec<Answer>),
    /// It is to be begun anew, as the step says.
    Anew {
        step: Step,
        /// The newest record that a replica which could not catch up goes by.
        older: Option<Box<TabletRecord>>,
        detail: String,
    },
    /// A refusal that no other attempt changes.
    Fatal(Box<Refusal>),
}

/// Why one replica has not done it.
enum Failure {
    Refused(Box<Refusal>),
    Unreachable(String),
}

impl Ask {
    pub(crate) fn access(&self) -> Access {
        match self {
            Ask::Put(_) | Ask::Delete(_) => Access::Write,
            Ask::Get(_) | Ask::Scan(_) => Access::Read,
        }
    }

    /// Puts a header and, for a write, its timestamp into the request.
    fn addressed(mut self, header: pb::RequestHeader, timestamp: Option<Timestamp>) -> Ask {
        let header = Some(header);
        let time = timestamp.map_or(0, |timestamp| timestamp.time.0);
        let router = timestamp.map(|timestamp| convert::bytes(timestamp.router.as_uuid()));
        let router = router.unwrap_or_default();
        match &mut self {
            Ask::Put(put) => (put.header, put.time, put.router) = (header, time, router),
            Ask::Delete(delete) => {
                (delete.header, delete.time, delete.router) = (header, time, router);
            }
            Ask::Get(get) => get.header = header,
            Ask::Scan(scan) => scan.header = header,
        }
        self
    }

    async fn send(self, channel: Channel, within: Duration) -> Result<(Answer, u64), Status> {
        let mut client = DataServiceClient::new(channel);
        Ok(match self {
            Ask::Put(put) => {
                let answer = client.put(timed(put, within)).await?.into_inner();
                (Answer::Written, answer.clock)
            }
            Ask::Delete(delete) => {
                let answer = client.delete(timed(delete, within)).await?.into_inner();
                (Answer::Written, answer.clock)
            }
            Ask::Get(get) => {
                let pb::GetResponse { clock, row } =
                    client.get(timed(get, within)).await?.into_inner();
                (Answer::Row(row.map(RowVersion::try_from).transpose()?), clock)
            }
            Ask::Scan(scan) => {
                let pb::ScanResponse { clock, rows, more } =
                    client.scan(timed(scan, within)).await?.into_inner();
                let row = |row: pb::Row| {
                    let missing = proto::Malformed::Missing { field: "rows.version" };
                    let version = RowVersion::try_from(row.version.ok_or(missing)?)?;
                    Ok((row.position.to_vec(), version))
                };
                if more && rows.is_empty() {
                    // It would be taken for the end of the tablet.
                    return Err(Status::data_loss("a page that was cut off before its first row"));
                }
                let rows = rows.into_iter().map(row).collect::<Result<_, proto::Malformed>>()?;
                (Answer::Page(Page { rows, more }), clock)
            }
        })
    }
}

/// Makes one attempt under a record. `timestamp` is given for a write, and was drawn after the
/// record was read. `None` if the table is being dropped.
///
/// Cancel safe in that nothing more is sent once it is dropped; what was sent may take effect.
pub(crate) async fn attempt(
    shared: &Shared,
    cluster: ClusterId,
    record: &TabletRecord,
    ask: &Ask,
    timestamp: Option<Timestamp>,
    within: Duration,
) -> Option<Ended> {
    let mut operation = Operation::begin(record, ask.access())?;
    let (version, clock) = (operation.version(), shared.reading().0);
    let header = |node: NodeId| pb::RequestHeader {
        cluster_id: convert::bytes(cluster.as_uuid()),
        tablet: record.tablet.as_u64(),
        version: Some(version.into()),
        clock,
        node: node.as_u64(),
    };
    let mut asked: FuturesUnordered<_> = operation
        .targets()
        .into_iter()
        .map(|node| {
            let ask = ask.clone().addressed(header(node), timestamp);
            async move { (node, ask_one(shared, node, ask, within).await) }
        })
        .collect();
    let began = Instant::now();
    let mut heard = Heard::default();
    let mut answers = Vec::new();
    while let Some((node, answered)) = asked.next().await {
        let step = match answered {
            Ok(answer) => {
                answers.push(answer);
                operation.agreed(node)
            }
            Err(failure) => match heard.failure(shared, node, failure, operation.version()) {
                Ok(why) => operation.refused(node, why),
                Err(refusal) => return Some(Ended::Fatal(refusal)),
            },
        };
        match step {
            Step::Wait => {}
            Step::Done => {
                if ask.access() == Access::Write {
                    // Stragglers get some times as long as the majority took, within a bound, so
                    // that replicas rarely differ. Not after the answer: then nothing more is sent.
                    let patience = (began.elapsed() * STRAGGLER_FACTOR).min(STRAGGLER_PATIENCE);
                    let stragglers = async { while asked.next().await.is_some() {} };
                    let _left_out = timeout(patience, stragglers).await;
                }
                return Some(Ended::Done(answers));
            }
            Step::Refresh(_) | Step::GoAbove(_) | Step::WaitUntil(_) | Step::OutOfReach => {
                return Some(heard.anew(step));
            }
        }
    }
    Some(heard.anew(Step::OutOfReach))
}

async fn ask_one(
    shared: &Shared,
    node: NodeId,
    ask: Ask,
    within: Duration,
) -> Result<Answer, Failure> {
    let channel = shared.channel(node).map_err(Failure::Unreachable)?;
    let status = match timeout(within, ask.send(channel, within)).await {
        Ok(Ok((answer, clock))) => {
            // A clock too far ahead is that agent's trouble, and is not taken on.
            let _ = shared.observe(HybridTime(clock));
            return Ok(answer);
        }
        Ok(Err(status)) => status,
        Err(_) => Status::deadline_exceeded("no answer in time"),
    };
    Err(match Refusal::from_status(&status) {
        Some(refusal) => Failure::Refused(Box::new(refusal)),
        None => Failure::Unreachable(format!("{:?}: {}", status.code(), status.message())),
    })
}

/// What those who have not done it had to say.
#[derive(Default)]
struct Heard {
    older: Option<Box<TabletRecord>>,
    detail: Vec<String>,
}

impl Heard {
    /// What a failure means to the operation, or the refusal that ends it for good.
    fn failure(
        &mut self,
        shared: &Shared,
        node: NodeId,
        failure: Failure,
        version: TopologyVersion,
    ) -> Result<Refused, Box<Refusal>> {
        let refusal = match failure {
            Failure::Unreachable(detail) => {
                self.detail.push(format!("node {node}: {detail}"));
                return Ok(Refused::Unavailable);
            }
            Failure::Refused(refusal) => refusal,
        };
        self.detail.push(format!("node {node}: {} ({})", refusal.message, refusal.reason));
        let Some(why) = refused(&refusal, version) else { return Err(refusal) };
        if let Some(record) = refusal.record {
            let known = self.older.as_ref().map(|older| older.version);
            // Of an earlier era: what was, before a restore. Nothing is read or written by that.
            let is_of_now = record.version.era() == version.era();
            let is_newest = known.is_none_or(|known| known < record.version);
            if record.version > version {
                shared.learn(*record);
            } else if why == Refused::VersionAhead && is_of_now && is_newest {
                self.older = Some(record);
            }
        }
        Ok(why)
    }

    fn anew(self, step: Step) -> Ended {
        Ended::Anew { step, older: self.older, detail: self.detail.join("; ") }
    }
}
