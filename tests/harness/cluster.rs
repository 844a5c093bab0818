//! Clusters of real processes: coordinators and agents, with proxies between them if that is
//! wanted. Names: coordinators `c1` …, agents `n1` ….

use super::links::{self, Links};
use super::papers::Papers;
use super::{Server, Shape, look_again, soon};
use client::{AdminClient, AdminOptions, Router, RouterOptions, Tls};
use proto::admin::v1 as pb;
use proto::faults::v1::fault_service_client::FaultServiceClient;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tls::{Dial, Kind};
use tonic::transport::{Channel, Endpoint};

/// Where a coordinator listens, over all its restarts.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) admin: String,
    pub(super) raft: String,
    pub(super) agents: String,
}

/// Coordinators and agents, in a directory of their own.
pub(crate) struct Cluster {
    directory: Option<tempfile::TempDir>,
    shape: Shape,
    papers: Option<Papers>,
    pub(super) ports: BTreeMap<String, Ports>,
    /// Coordinators that wait to be taken in, or were.
    joined: BTreeSet<String>,
    pub(super) servers: BTreeMap<String, Server>,
    links: Option<Links>,
    /// Where agents attach, separated by commas.
    pub(crate) agents_address: String,
}

impl Cluster {
    /// A cluster of one coordinator and of agents, admitted, with short leases.
    pub(crate) async fn start(agents: u8) -> Cluster {
        Cluster::start_as(Shape { agents, ..Shape::default() }).await
    }

    /// A cluster of this shape, with all agents admitted.
    pub(crate) async fn start_as(shape: Shape) -> Cluster {
        let directory = tempfile::tempdir().expect("a directory");
        let all = ::process::free_ports(3 * usize::from(shape.coordinators));
        let all = all.expect("there are some");
        let port = |(number, chosen): (usize, &[SocketAddr])| {
            let [admin, raft, agents] = [0, 1, 2].map(|which| chosen[which].to_string());
            (format!("c{}", number + 1), Ports { admin, raft, agents })
        };
        let ports: BTreeMap<String, Ports> = all.chunks(3).enumerate().map(port).collect();
        let agents: Vec<&str> = ports.values().map(|ports| ports.agents.as_str()).collect();
        let coordinator = |(name, ports)| {
            let (name, Ports { raft, agents, .. }): (&String, &Ports) = (name, ports);
            links::Coordinator { name, raft, agents }
        };
        let coordinators: Vec<links::Coordinator<'_>> = ports.iter().map(coordinator).collect();
        let links = match shape.has_proxies {
            true => Some(Links::lay(&coordinators, shape.agents).await),
            false => None,
        };
        let mut cluster = Cluster {
            papers: shape.has_tls.then(|| Papers::new(&directory.path().join("tls"))),
            directory: Some(directory),
            shape,
            agents_address: agents.join(","),
            ports,
            joined: BTreeSet::new(),
            servers: BTreeMap::new(),
            links,
        };
        for name in cluster.coordinators() {
            cluster.start_coordinator(&name);
        }
        if !shape.balances {
            let reason = "tests say what moves".to_owned();
            let request = pb::DisableBalancingRequest { reason, ..Default::default() };
            cluster.admin().disable_balancing(request).await.expect("it is on at first");
        }
        // In order, so that the names of nodes and their numbers go together.
        for number in 1..=shape.agents {
            cluster.add_agent(&format!("n{number}")).await;
        }
        cluster
    }

    /// Starts one more agent and waits until it is admitted.
    pub(crate) async fn add_agent(&mut self, name: &str) {
        self.start_agent(name);
        self.nodes(name, |nodes| {
            nodes.iter().any(|n| n.name == name && n.state() == pb::NodeState::Admitted)
        })
        .await;
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.as_ref().expect("until it is dropped").path()
    }

    /// Where the admin API of one coordinator is served.
    pub(crate) fn admin_address(&self, name: &str) -> &str {
        &self.ports[name].admin
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// What a process has logged so far.
    pub(crate) fn logged(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).expect("its log")
    }

    /// Waits until a process has logged this.
    pub(crate) async fn said(&self, name: &str, what: &str) {
        let said = async {
            while !self.logged(name).contains(what) {
                look_again().await;
            }
        };
        soon(&format!("{what:?} in the log of {name}"), said).await;
    }

    /// The names of all coordinators.
    pub(crate) fn coordinators(&self) -> Vec<String> {
        self.ports.keys().cloned().collect()
    }

