//! What routers and the operator ask for, in a story.

use super::{Story, Told};
use crate::message::{Order, Place};
use crate::router::Aim;
use migrations::clock::HybridTime;
use migrations::command::{Change, Command, Outcome, Start};
use migrations::id::{MigrationId, NodeId, SessionId};
use migrations::row::RowVersion;
use migrations::stage::{Stage, TransitionKind};

/// An operation of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    router: usize,
    number: u64,
}

/// A request for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked(u64);

/// As text, for those who read stories.
fn text(row: Option<&RowVersion>) -> Option<String> {
    let value = row.and_then(|row| row.value.as_deref());
    value.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// What is asked for to cancel a migration.
pub fn cancel_of(migration: MigrationId) -> Change {
    Change::Cancel { migration }
}

impl Story {
    fn operate(&mut self, router: &str, key: &str, aim: Aim) -> Op {
        let at = match self.place(router) {
            Place::Router(at) => at,
            _ => 0,
        };
        let tablet = self.tablet(key.chars().next().unwrap_or('A'));
        let number = self.world.operate(at, tablet, key.as_bytes().to_vec(), aim);
        Op { router: at, number }
    }

    /// A router begins a put.
    pub fn begin_put(&mut self, router: &str, key: &str, value: &str) -> Op {
        self.operate(router, key, Aim::Put(value.as_bytes().to_vec()))
    }

    /// A router begins a delete.
    pub fn begin_delete(&mut self, router: &str, key: &str) -> Op {
        self.operate(router, key, Aim::Delete)
    }

    /// A router begins a get.
    pub fn begin_get(&mut self, router: &str, key: &str) -> Op {
        self.operate(router, key, Aim::Read)
    }

    /// Whether an operation has ended well: a write is acknowledged, a read has its answer.
    pub fn is_done(&self, op: Op) -> bool {
        self.world.story.operated.contains_key(&(op.router, op.number))
    }

    /// A put, and its acknowledgement.
    pub fn put(&mut self, router: &str, key: &str, value: &str) -> Told {
        let op = self.begin_put(router, key, value);
        self.until(&format!("{router}'s put of {key}={value} is acknowledged"), |s| s.is_done(op))
    }

    /// A delete, and its acknowledgement.
    pub fn delete(&mut self, router: &str, key: &str) -> Told {
        let op = self.begin_delete(router, key);
        self.until(&format!("{router}'s delete of {key} is acknowledged"), |s| s.is_done(op))
    }

    /// What a majority says.
    pub fn get(&mut self, router: &str, key: &str) -> Told<Option<String>> {
        let op = self.begin_get(router, key);
        self.until(&format!("{router} reads {key}"), |s| s.is_done(op))?;
        let found = self.world.story.operated.get(&(op.router, op.number));
        Ok(text(found.and_then(Option::as_ref)))
    }

    /// A majority says this of a key.
    pub fn reads(&mut self, router: &str, key: &str, value: Option<&str>) -> Told {
        let found = self.get(router, key)?;
        let what = format!("{key} is {value:?}, and not {found:?}");
        self.must(&what, found.as_deref() == value)
    }

    /// So many keys of a tablet get values, so that a stream of it has more than one chunk.
    pub fn fill(&mut self, tablet: char, keys: usize) -> Told {
        for number in 0..keys {
            self.put("r0", &format!("{tablet}{number:02}"), &format!("v{number}"))?;
        }
        Ok(())
    }

    /// All of them are as `fill` has written them.
    pub fn reads_filled(&mut self, tablet: char, keys: usize) -> Told {
        for number in 0..keys {
            let (key, value) = (format!("{tablet}{number:02}"), format!("v{number}"));
            self.reads("r1", &key, Some(&value))?;
        }
        Ok(())
    }

    /// Asks the leader, or the coordinator that believes it is one, for a change.
    pub fn ask(&mut self, coordinator: &str, change: Change) -> Asked {
        let at = match self.place(coordinator) {
            Place::Coordinator(at) => at,
            _ => 0,
        };
        Asked(self.world.ask_of(at, change))
    }

    /// What came of a request: nothing yet, or an outcome, or that nobody knows.
    pub fn answer(&self, asked: Asked) -> Option<Option<Outcome>> {
        self.world.story.answered.get(&asked.0).cloned()
    }

    /// The request that was settled last comes to the leader once more, late, under its id.
    pub fn ask_once_more(&mut self) -> Told<Asked> {
        let leader = self.world.group0.leader.unwrap_or_default();
        let number = self.world.ask_once_more(leader);
        number.map(Asked).ok_or_else(|| self.unmet("a request was settled"))
    }

    /// The command that has led a tablet out of a stage is proposed once more, as one who was
    /// deposed would: it is committed, and applied or refused.
    pub fn commit_again(&mut self, tablet: char, left: Stage) -> Told {
        let id = self.tablet(tablet);
        let is_it = |command: &&Command| match command {
            Command::Advance(advance) => {
                advance.expected.tablet == id && advance.expected.stage == left
            }
            _ => false,
        };
        let log = self.world.group0.log.iter();
        let found = log.flat_map(|entry| entry.commands.iter()).rfind(is_it).cloned();
        let command = found.ok_or_else(|| self.unmet("that command is in the log"))?;
        let leader = self.world.group0.leader.unwrap_or_default();
        let then = crate::coordinator::proposals::Then::Nothing;
        self.world.propose(leader, command, then);
        self.pass(50)
    }

    /// The leader is asked, and says yes.
    pub fn change(&mut self, change: Change) -> Told {
        let what = format!("{change:?} is done");
        self.until("somebody leads", |story| story.leader().is_some())?;
        let leader = self.leader().unwrap_or_default();
        let asked = self.ask(&leader, change);
        self.until(&what, |story| matches!(story.answer(asked), Some(Some(Ok(_)))))
    }

    /// A transition of a tablet, as the operator would ask for it; a repair up to the leader's
    /// clock.
    fn start_of(
        &mut self,
        kind: TransitionKind,
        tablet: char,
        (from, to): (Option<&str>, Option<&str>),
    ) -> Told<(MigrationId, Change)> {
        let node = |story: &Story, name: Option<&str>| -> Told<Option<NodeId>> {
            name.map(|name| story.node(name)).transpose()
        };
        let (from, to) = (node(self, from)?, node(self, to)?);
        let is_repair = kind == TransitionKind::Repair;
        let leader = self.world.group0.leader.unwrap_or_default();
        let wall = self.world.coordinators[leader].clock.wall_ms(self.world.queue.now);
        let ids = &mut self.world.random.ids;
        let session = SessionId::from_uuid(ids.uuid()).filter(|_| is_repair);
        let drawn = MigrationId::from_uuid(ids.uuid());
        let migration = drawn.ok_or_else(|| self.unmet("an id is drawn"))?;
        let proposed_promise = is_repair.then(|| HybridTime::from_millis(wall));
        let (tablet, note) = (self.tablet(tablet), String::new());
        let start = Start { migration, tablet, kind, from, to, session, proposed_promise, note };
        Ok((migration, Change::Start(start)))
    }

    fn begin_transition(
        &mut self,
        kind: TransitionKind,
        tablet: char,
        ends: (Option<&str>, Option<&str>),
    ) -> Told<MigrationId> {
        let (migration, change) = self.start_of(kind, tablet, ends)?;
        self.change(change)?;
        Ok(migration)
    }

    /// A move of a tablet begins.
    pub fn migrate(&mut self, tablet: char, from: &str, to: &str) -> Told<MigrationId> {
        self.begin_transition(TransitionKind::Migrate, tablet, (Some(from), Some(to)))
    }

    /// What is asked for to move a tablet, and as which migration.
    pub fn migration_of(
        &mut self,
        tablet: char,
        from: &str,
        to: &str,
    ) -> Told<(MigrationId, Change)> {
        self.start_of(TransitionKind::Migrate, tablet, (Some(from), Some(to)))
    }

    /// One more replica.
    pub fn add(&mut self, tablet: char, to: &str) -> Told<MigrationId> {
        self.begin_transition(TransitionKind::AddReplica, tablet, (None, Some(to)))
    }

    /// One replica fewer.
    pub fn remove(&mut self, tablet: char, from: &str) -> Told<MigrationId> {
        self.begin_transition(TransitionKind::RemoveReplica, tablet, (Some(from), None))
    }

    /// A dead replica is made anew.
    pub fn rebuild(&mut self, tablet: char, from: &str, to: &str) -> Told<MigrationId> {
        self.begin_transition(TransitionKind::Rebuild, tablet, (Some(from), Some(to)))
    }

    /// A repair, with T at the leader's clock.
    pub fn repair(&mut self, tablet: char) -> Told<MigrationId> {
        // Above all that was written so far.
        self.pass(5)?;
        self.begin_transition(TransitionKind::Repair, tablet, (None, None))
    }

    /// A migration is to end without its aim.
    pub fn cancel(&mut self, migration: MigrationId) -> Told {
        self.change(cancel_of(migration))
    }

    /// The table of all tablets is dropped.
    pub fn drop_table(&mut self) -> Told {
        let table = self.world.oracles.topology.state().tables.keys().next().copied();
        let table = table.ok_or_else(|| self.unmet("there is a table"))?;
        let drawn = MigrationId::from_uuid(self.world.random.ids.uuid());
        let migration = drawn.ok_or_else(|| self.unmet("an id is drawn"))?;
        self.change(Change::DropTable { table, migration })
    }

    /// The leader tells the replicas of a tablet to purge, as things stand.
    pub fn purge(&mut self, tablet: char) -> Told {
        // Whoever is told of the version that holds has heard of it.
        self.pass(30)?;
        let id = self.tablet(tablet);
        let leader = self.world.group0.leader.unwrap_or_default();
        let topology = &self.world.coordinators[leader].topology;
        let found = topology.tablet(id).map(|tablet| {
            (tablet.version, tablet.promise, tablet.replicas.nodes().collect::<Vec<_>>())
        });
        let found = found.ok_or_else(|| self.unmet("the tablet is there"))?;
        let (version, promise, nodes) = found;
        for node in nodes {
            self.world.order(leader, node, Order::Purge { tablet: id, version, promise });
        }
        self.pass(50)
    }

    /// A node is taken for dead: the leader proposes its fence, as if its lease had run out.
    pub fn fence(&mut self, name: &str) -> Told {
        let node = self.node(name)?;
        let leader = self.world.group0.leader.unwrap_or_default();
        let admitted = self.world.oracles.topology.node(node).and_then(|node| node.admitted());
        let incarnation = admitted.ok_or_else(|| self.unmet("the node is admitted"))?;
        let then = crate::coordinator::proposals::Then::Nothing;
        self.world.propose(leader, Command::Fence { node, incarnation }, then);
        Ok(())
    }
}
