//! A leader whose appends arrive, and the answers are lost.

use std::sync::Arc;
use std::time::Duration;

use turmoil::{Builder, Sim};

use super::super::Role;
use super::cluster::{MEMBERS, World, name, process};
use super::runtime;

struct Run<'a> {
    sim: Sim<'a>,
    world: Arc<World>,
}

impl Run<'_> {
    fn goes_on(&mut self, lasts: Duration) {
        let until = self.sim.elapsed() + lasts;
        while self.sim.elapsed() < until {
            self.sim.step().expect("no process ends");
        }
    }

    /// Who leads in the newest term, and how much is committed by whom it is most.
    fn stands(&self) -> (Option<u64>, u64) {
        let standings = self.world.standings();
        let leaders = standings.iter().filter(|status| status.role == Role::Leader);
        let leader = leaders.max_by_key(|status| status.term).map(|status| status.node);
        (leader, standings.iter().filter_map(|status| status.committed).max().unwrap_or(0))
    }
}

/// Whether another one leads and commits within six seconds: fifteen of the longest elections.
fn is_replaced(seed: u64, checks_quorum: bool) -> bool {
    runtime::seed(seed);
    let sim = Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(60))
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .tcp_capacity(1 << 14)
        .build();
    let mut run = Run { sim, world: World::new(true, checks_quorum) };
    for node in MEMBERS {
        let world = Arc::clone(&run.world);
        run.sim.host(name(node), move || process(Arc::clone(&world), node));
    }
    run.goes_on(Duration::from_secs(2));
    let (before, committed) = run.stands();
    let before = before.expect("one was elected");
    assert!(committed > 10, "it commits");
    let deaf = run.sim.lookup(name(before));
    run.world.losses.set(Some(deaf));
    run.goes_on(Duration::from_secs(1));
    let (_, committed) = run.stands();
    run.goes_on(Duration::from_secs(5));
    let (leader, since) = run.stands();
    let is_other = leader.is_some_and(|leader| leader != before);
    assert_eq!(is_other, since > committed, "whoever is answered commits, and nobody else");
    run.world.losses.set(None);
    run.goes_on(Duration::from_secs(3));
    let (_, after) = run.stands();
    assert!(after > since, "once answers come again there is a leader, whoever it is");
    is_other
}

/// Also the control: where nobody falls silent, the followers hear of their leader for ever.
#[test]
fn a_leader_that_no_quorum_answers_gives_way() {
    for seed in 1..=2 {
        assert!(is_replaced(seed, true), "seed {seed}");
    }
    assert!(!is_replaced(1, false), "it gives way by itself");
}
