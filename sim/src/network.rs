//! The network: delay, loss, repetition, overtaking, cuts.

use crate::event::Event;
use crate::message::{Conn, Message, Order, Packet, Place};
use crate::plan::Fault;
use crate::time::{MICRO, MILLI, SECOND, Time};
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// A connection that is not known to be gone.
#[derive(Debug)]
struct Link {
    ends: [Place; 2],
    /// When the last message into each direction arrives.
    last: [Time; 2],
    is_broken: bool,
    /// Whether what is on it may overtake: orders and reports of an attachment.
    is_loose: bool,
}

/// What the network holds.
#[derive(Debug, Default)]
pub(crate) struct Network {
    links: BTreeMap<Conn, Link>,
    next: Conn,
    /// Nothing gets from the first to the second.
    pub(crate) cuts: BTreeSet<(Place, Place)>,
}

impl World {
    pub(crate) fn connect(&mut self, from: Place, to: Place, is_loose: bool) -> Conn {
        self.network.next += 1;
        let conn = self.network.next;
        let is_loose = is_loose && self.has(Fault::Reorder);
        let link = Link { ends: [from, to], last: [0, 0], is_broken: false, is_loose };
        self.network.links.insert(conn, link);
        conn
    }

    /// One end has closed it: the other one hears of it, unless it is cut off.
    pub(crate) fn close(&mut self, conn: Conn, by: Place) {
        let Some(link) = self.network.links.get_mut(&conn) else { return };
        let was_broken = std::mem::replace(&mut link.is_broken, true);
        let other = if link.ends[0] == by { link.ends[1] } else { link.ends[0] };
        let last = link.last.into_iter().max().unwrap_or_default();
        if !was_broken {
            self.break_at(conn, other, last);
        }
    }

    /// All connections of a process end with it.
    pub(crate) fn close_all(&mut self, of: Place) {
        let its = |link: &&Conn| self.network.links[*link].ends.contains(&of);
        let conns: Vec<Conn> = self.network.links.keys().filter(its).copied().collect();
        conns.into_iter().for_each(|conn| self.close(conn, of));
    }

    fn break_at(&mut self, conn: Conn, end: Place, not_before: Time) {
        let delay = self.random.network.between(1, 1_500) * MILLI;
        let at = (self.queue.now + delay).max(not_before + 1);
        let from = end;
        let packet = Packet { from, to: end, conn: Some(conn), message: Message::Broken };
        self.queue.at(at, Event::Deliver(packet));
    }

    /// Sends; what is lost on a connection ends it.
    pub(crate) fn send(&mut self, from: Place, to: Place, conn: Option<Conn>, message: Message) {
        if message.is_told() {
            self.say(|world| {
                format!("{} -> {}: {}", world.name(from), world.name(to), message.name())
            });
        }
        if conn.is_some_and(|conn| self.network.links.get(&conn).is_none_or(|l| l.is_broken)) {
            return;
        }
        let is_cut = self.network.cuts.contains(&(from, to));
        if is_cut || (self.has(Fault::Loss) && self.random.network.chance(3)) {
            self.lose(conn);
            return;
        }
        let mut at = self.queue.now + self.delay();
        if let Some(link) = conn.and_then(|conn| self.network.links.get_mut(&conn)) {
            let way = usize::from(link.ends[0] != from);
            if !link.is_loose {
                at = at.max(link.last[way] + 1);
            }
            link.last[way] = link.last[way].max(at);
        }
        let is_call =
            !matches!(message, Message::Order(_) | Message::Said(_) | Message::Request(_));
        // What drops a copy is worth the most when it comes very late.
        let is_drop = matches!(message, Message::Order(Order::Drop { .. }));
        let (likely, longest) = if is_drop { (400, 9_000) } else { (30, 2_000) };
        let packet = Packet { from, to, conn, message };
        if !is_call && self.has(Fault::Repeat) && self.random.network.chance(likely) {
            let again = at + self.random.network.between(1, longest) * MILLI;
            self.queue.at(again, Event::Deliver(packet.clone()));
        }
        self.queue.at(at, Event::Deliver(packet));
    }

    fn delay(&mut self) -> Time {
        let network = &mut self.random.network;
        if self.plan.faults.has(Fault::Delay) && self.has_faults && network.chance(10) {
            return network.between(20, 1_500) * MILLI;
        }
        network.between(100, 2_000) * MICRO
    }

    pub(crate) fn lose(&mut self, conn: Option<Conn>) {
        let Some(conn) = conn else { return };
        let Some(link) = self.network.links.get_mut(&conn) else { return };
        if !std::mem::replace(&mut link.is_broken, true) {
            let (ends, last) = (link.ends, link.last);
            for end in ends {
                self.break_at(conn, end, last[0].max(last[1]));
            }
        }
    }

    /// A connection on which a message was delivered as broken needs no memory any more, once
    /// both ends have heard.
    pub(crate) fn forget_broken(&mut self) {
        let now = self.queue.now;
        self.network.links.retain(|_, link| {
            let last = link.last[0].max(link.last[1]);
            !link.is_broken || last + 10 * SECOND > now
        });
    }

    /// Whether each of two places hears the other.
    pub(crate) fn reaches(&self, a: Place, b: Place) -> bool {
        !self.network.cuts.contains(&(a, b)) && !self.network.cuts.contains(&(b, a))
    }
}
