//! A state in which everything occurs that a state can hold, made by `apply` alone.

use super::examples::{cluster, directory, migration, node, session, stamp, switch, tablet, token};
use migrations::apply::apply;
use migrations::barrier;
use migrations::clock::HybridTime;
use migrations::command::{
    Admit, Advance, Bootstrap, Change, Command, CreateTable, Entry, Expected, Outcome, Start,
};
use migrations::evidence::{Acknowledgement, DropReport, Evidence, FailureReason, StreamReport};
use migrations::id::{NodeId, TabletId};
use migrations::node::{NodeLocation, ProcessProof};
use migrations::position::Partitioning;
use migrations::record::StreamPair;
use migrations::request::RequestMemory;
use migrations::row::RowSum;
use migrations::settings::Settings;
use migrations::stage::{SessionOnEdge, Stage, TransitionKind, WayBack, session_on_edge};
use migrations::state::State;
use migrations::switch::BalanceScope;
use migrations::tablet::{EndReason, Transition};
use migrations::topology::Topology;
use std::collections::BTreeMap;

pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    drawn: u128,
    now_ms: u64,
}

impl Cluster {
    /// Six nodes, a table of six tablets on the first three, and a memory of 40 requests that
    /// has forgotten some.
    fn new() -> Cluster {
        let state = State { requests: RequestMemory::new(40), ..State::default() };
        let topology = Topology::from_state(state).expect("empty");
        let mut new = Cluster { topology, drawn: 0x1000, now_ms: 1_000 };
        let bootstrap = Bootstrap { cluster: cluster(7), settings: Settings::DEFAULT };
        new.apply(Command::Bootstrap(bootstrap)).expect("fresh");
        for n in 1..=6 {
            new.admit(n).expect("a new node");
        }
        for caller in (0..12).map(|n| format!("caller {n}")) {
            for _ in 0..4 {
                let absent = migration(1);
                new.change(&caller, Change::Cancel { migration: absent }).expect_err("no such");
            }
        }
        new.create("t", Partitioning::Hash, 6).expect("a new table");
        new
    }

    fn draw(&mut self) -> u128 {
        self.drawn += 1;
        self.drawn
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.now_ms += 1;
        let entry = Entry { proposed_ms: self.now_ms, commands: vec![command] };
        apply(&mut self.topology, &entry).outcomes.remove(0)
    }

    fn change(&mut self, caller: &str, change: Change) -> Outcome {
        let stamp = stamp(self.draw(), caller);
        self.apply(Command::Change { stamp, change })
    }

    fn create(&mut self, name: &str, partitioning: Partitioning, tablets: u32) -> Outcome {
        let on: Vec<NodeId> = (1..=3).map(node).collect();
        let ranges = Partitioning::even_ranges(tablets).into_iter();
        let create = CreateTable {
            name: name.into(),
            partitioning,
            replication_factor: 3,
            tablets: ranges.map(|range| (range, on.clone())).collect(),
        };
        self.change("operator", Change::CreateTable(create))
    }

    fn admit(&mut self, n: u64) -> Outcome {
        let known = self.topology.node(node(n));
        let known_incarnation = known.map(|known| known.incarnation);
        let open: Vec<TabletId> = self.topology.in_transition().collect();
        let fresh: BTreeMap<_, _> = open.into_iter().map(|id| (id, session(self.draw()))).collect();
        let admit = Admit {
            name: format!("n{n}"),
            directory: directory(0x100 + u128::from(n)),
            known_incarnation,
            held_tokens: Vec::new(),
            token: token(self.draw()),
            process: ProcessProof { boot: "b".into(), lock_device: 1, lock_inode: n },
            location: NodeLocation {
                data_address: format!("n{n}:1"),
                stream_address: format!("n{n}:2"),
                rack: format!("r{n}"),
            },
            feature_level: 1,
            fresh,
            lost: Vec::new(),
            highest_floor: None,
        };
        self.apply(Command::Admit(Box::new(admit)))
    }

    fn fence(&mut self, n: u64) -> Outcome {
        let incarnation = self.topology.node(node(n)).expect("admitted").incarnation;
        self.apply(Command::Fence { node: node(n), incarnation })
    }

    fn mark_lost(&mut self, n: u64, id: TabletId) -> Outcome {
        let copy = self.topology.tablet(id).and_then(|held| held.replicas.on(node(n)));
        let copies = vec![(id, copy.expect("holds one").copy)];
        let incarnation = self.topology.node(node(n)).expect("admitted").incarnation;
        self.apply(Command::MarkLost { node: node(n), incarnation, copies })
    }

