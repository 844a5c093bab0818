//! INV-14: once faults stop, every transition ends and every barrier returns.

use crate::world::World;

impl World {
    pub(super) fn inv_14_ended(&mut self) {
        let topology = &self.oracles.topology;
        let mut stuck = Vec::new();
        for id in topology.in_transition() {
            let Some(record) = topology.record(id) else { continue };
            let stage = record.stage().map_or("at rest", |stage| stage.name());
            let leading = self.group0.leader.and_then(|at| self.coordinators[at].leading.as_ref());
            let waits = leading.map(|leading| leading.driver.waiting_for(topology, id));
            let waits: Vec<String> =
                waits.unwrap_or_default().into_iter().map(|node| self.name_of(node)).collect();
            stuck.push(format!("t{id} in {stage} waits for {}", waits.join(" ")));
        }
        for agent in &self.agents {
            let jobs = agent.running.as_ref().map(|process| &process.jobs);
            for job in jobs.into_iter().flat_map(|jobs| jobs.values()) {
                stuck.push(format!("{}: {:?} of {:?}", agent.name, job.state, job.task.tablet()));
            }
            let attachment = agent.running.as_ref().and_then(|p| p.attachment.as_ref());
            if !attachment.is_some_and(|attachment| attachment.is_ready) {
                stuck.push(format!("{} is not attached", agent.name));
            }
        }
        let mut of_leader = self.coordinators.iter().filter_map(|c| c.leading.as_ref());
        if let Some(leading) = of_leader.next() {
            stuck.push(format!("{} nodes are attached", leading.by_node.len()));
        }
        self.broken(14, || format!("time is up: {}", stuck.join("; ")));
    }
}
