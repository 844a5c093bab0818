//! What a story does to processes, links, disks, clocks and leadership.

use super::{Story, Told};
use crate::event::Event;
use crate::message::Place;
use crate::time::MILLI;

impl Story {
    /// A process is killed: what it had not synced may be gone. It stays down until `start`.
    pub fn kill(&mut self, name: &str) {
        match self.place(name) {
            Place::Agent(at) => self.world.kill_agent(at),
            Place::Coordinator(at) => self.world.kill_coordinator(at),
            Place::Router(at) => self.world.restart_router(at),
        }
    }

    /// It starts again.
    pub fn start(&mut self, name: &str) {
        match self.place(name) {
            Place::Agent(at) => self.world.queue.after(1, Event::StartAgent(at)),
            Place::Coordinator(at) => self.world.queue.after(1, Event::StartCoordinator(at)),
            Place::Router(_) => {}
        }
    }

    /// Killed, and up again after so many milliseconds. What was not synced is gone or not.
    pub fn restart(&mut self, name: &str, after_ms: u64) -> Told {
        self.kill(name);
        self.pass(after_ms)?;
        self.start(name);
        Ok(())
    }

    /// The machine starts anew: the next process can't show that the one before is gone.
    pub fn reboot(&mut self, name: &str) {
        let at = self.agent(name);
        self.world.kill_agent(at);
        self.world.agents[at].boot += 1;
        self.start(name);
    }

    /// An agent is killed and never comes back.
    pub fn lose_for_ever(&mut self, name: &str) {
        match self.place(name) {
            Place::Agent(at) => {
                self.world.kill_agent(at);
                self.world.gone.insert(at);
                self.world.story.dead.insert(at);
            }
            // The others are a majority; it counts as late for as long as the story lasts.
            Place::Coordinator(at) => self.world.kill_coordinator(at),
            Place::Router(_) => {}
        }
    }

    /// A process stands still for so many milliseconds, and goes on as if nothing had been.
    pub fn pause(&mut self, name: &str, ms: u64) {
        let until = self.world.queue.now + ms * MILLI;
        self.world.say(|_| format!("{name} stands still for {ms} ms"));
        match self.place(name) {
            Place::Agent(at) => self.world.agents[at].paused_until = until,
            Place::Coordinator(at) => self.world.coordinators[at].paused_until = until,
            Place::Router(_) => {}
        }
    }