    fn migration_of(&mut self, id: TabletId, from: u64, to: u64) -> Start {
        Start {
            migration: migration(self.draw()),
            tablet: id,
            kind: TransitionKind::Migrate,
            from: Some(node(from)),
            to: Some(node(to)),
            session: None,
            proposed_promise: None,
            note: format!("from n{from} to n{to}"),
        }
    }

    fn migrate(&mut self, id: TabletId, from: u64, to: u64) -> Outcome {
        let start = self.migration_of(id, from, to);
        self.change("operator", Change::Start(start))
    }

    fn balance(&mut self, id: TabletId, from: u64, to: u64) -> Outcome {
        let start = Box::new(self.migration_of(id, from, to));
        self.apply(Command::Balance { start, now_ms: self.now_ms })
    }

    fn repair(&mut self, id: TabletId) -> Outcome {
        let start = Start {
            migration: migration(self.draw()),
            tablet: id,
            kind: TransitionKind::Repair,
            from: None,
            to: None,
            session: Some(session(self.draw())),
            proposed_promise: Some(HybridTime(500)),
            note: String::new(),
        };
        self.change("operator", Change::Start(start))
    }

    fn cancel(&mut self, id: TabletId) -> Outcome {
        let migration = self.transition(id).record.migration;
        self.change("operator", Change::Cancel { migration })
    }

    fn transition(&self, id: TabletId) -> &Transition {
        self.topology.transition(id).expect("in transition")
    }

    fn expected(&self, id: TabletId) -> Expected {
        let record = &self.transition(id).record;
        Expected {
            tablet: id,
            version: self.topology.tablet(id).expect("there").version,
            migration: record.migration,
            stage: record.stage,
            session: record.session,
            attempt: record.attempt,
        }
    }

    /// What all who are admitted would say in the stage that the tablet is in.
    fn evidence(&self, id: TabletId) -> Evidence {
        let held = self.topology.tablet(id).expect("there");
        let record = &self.transition(id).record;
        let admitted = |id: NodeId| self.topology.node(id).and_then(|node| node.admitted());
        let version = held.version;
        let promised = (record.stage == Stage::OpenRepair).then_some(HybridTime(400));
        let acknowledged = barrier::asked(held).into_iter().filter_map(|node| {
            let incarnation = admitted(node)?;
            Some(Acknowledgement { node, incarnation, version, promised, at_ms: 1_790_000_000_001 })
        });
        let streams = record.streams.iter().filter_map(|pair: &StreamPair| {
            Some(StreamReport {
                session: record.session?,
                pair: *pair,
                source_incarnation: admitted(pair.source)?,
                receiver_incarnation: admitted(pair.receiver)?,
                rows: 3,
                bytes: 70,
                sent: RowSum(u128::MAX / 3),
                stored: RowSum(u128::MAX / 3),
            })
        });
        let drops = barrier::to_drop(record.stage, &held.replicas, &record.next).into_iter();
        let drops = drops.filter_map(|replica| {
            let (node, copy) = (replica.node, replica.copy);
            Some(DropReport { node, incarnation: admitted(node)?, copy, version })
        });
        Evidence {
            acknowledged: acknowledged.collect(),
            streams: streams.collect(),
            drops: drops.collect(),
        }
    }

    fn forward(&mut self, id: TabletId) -> Outcome {
        let expected = self.expected(id);
        let to = expected.stage.on_success();
        let opens =
            to.is_some_and(|to| session_on_edge(expected.stage, to) == SessionOnEdge::OpenFresh);
        let opened = opens.then(|| session(self.draw()));
        let evidence = self.evidence(id);
        let advance = Advance { expected, to, opened, evidence, reason: None, failure: None };
        self.apply(Command::Advance(Box::new(advance)))
    }

    fn back(&mut self, id: TabletId, reason: EndReason) -> Outcome {
        let expected = self.expected(id);
        let WayBack::To(to) = expected.stage.way_back() else { panic!("no way back") };
        self.leave(expected, to, Some(reason))
    }

    fn retry(&mut self, id: TabletId) -> Outcome {
        let expected = self.expected(id);
        let to = expected.stage.retry_from().expect("a stage with attempts");
        self.leave(expected, to, None)
    }

    fn leave(&mut self, expected: Expected, to: Stage, reason: Option<EndReason>) -> Outcome {
        let failure = Some(FailureReason::PeerClosed);
        let opens = session_on_edge(expected.stage, to) == SessionOnEdge::OpenFresh;
        let opened = opens.then(|| session(self.draw()));
        let (to, evidence) = (Some(to), Evidence::default());
        let advance = Advance { expected, to, opened, evidence, reason, failure };
        self.apply(Command::Advance(Box::new(advance)))
    }

