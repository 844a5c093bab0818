//! Steps, from bytes.

use crate::cluster::{Cluster, node, tablet};
use migrations::command::{Change, Command, CreateTable, Entry};
use migrations::id::{NodeId, TabletId};
use migrations::position::Partitioning;
use migrations::settings::Settings;
use migrations::stage::TransitionKind;
use migrations::switch::{BalanceScope, BalanceSwitch};
use palisade_fuzz::bend;
use proto::storage::{decode_entry, encode_entry};

const NODES: u64 = 6;
const TABLETS: u64 = 3;
/// So that one input can't take all the time that there is.
const STEPS: usize = 300;

/// The steps that an input stands for.
pub(crate) struct Steps<'a> {
    rest: &'a [u8],
    left: usize,
}

/// What to do, and two numbers to do it with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    kind: u8,
    one: u8,
    two: u8,
}

impl Steps<'_> {
    pub(crate) fn of(bytes: &[u8]) -> Steps<'_> {
        Steps { rest: bytes, left: STEPS }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The cluster that the steps begin with: its first byte says how many replicas there are.
    pub(crate) fn cluster(&mut self) -> Cluster {
        match u64::from(self.byte().unwrap_or(3) % 6) {
            5 => Cluster::empty(),
            0 => Cluster::new(NODES, 3, TABLETS as u32),
            rf => Cluster::new(NODES, rf, TABLETS as u32),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
        self.left = self.left.checked_sub(1)?;
        let kind = self.byte()?;
        Some(Step { kind: kind % 32, one: self.byte()?, two: self.byte().unwrap_or(0) })
    }
}

impl Step {
    pub(crate) fn is_restart(self) -> bool {
        self.kind == 0
    }

    fn tablet(self) -> TabletId {
        tablet(u64::from(self.one) % (TABLETS + 1) + 1)
    }

    fn node(self) -> NodeId {
        node(u64::from(self.one) % (NODES + 1) + 1)
    }

    fn other(self) -> u64 {
        u64::from(self.two) % (NODES + 1) + 1
    }

    /// The command of the step; none if it is none, or the state has none of this sort.
    pub(crate) fn command(self, cluster: &mut Cluster, earlier: &[Entry]) -> Option<Command> {
        let id = self.tablet();
        match self.kind {
            1..=8 => self.advance(cluster, id),
            9..=12 => {
                let kind = TransitionKind::ALL[usize::from(self.two >> 4) % 6];
                let from = u64::from(self.one >> 4) % NODES + 1;
                let start = cluster.starting(id, kind, [from, self.other()]);
                match self.kind {
                    12 => Some(Command::Balance { start: Box::new(start), now_ms: 1 }),
                    _ => Some(change(cluster, Change::Start(start))),
                }
            }
            13..=16 => {
                let n = self.node().as_u64();
                Some(Command::Admit(Box::new(cluster.admission(n))))
            }
            17 | 18 => {
                let incarnation = cluster.topology.node(self.node())?.incarnation;
                Some(Command::Fence { node: self.node(), incarnation })
            }
            19 => {
                let record = cluster.topology.record(id)?;
                let node = node(self.other());
                let copy = record.replicas.on(node).or(record.next().on(node))?.copy;
                let incarnation = cluster.topology.node(node)?.incarnation;
                Some(Command::MarkLost { node, incarnation, copies: vec![(id, copy)] })
            }
            20..=24 => {
                let made = self.change(cluster, id)?;
                Some(change(cluster, made))
            }
            25..=27 => self.earlier(earlier)?.commands.first().cloned(),
            28..=31 => {
                let (one, other) = (encode_entry(self.earlier(earlier)?), earlier.first()?);
                let seed = u64::from(self.one) << 8 | u64::from(self.two);
                let bent = bend(&one, &encode_entry(other), seed);
                decode_entry(&bent).ok()?.commands.into_iter().next()
            }
            _ => None,
        }
    }

