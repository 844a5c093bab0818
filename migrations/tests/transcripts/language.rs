//! The language of the stories: one command a line.

use crate::agent::Call;
use crate::world::{Hold, Message, World};
use migrations::command::{Change, Start};
use migrations::evidence::FailureReason;
use migrations::id::{MigrationId, NodeId, TabletId};
use migrations::record::StreamPair;
use migrations::stage::TransitionKind;

/// Tells a story: the world, once its first command has made it.
#[derive(Default)]
pub(crate) struct Teller {
    world: Option<World>,
    /// Only lines about stages and ends, for stories that go through all stages.
    is_brief: bool,
}

fn tablet(word: &str) -> TabletId {
    word.strip_prefix('t').and_then(|n| n.parse().ok()).expect("a tablet is t1, t2, …")
}

impl Teller {
    /// What was said since the last time.
    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        let lines = self.world.as_mut().map(|world| std::mem::take(&mut world.lines));
        let lines = lines.unwrap_or_default().into_iter();
        let told = ["t1", "get", "refused", "group0", "d: refused", "a: refuses", "copies"];
        let is_told =
            |line: &String| !self.is_brief || told.iter().any(|start| line.starts_with(start));
        lines.filter(is_told).collect()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["cluster", rest @ ..] => {
                let number = |key: &str| {
                    let word = rest.iter().find_map(|word| word.strip_prefix(key));
                    word.map(|word| word.parse::<u8>().expect("a number"))
                };
                let names: Vec<&str> = rest.iter().copied().filter(|w| !w.contains('=')).collect();
                let rf = number("rf=").unwrap_or(3);
                self.world = Some(World::new(&names, rf.into(), number("tablets=").unwrap_or(1)));
            }
            ["brief"] => self.is_brief = true,
            _ => self.world.as_mut().expect("a story begins with `cluster`").command(&words),
        }
    }
}

impl World {
    fn node(&self, name: &str) -> NodeId {
        self.topology.node_named(name).expect("a node of the cluster").0
    }

    fn pair(&self, way: &str) -> StreamPair {
        let (source, receiver) = way.split_once("->").expect("a way is a->d");
        StreamPair { source: self.node(source), receiver: self.node(receiver) }
    }

    /// Does what one line of a story says.
    pub(crate) fn command(&mut self, words: &[&str]) {
        match words {
            ["migrate", t, from, to] => {
                self.start(TransitionKind::Migrate, t, Some(*from), Some(*to));
            }
            ["rebuild", t, from, to] => {
                self.start(TransitionKind::Rebuild, t, Some(*from), Some(*to));
            }
            ["add", t, to] => self.start(TransitionKind::AddReplica, t, None, Some(*to)),
            ["remove", t, from] => self.start(TransitionKind::RemoveReplica, t, Some(*from), None),
            ["repair", t] => self.start(TransitionKind::Repair, t, None, None),
            ["cancel", t] => self.cancel(tablet(t)),
            ["drop", "table"] => self.drop_table(),
            ["run"] => self.run_until(|world| {
                world.messages.is_empty() && world.topology.in_transition().next().is_none()
            }),
            ["run", "until", t, stage] => {
                let id = tablet(t);
                self.run_until(|world| {
                    let found = world.topology.transition(id);
                    found.is_some_and(|found| found.record.stage.name() == *stage)
                });
            }
            ["run", "until", "held"] => {
                let before = self.held.len();
                self.run_until(|world| world.held.len() > before);
            }
            ["put", assignment, rest @ ..] => {
                let (key, value) = assignment.split_once('=').expect("put KEY=VALUE");
                self.put(key, Some(value), rest);
            }
            ["delete", key, rest @ ..] => {
                self.put(key, None, rest);
            }
            ["get", key] => self.get(key),
            ["purge"] => self.purge(),
            ["show"] => self.show(),
            ["copies", t] => self.copies(tablet(t)),
            ["promise", t] => self.promise(tablet(t)),
            _ => self.fault(words),
        }
    }

