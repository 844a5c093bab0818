//! One simulation: faults for a while, then none, until everything has ended.

use std::sync::Arc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use super::super::Role;
use super::cluster::{MEMBERS, World, name, process};
use super::history::Story;
use super::runtime;

/// What a simulation is made of, besides its seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// For how long there are faults.
    pub(super) faults: Duration,
    pub(super) is_disk_honest: bool,
}

impl Plan {
    pub(super) const HONEST: Plan = Plan { faults: Duration::from_secs(8), is_disk_honest: true };
}

/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at members.
const LOOK: Duration = Duration::from_millis(100);

/// Numbers from a seed: splitmix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

/// A fault that is there, and when it ends.
#[derive(Debug)]
enum Fault {
    /// Nothing passes between this member and the others.
    CutOff(u64),
    /// Nothing comes from this member to the others, while all of theirs comes through.
    Mute(u64),
    /// What passes between this member and the others is held, and comes late.
    Stalled(u64),
    /// None: this member is asked to hand over.
    Elsewhere(u64),
    /// These are down.
    Down(Vec<u64>),
}

struct Run<'a> {
    plan: Plan,
    sim: Sim<'a>,
    world: Arc<World>,
    draw: Draw,
}

/// The story of a seed.
pub(super) fn run(seed: u64, plan: Plan) -> Story {
    runtime::seed(seed);
    let mut draw = Draw(seed);
    let sim = Builder::new()
        .rng_seed(seed)
        .simulation_duration(plan.faults + PATIENCE * 2)
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(draw.millis(4, 30))
        .tcp_capacity(1 << 14)
        .enable_random_order()
        .build();
    let world = World::new(plan.is_disk_honest, true);
    let mut run = Run { plan, sim, world, draw };
    for node in MEMBERS {
        let world = Arc::clone(&run.world);
        run.sim.host(name(node), move || process(Arc::clone(&world), node));
    }
    run.goes_on(Duration::from_secs(1));
    while run.sim.elapsed() < plan.faults {
        let fault = run.begin();
        let lasts = run.draw.millis(100, 2_500);
        run.goes_on(lasts);
        run.end(fault);
        let calm = run.draw.millis(50, 1_200);
        run.goes_on(calm);
    }
    run.ended();
    let journals = run.world.journals();
    drop(run.sim);
    let history = std::mem::take(&mut *run.world.history());
    history.judged(seed, &journals.first().map(|(_, journal)| journal.clone()).unwrap_or_default())
}

impl Run<'_> {
    fn tell(&self, what: impl std::fmt::Display) {
        self.world.tell(self.sim.elapsed(), what);
    }

    fn leader(&self) -> Option<u64> {
        let standings = self.world.standings();
        let leaders = standings.iter().filter(|status| status.role == Role::Leader);
        leaders.max_by_key(|status| status.term).map(|status| status.node)
    }

    /// The leader, mostly; else anybody.
    fn somebody(&mut self) -> u64 {
        let drawn = MEMBERS[(self.draw.next() % 3) as usize];
        if self.draw.next().is_multiple_of(3) { drawn } else { self.leader().unwrap_or(drawn) }
    }

    fn others(node: u64) -> impl Iterator<Item = u64> {
        MEMBERS.into_iter().filter(move |other| *other != node)
    }

    fn cut(&self, node: u64) {
        Self::others(node).for_each(|other| self.sim.partition(name(node), name(other)));
    }

    fn mend(&self, node: u64) {
        Self::others(node).for_each(|other| self.sim.repair(name(node), name(other)));
    }

    fn begin(&mut self) -> Fault {
        let node = self.somebody();
        let fault = match self.draw.next() % 8 {
            // Raft itself stumbles over one member that has forgotten, and says so.
            _ if !self.plan.is_disk_honest => Fault::Down(MEMBERS.to_vec()),
            0 | 1 => Fault::CutOff(node),
            2 => Fault::Mute(node),
            3 => Fault::Stalled(node),
            4 => Fault::Down(MEMBERS.to_vec()),
            5 => Fault::Elsewhere(node),
            _ => Fault::Down(vec![node]),
        };
        self.tell(format!("{fault:?} begins"));
        match &fault {
            Fault::CutOff(node) => self.cut(*node),
            Fault::Mute(node) => Self::others(*node).for_each(|other| {
                self.sim.partition_oneway(name(*node), name(other));
            }),
            Fault::Stalled(node) => Self::others(*node).for_each(|other| {
                self.sim.hold(name(*node), name(other));
            }),
            Fault::Elsewhere(node) => self.world.hand_over(*node),
            Fault::Down(nodes) => {
                for node in nodes {
                    // A machine without power says goodbye to nobody. And tokio drops its tasks in
                    // an order that depends on what else runs in this process.
                    self.cut(*node);
                    self.sim.crash(name(*node));
                    self.world.crashed(*node);
                }
            }
        }
        fault
    }

    fn end(&mut self, fault: Fault) {
        self.tell(format!("{fault:?} ends"));
        match fault {
            Fault::CutOff(node) | Fault::Mute(node) => self.mend(node),
            Fault::Stalled(node) => Self::others(node).for_each(|other| {
                self.sim.release(name(node), name(other));
            }),
            Fault::Elsewhere(_) => {}
            Fault::Down(nodes) => {
                for node in nodes {
                    self.mend(node);
                    self.sim.bounce(name(node));
                    self.world.history().restarted();
                }
            }
        }
    }

    /// Time passes, and members are looked at.
    fn goes_on(&mut self, lasts: Duration) {
        let until = self.sim.elapsed() + lasts;
        while self.sim.elapsed() < until {
            let look = self.sim.elapsed() + LOOK;
            while self.sim.elapsed() < look {
                if let Err(error) = self.sim.step() {
                    self.world.history().wrong(format!("a process has ended: {error}"));
                    return;
                }
            }
            self.look();
        }
    }

    fn look(&self) {
        let journals = self.world.journals();
        self.world.history().compare(&journals);
        let standings = self.world.standings();
        let leader = standings.iter().find(|status| status.role == Role::Leader);
        let Some(beginning) = leader.and_then(|status| status.purged) else { return };
        for status in standings.iter().filter(|status| status.last_log < Some(beginning)) {
            if self.world.history().is_behind(status.node, beginning) {
                self.tell(format!("c{} needs a snapshot up to {beginning}", status.node));
            }
        }
    }

    /// No faults any more: everything ends.
    fn ended(&mut self) {
        self.tell("faults stop");
        let until = self.sim.elapsed() + PATIENCE;
        // Long enough for one of them to be answered, if anything is.
        self.goes_on(Duration::from_secs(3));
        self.world.quiet();
        while self.sim.elapsed() < until {
            self.goes_on(Duration::from_secs(1));
            let journals = self.world.journals();
            let is_same = journals.iter().all(|(_, journal)| *journal == journals[0].1);
            if is_same && journals.len() == MEMBERS.len() && self.leader().is_some() {
                self.tell(format!("all have applied {} entries", journals[0].1.len()));
                return;
            }
        }
        self.world.history().wrong("it does not end".to_owned());
    }
}