    pub(crate) fn forward_until(&mut self, id: TabletId, stage: Option<Stage>) {
        for _ in 0..Stage::ALL.len() {
            if self.topology.transition(id).map(|transition| transition.record.stage) == stage {
                return;
            }
            self.forward(id).expect("nothing is in its way");
        }
        panic!("{stage:?} is not ahead");
    }
}

/// One tablet each: moved, cancelled, turned back, in repair, in its second attempt, without
/// its pending replica; a table that is being dropped; a node that has come back; a lost replica;
/// and the retries' refusals.
pub(crate) fn eventful() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.balance(tablet(1), 1, 4).expect("at rest");
    cluster.forward_until(tablet(1), None);

    cluster.migrate(tablet(2), 1, 4).expect("at rest");
    cluster.forward_until(tablet(2), Some(Stage::Streaming));
    cluster.cancel(tablet(2)).expect("not too late");
    cluster.back(tablet(2), EndReason::Cancelled).expect("an edge");
    cluster.forward_until(tablet(2), None);

    cluster.migrate(tablet(3), 2, 5).expect("at rest");
    cluster.forward_until(tablet(3), Some(Stage::Streaming));
    cluster.back(tablet(3), EndReason::Failed(FailureReason::DiskFull)).expect("an edge");

    cluster.repair(tablet(4)).expect("at rest");
    cluster.forward_until(tablet(4), Some(Stage::EndRepair));

    cluster.balance(tablet(5), 3, 5).expect("at rest");
    cluster.forward_until(tablet(5), Some(Stage::Streaming));
    cluster.retry(tablet(5)).expect("an edge");
    cluster.forward_until(tablet(5), Some(Stage::Streaming));

    cluster.migrate(tablet(6), 3, 6).expect("at rest");
    cluster.forward_until(tablet(6), Some(Stage::WriteBothReadNew));
    cluster.fence(6).expect("admitted");
    cluster.admit(6).expect("fenced");

    cluster.create("gone", Partitioning::Range, 1).expect("a new name");
    let (dropped, _) = cluster.topology.table_named("gone").expect("there");
    let migration = migration(cluster.draw());
    let drop = Change::DropTable { table: dropped, migration };
    cluster.change("operator", drop).expect("there");

    cluster.mark_lost(2, tablet(1)).expect("admitted");
    cluster.repair(tablet(2)).expect("at rest");
    cluster.forward_until(tablet(2), None);
    give_up(&mut cluster);
    cluster.fence(3).expect("admitted");
    cluster.migrate(tablet(6), 1, 4).expect_err("busy");
    cluster.create("a/b", Partitioning::Hash, 1).expect_err("no name");
    let (node, reason) = (node(3), "it burnt".to_owned());
    cluster.change("a person", Change::RemoveNode { node, reason }).expect("it is fenced");
    switch_off(&mut cluster);
    cluster
}

/// Replicas that were given up: for a transition that runs, and for one
/// that is over.
fn give_up(cluster: &mut Cluster) {
    for (name, is_over) in [("half_gone", true), ("all_gone", false)] {
        cluster.create(name, Partitioning::Hash, 1).expect("a new name");
        let (_, table) = cluster.topology.table_named(name).expect("there");
        let id = table.tablets[0];
        for n in [1, 2] {
            cluster.mark_lost(n, id).expect("admitted");
        }
        let mut start = cluster.migration_of(id, 1, 5);
        start.kind = TransitionKind::Rebuild;
        let (start, note) = (Some(Box::new(start)), "both burnt".to_owned());
        let nodes = vec![node(1), node(2), node(3)];
        let accept = Change::AcceptLoss { tablet: id, start, nodes, note };
        cluster.change("a person", accept).expect("two of three are lost");
        if is_over {
            cluster.forward_until(id, None);
        }
    }
}

/// A switch of each scope, a drain of a node that has been admitted anew since, and a pause.
fn switch_off(cluster: &mut Cluster) {
    let (table, _) = cluster.topology.table_named("t").expect("there");
    let (node, reason) = (node(6), "a new disk".to_owned());
    let scopes = [BalanceScope::Cluster, BalanceScope::Table(table), BalanceScope::Node(node)];
    for (scope, until_ms) in scopes.into_iter().zip([None, Some(u64::MAX), None]) {
        let disable = Change::DisableBalancing { scope, switch: switch(until_ms) };
        cluster.change("a person", disable).expect("it is there");
    }
    cluster.change("a person", Change::Drain { node, reason }).expect("there");
    cluster.fence(6).expect("admitted");
    cluster.admit(6).expect("fenced");
    cluster.change("a person", Change::Pause { reason: String::new() }).expect("always");
}
