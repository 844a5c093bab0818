//! A whole cluster on this machine: coordinators and agents as processes of their own, in one
//! directory. What `palisade dev` and `palisade demo` share.
//!
//! Coordinators have the same ports each time they start, agents others each time.

mod member;
mod papers;
mod places;

pub(crate) use member::Member;

use anyhow::{Context, bail};
use client::{AdminClient, AdminOptions};
use member::{START_DEADLINE, Starting};
use papers::Papers;
use places::Places;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tls::{Dial, Kind};

/// How often it is looked whether agents are attached.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Where the ports of a running cluster are written, in its directory.
pub(crate) const CLUSTER_FILE: &str = "cluster.json";

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Where everything is kept.
    pub(crate) directory: PathBuf,
    /// How many coordinators: 1, 3 or 5.
    pub(crate) coordinators: u8,
    /// How many agents, each in a rack of its own.
    pub(crate) agents: u8,
    /// Short leases and deadlines.
    pub(crate) fast: bool,
}

/// A cluster whose processes run. They are killed when it is dropped.
pub(crate) struct Cluster {
    plan: Plan,
    places: Places,
    papers: Papers,
    coordinators: Vec<Member>,
    agents: Vec<Member>,
}

/// A number of coordinators, as a flag.
pub(crate) fn coordinators(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a majority is wanted: 1, 3 or 5".to_owned()),
    }
}

/// A number of coordinators, in words.
pub(crate) fn how_many(coordinators: u8) -> String {
    match coordinators {
        1 => "1 coordinator".to_owned(),
        more => format!("{more} coordinators"),
    }
}

impl Cluster {
    /// Starts all of it, and waits until every agent is admitted. In a directory that holds a
    /// cluster already, that one goes on.
    pub(crate) async fn start(plan: Plan) -> anyhow::Result<Cluster> {
        std::fs::create_dir_all(&plan.directory)
            .with_context(|| format!("can't make {}", plan.directory.display()))?;
        let places = Places::keep(&plan.directory, plan.coordinators)?;
        let papers = Papers::issue(&plan.directory, &places.names(), plan.agents)?;
        let mut cluster =
            Cluster { plan, places, papers, coordinators: Vec::new(), agents: Vec::new() };
        // All at once: none of them begins a cluster before it has heard of the others.
        let names = cluster.places.names();
        let starting: Vec<Starting> =
            names.iter().map(|name| cluster.spawn(name)).collect::<anyhow::Result<_>>()?;
        for starting in starting {
            cluster.coordinators.push(starting.served().await?);
        }
        for number in 1..=cluster.plan.agents {
            let member = cluster.spawn(&format!("n{number}"))?.served().await?;
            cluster.agents.push(member);
            // One after the other, so that names and numbers of nodes go together.
            cluster.attached(usize::from(number)).await?;
        }
        cluster.write_file()?;
        Ok(cluster)
    }

    fn spawn(&self, name: &str) -> anyhow::Result<Starting> {
        let (kind, mut flags) = match self.places.coordinator(name) {
            Some(_) => ("coordinator", self.coordinator_flags(name)),
            None => ("replica", self.agent_flags(name)),
        };
        flags.extend(self.papers.flags(name)?);
        Starting::spawn(&self.plan.directory, kind, name, &flags)
    }

    fn coordinator_flags(&self, name: &str) -> Vec<String> {
        let mut flags = self.places.flags(name);
        if self.plan.fast {
            flags.extend(["--profile".into(), "fast".into()]);
        }
        flags
    }

    fn agent_flags(&self, name: &str) -> Vec<String> {
        let mut flags = vec!["--coordinators".to_owned(), self.places.agents_addresses()];
        let listen = ["--data-listen", "127.0.0.1:0", "--stream-listen", "127.0.0.1:0"];
        flags.extend(listen.map(str::to_owned));
        flags.extend(["--rack".to_owned(), name.replace('n', "r")]);
        if cfg!(feature = "faults") {
            flags.push("--faults".into());
        }
        flags
    }

