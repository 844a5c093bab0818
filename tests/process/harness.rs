//! Clusters of real processes. Waits by what the processes say, never by sleeping; keeps their
//! logs and data when a test fails.

use client::{AdminClient, Router, RouterOptions, WaitFor};
use proto::admin::v1 as pb;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::faults::v1::fault_service_client::FaultServiceClient;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Nothing that a test waits for takes this long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A future that must not take longer than [`PATIENCE`].
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what}: not after {PATIENCE:?}"))
}

/// One process of a cluster, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    ports: Value,
}

impl Server {
    /// Starts `palisade KIND` and waits for its line of ports; the end of its log if it ends.
    pub(crate) fn start(log: &Path, args: &[&str]) -> Result<Server, String> {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(args)
            .arg("--print-ports")
            .env("RUST_LOG", "info,openraft=warn,chunked_wal=warn,raft_log=warn")
            .env_remove("PALISADE_COORDINATORS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its output is text");
        match serde_json::from_str(&line) {
            Ok(ports) => Ok(Server { child, ports }),
            Err(_) => {
                let status = child.wait().expect("it has ended");
                let said = std::fs::read_to_string(log).unwrap_or_default();
                Err(format!("{status}: {said}"))
            }
        }
    }

    pub(crate) fn port(&self, which: &str) -> String {
        self.ports[which].as_str().expect("a port").to_owned()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }

    fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One coordinator and some agents, in a directory of their own.
pub(crate) struct Cluster {
    directory: Option<tempfile::TempDir>,
    coordinator: Option<Server>,
    agents: BTreeMap<String, Server>,
    pub(crate) admin_address: String,
    pub(crate) agents_address: String,
}

impl Cluster {
    /// A cluster with agents `n1` … , each in a rack of its own and admitted, with short leases.
    pub(crate) async fn start(agents: u8) -> Cluster {
        let directory = tempfile::tempdir().expect("a directory");
        let mut cluster = Cluster {
            directory: Some(directory),
            coordinator: None,
            agents: BTreeMap::new(),
            admin_address: "127.0.0.1:0".to_owned(),
            agents_address: "127.0.0.1:0".to_owned(),
        };
        cluster.start_coordinator();
        // In order, so that the names of nodes and their numbers go together.
        for number in 1..=agents {
            cluster.start_agent(&format!("n{number}"));
            cluster.admitted(usize::from(number)).await;
        }
        cluster
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.as_ref().expect("until it is dropped").path()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// Starts the coordinator; again on the ports that it had.
    pub(crate) fn start_coordinator(&mut self) {
        let (data, log) = (self.data("c1"), self.log("c1"));
        let args = [
            "coordinator",
            "--bootstrap-expect=1",
            "--profile=fast",
            "--data",
            data.to_str().expect("text"),
            "--admin-listen",
            &self.admin_address,
            "--agents-listen",
            &self.agents_address,
        ];
        let server = Server::start(&log, &args).expect("the coordinator starts");
        self.admin_address = server.port("admin");
        self.agents_address = server.port("agents");
        self.coordinator = Some(server);
    }

    /// Starts an agent, on its directory if it has one.
    pub(crate) fn start_agent(&mut self, name: &str) {
        self.start_agent_with(name, &[]);
    }

    /// The same with more flags.
    pub(crate) fn start_agent_with(&mut self, name: &str, more: &[&str]) {
        let (data, log) = (self.data(name), self.log(name));
        let rack = format!("rack-{name}");
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
        args.extend(more);
        let server = Server::start(&log, &args).expect("the agent starts");
        self.agents.insert(name.to_owned(), server);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        let server = if name == "c1" { self.coordinator.take() } else { self.agents.remove(name) };
        server.expect("it runs").kill();
    }

    /// SIGKILL, and at once a new process on the same directory.
    pub(crate) fn kill_and_restart(&mut self, name: &str) {
        self.kill(name);
        match name {
            "c1" => self.start_coordinator(),
            name => self.start_agent(name),
        }
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, name: &str) {
        self.agents[name].signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, name: &str) {
        self.agents[name].signal(rustix::process::Signal::CONT);
    }

    pub(crate) fn agent(&self, name: &str) -> &Server {
        &self.agents[name]
    }

    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::connect(vec![self.admin_address.clone()])
    }

    pub(crate) fn router(&self) -> Router {
        Router::connect(self.admin(), RouterOptions::default())
    }

    /// A plain connection to one of an agent's ports.
    pub(crate) fn channel(&self, name: &str, port: &str) -> Channel {
        let address = format!("http://{}", self.agents[name].port(port));
        Endpoint::from_shared(address).expect("an address").connect_lazy()
    }

    /// The fault switches of an agent.
    pub(crate) fn faults(&self, name: &str) -> FaultServiceClient<Channel> {
        FaultServiceClient::new(self.channel(name, "stream"))
    }

