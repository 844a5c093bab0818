//! What the driver and `apply` cost by the event, with a thousand and with ten thousand tablets in
//! transition at once, and what a plan of the balancer costs:
//! `cargo bench -p palisade-migrations --bench driver`.
//!
//! Every tablet goes through a whole migration; agents say at once what they are asked for. Not
//! measured: encoding, Raft, messages.
#![allow(clippy::print_stdout)]

extern crate palisade_migrations as migrations;

use migrations::apply::apply;
use migrations::balancer::{Limits, plan};
use migrations::command::{Admit, Bootstrap, Change, Command, CreateTable, Entry, Start};
use migrations::driver::{Driver, Effect, Event};
use migrations::evidence::{Acknowledgement, DropReport, StreamReport};
use migrations::id::{
    AdmissionToken, ClusterId, DirectoryId, MigrationId, NodeId, RequestId, SessionId, TabletId,
};
use migrations::lease::Instant;
use migrations::node::{NodeLocation, ProcessProof};
use migrations::placement::place;
use migrations::position::Partitioning;
use migrations::record::TabletRecord;
use migrations::request::RequestStamp;
use migrations::row::RowSum;
use migrations::settings::Settings;
use migrations::stage::TransitionKind;
use migrations::topology::Topology;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use uuid::Uuid;

const EARLY_NODES: u128 = 8;
const NODES: u128 = 12;

struct Cluster {
    topology: Topology,
    drawn: u128,
}

impl Cluster {
    fn draw(&mut self) -> Uuid {
        self.drawn += 1;
        Uuid::from_u128(self.drawn)
    }

    fn commit(&mut self, commands: Vec<Command>) -> Event {
        let applied = apply(&mut self.topology, &Entry { proposed_ms: 1, commands });
        assert!(applied.outcomes.iter().all(Result::is_ok), "{:?}", applied.outcomes);
        let (touched, nodes) = (applied.touched, applied.nodes);
        Event::Committed { touched, nodes, is_for_all: applied.is_for_all }
    }

    fn change(&mut self, change: Change) {
        let id = RequestId::from_uuid(self.draw()).expect("not nil");
        let stamp = RequestStamp { id, digest: 1, caller: "bench".into() };
        self.commit(vec![Command::Change { stamp, change }]);
    }

    fn admit(&mut self, n: u128) {
        let admit = Admit {
            name: format!("n{n}"),
            directory: DirectoryId::from_uuid(self.draw()).expect("not nil"),
            known_incarnation: None,
            held_tokens: Vec::new(),
            token: AdmissionToken::from_uuid(self.draw()).expect("not nil"),
            process: ProcessProof { boot: String::new(), lock_device: 1, lock_inode: 1 },
            location: NodeLocation {
                data_address: String::new(),
                stream_address: String::new(),
                rack: String::new(),
            },
            feature_level: 1,
            fresh: BTreeMap::new(),
            lost: Vec::new(),
            highest_floor: None,
        };
        self.commit(vec![Command::Admit(Box::new(admit))]);
    }

    /// A table whose tablets lie on the nodes that were there first, and four more nodes.
    fn new(tablets: u32, streams_per_node: u32) -> Cluster {
        let mut cluster = Cluster { topology: Topology::default(), drawn: 0 };
        let settings = Settings { streams_per_node, ..Settings::DEFAULT };
        let id = ClusterId::from_uuid(cluster.draw()).expect("not nil");
        cluster.commit(vec![Command::Bootstrap(Bootstrap { cluster: id, settings })]);
        (1..=EARLY_NODES).for_each(|n| cluster.admit(n));
        let placed = place(&cluster.topology, tablets as usize, 3).expect("enough nodes");
        let create = CreateTable {
            name: "t".into(),
            partitioning: Partitioning::Hash,
            replication_factor: 3,
            tablets: Partitioning::even_ranges(tablets).into_iter().zip(placed).collect(),
        };
        cluster.change(Change::CreateTable(create));
        (EARLY_NODES + 1..=NODES).for_each(|n| cluster.admit(n));
        cluster
    }

