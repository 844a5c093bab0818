//! What a story keeps back: messages on their way, and steps inside of a process that would come
//! next. They are let go, given a second time, or lost, when the story says so.

use super::{Story, Told};
use crate::agent::work::Work;
use crate::event::{Duty, Event};
use crate::message::{Answer, Message, Order, Packet, Place};
use migrations::driver::Event as Said;
use migrations::row::RowVersion;
use migrations::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};

/// What can be kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A leader's order: a barrier.
    Barrier,
    /// A leader's order to pull.
    Pull,
    /// A leader's order to drop a copy.
    Drop,
    /// A leader's order to purge.
    Purge,
    /// A leader's answer to an agent that is behind a router.
    TakeOn,
    /// An agent's acknowledgement of a barrier.
    Acknowledged,
    /// An agent's report of a stream, or that it has failed.
    Streamed,
    /// An agent's report that a copy is dropped.
    Dropped,
    /// An agent's greeting.
    Hello,
    /// An agent has drained for its admission.
    Drained,
    /// A leader's full state.
    Welcome,
    /// A full state was worked off.
    FullStateDone,
    /// A leader's answer to a renewal.
    Renewed,
    /// A receiver's call.
    Begin,
    /// A source's answer to it.
    Accepted,
    /// A chunk on its way.
    Chunk,
    /// A source's sign of life.
    KeepAlive,
    /// A source's last message.
    Complete,
    /// A receiver's last message.
    Received,
    /// A router's put or delete on its way.
    Write,
    /// A router's get on its way.
    Read,
    /// A replica's answer to a put or delete that it has taken.
    Written,
    /// In a source: the next rows, before they are read.
    Feed,
    /// In an agent: a chunk between its receipt and its guard.
    ChunkBeforeGuard,
    /// In an agent: a chunk inside of its guard, before the store.
    ChunkInGuard,
    /// In an agent: a router's write inside of its guard, before the store.
    WriteInGuard,
    /// In an agent: a router's read inside of its guard.
    ReadInGuard,
    /// In an agent: a sync of its disk.
    Sync,
    /// In a leader: what it has proposed, before it is committed.
    Commit,
    /// In a leader that was deposed: the news of it.
    Deposed,
}

/// What is kept back, of whom.
#[derive(Debug, Clone)]
pub struct Pattern {
    kind: Kind,
    from: Option<&'static str>,
    to: Option<&'static str>,
    stage: Option<Stage>,
    at_most: usize,
}

impl Kind {
    /// Everything of this kind.
    pub const fn any(self) -> Pattern {
        Pattern { kind: self, from: None, to: None, stage: None, at_most: usize::MAX }
    }

    /// What goes to a place, or happens there.
    pub const fn to(self, to: &'static str) -> Pattern {
        Pattern { to: Some(to), ..self.any() }
    }

    /// What comes from a place.
    pub const fn from(self, from: &'static str) -> Pattern {
        Pattern { from: Some(from), ..self.any() }
    }
}

impl Pattern {
    /// Only what goes to this place.
    pub const fn to(self, to: &'static str) -> Pattern {
        Pattern { to: Some(to), ..self }
    }

    /// Only orders whose record is in this stage.
    pub const fn in_stage(self, stage: Stage) -> Pattern {
        Pattern { stage: Some(stage), ..self }
    }

    /// Only the first ones.
    pub const fn first(self, at_most: usize) -> Pattern {
        Pattern { at_most, ..self }
    }
}

/// Names what a story keeps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold(u64);

#[derive(Debug)]
struct Keeping {
    kind: Kind,
    from: Option<Place>,
    to: Option<Place>,
    stage: Option<Stage>,
    room: usize,
    kept: Vec<Event>,
}

/// An event as patterns see it.
struct Seen {
    kind: Kind,
    from: Option<Place>,
    to: Place,
    stage: Option<Stage>,
}

/// What came of a router's operation: the row that it wrote or read.
type Row = Option<RowVersion>;

