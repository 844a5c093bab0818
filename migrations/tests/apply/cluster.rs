//! A small cluster as group0 sees it, and the one place where these tests call `apply`: each
//! command is applied twice on copies, must give the same both times, must keep the invariants,
//! and must change nothing where it is refused.

use migrations::apply::{apply, check_invariants};
use migrations::barrier;
use migrations::clock::HybridTime;
use migrations::command::{
    Admit, Advance, Applied, Bootstrap, Change, Command, CreateTable, Entry, Expected, Outcome,
    Start,
};
use migrations::evidence::{Acknowledgement, DropReport, Evidence, FailureReason, StreamReport};
use migrations::id::{
    AdmissionToken, ClusterId, DirectoryId, MigrationId, NodeId, RequestId, SessionId, TabletId,
};
use migrations::node::{NodeLocation, ProcessProof};
use migrations::position::Partitioning;
use migrations::record::StreamPair;
use migrations::request::RequestStamp;
use migrations::row::RowSum;
use migrations::settings::Settings;
use migrations::stage::{SessionOnEdge, Stage, TransitionKind, WayBack, Work, session_on_edge};
use migrations::tablet::{EndReason, Transition};
use migrations::topology::Topology;
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use std::collections::BTreeMap;
use uuid::Uuid;

pub(crate) fn node(n: u64) -> NodeId {
    NodeId::from_u64(n).expect("not zero")
}

pub(crate) fn tablet(n: u64) -> TabletId {
    TabletId::from_u64(n).expect("not zero")
}

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) topology: Topology,
    drawn: u128,
}

impl Cluster {
    /// Nodes n1…, racks apart, and one table of tablets on the first `rf` nodes each.
    pub(crate) fn new(nodes: u64, rf: u64, tablets: u32) -> Cluster {
        let mut cluster = Cluster::empty();
        for n in 1..=nodes {
            let admit = cluster.admission(n);
            cluster.apply(Command::Admit(Box::new(admit))).expect("a new node");
        }
        let on: Vec<NodeId> = (1..=rf).map(node).collect();
        let ranges = Partitioning::even_ranges(tablets).into_iter();
        let create = CreateTable {
            name: "t".into(),
            partitioning: Partitioning::Hash,
            replication_factor: rf as u32,
            tablets: ranges.map(|range| (range, on.clone())).collect(),
        };
        cluster.change(Change::CreateTable(create)).expect("a new table");
        cluster
    }

    /// Bootstrapped, and nothing else.
    pub(crate) fn empty() -> Cluster {
        let mut cluster = Cluster { topology: Topology::default(), drawn: 0 };
        let id = ClusterId::from_uuid(Uuid::from_u128(7)).expect("not nil");
        let bootstrap = Bootstrap { cluster: id, settings: Settings::DEFAULT };
        cluster.apply(Command::Bootstrap(bootstrap)).expect("fresh");
        cluster
    }

    pub(crate) fn draw(&mut self) -> Uuid {
        self.drawn += 1;
        Uuid::from_u128(0x1000 + self.drawn)
    }

    pub(crate) fn session(&mut self) -> SessionId {
        SessionId::from_uuid(self.draw()).expect("not nil")
    }

    pub(crate) fn migration(&mut self) -> MigrationId {
        MigrationId::from_uuid(self.draw()).expect("not nil")
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        self.apply_all(vec![command]).remove(0)
    }

