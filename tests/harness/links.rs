//! The network of a cluster: a proxy on each way on which one process dials another, so that each
//! can fail alone, and in one direction.
//!
//! Processes are told true addresses, and dial each through a proxy of their own: who follows a
//! hint to another coordinator stays on its ways. Routers have one way to each agent's data.
//!
//! Not here: what a proxy does to bytes.

use super::proxy::{Mode, Proxy};
use std::collections::BTreeMap;

/// Agents that may join a cluster after its start: their ways are laid with those of the others.
const MORE_AGENTS: u8 = 2;

/// What is lost of what concerns one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Whatever it says, and whatever is said to it.
    Both,
    /// What is said to it: it hears nothing.
    ToIt,
    /// What it says: it is not heard.
    FromIt,
}

/// A way from one process to another.
struct Way {
    /// What whoever dials is told.
    told: String,
    proxy: Proxy,
}

/// The ways of a cluster. Nothing is lost at first.
pub(crate) struct Links {
    /// By agent: where others are told that its streams are. They stay when it starts again.
    streams: BTreeMap<String, Proxy>,
    /// By agent: where routers are told that its data is.
    data: BTreeMap<String, Proxy>,
    /// By who dials, and whom.
    ways: BTreeMap<(String, String), Way>,
}

/// Where a coordinator listens for those who have ways to it.
pub(super) struct Coordinator<'a> {
    pub(super) name: &'a str,
    pub(super) raft: &'a str,
    pub(super) agents: &'a str,
}

impl Links {
    /// Lays the ways among these coordinators, and so many agents and a few more.
    pub(super) async fn lay(coordinators: &[Coordinator<'_>], agents: u8) -> Links {
        let agents: Vec<String> = (1..=agents + MORE_AGENTS).map(|n| format!("n{n}")).collect();
        let mut links =
            Links { streams: BTreeMap::new(), data: BTreeMap::new(), ways: BTreeMap::new() };
        for agent in &agents {
            links.streams.insert(agent.clone(), Proxy::start(None).await);
            links.data.insert(agent.clone(), Proxy::start(None).await);
        }
        for to in coordinators {
            for from in coordinators.iter().filter(|from| from.name != to.name) {
                links.lay_one(from.name, to.name, to.raft).await;
            }
            for from in &agents {
                links.lay_one(from, to.name, to.agents).await;
            }
        }
        for to in &agents {
            let told = links.streams[to].address();
            for from in agents.iter().filter(|from| *from != to) {
                links.lay_one(from, to, &told).await;
            }
        }
        links
    }

    async fn lay_one(&mut self, from: &str, to: &str, told: &str) {
        let way = Way { told: told.to_owned(), proxy: Proxy::start(Some(told)).await };
        self.ways.insert((from.to_owned(), to.to_owned()), way);
    }

    /// How a process comes to the others, as its flag wants it.
    pub(super) fn detours(&self, from: &str) -> String {
        let own = self.ways.iter().filter(|((who, _), _)| who == from);
        let detour = |(_, way): (_, &Way)| format!("{}={}", way.told, way.proxy.address());
        own.map(detour).collect::<Vec<String>>().join(",")
    }

    /// What all others reach an agent's streams through.
    pub(crate) fn streams(&self, agent: &str) -> &Proxy {
        &self.streams[agent]
    }

    /// What routers reach an agent's data through.
    pub(crate) fn data(&self, agent: &str) -> &Proxy {
        &self.data[agent]
    }

    /// The ways from a process to all coordinators.
    pub(crate) fn to_coordinators(&self, from: &str) -> impl Iterator<Item = &Proxy> {
        let own = self.ways.iter().filter(move |((who, to), _)| who == from && to.starts_with('c'));
        own.map(|(_, way)| &way.proxy)
    }

    /// The way on which one process dials another.
    pub(crate) fn way(&self, from: &str, to: &str) -> &Proxy {
        &self.ways[&(from.to_owned(), to.to_owned())].proxy
    }

    /// Loses this between a process and all others, routers too.
    pub(crate) fn isolate(&self, name: &str, loss: Loss) {
        for ((from, to), way) in &self.ways {
            if from == name {
                way.proxy.set(outward(loss));
            } else if to == name {
                way.proxy.set(inward(loss));
            }
        }
        if let Some(data) = self.data.get(name) {
            data.set(inward(loss));
        }
    }

    /// Loses whatever goes between these two, whoever has dialled.
    pub(crate) fn part(&self, one: &str, other: &str) {
        for ((from, to), way) in &self.ways {
            if (from == one && to == other) || (from == other && to == one) {
                way.proxy.set(Mode::HalfOpen);
            }
        }
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        let ways = self.ways.values().map(|way| &way.proxy);
        for proxy in ways.chain(self.data.values()).chain(self.streams.values()) {
            proxy.set(Mode::Pass);
        }
    }
}

/// What is done on the ways that a process dials on.
fn outward(loss: Loss) -> Mode {
    match loss {
        Loss::Both => Mode::HalfOpen,
        Loss::ToIt => Mode::EatAnswers,
        Loss::FromIt => Mode::EatQuestions,
    }
}

/// What is done on the ways on which it is dialled.
fn inward(loss: Loss) -> Mode {
    match loss {
        Loss::Both => Mode::HalfOpen,
        Loss::ToIt => Mode::EatQuestions,
        Loss::FromIt => Mode::EatAnswers,
    }
}
