//! Random sequences of commands: legal ones made by looking at the state, and late, repeated,
//! spoiled ones among them. After each, what has to hold of every history of states.

use super::cluster::{Cluster, node, tablet};
use migrations::command::{Command, Outcome};
use migrations::id::{NodeId, SessionId, TabletId};
use migrations::stage::{BarrierWhen, TransitionKind};
use migrations::version::{CopyId, Incarnation, TopologyVersion};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODES: u64 = 5;
const TABLETS: u64 = 2;

#[derive(Debug, Clone)]
enum Step {
    Start {
        tablet: u64,
        kind: usize,
        from: u64,
        to: u64,
    },
    Forward(u64),
    Back(u64),
    Retry(u64),
    Cancel(u64),
    Fence(u64),
    Admit(u64),
    MarkLost {
        node: u64,
        tablet: u64,
    },
    DropTable,
    /// A command from some time ago, again.
    Late(usize),
    /// The forward command with one piece of its evidence left out.
    Spoiled {
        tablet: u64,
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let t = 1..=TABLETS;
    let n = 1..=NODES;
    prop_oneof![
        4 => (t.clone(), 0usize..5, n.clone(), n.clone())
            .prop_map(|(tablet, kind, from, to)| Step::Start { tablet, kind, from, to }),
        12 => t.clone().prop_map(Step::Forward),
        1 => t.clone().prop_map(Step::Back),
        2 => t.clone().prop_map(Step::Retry),
        1 => t.clone().prop_map(Step::Cancel),
        2 => n.clone().prop_map(Step::Fence),
        4 => n.clone().prop_map(Step::Admit),
        1 => (n, t.clone()).prop_map(|(node, tablet)| Step::MarkLost { node, tablet }),
        4 => (0usize..40).prop_map(Step::Late),
        2 => (t, any::<usize>()).prop_map(|(tablet, which)| Step::Spoiled { tablet, which }),
        // Rare: everything after it is about tablets that are going.
        1 => prop_oneof![9 => Just(Step::Late(0)), 1 => Just(Step::DropTable)],
    ]
}

/// What has been seen so far, to compare with.
#[derive(Default)]
struct History {
    commands: Vec<Command>,
    versions: BTreeMap<TabletId, TopologyVersion>,
    promises: BTreeMap<TabletId, u64>,
    incarnations: BTreeMap<NodeId, Incarnation>,
    open: BTreeSet<SessionId>,
    closed: BTreeSet<SessionId>,
    held: BTreeSet<(TabletId, NodeId, CopyId)>,
    gone: BTreeSet<(TabletId, NodeId, CopyId)>,
}

impl History {
    fn check(&mut self, cluster: &Cluster) {
        let state = cluster.topology.state();
        let mut open = BTreeSet::new();
        let mut held = BTreeSet::new();
        for (id, found) in &state.tablets {
            let version = self.versions.insert(*id, found.version);
            assert!(version.is_none_or(|before| before <= found.version), "INV-10");
            let promise = self.promises.insert(*id, found.promise.0);
            assert!(promise.is_none_or(|before| before <= found.promise.0), "T never falls");
            let record = cluster.topology.record(*id).expect("there");
            open.extend(record.session());
            let both = record.replicas.iter().chain(record.next().iter());
            held.extend(both.map(|replica| (*id, replica.node, replica.copy)));
        }
        for (id, found) in &state.nodes {
            let before = self.incarnations.insert(*id, found.incarnation);
            assert!(before.is_none_or(|before| before <= found.incarnation), "INV-12");
        }
        self.closed.extend(self.open.difference(&open));
        assert!(open.is_disjoint(&self.closed), "INV-3: a closed session is open again");
        self.gone.extend(self.held.difference(&held));
        assert!(held.is_disjoint(&self.gone), "a copy's number is given again");
        self.open = open;
        self.held = held;
    }
}

/// The command of a step, as the state allows; `None` where it has none now.
fn command(cluster: &mut Cluster, history: &History, step: &Step) -> Option<Command> {
    let in_transition =
        |cluster: &Cluster, t: u64| cluster.topology.transition(tablet(t)).is_some();
    let advance = |advance| Some(Command::Advance(Box::new(advance)));
    match *step {
        Step::Start { tablet: t, kind, from, to } => {
            let kind = TransitionKind::ALL[kind];
            let start = cluster.starting(tablet(t), kind, [from, to]);
            let stamp = cluster.stamp();
            let change = migrations::command::Change::Start(start);
            Some(Command::Change { stamp, change })
        }
        Step::Forward(t) if in_transition(cluster, t) => {
            advance(cluster.forward_command(tablet(t)))
        }
        Step::Back(t) if in_transition(cluster, t) => advance(cluster.back_command(tablet(t))),
        Step::Retry(t) if in_transition(cluster, t) => advance(cluster.retry_command(tablet(t))),
        Step::Cancel(t) if in_transition(cluster, t) => {
            let migration = cluster.transition(tablet(t)).record.migration;
            let stamp = cluster.stamp();
            Some(Command::Change {
                stamp,
                change: migrations::command::Change::Cancel { migration },
            })
        }
        Step::Spoiled { tablet: t, which } if in_transition(cluster, t) => {
            let mut forward = cluster.forward_command(tablet(t));
            let evidence = &mut forward.evidence;
            if forward.expected.stage.barrier() == BarrierWhen::Never {
                // Nobody asks for these here, so spoiling them would be no harm.
                evidence.acknowledged.clear();
            }
            let said = evidence.acknowledged.len();
            let all = said + evidence.streams.len() + evidence.drops.len();
            match which.checked_rem(all)? {
                i if i < said => evidence.acknowledged[i].version = TopologyVersion::ZERO,
                i if i < said + evidence.streams.len() => evidence.streams[i - said].stored.0 += 1,
                i => {
                    let i = i - said - evidence.streams.len();
                    evidence.drops[i].version = TopologyVersion::ZERO;
                }
            }
            advance(forward)
        }
        Step::Fence(n) => {
            let incarnation = cluster.incarnation(n);
            Some(Command::Fence { node: node(n), incarnation })
        }
        Step::Admit(n) => Some(Command::Admit(Box::new(cluster.admission(n)))),
        Step::MarkLost { node: n, tablet: t } => {
            let record = cluster.topology.record(tablet(t))?;
            let copy = record.replicas.on(node(n)).or(record.next().on(node(n)))?.copy;
            let incarnation = cluster.incarnation(n);
            Some(Command::MarkLost { node: node(n), incarnation, copies: vec![(tablet(t), copy)] })
        }
        Step::DropTable => {
            let (table, _) = cluster.topology.table_named("t")?;
            let migration = cluster.migration();
            let stamp = cluster.stamp();
            let change = migrations::command::Change::DropTable { table, migration };
            Some(Command::Change { stamp, change })
        }
        Step::Late(back) => history.commands.iter().rev().nth(back).cloned(),
        _ => None,
    }
}

fn is_advance(command: &Command) -> bool {
    matches!(command, Command::Advance(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(
        rf in 1u64..=4,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut cluster = Cluster::new(NODES, rf, TABLETS as u32);
        let mut history = History::default();
        history.check(&cluster);
        for step in &steps {
            let Some(command) = command(&mut cluster, &history, step) else { continue };
            let outcome: Outcome = cluster.apply(command.clone());
            if matches!(step, Step::Late(_)) && is_advance(&command) {
                let was_refused_before = outcome.is_err();
                // What was refused for want of something may succeed later; what succeeded can't.
                prop_assert!(was_refused_before || cluster.advance_again_fails(&command));
            }
            if matches!(step, Step::Spoiled { .. }) {
                prop_assert!(outcome.is_err(), "{step:?} {outcome:?}");
            }
            history.check(&cluster);
            history.commands.push(command);
        }
    }

    /// INV-14, as far as the state machine goes: once all are admitted and nothing is lost,
    /// every transition has a way to its end by commands that it does not refuse.
    #[test]
    fn every_transition_can_end_once_faults_stop(
        rf in 1u64..=4,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut cluster = Cluster::new(NODES, rf, TABLETS as u32);
        let history = History::default();
        for step in &steps {
            if matches!(step, Step::MarkLost { .. }) {
                continue;
            }
            if let Some(command) = command(&mut cluster, &history, step) {
                let _refused_or_not = cluster.apply(command);
            }
        }
        for n in 1..=NODES {
            cluster.admit(n).expect("its directory is the newest");
        }
        for id in (1..=TABLETS).map(tablet) {
            for _ in 0..20 {
                if cluster.topology.transition(id).is_none() {
                    break;
                }
                if cluster.forward(id).is_err() {
                    prop_assert_eq!(cluster.back(id).err(), None);
                }
            }
            prop_assert!(cluster.topology.transition(id).is_none());
        }
    }
}