    fn earlier(self, earlier: &[Entry]) -> Option<&Entry> {
        earlier.iter().rev().nth(usize::from(self.one % 32))
    }

    fn advance(self, cluster: &mut Cluster, id: TabletId) -> Option<Command> {
        cluster.topology.transition(id)?;
        let mut advance = match self.kind {
            7 => cluster.back_command(id),
            8 => cluster.retry_command(id),
            _ => cluster.forward_command(id),
        };
        let lacks = usize::from(self.two);
        // Most are whole; of some a piece of evidence is left out.
        match self.two % 8 {
            1 if lacks % 5 < advance.evidence.acknowledged.len() => {
                advance.evidence.acknowledged.remove(lacks % 5);
            }
            2 => drop(advance.evidence.streams.pop()),
            3 => drop(advance.evidence.drops.pop()),
            4 => advance.opened = None,
            _ => {}
        }
        Some(Command::Advance(Box::new(advance)))
    }

    fn change(self, cluster: &mut Cluster, id: TabletId) -> Option<Change> {
        let reason = "r".to_owned();
        let switch = BalanceSwitch { reason: reason.clone(), since_ms: 1, until_ms: None };
        let scope = match (self.one % 3, cluster.topology.tablet(id)) {
            (1, Some(tablet)) => BalanceScope::Table(tablet.table),
            (2, _) => BalanceScope::Node(self.node()),
            _ => BalanceScope::Cluster,
        };
        Some(match self.two % 12 {
            0..=2 => {
                Change::Cancel { migration: cluster.topology.transition(id)?.record.migration }
            }
            3 => Change::Pause { reason },
            4 => Change::Resume,
            5 => Change::Drain { node: self.node(), reason },
            6 => Change::Undrain { node: self.node() },
            7 => Change::DisableBalancing { scope, switch },
            8 => Change::EnableBalancing { scope },
            9 => {
                let expected = cluster.topology.state().settings;
                let attempts = u32::from(self.one);
                Change::Configure { expected, settings: Settings { attempts, ..Settings::FAST } }
            }
            10 => self.create(),
            _ => {
                let (table, _) = cluster.topology.table_named("t")?;
                Change::DropTable { table, migration: cluster.migration() }
            }
        })
    }

    fn create(self) -> Change {
        let rf = u64::from(self.one % 4) + 1;
        let on: Vec<NodeId> = (1..=rf).map(node).collect();
        let ranges = Partitioning::even_ranges(1).into_iter();
        Change::CreateTable(CreateTable {
            name: if self.one & 16 == 0 { "u" } else { "t" }.into(),
            partitioning: Partitioning::Range,
            replication_factor: rf as u32,
            tablets: ranges.map(|range| (range, on.clone())).collect(),
        })
    }
}

fn change(cluster: &mut Cluster, change: Change) -> Command {
    Command::Change { stamp: cluster.stamp(), change }
}

/// Sequences that get somewhere: moves to their end, with faults on the way.
pub(crate) fn sequences() -> Vec<Vec<u8>> {
    let forward = [1, 0, 0];
    let mut all = Vec::new();
    for rf in 1..=4u8 {
        for kind in 0..5u8 {
            let start = [9, 0, (kind << 4) | 4];
            let begin = [[rf].as_slice(), &start].concat();
            let faults: [&[u8]; 7] = [
                &[],
                &[17, 3, 0, 13, 3, 0],
                &[7, 0, 0],
                &[8, 0, 0],
                &[20, 0, 0, 0, 0, 0],
                &[19, 0, 1, 28, 1, 7],
                &[20, 0, 11],
            ];
            for (stage, fault) in (1..).zip(faults) {
                let ahead = forward.repeat(stage);
                let to_end = [forward.repeat(10), vec![25, 3, 0, 29, 2, 9]].concat();
                all.push([begin.as_slice(), &ahead, fault, &to_end].concat());
            }
        }
    }
    all.push([5].to_vec());
    all
}