    /// What goes wrong, and what is taken out to see that it matters.
    fn fault(&mut self, words: &[&str]) {
        match words {
            ["hold", "acknowledgements", name] => {
                let node = self.node(name);
                self.held_acknowledgements.entry(node).or_default();
            }
            ["release", "acknowledgements", name] => {
                let node = self.node(name);
                let held = self.held_acknowledgements.remove(&node).unwrap_or_default();
                held.into_iter().for_each(|event| self.report(node, event));
            }
            ["release", "oldest", "acknowledgement", name] => {
                let node = self.node(name);
                let mut held = self.held_acknowledgements.remove(&node).unwrap_or_default();
                let oldest = held.remove(0);
                self.report(node, oldest);
                self.held_acknowledgements.insert(node, held);
            }
            ["hold", what @ ("order" | "report"), "to", "drop", name] => {
                let node = self.node(name);
                self.hold_drop.insert(node, *what == "report");
            }
            ["release", "drops"] => {
                // Whoever leads now: what was said to another leader would be passed over there.
                for message in std::mem::take(&mut self.held_drops) {
                    self.deliver(match message {
                        Message::Report(_, event) => Message::Report(self.leadership(), event),
                        order => order,
                    });
                }
            }
            ["hold", way] => {
                self.holds.insert(self.pair(way), Hold::Outside);
            }
            ["hold", way, "inside"] => {
                self.holds.insert(self.pair(way), Hold::Inside);
            }
            ["release", way] => {
                let pair = self.pair(way);
                let (released, held) =
                    std::mem::take(&mut self.held).into_iter().partition(|c| c.pair == pair);
                self.held = held;
                let released: Vec<crate::agent::Chunk> = released;
                released.into_iter().for_each(|chunk| self.write(chunk));
            }
            ["deafen", name] => {
                let node = self.node(name);
                self.deaf.insert(node);
            }
            ["disk", "of", name, "keeps", "copies"] => {
                let node = self.node(name);
                self.keeps_copies.insert(node);
            }
            ["disk", "of", name, "is", "mended"] => {
                let node = self.node(name);
                self.keeps_copies.remove(&node);
            }
            ["wait", seconds] => self.wait(seconds.parse().expect("a number")),
            ["fail", t] => self.fail_streams(tablet(t)),
            ["restart", name] => {
                self.say(format!("{name}: restarts"));
                if let Err(why) = self.admit(name) {
                    self.say(format!("{name}: {why}"));
                }
            }
            ["stop", name] => {
                let node = self.node(name);
                self.detach(node);
            }
            ["fence", name] => {
                let node = self.node(name);
                let incarnation = self.agent(node).incarnation;
                self.detach(node);
                if self.topology.node(node).is_some_and(|node| node.is_fenced) {
                    return;
                }
                self.say(format!("{name} is fenced"));
                let fence = migrations::command::Command::Fence { node, incarnation };
                self.commit(fence).expect("it was admitted");
            }
            ["elect"] => self.elect(),
            ["without", "guards"] => self.has_guards = false,
            _ => panic!("the language has no command {words:?}"),
        }
    }

    fn start(&mut self, kind: TransitionKind, t: &str, from: Option<&str>, to: Option<&str>) {
        let is_repair = kind == TransitionKind::Repair;
        let migration = MigrationId::from_uuid(self.draw()).expect("not nil");
        let proposed = self.tick_clock();
        let start = Start {
            migration,
            tablet: tablet(t),
            kind,
            from: from.map(|name| self.node(name)),
            to: to.map(|name| self.node(name)),
            session: is_repair.then(|| self.session()),
            proposed_promise: is_repair.then_some(proposed),
            note: String::new(),
        };
        if let Err(why) = self.change(Change::Start(start)) {
            self.say(format!("refused: {why}"));
        }
    }

    fn cancel(&mut self, id: TabletId) {
        let Some(transition) = self.topology.transition(id) else {
            self.say(format!("refused: t{id} is at rest"));
            return;
        };
        let migration = transition.record.migration;
        if let Err(why) = self.change(Change::Cancel { migration }) {
            self.say(format!("refused: {why}"));
        }
    }

    fn drop_table(&mut self) {
        let (table, _) = self.topology.table_named("t").expect("every story has one");
        let migration = MigrationId::from_uuid(self.draw()).expect("not nil");
        if let Err(why) = self.change(Change::DropTable { table, migration }) {
            self.say(format!("refused: {why}"));
        }
    }

    /// The calls of a tablet's running attempt are cut; what was received may still be there.
    fn fail_streams(&mut self, id: TabletId) {
        let Some(transition) = self.topology.transition(id) else { return };
        let Some(session) = transition.record.session else { return };
        for pair in transition.record.streams.clone() {
            let call = self.agent(pair.receiver).calls.get(&(session, pair.source)).copied();
            if matches!(call, Some(Call::Running)) {
                self.fail(id, session, pair, FailureReason::PeerClosed);
            }
        }
    }
}
