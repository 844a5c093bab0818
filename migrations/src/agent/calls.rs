//! Streams as their receiver has them on record, and who is served what. One call for each
//! session, source and receiver, for ever. INV-2.

use crate::evidence::FailureReason;
use crate::id::{MigrationId, NodeId, SessionId};
use crate::position::Position;
use crate::record::{StreamPair, TabletRecord};
use crate::row::RowSum;
use crate::rule::{Rule, is_undone};
use crate::version::{CopyId, Incarnation, TopologyVersion};

/// How a stream stands, as its receiver has it on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// The call was begun. After a restart this means: nobody knows more, and nobody ever will.
    Running,
    /// All rows are durable.
    Complete,
    /// The call ended before that.
    Failed,
}

/// A stream from one source, as its receiver has it on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOnRecord {
    /// Under which session it was pulled.
    pub session: SessionId,
    /// By which call: there is one for each session and source, for ever.
    pub call: u64,
    /// For which migration.
    pub migration: MigrationId,
    /// From which copy of the source.
    pub source_copy: CopyId,
    /// How it stands.
    pub state: StreamState,
    /// How far it has come, in this and earlier sessions of the migration.
    pub progress: Progress,
}

/// Which call is to be put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// A number that no earlier call of this receiver had.
    pub call: u64,
    /// Who is called.
    pub source: NodeId,
    /// Which copy of theirs is pulled.
    pub source_copy: CopyId,
}

/// The answer to putting a call on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is to be put on record; durable after the next sync. It goes on where the record says,
    /// if the source agrees with the sum; else from the first position.
    New(StreamOnRecord),
    /// A call of this session and source was on record before: no second one.
    OnRecord(StreamOnRecord),
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The last position that has come; `None`: nothing has.
    pub after: Option<Position>,
    /// Rows so far.
    pub rows: u64,
    /// Bytes so far, as the stream counts them.
    pub bytes: u64,
    /// Sum so far, of positions and rows.
    pub sum: RowSum,
}

/// Puts a call on record, beside what is there of the same source and copy.
pub fn begin(
    before: Option<&StreamOnRecord>,
    session: SessionId,
    migration: MigrationId,
    begin: Call,
) -> Begun {
    let Call { call, source: _, source_copy } = begin;
    let is_first = |s: &&StreamOnRecord| s.session != session || is_undone(Rule::OneCallForEver);
    if let Some(stream) = before.filter(|stream| !is_first(stream)) {
        return Begun::OnRecord(stream.clone());
    }
    // Going on is only for the same copies within one transition.
    let is_same = |s: &&StreamOnRecord| s.migration == migration && s.source_copy == source_copy;
    let progress = before.filter(is_same).map(|stream| stream.progress.clone());
    let (state, progress) = (StreamState::Running, progress.unwrap_or_default());
    Begun::New(StreamOnRecord { session, call, migration, source_copy, state, progress })
}

/// Whether rows, or an outcome, belong to the call that is on record and running.
pub fn is_current(stream: Option<&StreamOnRecord>, session: SessionId, call: u64) -> bool {
    stream.is_some_and(|stream| {
        let is_its = stream.session == session && stream.call == call;
        is_its && stream.state == StreamState::Running
    })
}

/// Why an order to pull is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOrdered {
    /// The transition names no such stream.
    NoSuchStream,
    /// The order is for another incarnation of this node.
    OtherIncarnation,
}

impl NotOrdered {
    /// On the list of reasons.
    pub const fn reason(self) -> FailureReason {
        match self {
            NotOrdered::NoSuchStream => FailureReason::StreamProtocol,
            NotOrdered::OtherIncarnation => FailureReason::NodeFenced,
        }
    }
}

/// Whether the record orders this stream of its receiver; the source's copy by it.
pub fn check_order(
    record: &TabletRecord,
    pair: StreamPair,
    own: Incarnation,
) -> Result<CopyId, NotOrdered> {
    let is_named = record.transition.as_ref().is_some_and(|t| t.streams.contains(&pair));
    if !is_named || !record.may_stream(pair) {
        return Err(NotOrdered::NoSuchStream);
    }
    let source_copy = record.replicas.on(pair.source).map(|replica| replica.copy);
    let source_copy = source_copy.ok_or(NotOrdered::NoSuchStream)?;
    if record.incarnation(pair.receiver) != Some(own) {
        return Err(NotOrdered::OtherIncarnation);
    }
    Ok(source_copy)
}

/// What a receiver asks of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The version that it goes by.
    pub version: TopologyVersion,
    /// The session.
    pub session: SessionId,
    /// The stream.
    pub pair: StreamPair,
    /// As whom it asks.
    pub receiver_incarnation: Incarnation,
}

/// Why a source serves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotServed {
    /// The tablet is at a newer version.
    StaleVersion,
    /// The session is not open.
    SessionUnknown,
    /// That incarnation of the receiver is not admitted.
    NodeFenced,
    /// No transition names the receiver.
    NotReceiver,
}

impl NotServed {
    /// On the list of reasons.
    pub const fn reason(self) -> FailureReason {
        match self {
            NotServed::StaleVersion => FailureReason::StaleVersion,
            NotServed::SessionUnknown => FailureReason::SessionUnknown,
            NotServed::NodeFenced => FailureReason::NodeFenced,
            NotServed::NotReceiver => FailureReason::StreamProtocol,
        }
    }
}

/// Whether the source's record of the tablet lets it serve what is asked for.
pub fn check_serve(record: &TabletRecord, asked: &Asked) -> Result<(), NotServed> {
    if asked.version < record.version {
        return Err(NotServed::StaleVersion);
    }
    if record.session() != Some(asked.session) {
        return Err(NotServed::SessionUnknown);
    }
    if record.incarnation(asked.pair.receiver) != Some(asked.receiver_incarnation) {
        return Err(NotServed::NodeFenced);
    }
    if !record.may_stream(asked.pair) {
        return Err(NotServed::NotReceiver);
    }
    Ok(())
}
