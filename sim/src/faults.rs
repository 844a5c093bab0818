//! Faults: what is done to processes, links and disks.

use crate::event::Event;
use crate::message::Place;
use crate::plan::Fault;
use crate::time::{MILLI, SECOND, Time};
use crate::world::World;
use migrations::id::TabletId;
use migrations::version::CopyId;

/// A cut that will heal.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) number: u64,
    links: Vec<(Place, Place)>,
}

impl World {
    /// Whether a class of faults is on, now.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.has_faults && self.plan.faults.has(fault)
    }

    /// One fault, then a pause.
    pub(crate) fn fault(&mut self) {
        if !self.has_faults {
            return;
        }
        let pause = self.random.faults.between(150 * MILLI, self.plan.pause);
        self.queue.after(pause, Event::Fault);
        let acting = [
            Fault::Cut,
            Fault::CutLeader,
            Fault::CrashAgent,
            Fault::Reboot,
            Fault::CrashCoordinator,
            Fault::PauseAgent,
            Fault::PauseCoordinator,
            Fault::Elect,
            Fault::LoseCopy,
            Fault::OldDirectory,
        ];
        let drawn = self.random.faults.pick(&acting);
        let Some(fault) = drawn.filter(|fault| self.has(*fault)) else { return };
        let agent = self.random.faults.below(self.agents.len() as u64) as usize;
        let coordinator = self.random.faults.below(self.coordinators.len() as u64) as usize;
        let leader = self.group0.leader;
        // The leader is what is worth hitting.
        let coordinator = leader.filter(|_| self.random.faults.chance(600)).unwrap_or(coordinator);
        match fault {
            Fault::Cut => self.cut_some(agent),
            Fault::CutLeader => self.cut_leader(leader),
            Fault::CrashAgent => self.crash_agent(agent, false, None),
            Fault::Reboot => self.crash_agent(agent, true, None),
            Fault::LoseCopy => self.lose_copy(agent),
            Fault::OldDirectory => self.meddle_with_directory(agent),
            Fault::CrashCoordinator => {
                self.mark_stages("the leader crashes", |_| true);
                self.kill_coordinator(coordinator);
                let pause = self.random.faults.between(200, 6_000) * MILLI;
                self.queue.after(pause, Event::StartCoordinator(coordinator));
            }
            Fault::PauseAgent => {
                let pause = self.random.faults.between(100, 4_000) * MILLI;
                self.say(|world| format!("{} stands still", world.agents[agent].name));
                self.agents[agent].paused_until = self.queue.now + pause;
            }
            Fault::PauseCoordinator => {
                let pause = self.random.faults.between(100, 4_000) * MILLI;
                self.say(|_| format!("c{coordinator} stands still"));
                self.coordinators[coordinator].paused_until = self.queue.now + pause;
            }
            Fault::Elect => self.elect(),
            _ => {}
        }
    }

    fn cut(&mut self, links: Vec<(Place, Place)>, longest: Time) {
        self.say(|world| {
            let link = |(a, b): &(Place, Place)| format!("{}->{}", world.name(*a), world.name(*b));
            let links: Vec<String> = links.iter().map(link).collect();
            format!("cut: {}", links.join(" "))
        });
        self.network.cuts.extend(links.iter().copied());
        let number = self.cuts.last().map_or(1, |cut| cut.number + 1);
        self.cuts.push(Cut { number, links });
        let lasts = self.random.faults.between(100 * MILLI, longest);
        self.queue.after(lasts, Event::Heal { number });
    }

    pub(crate) fn heal(&mut self, number: u64) {
        if !self.has_faults {
            return;
        }
        self.cuts.retain(|cut| cut.number != number);
        self.network.cuts.clear();
        for cut in &self.cuts {
            self.network.cuts.extend(cut.links.iter().copied());
        }
    }

    fn places(&self) -> Vec<Place> {
        let agents = (0..self.agents.len()).map(Place::Agent);
        agents.chain((0..self.coordinators.len()).map(Place::Coordinator)).collect()
    }

    /// An agent is cut off from one place or from all, in one direction or both.
    fn cut_some(&mut self, agent: usize) {
        let own = Place::Agent(agent);
        let mut others = self.places();
        others.extend((0..self.routers.len()).map(Place::Router));
        others.retain(|place| *place != own);
        if self.random.faults.chance(500) {
            let other = self.random.faults.pick(&others);
            others = other.into_iter().collect();
        }
        let links = self.directed(own, &others);
        self.cut(links, 6 * SECOND);
    }

    fn directed(&mut self, own: Place, others: &[Place]) -> Vec<(Place, Place)> {
        let way = self.random.faults.below(3);
        let out = others.iter().map(|other| (own, *other)).filter(|_| way != 1);
        let back = others.iter().map(|other| (*other, own)).filter(|_| way != 2);
        out.chain(back).collect()
    }

    fn cut_leader(&mut self, leader: Option<usize>) {
        let Some(leader) = leader else { return };
        let own = Place::Coordinator(leader);
        let mut others = self.places();
        others.retain(|place| *place != own);
        if self.random.faults.chance(500) {
            // It still reaches the agents: a deposed leader that goes on giving orders.
            others.retain(|place| matches!(place, Place::Coordinator(_)));
        }
        let links = self.directed(own, &others);
        self.cut(links, 5 * SECOND);
    }

    /// A crash that was decided on a moment ago.
    pub(crate) fn crash_soon(&mut self, at: usize) {
        if self.has(Fault::CrashAgent) {
            self.crash_agent(at, false, None);
        }
    }

    fn crash_agent(&mut self, at: usize, is_reboot: bool, damaged: Option<(TabletId, CopyId)>) {
        if self.agents[at].running.is_none() {
            return;
        }
        if let Some(own) = self.agents[at].own() {
            self.mark_stages("a source crashes", |record| {
                let streams = record.transition.iter().flat_map(|t| t.streams.iter());
                streams.clone().any(|pair| pair.source == own)
                    || record.leaving().is_some_and(|leaving| leaving.node == own)
            });
            self.mark_stages("a target crashes", |record| {
                record.pending().is_some_and(|pending| pending.node == own)
            });
        }
        self.kill_agent(at);
        if let Some((tablet, copy)) = damaged {
            self.say(|world| {
                format!("{}: copy {copy} of t{tablet} is damaged", world.agents[at].name)
            });
            self.agents[at].disk.damage(tablet, copy);
        }
        if is_reboot {
            self.agents[at].boot += 1;
        }
        let is_long = self.random.faults.chance(300);
        let longest = if is_long { 6_000 } else { 600 };
        let pause = self.random.faults.between(20, longest) * MILLI;
        self.queue.after(pause, Event::StartAgent(at));
    }

    /// A copy is damaged, where the sets that its tablet has can do without it.
    fn lose_copy(&mut self, at: usize) {
        let store = &self.agents[at].disk.live;
        let copies = store
            .tablets
            .iter()
            .flat_map(|(id, entry)| entry.copies.keys().map(move |copy| (*id, *copy)));
        let copies: Vec<(TabletId, CopyId)> = copies.collect();
        let Some((tablet, copy)) = self.random.faults.pick(&copies) else { return };
        let Some(own) = self.agents[at].own() else { return };
        if self.agents[at].running.is_some() && self.may_lose(own, tablet, copy) {
            self.oracles.damaged.insert((own, tablet, copy));
            self.mark("a copy is damaged");
            self.crash_agent(at, false, Some((tablet, copy)));
        }
    }

    /// One process never comes back, and one hears nothing from any coordinator, though it is
    /// heard: both for ever.
    fn leave_some_out(&mut self) {
        self.kill_agent(0);
        self.gone.insert(0);
        self.gone.insert(1);
        let coordinators = (0..self.coordinators.len()).map(Place::Coordinator);
        self.network.cuts.extend(coordinators.map(|from| (from, Place::Agent(1))));
        self.mark("one is dead and one is deaf for ever");
    }

    /// Faults stop: all that was cut, killed or paused comes back.
    pub(crate) fn calm(&mut self) {
        self.say(|_| "faults stop".into());
        self.has_faults = false;
        self.has_workload = false;
        self.queue.after(MILLI, Event::Lift);
        self.cuts.clear();
        self.network.cuts.clear();
        let now = self.queue.now;
        for at in 0..self.agents.len() {
            self.agents[at].paused_until = self.agents[at].paused_until.min(now);
            self.queue.after(MILLI, Event::StartAgent(at));
        }
        if self.plan.has_left_out {
            self.leave_some_out();
        }
        for at in 0..self.coordinators.len() {
            let coordinator = &mut self.coordinators[at];
            coordinator.paused_until = coordinator.paused_until.min(now);
            self.queue.after(MILLI, Event::StartCoordinator(at));
        }
    }
}
