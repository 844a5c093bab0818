//! Three members, each a host of the simulation, and what outlives their processes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::{TempDir, tempdir};
use tokio::time::{Instant, sleep};
use tonic::transport::Server;

use super::super::tests::{Journal, member};
use super::super::{Group0, Member, Options, Status};
use super::history::History;
use super::log::Disk;
use super::network::{Losses, accepted};

const PORT: u16 = 7401;
/// How long a proposal waits.
const DEADLINE: Duration = Duration::from_millis(500);
/// Between a member's proposals.
const PAUSE: Duration = Duration::from_millis(20);

/// The members, from 1 on.
pub(super) const MEMBERS: [u64; 3] = [1, 2, 3];

/// A member's name, and its host's.
pub(super) fn name(node: u64) -> String {
    format!("c{node}")
}

fn members() -> BTreeMap<u64, Member> {
    let of = |node| (node, member(&name(node), &format!("{}:{PORT}", name(node))));
    MEMBERS.into_iter().map(of).collect()
}

/// What outlives processes.
pub(super) struct World {
    machines: BTreeMap<u64, Machine>,
    history: Mutex<History>,
    now: Mutex<Wishes>,
    checks_quorum: bool,
    /// Answers that are lost.
    pub(super) losses: Arc<Losses>,
}

struct Machine {
    dir: TempDir,
    disk: Disk,
    running: Mutex<Option<Group0<Journal>>>,
    processes: Mutex<u64>,
}

/// What the simulation wants of processes.
#[derive(Default)]
struct Wishes {
    is_quiet: bool,
    hands_over: Option<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(is_disk_honest: bool, checks_quorum: bool) -> Arc<World> {
        let machine = |node| {
            let dir = tempdir().expect("a directory");
            let (running, processes) = (Mutex::default(), Mutex::default());
            (node, Machine { dir, disk: Disk::new(is_disk_honest), running, processes })
        };
        let machines = MEMBERS.into_iter().map(machine).collect();
        let (history, now, losses) = Default::default();
        Arc::new(World { machines, history, now, checks_quorum, losses })
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        locked(&self.history)
    }

    pub(super) fn tell(&self, at: Duration, what: impl std::fmt::Display) {
        self.history().tell(at, what);
    }

    /// Nobody proposes any more.
    pub(super) fn quiet(&self) {
        locked(&self.now).is_quiet = true;
    }

    /// This member is to hand over.
    pub(super) fn hand_over(&self, node: u64) {
        locked(&self.now).hands_over = Some(node);
    }

    fn hands_over(&self, node: u64) -> bool {
        locked(&self.now).hands_over.take_if(|wanted| *wanted == node).is_some()
    }

    /// A process is gone, with what its machine had not synced.
    pub(super) fn crashed(&self, node: u64) {
        drop(locked(&self.machines[&node].running).take());
        self.machines[&node].disk.crash();
    }

    /// Where those that run stand.
    pub(super) fn standings(&self) -> Vec<Status> {
        let running = self.machines.values().map(|machine| locked(&machine.running).clone());
        running.flatten().map(|group0| group0.metrics()).collect()
    }

    /// What those that run have applied.
    pub(super) fn journals(&self) -> Vec<(u64, Vec<String>)> {
        let text = |entry: &Vec<u8>| String::from_utf8_lossy(entry).into_owned();
        let journal = |(node, machine): (&u64, &Machine)| {
            let group0 = locked(&machine.running).clone()?;
            Some((*node, group0.read(|journal| journal.0.iter().map(text).collect())))
        };
        self.machines.iter().filter_map(journal).collect()
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// One process of a member, until its machine crashes.
pub(super) async fn process(world: Arc<World>, node: u64) -> turmoil::Result {
    let machine = &world.machines[&node];
    let own = members()[&node].clone();
    let options = Options::new(machine.dir.path(), own).fast();
    let options = Options { raft_id: Some(node), snapshot_every: 20, keep: 5, ..options };
    let options = Options { checks_quorum: world.checks_quorum, ..options };
    let group0 = Group0::open_with(options, Journal::default(), machine.disk.clone()).await?;
    *locked(&machine.running) = Some(group0.clone());
    let service = Server::builder().add_service(group0.raft_service());
    tokio::spawn(service.serve_with_incoming(accepted(PORT, Arc::clone(&world.losses)).await?));
    if node == MEMBERS[0] {
        group0.bootstrap(members()).await?;
    }
    tokio::spawn(leads(Arc::clone(&world), group0.clone()));
    let process = {
        let mut processes = locked(&machine.processes);
        *processes += 1;
        *processes
    };
    for number in 1.. {
        sleep(PAUSE).await;
        if world.hands_over(node) {
            world.tell(now(), format!("c{node} hands over"));
            group0.hand_over().await;
        }
        if !locked(&world.now).is_quiet {
            propose(&world, &group0, format!("c{node}.{process}/{number}")).await;
        }
    }
    Ok(())
}

async fn propose(world: &World, group0: &Group0<Journal>, entry: String) {
    world.history().proposes(&entry);
    let outcome = group0.propose(entry.clone().into_bytes(), Instant::now() + DEADLINE).await;
    let said = match &outcome {
        Ok(place) => format!("applied, number {place}"),
        Err(error) => error.to_string(),
    };
    world.history().outcome(&entry, &outcome);
    world.tell(now(), format!("{entry}: {said}"));
}

/// Tells of each time that this process leads.
async fn leads(world: Arc<World>, group0: Group0<Journal>) {
    let mut leadership = group0.leadership();
    loop {
        let leads = *leadership.borrow_and_update();
        if let Some(leads) = leads {
            world.history().leads(leads.term, leads.node);
            world.tell(now(), format!("c{} leads in term {}", leads.node, leads.term));
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}
