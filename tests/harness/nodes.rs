//! What the nodes of a cluster come to: attached, admitted, fenced; and what lies on their disks.

use super::{Cluster, look_again, soon};
use proto::admin::v1 as pb;
use proto::admin::v1::topology_service_client::TopologyServiceClient;
use proto::types::v1::TopologyVersion;
use std::path::Path;

impl Cluster {
    /// Waits until an agent is attached to one of these coordinators, by the agent's own word.
    pub(crate) async fn attached(&self, among: &[String], agent: &str) {
        let address = |name: &String| format!("\"coordinator\":\"{}\"", self.ports[name].agents);
        let addresses: Vec<String> = among.iter().map(address).collect();
        let attached = async {
            loop {
                let log = self.logged(agent);
                let last = log.lines().rfind(|line| line.contains("\"coordinator\":"));
                let last = last.unwrap_or_default();
                let is_there = addresses.iter().any(|address| last.contains(address));
                if is_there && last.contains("\"message\":\"attached\"") {
                    return;
                }
                look_again().await;
            }
        };
        soon(&format!("{agent} to attach to one of {among:?}"), attached).await;
    }

    /// Waits until so many nodes are admitted.
    pub(crate) async fn admitted(&self, count: usize) {
        self.nodes("nodes to be admitted", |nodes| {
            let admitted = |node: &&pb::Node| node.state() == pb::NodeState::Admitted;
            nodes.iter().filter(admitted).count() >= count
        })
        .await;
    }

    /// Waits until every node is admitted and has worked off what it was given, by the word of a
    /// leader that is true now.
    pub(crate) async fn everybody(&self) {
        let all = async {
            loop {
                let nodes = self.admin().list_nodes().await.expect("the nodes");
                let is_in = |n: &pb::Node| n.attached && n.state() == pb::NodeState::Admitted;
                if nodes.iter().all(is_in) {
                    return;
                }
                look_again().await;
            }
        };
        soon("everybody to be there", all).await;
    }

    /// The incarnation of a node that group0 knows of.
    pub(crate) async fn incarnation(&self, name: &str) -> Option<TopologyVersion> {
        self.admin().node(name).await.expect("it is known").incarnation
    }

    /// SIGKILL, and a new process on the same directory, which is admitted.
    pub(crate) async fn readmitted(&mut self, name: &str) {
        let before = self.incarnation(name).await;
        self.kill_and_restart(name);
        self.admitted_after(name, before).await;
    }

    /// Waits until a node is admitted under another incarnation than this.
    pub(crate) async fn admitted_after(&self, name: &str, before: Option<TopologyVersion>) {
        self.nodes(&format!("{name} to be admitted anew"), |nodes| {
            let is_new =
                |n: &pb::Node| n.state() == pb::NodeState::Admitted && n.incarnation != before;
            nodes.iter().any(|node| node.name == name && is_new(node))
        })
        .await;
    }

    /// Waits until a node is fenced.
    pub(crate) async fn fenced(&self, name: &str) {
        self.nodes(&format!("{name} to be fenced"), |nodes| {
            nodes.iter().any(|n| n.name == name && n.state() == pb::NodeState::Fenced)
        })
        .await;
    }

    /// Waits until the nodes are as they should be; looks at each change of the topology.
    pub(crate) async fn nodes(&self, what: &str, are: impl Fn(&[pb::Node]) -> bool) {
        let watch = async {
            for name in self.ports.keys().cycle() {
                if self.nodes_by(name, &are).await {
                    return;
                }
                // Nothing to wait for tells when a coordinator is back.
                look_again().await;
            }
        };
        soon(what, watch).await;
    }

    /// Whether the nodes came to be as they should, by one coordinator's watch before it ended.
    async fn nodes_by(&self, name: &str, are: impl Fn(&[pb::Node]) -> bool) -> bool {
        let request = pb::WatchTopologyRequest { after: None };
        let mut client = TopologyServiceClient::new(self.admin_channel(name));
        let Ok(watch) = client.watch_topology(request).await else { return false };
        let mut watch = watch.into_inner();
        while let Ok(Some(message)) = watch.message().await {
            if message.wider && are(&message.nodes) {
                return true;
            }
        }
        false
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
        let agents: Vec<String> =
            self.servers.keys().filter(|name| name.starts_with('n')).cloned().collect();
        for name in agents {
            self.kill(&name);
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
