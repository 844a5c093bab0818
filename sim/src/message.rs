//! What is said between the processes.

use migrations::agent::calls::Progress;
use migrations::clock::{HybridTime, Timestamp};
use migrations::command::Admit;
use migrations::driver::Event as Said;
use migrations::evidence::FailureReason;
use migrations::id::{NodeId, TabletId};
use migrations::lease::Instant;
use migrations::position::Position;
use migrations::pull::Totals;
use migrations::record::{StreamPair, TabletRecord};
use migrations::router::Refused;
use migrations::row::RowVersion;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use std::rc::Rc;

/// A process' place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Coordinator(usize),
    Agent(usize),
    Router(usize),
}

/// A connection: what is on it comes in order, and ends when something is lost.
pub(crate) type Conn = u64;

#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) conn: Option<Conn>,
    pub(crate) message: Message,
}

pub(crate) type Record = Rc<TabletRecord>;

/// What a leader orders.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Barrier(Record),
    Pull { record: Record, pair: StreamPair, source: Incarnation },
    Drop { record: Record, copy: CopyId },
    TakeOn(Record),
    Confirm { node: NodeId, ticket: u64 },
    Purge { tablet: TabletId, version: TopologyVersion, promise: HybridTime },
}

/// A router's request to one replica.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) router: usize,
    /// Of which operation and attempt.
    pub(crate) attempt: u64,
    pub(crate) tablet: TabletId,
    pub(crate) version: TopologyVersion,
    pub(crate) clock: HybridTime,
    pub(crate) position: Position,
    /// A write; `None` is a read.
    pub(crate) write: Option<RowVersion>,
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Written,
    Row(Option<RowVersion>),
    /// With the record that the replica goes by.
    Refused(Refused, Option<Record>),
}

#[derive(Debug, Clone)]
pub(crate) enum Message {
    // An attachment.
    Hello {
        is_living: bool,
        admit: Rc<Admit>,
    },
    CloseAll,
    Drained,
    Welcome {
        node: NodeId,
        incarnation: Incarnation,
        version: TopologyVersion,
        records: Rc<Vec<Record>>,
    },
    FullStateDone,
    Order(Order),
    Said(Rc<Said>),
    Lost {
        tablet: TabletId,
        copy: CopyId,
    },
    CatchUp {
        tablet: TabletId,
    },
    /// Ends an attachment: not a leader, not admitted, or a newer attachment has come.
    Ended,
    // A lease.
    Renew {
        node: NodeId,
        incarnation: Incarnation,
        sent: Instant,
    },
    Renewed {
        incarnation: Incarnation,
        sent: Instant,
    },
    RenewalRefused {
        incarnation: Incarnation,
    },
    // A stream.
    Begin(Rc<Begin>),
    Accepted {
        is_resumed: bool,
    },
    Chunk {
        number: u64,
        rows: Rc<Vec<(Position, RowVersion)>>,
        bytes: u64,
    },
    Complete(Totals),
    KeepAlive,
    CallRefused(FailureReason),
    Received,
    // Data.
    Request(Rc<Request>),
    Answer {
        attempt: u64,
        node: NodeId,
        clock: HybridTime,
        answer: Answer,
    },
    // A router's picture.
    Watch,
    Picture {
        records: Rc<Vec<Record>>,
    },
    /// The connection is gone.
    Broken,
}

/// What a receiver asks of a source.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) asked: migrations::agent::calls::Asked,
    pub(crate) tablet: TabletId,
    pub(crate) source_incarnation: Incarnation,
    pub(crate) source_copy: CopyId,
    pub(crate) resume: Option<Progress>,
}