/// What a directed run has arranged: a part of every world, empty in those that are drawn.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    pub(super) is_on: bool,
    /// Invariants that are not looked at.
    pub(crate) blind: Vec<u8>,
    next: u64,
    holds: BTreeMap<Hold, Keeping>,
    /// Agents that never come back.
    pub(super) dead: BTreeSet<usize>,
    /// Links that stay cut when all others heal.
    pub(super) cut_for_ever: Vec<(Place, Place)>,
    pub(super) operated: BTreeMap<(usize, u64), Row>,
    pub(super) answered: BTreeMap<u64, Option<migrations::command::Outcome>>,
}

impl Staging {
    /// The event, unless it is kept back.
    pub(crate) fn keep_back(&mut self, event: Event) -> Option<Event> {
        if self.holds.is_empty() {
            return Some(event);
        }
        let Some(seen) = seen(&event) else { return Some(event) };
        let mut keeping = self.holds.values_mut().filter(|keeping| {
            keeping.kept.len() < keeping.room
                && keeping.kind == seen.kind
                && keeping.to.is_none_or(|to| to == seen.to)
                && keeping.from.is_none_or(|from| Some(from) == seen.from)
                && keeping.stage.is_none_or(|stage| Some(stage) == seen.stage)
        });
        match keeping.next() {
            Some(keeping) => {
                keeping.kept.push(event);
                None
            }
            None => Some(event),
        }
    }

    pub(crate) fn is_dead(&self, agent: usize) -> bool {
        self.dead.contains(&agent)
    }

    /// A router's operation has ended well.
    pub(crate) fn operated(&mut self, router: usize, operation: u64, row: Option<&RowVersion>) {
        if self.is_on {
            self.operated.insert((router, operation), row.cloned());
        }
    }

    /// A request has come to an outcome, or nobody knows to which.
    pub(crate) fn answered(&mut self, number: u64, out: Option<&migrations::command::Outcome>) {
        if self.is_on {
            self.answered.insert(number, out.cloned());
        }
    }
}

fn seen(event: &Event) -> Option<Seen> {
    match event {
        Event::Deliver(Packet { from, to, message, .. }) => {
            let (kind, stage) = of_message(message)?;
            Some(Seen { kind, from: Some(*from), to: *to, stage })
        }
        Event::Agent { at, work, .. } => {
            let kind = match work {
                Work::Feed(_) => Kind::Feed,
                Work::Enter(_) => Kind::ChunkBeforeGuard,
                Work::Ingest(_) => Kind::ChunkInGuard,
                Work::Write(_) => Kind::WriteInGuard,
                Work::Read { .. } => Kind::ReadInGuard,
                Work::Synced(_) => Kind::Sync,
                _ => return None,
            };
            Some(Seen { kind, from: None, to: Place::Agent(*at), stage: None })
        }
        Event::Coordinator { at, work, .. } => {
            let kind = match work {
                Duty::Commit { .. } => Kind::Commit,
                Duty::Deposed { .. } => Kind::Deposed,
                _ => return None,
            };
            Some(Seen { kind, from: None, to: Place::Coordinator(*at), stage: None })
        }
        _ => None,
    }
}

fn of_message(message: &Message) -> Option<(Kind, Option<Stage>)> {
    let kind = match message {
        Message::Order(Order::Barrier(record)) => return Some((Kind::Barrier, record.stage())),
        Message::Order(Order::Pull { record, .. }) => return Some((Kind::Pull, record.stage())),
        Message::Order(Order::Drop { record, .. }) => return Some((Kind::Drop, record.stage())),
        Message::Order(Order::TakeOn(record)) => return Some((Kind::TakeOn, record.stage())),
        Message::Order(Order::Purge { .. }) => Kind::Purge,
        Message::Said(said) => match &**said {
            Said::Acknowledged { .. } => Kind::Acknowledged,
            Said::Streamed { .. } | Said::StreamFailed { .. } => Kind::Streamed,
            Said::Dropped { .. } => Kind::Dropped,
            _ => return None,
        },
        Message::Hello { .. } => Kind::Hello,
        Message::Drained => Kind::Drained,
        Message::Welcome { .. } => Kind::Welcome,
        Message::FullStateDone => Kind::FullStateDone,
        Message::Renewed { .. } => Kind::Renewed,
        Message::Begin(_) => Kind::Begin,
        Message::Accepted { .. } => Kind::Accepted,
        Message::Chunk { .. } => Kind::Chunk,
        Message::Complete(_) => Kind::Complete,
        Message::KeepAlive => Kind::KeepAlive,
        Message::Received => Kind::Received,
        Message::Request(request) if request.write.is_some() => Kind::Write,
        Message::Request(_) => Kind::Read,
        Message::Answer { answer: Answer::Written, .. } => Kind::Written,
        _ => return None,
    };
    Some((kind, None))
}