    /// Waits until so many nodes are admitted.
    pub(crate) async fn admitted(&self, count: usize) {
        self.nodes("nodes to be admitted", |nodes| {
            let admitted = |node: &&pb::Node| node.state() == pb::NodeState::Admitted;
            nodes.iter().filter(admitted).count() >= count
        })
        .await;
    }

    /// Waits until the nodes are as they should be; looks at each change of the topology.
    pub(crate) async fn nodes(&self, what: &str, are: impl Fn(&[pb::Node]) -> bool) {
        let watch = async {
            let address = format!("http://{}", self.admin_address);
            let channel = Endpoint::from_shared(address).expect("an address").connect_lazy();
            let request = pb::WatchTopologyRequest { after: None };
            let watch = TopologyServiceClient::new(channel).watch_topology(request).await;
            let mut watch = watch.expect("the coordinator serves").into_inner();
            while let Some(message) = watch.message().await.expect("the coordinator serves") {
                if message.wider && are(&message.nodes) {
                    return;
                }
            }
            panic!("{what}: the watch ended");
        };
        soon(what, watch).await;
    }

    /// Makes a table of three replicas.
    pub(crate) async fn create_table(&self, name: &str, tablets: u32) -> Vec<pb::Tablet> {
        let request = pb::CreateTableRequest {
            name: name.to_owned(),
            replication_factor: 3,
            tablets,
            ..Default::default()
        };
        self.admin().create_table(request).await.expect("a table");
        self.admin().list_tablets(name).await.expect("its tablets")
    }

    /// Asks for a migration and answers its id.
    pub(crate) async fn migrate(&self, tablet: &pb::Tablet, from: &str, to: &str) -> String {
        let request = pb::MigrateRequest {
            tablet: tablet.id,
            from: from.to_owned(),
            to: to.to_owned(),
            ..Default::default()
        };
        let migration = self.admin().migrate(request).await.expect("it begins").migration;
        migration.expect("a migration").id
    }

    /// Waits until a migration has ended.
    pub(crate) async fn ended(&self, id: &str) -> pb::Migration {
        let admin = self.admin();
        let what = format!("the end of migration {id}");
        soon(&what, admin.wait_migration(id, WaitFor::End, |_| {})).await.expect("it is known")
    }

    /// The tablet now, with what each replica holds.
    pub(crate) async fn digest(&self, tablet: &pb::Tablet) -> pb::Tablet {
        let id = migrations::id::TabletId::from_u64(tablet.id).expect("an id");
        self.admin().tablet(id, true).await.expect("the tablet")
    }

    /// After a repair every replica of a tablet holds the same, and says so. (Before one they may
    /// differ: a write is acknowledged by a majority.)
    pub(crate) async fn replicas_agree(&self, tablet: &pb::Tablet) -> pb::Tablet {
        let repaired = self.repair(tablet).await;
        assert_eq!(repaired.state(), pb::MigrationState::Done, "{repaired:#?}");
        let tablet = self.digest(tablet).await;
        for digest in &tablet.digests {
            assert_eq!(digest.error, "", "{}: {}", tablet.name, digest.node);
            assert_eq!(digest.sum, tablet.digests[0].sum, "{}: {:#?}", tablet.name, tablet.digests);
        }
        tablet
    }

    /// Repairs a tablet and waits for the end of it.
    pub(crate) async fn repair(&self, tablet: &pb::Tablet) -> pb::Migration {
        let request = pb::RepairTabletRequest { tablet: tablet.id, ..Default::default() };
        let begun = self.admin().repair_tablet(request).await.expect("it begins").migration;
        self.ended(&begun.expect("a migration").id).await
    }

    /// Ends all agents and says which copies lie on whose disk: (tablet, node). What group0 says
    /// of it is answered beside it.
    pub(crate) async fn copies_on_disk(&mut self) -> (Vec<(u64, String)>, Vec<(u64, String)>) {
        let tablets = self.admin().list_tablets("").await.expect("the tablets");
        let replicas = tablets.iter().flat_map(|tablet| {
            tablet.replicas.iter().map(|replica| (tablet.id, replica.node.clone()))
        });
        let mut given: Vec<(u64, String)> = replicas.collect();
        given.sort();
        let mut found = Vec::new();
        for (name, server) in std::mem::take(&mut self.agents) {
            server.kill();
            found.extend(copies_in(&self.data(&name), &name));
        }
        found.sort();
        (found, given)
    }
}

/// The copies in an agent's directory, while no process has it.
fn copies_in(directory: &Path, name: &str) -> Vec<(u64, String)> {
    use replica::lease::Lease;
    use replica::store::{Directory, SledStore, StoreOptions, TabletStore};
    let directory = std::sync::Arc::new(Directory::open(directory, name).expect("its directory"));
    let lease = std::sync::Arc::new(Lease::new());
    let store = SledStore::open(directory, lease, StoreOptions::default()).expect("its store");
    store.copies().into_iter().map(|(tablet, _)| (tablet.as_u64(), name.to_owned())).collect()
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