    /// Nothing gets from the first to the second any more; the other way it does.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        let link = (self.place(from), self.place(to));
        self.world.say(|_| format!("cut: {from}->{to}"));
        self.world.network.cuts.insert(link);
    }

    /// Neither hears the other.
    pub fn cut(&mut self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// It neither hears anybody nor is heard.
    pub fn cut_off(&mut self, name: &str) {
        for other in self.everybody_but(name) {
            self.cut(name, &other);
        }
    }

    /// It hears nobody, and is heard.
    pub fn deafen(&mut self, name: &str) {
        for other in self.everybody_but(name) {
            self.cut_one_way(&other, name);
        }
    }

    /// It never hears a coordinator again, though it is heard; nobody expects it back.
    pub fn deafen_to_coordinators_for_ever(&mut self, name: &str) {
        let own = self.place(name);
        for at in 0..self.world.coordinators.len() {
            self.world.story.cut_for_ever.push((Place::Coordinator(at), own));
        }
        if let Place::Agent(at) = own {
            self.world.gone.insert(at);
        }
        self.keep_cut_for_ever();
    }

    fn keep_cut_for_ever(&mut self) {
        let for_ever = self.world.story.cut_for_ever.iter().copied();
        self.world.network.cuts.extend(for_ever);
    }

    /// It hears all, and nobody hears it.
    pub fn silence(&mut self, name: &str) {
        for other in self.everybody_but(name) {
            self.cut_one_way(name, &other);
        }
    }

    /// It neither hears any of the other coordinators nor is heard by them. Agents it reaches.
    pub fn cut_off_from_coordinators(&mut self, name: &str) {
        for other in self.everybody_but(name) {
            if matches!(self.place(&other), Place::Coordinator(_)) {
                self.cut(name, &other);
            }
        }
    }

    fn everybody_but(&self, name: &str) -> Vec<String> {
        let world = &self.world;
        let agents = (0..world.agents.len()).map(Place::Agent);
        let coordinators = (0..world.coordinators.len()).map(Place::Coordinator);
        let routers = (0..world.routers.len()).map(Place::Router);
        let all = agents.chain(coordinators).chain(routers).map(|place| world.name(place));
        all.filter(|other| other != name).collect()
    }

    /// All cuts heal that are not for ever.
    pub fn heal(&mut self) {
        self.world.say(|_| "all cuts heal".into());
        self.world.network.cuts.clear();
        self.keep_cut_for_ever();
    }

    /// The agent's copy of a tablet is gone when it starts again, which it does at once.
    pub fn damage(&mut self, name: &str, tablet: char) -> Told {
        let (at, id, node) = (self.agent(name), self.tablet(tablet), self.node(name)?);
        let record = self.world.oracles.topology.record(id);
        let copy = record.and_then(|record| record.given(node));
        let copy = copy.ok_or_else(|| self.unmet(&format!("{name} has a copy of {tablet}")))?;
        self.world.oracles.damaged.insert((node, id, copy));
        self.world.kill_agent(at);
        self.world.say(|_| format!("{name}: its copy of {tablet} is damaged"));
        self.world.agents[at].disk.damage(id, copy);
        self.start(name);
        Ok(())
    }

    /// A copy is made of an agent's directory, while it runs.
    pub fn copy_directory(&mut self, name: &str) {
        let at = self.agent(name);
        self.world.copy_directory(at);
    }

    /// An agent is killed, and starts on the copy that was made of its directory.
    pub fn put_directory_back(&mut self, name: &str) -> Told {
        let (at, node) = (self.agent(name), self.node(name)?);
        self.world.put_directory_back(at, node);
        self.start(name);
        Ok(())
    }

    /// A wall clock is put forward, or back, by so many milliseconds.
    pub fn move_wall_clock(&mut self, name: &str, ms: i64) {
        match self.place(name) {
            Place::Agent(at) => self.world.agents[at].clock.wall_off_ms += ms,
            Place::Coordinator(at) => self.world.coordinators[at].clock.wall_off_ms += ms,
            Place::Router(at) => self.world.routers[at].clock.wall_off_ms += ms,
        }
    }

    /// This coordinator leads from now on. What the one before has proposed and not committed is
    /// in its log, or is not. The one before hears of it soon; later, if that is held.
    pub fn elect(&mut self, name: &str, inherits: bool) {
        if let Place::Coordinator(at) = self.place(name) {
            self.world.lead_next(at, Some(inherits));
        }
    }

    /// Another coordinator than the leader leads from now on; its name.
    pub fn elect_another(&mut self, inherits: bool) -> String {
        let leader = self.world.group0.leader;
        let others = (0..self.world.coordinators.len()).filter(|at| Some(*at) != leader);
        let able: Vec<usize> = others.filter(|at| self.world.coordinators[*at].is_up).collect();
        let name = format!("c{}", able.first().copied().unwrap_or_default());
        self.elect(&name, inherits);
        name
    }

    /// Cuts heal, whoever is down starts, and all agents are attached.
    pub fn all_well(&mut self) -> Told {
        self.heal();
        for at in 0..self.world.agents.len() {
            self.world.queue.after(1, Event::StartAgent(at));
        }
        for at in 0..self.world.coordinators.len() {
            self.world.queue.after(1, Event::StartCoordinator(at));
        }
        let names: Vec<String> = self.world.agents.iter().map(|a| a.name.clone()).collect();
        self.until("all are attached", |story| {
            names.iter().all(|name| story.is_attached(name) && !story.is_fenced(name))
        })
    }

    /// What is wrong is wrong no more, but for what is gone for ever.
    pub(super) fn calm(&mut self) {
        self.release_all();
        self.heal();
        let now = self.world.queue.now;
        for at in 0..self.world.agents.len() {
            let until = self.world.agents[at].paused_until.min(now);
            self.world.agents[at].paused_until = until;
            self.world.queue.after(MILLI, Event::StartAgent(at));
        }
        for at in 0..self.world.coordinators.len() {
            let until = self.world.coordinators[at].paused_until.min(now);
            self.world.coordinators[at].paused_until = until;
            self.world.queue.after(MILLI, Event::StartCoordinator(at));
        }
    }
}