impl Story {
    /// Keeps back all that comes from now on and looks like this.
    pub fn hold(&mut self, pattern: Pattern) -> Hold {
        let place = |world: &Story, name: Option<&str>| name.map(|name| world.place(name));
        let (from, to) = (place(self, pattern.from), place(self, pattern.to));
        let staging = &mut self.world.story;
        staging.next += 1;
        let hold = Hold(staging.next);
        let Pattern { kind, stage, at_most: room, .. } = pattern;
        let keeping = Keeping { kind, from, to, stage, room, kept: Vec::new() };
        staging.holds.insert(hold, keeping);
        hold
    }

    /// How much is kept back.
    pub fn held(&self, hold: Hold) -> usize {
        self.world.story.holds.get(&hold).map_or(0, |keeping| keeping.kept.len())
    }

    fn taken(&mut self, hold: Hold) -> Vec<Event> {
        let keeping = self.world.story.holds.remove(&hold);
        keeping.map(|keeping| keeping.kept).unwrap_or_default()
    }

    /// Lets all of it go, in its order, and keeps no more back.
    pub fn release(&mut self, hold: Hold) {
        for event in self.taken(hold) {
            self.world.queue.after(1, event);
        }
    }

    /// Keeps what it has, and nothing more.
    pub fn hold_no_more(&mut self, hold: Hold) {
        if let Some(keeping) = self.world.story.holds.get_mut(&hold) {
            keeping.room = 0;
        }
    }

    /// It never arrives: with it goes the connection that it was on.
    pub fn lose(&mut self, hold: Hold) {
        for event in self.taken(hold) {
            if let Event::Deliver(packet) = event {
                self.world.lose(packet.conn);
            }
        }
    }

    /// It never arrives, and nobody hears of it.
    pub fn swallow(&mut self, hold: Hold) {
        self.taken(hold);
    }

    /// Copies of the messages that are kept back arrive, on whichever connection there is now; at
    /// least one must. What is kept back stays so, and can arrive yet another time.
    pub fn repeat(&mut self, hold: Hold) -> Told {
        let kept = self.world.story.holds.get(&hold).map(|keeping| &keeping.kept);
        let packets: Vec<Packet> = kept
            .into_iter()
            .flatten()
            .filter_map(|event| match event {
                Event::Deliver(packet) => Some(packet.clone()),
                _ => None,
            })
            .collect();
        let mut count = 0;
        for mut packet in packets {
            let agent = match (packet.to, packet.from) {
                (Place::Agent(at), Place::Coordinator(_)) => Some((at, true)),
                (Place::Coordinator(_), Place::Agent(at)) => Some((at, false)),
                _ => None,
            };
            if let Some((at, is_order)) = agent {
                let attachment = self.world.process(at).and_then(|p| p.attachment.as_ref());
                let Some(attachment) = attachment else { continue };
                packet.conn = Some(attachment.conn);
                let place = Place::Coordinator(attachment.coordinator);
                match is_order {
                    true => packet.from = place,
                    false => packet.to = place,
                }
            }
            let what = packet.message.name();
            self.world.say(|world| format!("{}: once more: {what}", world.name(packet.to)));
            // Past every hold: it is taken in now.
            self.world.deliver(packet);
            count += 1;
        }
        self.must("something arrives once more", count > 0)
    }

    /// Everything that is still kept back arrives.
    pub(super) fn release_all(&mut self) {
        let holds: Vec<Hold> = self.world.story.holds.keys().copied().collect();
        holds.into_iter().for_each(|hold| self.release(hold));
    }
}