    /// Other flags for every process that is started from here on.
    pub(crate) fn flags(&mut self, flags: &'static [&'static str]) {
        self.shape.flags = flags;
    }

    /// Starts a coordinator, or starts it again, on its directory and its ports.
    fn start_coordinator(&mut self, name: &str) {
        self.try_coordinator(name).expect("the coordinator starts");
    }

    /// The same; what it says if it does not start.
    pub(crate) fn try_coordinator(&mut self, name: &str) -> Result<(), String> {
        let (data, log, ports) = (self.data(name), self.log(name), &self.ports[name]);
        let expect = self.shape.coordinators.to_string();
        let peer = |(name, ports): (&String, &Ports)| format!("{name}={}", ports.raft);
        let began = self.ports.iter().filter(|(name, _)| !self.joined.contains(*name));
        let peers: Vec<String> = began.map(peer).collect();
        let peers = peers.join(",");
        let mut args = vec![
            "coordinator",
            "--name",
            name,
            "--profile",
            self.shape.profile,
            "--data",
            data.to_str().expect("text"),
            "--admin-listen",
            &ports.admin,
            "--agents-listen",
            &ports.agents,
            "--raft-listen",
            &ports.raft,
            "--faults",
        ];
        match self.joined.contains(name) {
            true => args.push("--join"),
            false => args.extend(["--bootstrap-expect", &expect]),
        }
        if self.shape.coordinators > 1 && !self.joined.contains(name) {
            args.extend(["--peers", &peers]);
        }
        let detours = self.links.as_ref().map(|links| links.detours(name));
        if let Some(detours) = detours.as_ref().filter(|detours| !detours.is_empty()) {
            args.extend(["--dial-through", detours]);
        }
        args.extend(self.shape.flags.iter().chain(self.shape.coordinator_flags));
        let papers = self.papers.as_ref().map(|papers| papers.flags(name));
        args.extend(papers.iter().flatten().map(String::as_str));
        let server = Server::start(&log, &args)?;
        self.servers.insert(name.to_owned(), server);
        Ok(())
    }

    /// Starts an empty coordinator that waits to be taken in, on ports of its own; where it is
    /// asked to be a member.
    pub(crate) fn start_joining(&mut self, name: &str) -> String {
        let ports = ::process::free_ports(3).expect("there are some");
        let [admin, raft, agents] = [0, 1, 2].map(|which| ports[which].to_string());
        self.ports.insert(name.to_owned(), Ports { admin, raft: raft.clone(), agents });
        self.joined.insert(name.to_owned());
        self.start_coordinator(name);
        raft
    }

    /// A coordinator that is gone for good: its process has ended, nobody looks for it any more.
    pub(crate) fn forget(&mut self, name: &str) {
        self.ports.remove(name).expect("it was there");
        self.servers.remove(name);
    }

    /// Takes away all that a process has on its disk. It must not run.
    pub(crate) fn wipe(&self, name: &str) {
        std::fs::remove_dir_all(self.data(name)).expect("its directory");
    }

    /// Where other coordinators reach this one.
    pub(crate) fn raft_address(&self, name: &str) -> String {
        self.ports[name].raft.clone()
    }

    /// Waits until a process has ended by itself; whether in order.
    pub(crate) async fn ends(&mut self, name: &str) -> bool {
        let server = self.servers.get_mut(name).expect("it was started");
        let ended = async {
            loop {
                if let Some(status) = server.ended() {
                    return status.success();
                }
                look_again().await;
            }
        };
        soon(&format!("the end of {name}"), ended).await
    }

    /// Starts an agent, on its directory if it has one.
    pub(crate) fn start_agent(&mut self, name: &str) {
        self.start_agent_with(name, &[]);
    }

    /// The same with more flags.
    pub(crate) fn start_agent_with(&mut self, name: &str, more: &[&str]) {
        let (data, log) = (self.data(name), self.log(name));
        let rack = format!("rack-{name}");
        let links = self.links.as_ref().map(|links| {
            let (streams, data) = (links.streams(name).address(), links.data(name).address());
            (streams, data, links.detours(name))
        });
        let mut args = vec![
            "replica",
            "--name",
            name,
            "--data",
            data.to_str().expect("text"),
            "--coordinators",
            &self.agents_address,
            "--data-listen=127.0.0.1:0",
            "--stream-listen=127.0.0.1:0",
            "--rack",
            &rack,
            "--faults",
        ];
        if let Some((streams, data, detours)) = &links {
            args.extend(["--advertise-stream", streams, "--advertise-data", data]);
            args.extend(["--dial-through", detours]);
        }
        args.extend(self.shape.flags);
        let papers = self.papers.as_ref().map(|papers| papers.flags(name));
        args.extend(papers.iter().flatten().map(String::as_str));
        args.extend(more);
        let server = Server::start(&log, &args).expect("the agent starts");
        if let Some(links) = &self.links {
            links.streams(name).set_upstream(&server.port("stream"));
            links.data(name).set_upstream(&server.port("data"));
        }
        self.servers.insert(name.to_owned(), server);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        self.servers.remove(name).expect("it runs").kill();
    }

    /// Starts a process again, on the same directory.
    pub(crate) fn restart(&mut self, name: &str) {
        match name.starts_with('c') {
            true => self.start_coordinator(name),
            false => self.start_agent(name),
        }
    }

    /// SIGKILL, and at once a new process on the same directory.
    pub(crate) fn kill_and_restart(&mut self, name: &str) {
        self.kill(name);
        self.restart(name);
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, name: &str) {
        self.servers[name].signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, name: &str) {
        self.servers[name].signal(Signal::CONT);
    }

    pub(crate) fn agent(&self, name: &str) -> &Server {
        &self.servers[name]
    }

    /// The ways between the processes. The cluster has to have proxies.
    pub(crate) fn links(&self) -> &Links {
        self.links.as_ref().expect("a shape with proxies")
    }

    /// Where the admin API is served, at each coordinator.
    pub(crate) fn admin_addresses(&self) -> Vec<String> {
        self.ports.values().map(|ports| ports.admin.clone()).collect()
    }

    /// Waits until one of these coordinators leads, by the word of one of them.
    pub(crate) async fn leader(&self, among: &[String]) -> String {
        let addresses = among.iter().map(|name| self.ports[name].admin.clone()).collect();
        let admin = self.admin_at(addresses);
        let leader = async {
            loop {
                let status = admin.status().await;
                let members = status.map(|status| status.coordinators).unwrap_or_default();
                let leader = members.into_iter().find(|member| member.leader);
                if let Some(leader) = leader.filter(|leader| among.contains(&leader.name)) {
                    return leader.name;
                }
                // Nothing to wait for tells when another one leads.
                look_again().await;
            }
        };
        soon("a leader", leader).await
    }

    pub(crate) fn admin(&self) -> AdminClient {
        self.admin_at(self.admin_addresses())
    }

    /// The same, with a deadline of its own.
    pub(crate) fn admin_with(&self, options: AdminOptions) -> AdminClient {
        let tls = self.papers.as_ref().map(Papers::own);
        AdminClient::connect_as(self.admin_addresses(), options, tls)
    }

    fn admin_at(&self, addresses: Vec<String>) -> AdminClient {
        let tls = self.papers.as_ref().map(Papers::own);
        AdminClient::connect_as(addresses, AdminOptions::default(), tls)
    }

    /// An authority's certificates. The cluster has to have TLS.
    pub(crate) fn papers(&self) -> &Papers {
        self.papers.as_ref().expect("a shape with TLS")
    }

    /// Whether every port is for those who show a certificate.
    pub(crate) fn has_tls(&self) -> bool {
        self.papers.is_some()
    }

    /// A plain connection to one port of one process, as somebody.
    pub(crate) fn channel_as(&self, tls: Option<Tls>, name: &str, port: &str) -> Channel {
        self.dial(tls, name, &self.servers[name].port(port))
    }

    fn dial(&self, tls: Option<Tls>, name: &str, address: &str) -> Channel {
        let kind = if name.starts_with('c') { Kind::Coordinator } else { Kind::Agent };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Dial::new(tls, kind).lazy(&endpoint)
    }

    fn own_channel(&self, name: &str, address: &str) -> Channel {
        self.dial(self.papers.as_ref().map(Papers::own), name, address)
    }

    pub(crate) fn router(&self) -> Router {
        Router::connect(self.admin(), RouterOptions::default())
    }

    /// A plain connection to one of an agent's ports, past all proxies.
    pub(crate) fn channel(&self, name: &str, port: &str) -> Channel {
        self.own_channel(name, &self.servers[name].port(port))
    }

    /// A plain connection to one coordinator's admin API.
    pub(crate) fn admin_channel(&self, name: &str) -> Channel {
        self.own_channel(name, &self.ports[name].admin)
    }

    /// A plain connection to where agents attach to one coordinator.
    pub(crate) fn agents_channel(&self, name: &str) -> Channel {
        self.own_channel(name, &self.ports[name].agents)
    }

    /// The fault switches of an agent.
    pub(crate) fn faults(&self, name: &str) -> FaultServiceClient<Channel> {
        FaultServiceClient::new(self.channel(name, "stream"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let kept = self.directory.take().map(tempfile::TempDir::keep).unwrap_or_default();
        eprintln!("logs and data of the failure are kept in {}", kept.display());
    }
}