    /// Returns once so many agents are attached.
    async fn attached(&self, count: usize) -> anyhow::Result<()> {
        let admin = self.admin();
        let attached = async {
            loop {
                let nodes = admin.list_nodes().await?;
                if nodes.iter().filter(|node| node.attached).count() >= count {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let waited = tokio::time::timeout(START_DEADLINE, attached).await;
        waited
            .with_context(|| format!("{count} agents are not attached after {START_DEADLINE:?}"))?
    }

    /// A client of all coordinators.
    pub(crate) fn admin(&self) -> AdminClient {
        let (options, tls) = (AdminOptions::default(), self.papers.own());
        AdminClient::connect_as(self.places.admin_addresses(), options, Some(tls))
    }

    /// How its agents are dialled.
    pub(crate) fn dial_agents(&self) -> Dial {
        Dial::new(Some(self.papers.own()), Kind::Agent)
    }

    /// Where coordinators take people and programs.
    pub(crate) fn admin_addresses(&self) -> Vec<String> {
        self.places.admin_addresses()
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.plan.directory
    }

    /// The agents that run.
    pub(crate) fn agents(&self) -> &[Member] {
        &self.agents
    }

    /// The agent of this name, if it runs.
    pub(crate) fn agent(&self, name: &str) -> anyhow::Result<&Member> {
        let found = self.agents.iter().find(|member| member.name() == name);
        found.with_context(|| format!("no agent {name} runs"))
    }

    /// SIGKILL for one process.
    pub(crate) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        for members in [&mut self.coordinators, &mut self.agents] {
            if let Some(index) = members.iter().position(|member| member.name() == name) {
                return members.remove(index).kill().await;
            }
        }
        bail!("no process {name} runs");
    }

    /// Starts a process again that was killed, on its directory.
    pub(crate) async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let member = self.spawn(name)?.served().await?;
        match self.places.coordinator(name) {
            Some(_) => self.coordinators.push(member),
            None => self.agents.push(member),
        }
        self.write_file()
    }

    /// Stops an agent without ending it; it can't notice.
    pub(crate) fn hold_up(&self, agent: &str) -> anyhow::Result<()> {
        self.agent(agent)?.signal(Signal::STOP);
        Ok(())
    }

    /// Lets it go on.
    pub(crate) fn let_go_on(&self, agent: &str) -> anyhow::Result<()> {
        self.agent(agent)?.signal(Signal::CONT);
        Ok(())
    }

    /// Waits for a process that ends without having been asked to; an error that names it.
    pub(crate) async fn any_ended(&mut self) -> anyhow::Error {
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            look.tick().await;
            for member in self.coordinators.iter_mut().chain(&mut self.agents) {
                match member.ended() {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        let name = member.name();
                        return anyhow::anyhow!("{name} has ended ({status}); its log says why");
                    }
                    Err(error) => return error,
                }
            }
        }
    }

    /// Stops every process.
    pub(crate) async fn stop(mut self) {
        // Agents first: they are of no use without coordinators, and say so in their logs.
        for members in [&mut self.agents, &mut self.coordinators] {
            for member in members.iter() {
                // One that is held up can't stop.
                member.signal(Signal::CONT);
                member.ask_to_stop();
            }
            for member in members.iter_mut() {
                member.stopped().await;
            }
        }
        // Without the file nobody looks for a cluster that is gone.
        let _ = std::fs::remove_file(self.file());
    }

    /// The file that says where everything is.
    pub(crate) fn file(&self) -> PathBuf {
        self.plan.directory.join(CLUSTER_FILE)
    }

    fn write_file(&self) -> anyhow::Result<()> {
        let describe = |members: &[Member]| members.iter().map(Member::describe).collect();
        let coordinators: Vec<Value> = describe(&self.coordinators);
        let agents: Vec<Value> = describe(&self.agents);
        let tls = self.papers.describe();
        let all = json!({ "coordinators": coordinators, "agents": agents, "tls": tls });
        let file = self.file();
        std::fs::write(&file, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("can't write {}", file.display()))
    }
}