impl Message {
    /// In a word, for the trace.
    pub(crate) fn name(&self) -> String {
        match self {
            Message::Hello { is_living, .. } => format!("hello, living: {is_living}"),
            Message::CloseAll => "close all".into(),
            Message::Drained => "drained".into(),
            Message::Welcome { node, incarnation, version, .. } => {
                format!("welcome, node {node} incarnation {incarnation}, full state at {version}")
            }
            Message::FullStateDone => "full state done".into(),
            Message::Order(order) => order.name(),
            Message::Said(said) => said_name(said),
            Message::Lost { tablet, copy } => format!("t{tablet}: copy {copy} is lost"),
            Message::CatchUp { tablet } => format!("t{tablet}: catch up"),
            Message::Ended => "the attachment ends".into(),
            Message::Renew { .. } => "renew".into(),
            Message::Renewed { .. } => "renewed".into(),
            Message::RenewalRefused { .. } => "fenced".into(),
            Message::Begin(begin) => format!("t{}: begin", begin.tablet),
            Message::Accepted { is_resumed } => format!("accepted, resumed: {is_resumed}"),
            Message::Chunk { number, rows, .. } => format!("chunk {number}, {} rows", rows.len()),
            Message::Complete(totals) => format!("complete, {} rows", totals.rows),
            Message::KeepAlive => "keep-alive".into(),
            Message::CallRefused(reason) => format!("call refused: {reason}"),
            Message::Received => "received".into(),
            Message::Request(request) => match &request.write {
                Some(row) => {
                    let (tablet, version) = (request.tablet, request.version);
                    format!("t{tablet} at {version}: {}", written(&request.position, row))
                }
                None => format!("t{} at {}: get", request.tablet, request.version),
            },
            Message::Answer { answer, .. } => match answer {
                Answer::Written => "written".into(),
                Answer::Row(Some(row)) => format!("row {}", row.timestamp.time),
                Answer::Row(None) => "no row".into(),
                Answer::Refused(why, _) => format!("{why:?}"),
            },
            Message::Watch => "watch".into(),
            Message::Picture { .. } => "picture".into(),
            Message::Broken => "connection broken".into(),
        }
    }

    /// Whether a person who follows what happens wants to see it on its way.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(
            self,
            Message::Renew { .. }
                | Message::Renewed { .. }
                | Message::Watch
                | Message::Picture { .. }
                | Message::KeepAlive
        )
    }
}

impl Order {
    fn name(&self) -> String {
        let at = |record: &TabletRecord| {
            let stage = record.stage().map_or("at rest", |stage| stage.name());
            format!("t{} at {} ({stage})", record.tablet, record.version)
        };
        match self {
            Order::Barrier(record) => format!("barrier {}", at(record)),
            Order::Pull { record, pair, .. } => format!("pull {} from {}", at(record), pair.source),
            Order::Drop { record, copy } => format!("drop copy {copy}, {}", at(record)),
            Order::Confirm { ticket, .. } => format!("confirm {ticket}"),
            Order::TakeOn(record) => format!("take on {}", at(record)),
            Order::Purge { tablet, version, promise } => {
                format!("purge t{tablet} at {version} up to {promise}")
            }
        }
    }
}

fn said_name(said: &Said) -> String {
    match said {
        Said::Acknowledged { tablet, said } => {
            format!("t{tablet}: acknowledged at {}", said.version)
        }
        Said::Streamed { tablet, report } => {
            let StreamPair { source, receiver } = report.pair;
            format!("t{tablet}: streamed {source} -> {receiver}, {} rows", report.rows)
        }
        Said::StreamFailed { tablet, pair, reason, .. } => {
            format!("t{tablet}: stream {} -> {} failed, {reason}", pair.source, pair.receiver)
        }
        Said::Dropped { tablet, report } => format!("t{tablet}: dropped copy {}", report.copy),
        Said::Refused { tablet, version, reason, .. } => {
            format!(
                "t{tablet}: refused at {version}, {}",
                reason.map_or("UNKNOWN", FailureReason::name)
            )
        }
        other => format!("{other:?}"),
    }
}

/// A write, in short.
pub(crate) fn written(position: &[u8], row: &RowVersion) -> String {
    let Timestamp { time, .. } = row.timestamp;
    let key = String::from_utf8_lossy(position);
    match &row.value {
        Some(value) => format!("put {key}={} at {time}", String::from_utf8_lossy(value)),
        None => format!("delete {key} at {time}"),
    }
}
