//! Streams between the agents: a call, its one chunk, where it may be held, and its end.

use crate::agent::{Call, Chunk};
use crate::world::{Hold, Message, World};
use migrations::driver::Event;
use migrations::evidence::{FailureReason, StreamReport};
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::record::{StreamPair, TabletRecord};
use migrations::row::RowSum;

impl World {
    /// The receiver calls the source; one call for each session and source, for ever.
    pub(crate) fn pull(&mut self, pair: StreamPair, record: &TabletRecord) {
        let (id, Some(session)) = (record.tablet, record.session()) else { return };
        if !self.take(pair.receiver, record) {
            return;
        }
        let call = self.agent(pair.receiver).calls.get(&(session, pair.source)).copied();
        match call {
            Some(Call::Running) => return,
            Some(Call::Complete(report)) => {
                self.report(pair.receiver, Event::Streamed { tablet: id, report });
                return;
            }
            Some(Call::Failed(reason)) => {
                self.fail(id, session, pair, reason);
                return;
            }
            None => {}
        }
        self.agent(pair.receiver).calls.insert((session, pair.source), Call::Running);
        let is_up = self.agent(pair.source).is_up;
        let entered = if is_up {
            self.agent(pair.source).enter(session)
        } else {
            Err(FailureReason::PeerClosed)
        };
        if let Err(reason) = entered {
            self.fail(id, session, pair, reason);
            return;
        }
        let source = self.agent(pair.source);
        let (rows, source_incarnation) = (source.rows(id), source.incarnation);
        source.leave(session);
        let chunk = Chunk { tablet: id, session, pair, source_incarnation, rows, is_inside: false };
        self.messages.push_back(Message::Chunk(chunk));
    }

    pub(crate) fn fail(
        &mut self,
        id: TabletId,
        session: SessionId,
        pair: StreamPair,
        reason: FailureReason,
    ) {
        self.agent(pair.receiver).calls.insert((session, pair.source), Call::Failed(reason));
        let failed = Event::StreamFailed { tablet: id, session, pair, reason };
        self.report(pair.receiver, failed);
    }

    pub(crate) fn receive(&mut self, mut chunk: Chunk) {
        if !self.agent(chunk.pair.receiver).is_up {
            return;
        }
        let way = format!("{}->{}", self.name(chunk.pair.source), self.name(chunk.pair.receiver));
        match self.holds.remove(&chunk.pair) {
            Some(Hold::Outside) => {
                self.say(format!("{way}: a chunk of t{} is held, received", chunk.tablet));
                self.held.push(chunk);
            }
            Some(Hold::Inside) => {
                chunk.is_inside = self.agent(chunk.pair.receiver).enter(chunk.session).is_ok();
                self.say(format!("{way}: a chunk of t{} is held, inside its guard", chunk.tablet));
                self.held.push(chunk);
            }
            None => self.write(chunk),
        }
    }

    /// A chunk is written under a guard of its session, or not at all.
    pub(crate) fn write(&mut self, chunk: Chunk) {
        let Chunk { tablet: id, session, pair, .. } = chunk;
        let (name, from) = (self.name(pair.receiver), self.name(pair.source));
        let session_name = self.session_name(session);
        let receiver = pair.receiver;
        let entered = if chunk.is_inside { Ok(()) } else { self.agent(receiver).enter(session) };
        let is_allowed = match entered {
            Ok(()) => match self.agent(receiver).leave(session) {
                true => Ok(()),
                false => Err("is being closed here"),
            },
            Err(FailureReason::SessionClosing) => Err("is being closed here"),
            Err(_) => Err("is unknown here"),
        };
        if let (Err(why), true) = (is_allowed, self.has_guards) {
            self.say(format!(
                "{name}: refused stream t{id} from {from}: session {session_name} {why}"
            ));
            self.acknowledge_if_drained(receiver, id);
            return;
        }
        let stored = self.agent(receiver).store(id, &chunk.rows);
        let rows = chunk.rows.len() as u64;
        self.say(format!("{name}: stored {rows} rows of t{id} from {from} under {session_name}"));
        if is_allowed.is_ok() {
            let report = self.stream_report(&chunk, stored);
            self.agent(receiver).calls.insert((session, pair.source), Call::Complete(report));
            self.report(receiver, Event::Streamed { tablet: id, report });
        }
    }

    /// The last guard was given back: a barrier that waited for it goes on.
    fn acknowledge_if_drained(&mut self, node: NodeId, id: TabletId) {
        let agent = self.agent(node);
        if agent.is_up && agent.records.contains_key(&id) && agent.holders(id).is_empty() {
            self.acknowledge(node, id);
        }
    }

    fn stream_report(&mut self, chunk: &Chunk, stored: RowSum) -> StreamReport {
        let mut sent = RowSum::default();
        chunk.rows.iter().for_each(|(key, row)| sent.add(key.as_bytes(), row));
        StreamReport {
            session: chunk.session,
            pair: chunk.pair,
            source_incarnation: chunk.source_incarnation,
            receiver_incarnation: self.agent(chunk.pair.receiver).incarnation,
            rows: chunk.rows.len() as u64,
            bytes: 0,
            sent,
            stored,
        }
    }
}