    /// Applies one entry and checks what must hold of every entry.
    pub(crate) fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let entry = Entry { proposed_ms: 1, commands };
        let before = self.topology.state().clone();
        let mut again = self.topology.clone();
        let applied = apply(&mut self.topology, &entry);
        assert_eq!(apply(&mut again, &entry), applied, "apply depends on nothing else");
        assert_eq!(again.state(), self.topology.state(), "INV-16");
        check_invariants(&self.topology).unwrap_or_else(|broken| panic!("{broken}: {entry:?}"));
        if applied.outcomes.iter().all(Result::is_err) {
            let mut after = self.topology.state().clone();
            after.requests = before.requests.clone();
            assert_eq!(before, after, "a refused command changes nothing: {entry:?}");
        }
        assert!(self.topology.version() >= before.version);
        applied.outcomes
    }

    pub(crate) fn stamp(&mut self) -> RequestStamp {
        let id = RequestId::from_uuid(self.draw()).expect("not nil");
        RequestStamp { id, digest: 1, caller: "operator".into() }
    }

    pub(crate) fn change(&mut self, change: Change) -> Outcome {
        let stamp = self.stamp();
        self.apply(Command::Change { stamp, change })
    }

    /// Settings in the place of those that hold now.
    pub(crate) fn configure(&mut self, settings: Settings) -> Outcome {
        let expected = self.topology.state().settings;
        self.change(Change::Configure { expected, settings })
    }

    /// A process of node `n`: as its directory would ask, with a proof that the earlier is gone.
    pub(crate) fn admission(&mut self, n: u64) -> Admit {
        let known = self.topology.node(node(n));
        let known_incarnation = known.map(|known| known.incarnation);
        let token = AdmissionToken::from_uuid(self.draw()).expect("not nil");
        let mut fresh = BTreeMap::new();
        for id in self.topology.in_transition().collect::<Vec<_>>() {
            fresh.insert(id, self.session());
        }
        Admit {
            name: format!("n{n}"),
            directory: DirectoryId::from_uuid(Uuid::from_u128(0x100 + u128::from(n)))
                .expect("not nil"),
            known_incarnation,
            held_tokens: Vec::new(),
            token,
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
        }
    }

    pub(crate) fn admit(&mut self, n: u64) -> Outcome {
        let admit = self.admission(n);
        self.apply(Command::Admit(Box::new(admit)))
    }

    pub(crate) fn incarnation(&self, n: u64) -> Incarnation {
        self.topology.node(node(n)).expect("admitted once").incarnation
    }

    pub(crate) fn fence(&mut self, n: u64) -> Outcome {
        let incarnation = self.incarnation(n);
        self.apply(Command::Fence { node: node(n), incarnation })
    }

    pub(crate) fn mark_lost(&mut self, n: u64, id: TabletId) -> Outcome {
        let record = self.topology.record(id).expect("there");
        let copy = record.replicas.on(node(n)).or(record.next().on(node(n))).expect("holds").copy;
        let incarnation = self.incarnation(n);
        self.apply(Command::MarkLost { node: node(n), incarnation, copies: vec![(id, copy)] })
    }

    /// What a start of this kind carries. `from` and `to` only where the kind has them.
    pub(crate) fn starting(&mut self, id: TabletId, kind: TransitionKind, n: [u64; 2]) -> Start {
        use TransitionKind::{AddReplica, Migrate, Rebuild, RemoveReplica, Repair};
        let is_repair = kind == Repair;
        Start {
            migration: self.migration(),
            tablet: id,
            kind,
            from: matches!(kind, Migrate | Rebuild | RemoveReplica).then(|| node(n[0])),
            to: matches!(kind, Migrate | Rebuild | AddReplica).then(|| node(n[1])),
            session: is_repair.then(|| self.session()),
            proposed_promise: is_repair.then_some(HybridTime(500)),
            note: String::new(),
        }
    }

    pub(crate) fn start(&mut self, id: TabletId, kind: TransitionKind, n: [u64; 2]) -> Outcome {
        let start = self.starting(id, kind, n);
        self.change(Change::Start(start))
    }

    pub(crate) fn cancel(&mut self, id: TabletId) -> Outcome {
        let migration = self.transition(id).record.migration;
        self.change(Change::Cancel { migration })
    }

    pub(crate) fn drop_table(&mut self) -> Outcome {
        let (table, _) = self.topology.table_named("t").expect("there");
        let migration = self.migration();
        self.change(Change::DropTable { table, migration })
    }

    pub(crate) fn transition(&self, id: TabletId) -> &Transition {
        self.topology.transition(id).expect("in transition")
    }

    pub(crate) fn stage(&self, id: TabletId) -> Option<Stage> {
        self.topology.transition(id).map(|transition| transition.record.stage)
    }

    pub(crate) fn expected(&self, id: TabletId) -> Expected {
        let record = &self.transition(id).record;
        Expected {
            tablet: id,
            version: self.version(id),
            migration: record.migration,
            stage: record.stage,
            session: record.session,
            attempt: record.attempt,
        }
    }

    pub(crate) fn version(&self, id: TabletId) -> TopologyVersion {
        self.topology.tablet(id).expect("there").version
    }

    /// What all who are admitted would say in the stage that the tablet is in.
    pub(crate) fn evidence(&self, id: TabletId) -> Evidence {
        let held = self.topology.tablet(id).expect("there");
        let record = &self.transition(id).record;
        let admitted = |id: NodeId| self.topology.node(id).and_then(|node| node.admitted());
        let version = held.version;
        let asked = barrier::asked(held).into_iter();
        let promised = (record.stage == Stage::OpenRepair).then_some(HybridTime(400));
        let acknowledged = asked
            .filter_map(|node| {
                let incarnation = admitted(node)?;
                Some(Acknowledgement { node, incarnation, version, promised, at_ms: 7 })
            })
            .collect();
        let report = |pair: &StreamPair| {
            Some(StreamReport {
                session: record.session?,
                pair: *pair,
                source_incarnation: admitted(pair.source)?,
                receiver_incarnation: admitted(pair.receiver)?,
                rows: 1,
                bytes: 1,
                sent: RowSum(9),
                stored: RowSum(9),
            })
        };
        let drops = barrier::to_drop(record.stage, &held.replicas, &record.next).into_iter();
        let drop_report = |node, copy: CopyId| {
            Some(DropReport { node, incarnation: admitted(node)?, copy, version })
        };
        Evidence {
            acknowledged,
            streams: record.streams.iter().filter_map(report).collect(),
            drops: drops.filter_map(|replica| drop_report(replica.node, replica.copy)).collect(),
        }
    }

    /// The command along the forward edge, with everything that it needs.
    pub(crate) fn forward_command(&mut self, id: TabletId) -> Advance {
        let expected = self.expected(id);
        let to = expected.stage.on_success();
        let opens =
            to.is_some_and(|to| session_on_edge(expected.stage, to) == SessionOnEdge::OpenFresh);
        let opened = opens.then(|| self.session());
        let evidence = self.evidence(id);
        Advance { expected, to, opened, evidence, reason: None, failure: None }
    }

    pub(crate) fn forward(&mut self, id: TabletId) -> Outcome {
        let advance = self.forward_command(id);
        self.advance(advance)
    }

    pub(crate) fn advance(&mut self, advance: Advance) -> Outcome {
        self.apply(Command::Advance(Box::new(advance)))
    }

    /// The command along the edge back.
    pub(crate) fn back_command(&mut self, id: TabletId) -> Advance {
        let expected = self.expected(id);
        let to = match expected.stage.way_back() {
            WayBack::To(to) => Some(to),
            WayBack::Retry | WayBack::ForwardOnly => expected.stage.retry_from(),
        };
        let reason = Some(EndReason::Failed(FailureReason::DiskFull));
        let failure = Some(FailureReason::DiskFull);
        Advance { expected, to, opened: None, evidence: Evidence::default(), reason, failure }
    }

    pub(crate) fn back(&mut self, id: TabletId) -> Outcome {
        let advance = self.back_command(id);
        self.advance(advance)
    }

    /// The command that begins a new attempt; in a stage that has none, one that is refused.
    pub(crate) fn retry_command(&mut self, id: TabletId) -> Advance {
        let expected = self.expected(id);
        let to = expected.stage.retry_from().or(Some(Stage::WriteBothReadOld));
        let failure = Some(FailureReason::PeerClosed);
        let opened = Some(self.session());
        Advance { expected, to, opened, evidence: Evidence::default(), reason: None, failure }
    }

    pub(crate) fn retry(&mut self, id: TabletId) -> Outcome {
        let advance = self.retry_command(id);
        self.advance(advance)
    }

    /// A cluster of RF 3 with five nodes, its tablet in this stage: of a migration from n1 to
    /// n4, a repair or a drop, whichever has the stage.
    pub(crate) fn in_stage(stage: Stage) -> Cluster {
        let mut cluster = Cluster::new(5, 3, 1);
        let id = tablet(1);
        match stage {
            Stage::Drop => {
                cluster.drop_table().expect("there");
                return cluster;
            }
            Stage::OpenRepair | Stage::Repair | Stage::EndRepair => {
                cluster.start(id, TransitionKind::Repair, [0, 0]).expect("at rest");
            }
            _ => {
                cluster.start(id, TransitionKind::Migrate, [1, 4]).expect("at rest");
            }
        }
        if matches!(stage, Stage::CleanupTarget | Stage::RevertMigration) {
            cluster.back(id).expect("an edge");
        }
        if stage == Stage::WriteBothReadOldFallback {
            cluster.forward_until(id, Stage::WriteBothReadNew);
            cluster.back(id).expect("an edge");
        }
        cluster.forward_until(id, stage);
        cluster
    }

    pub(crate) fn forward_until(&mut self, id: TabletId, stage: Stage) {
        for _ in 0..Stage::ALL.len() {
            if self.stage(id) == Some(stage) {
                return;
            }
            self.forward(id).expect("nothing is in its way");
        }
        panic!("{stage} is not ahead");
    }

    /// Forward to the end of the transition.
    pub(crate) fn forward_to_end(&mut self, id: TabletId) {
        for _ in 0..Stage::ALL.len() {
            if self.topology.transition(id).is_none() {
                return;
            }
            self.forward(id).expect("nothing is in its way");
        }
        panic!("it does not end");
    }

    pub(crate) fn admitted_as(outcome: &Outcome) -> Option<Incarnation> {
        match outcome {
            Ok(Applied::Admitted { incarnation, .. }) => Some(*incarnation),
            _ => None,
        }
    }

    /// Whether a command that has just taken effect is refused when it comes again.
    pub(crate) fn advance_again_fails(&self, command: &Command) -> bool {
        self.clone().apply(command.clone()).is_err()
    }

    /// Whether the work of the tablet's stage is to stream.
    pub(crate) fn streams(&self, id: TabletId) -> bool {
        self.stage(id).is_some_and(|stage| stage.work() == Work::Stream)
    }
}