    /// Each tablet is to go from its first node to one of the new ones.
    fn move_all(&mut self) {
        let nodes: Vec<NodeId> = self.topology.state().nodes.keys().copied().collect();
        let new = nodes[EARLY_NODES as usize..].iter().copied().cycle();
        let tablets: Vec<(TabletId, Option<NodeId>)> = self
            .topology
            .state()
            .tablets
            .iter()
            .map(|(id, tablet)| (*id, tablet.replicas.nodes().next()))
            .collect();
        let start = |((tablet, from), to): ((TabletId, Option<NodeId>), NodeId)| Start {
            migration: MigrationId::from_uuid(self.draw()).expect("not nil"),
            tablet,
            kind: TransitionKind::Migrate,
            from,
            to: Some(to),
            session: None,
            proposed_promise: None,
            note: String::new(),
        };
        let starts: Vec<Start> = tablets.into_iter().zip(new).map(start).collect();
        let begun = starts.into_iter().map(Box::new);
        self.commit(begun.map(|start| Command::Balance { start, now_ms: 1 }).collect());
    }
}

/// What an agent says to an order.
fn answer(order: Effect) -> Option<Event> {
    let under = |record: &TabletRecord, node| record.incarnation(node);
    Some(match order {
        Effect::Barrier { node, record } => {
            let incarnation = under(&record, node)?;
            let (version, tablet) = (record.version, record.tablet);
            let said = Acknowledgement { node, incarnation, version, promised: None, at_ms: 1 };
            Event::Acknowledged { tablet, said }
        }
        Effect::Pull { pair, record } => {
            let report = StreamReport {
                session: record.session()?,
                pair,
                source_incarnation: under(&record, pair.source)?,
                receiver_incarnation: under(&record, pair.receiver)?,
                rows: 1,
                bytes: 1,
                sent: RowSum(1),
                stored: RowSum(1),
            };
            Event::Streamed { tablet: record.tablet, report }
        }
        Effect::Drop { replica, record } => {
            let node = replica.node;
            let incarnation = under(&record, node)?;
            let version = record.version;
            let report = DropReport { node, incarnation, copy: replica.copy, version };
            Event::Dropped { tablet: record.tablet, report }
        }
        Effect::Confirm { node, ticket } => Event::Received { node, ticket },
        Effect::Propose(_) => return None,
    })
}

/// Moves all tablets at once, to the end.
fn run(tablets: u32, streams_per_node: u32) {
    let mut cluster = Cluster::new(tablets, streams_per_node);
    cluster.move_all();
    let mut driver = Driver::new(&cluster.topology, Instant(0));
    let mut drawn = 1u128 << 64;
    let mut fresh = || {
        drawn += 1;
        SessionId::from_uuid(Uuid::from_u128(drawn)).expect("not nil")
    };
    let nodes: BTreeSet<NodeId> = cluster.topology.state().nodes.keys().copied().collect();
    let mut events: VecDeque<Event> =
        nodes.into_iter().map(|node| Event::Attached { node, attachment: 1 }).collect();
    let (mut count, mut longest, mut in_driver, mut in_apply) =
        (0u32, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut effects = Vec::new();
    while let Some(event) = events.pop_front() {
        // That of an attachment concerns all tablets that a node has to do with.
        let is_single = !matches!(event, Event::Attached { .. });
        let began = std::time::Instant::now();
        driver.handle(&cluster.topology, event, &mut fresh, &mut effects);
        let took = began.elapsed();
        if is_single {
            (count, in_driver, longest) = (count + 1, in_driver + took, longest.max(took));
        }
        for effect in effects.drain(..) {
            if let Effect::Propose(command) = effect {
                let began = std::time::Instant::now();
                events.push_back(cluster.commit(vec![command]));
                in_apply += began.elapsed();
            } else {
                events.extend(answer(effect));
            }
        }
    }
    assert_eq!(cluster.topology.in_transition().count(), 0, "all have come to their end");
    println!(
        "{tablets:>6} tablets, {streams_per_node:>7} streams a node: {count:>7} events, driver \
         {:>6} ns an event (longest {:>5} us), apply {:>6} ns an event",
        (in_driver / count).as_nanos(),
        longest.as_micros(),
        (in_apply / count).as_nanos(),
    );
}

fn main() {
    for streams_per_node in [4, 1_000_000] {
        for tablets in [1_000, 10_000] {
            run(tablets, streams_per_node);
        }
    }
    for tablets in [1_000, 10_000] {
        let cluster = Cluster::new(tablets, 4);
        for limits in [Limits { moves: 64, per_node: 4 }, Limits::NONE] {
            let began = std::time::Instant::now();
            let found = plan(&cluster.topology, limits, 1);
            println!(
                "{tablets:>6} tablets: a plan of {:>5} moves in {:>6} us",
                found.moves.len(),
                began.elapsed().as_micros(),
            );
        }
    }
}
