//! Starts that can't be: each ends with a sentence that says what to do, and harms nothing.

use crate::harness::{Cluster, Server, look_again};
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::reasons::Reason;

fn replica_args<'a>(name: &'a str, data: &'a str, coordinators: &'a str) -> Vec<&'a str> {
    vec![
        "replica",
        "--name",
        name,
        "--data",
        data,
        "--coordinators",
        coordinators,
        "--data-listen=127.0.0.1:0",
        "--stream-listen=127.0.0.1:0",
    ]
}

fn refused(log: &std::path::Path, args: &[&str], expected: &[&str]) {
    let Err(said) = Server::start(log, args) else { panic!("{args:?} was started") };
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains("Raft has ended"), "a refusal is no failure of group0: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_that_cannot_be_say_what_to_do() {
    let mut cluster = Cluster::start(1).await;
    let log = cluster.path().join("refused.log");
    let at = |name: &str| cluster.path().join(name).to_str().expect("text").to_owned();
    let coordinators = cluster.agents_address.clone();
    // A second process on the same directory.
    refused(
        &log,
        &replica_args("n1", &at("n1"), &coordinators),
        &["another process has", "--data"],
    );
    // A port that is in use.
    let taken = cluster.agent("n1").port("data");
    let mut args = replica_args("n9", "unused", &coordinators);
    args[7] = "--data-listen";
    args.insert(8, &taken);
    refused(&log, &args, &["can't listen on", "--data-listen"]);
    // Plaintext on an address that is not loopback; a wildcard without --advertise.
    let mut args = replica_args("n9", "unused", &coordinators);
    args[7] = "--data-listen=192.0.2.1:7410";
    refused(&log, &args, &["is not a loopback address", "--insecure"]);
    args[7] = "--data-listen=0.0.0.0:0";
    args.push("--insecure");
    refused(&log, &args, &["is a wildcard", "--advertise"]);
    // The directory of another node, and of a newer format.
    let (directory, name) = (at("n1"), "n2");
    cluster.kill("n1");
    let at_n1 = replica_args(name, &directory, &coordinators);
    refused(&log, &at_n1, &["belongs to node n1, not to n2", "--name"]);
    std::fs::write(cluster.path().join("n1/format"), "99\n").expect("written");
    let at_n1 = replica_args("n1", &directory, &coordinators);
    refused(&log, &at_n1, &["format 99", "newer"]);
    // A coordinator without a cluster, and on a directory that is in use.
    let empty = cluster.path().join("empty");
    let empty = empty.to_str().expect("text");
    let coordinator = |data| {
        let listen = ["--admin-listen=127.0.0.1:0", "--agents-listen=127.0.0.1:0"];
        ["coordinator", "--raft-listen=127.0.0.1:0", "--data", data, listen[0], listen[1]]
    };
    refused(&log, &coordinator(empty), &["holds no cluster", "--bootstrap-expect 1"]);
    let c1 = cluster.path().join("c1");
    refused(&log, &coordinator(c1.to_str().expect("text")), &["is in use by another coordinator"]);
}

/// An agent of another cluster is not let in: it says so, and goes on trying without harm.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_cluster_is_not_let_in() {
    let mut ours = Cluster::start(1).await;
    let theirs = Cluster::start(1).await;
    ours.kill("n1");
    let directory = ours.path().join("n1");
    let log = ours.path().join("foreign.log");
    let args = replica_args("n1", directory.to_str().expect("text"), &theirs.agents_address);
    let foreign = Server::start(&log, &args).expect("it starts, and is refused");
    let said = async {
        loop {
            let said = std::fs::read_to_string(&log).expect("a log");
            if said.contains("belongs to cluster") {
                return;
            }
            look_again().await;
        }
    };
    crate::harness::soon("the refusal in its log", said).await;
    drop(foreign);
    let nodes = theirs.admin().list_nodes().await.expect("the nodes");
    assert_eq!(nodes.len(), 1, "{nodes:?}");
}

/// B4, the full disk: the target has no room. The move goes back and says so; the tablet is served
/// all the time, and another node takes it.
#[tokio::test(flavor = "multi_thread")]
async fn b4_a_full_disk_on_the_target_takes_the_move_back() {
    let mut cluster = Cluster::start(5).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..50u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    let fault = faults::DiskFault::NoRoom.into();
    let request = faults::SetDiskFaultRequest { fault, on: true };
    cluster.faults("n4").set_disk_fault(request).await.expect("set");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert_eq!(ended.reason, "DISK_FULL");
    router.put("orders", b"key", b"served").await.expect("a put");
    let id = cluster.migrate(&tablet, "n1", "n5").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// Whether a node says that its disk takes no more rows.
async fn has_disk_trouble(cluster: &Cluster, node: &str) -> bool {
    let nodes = cluster.admin().list_nodes().await.expect("the nodes");
    nodes.iter().any(|one| one.name == node && !one.disk_trouble.is_empty())
}

async fn shown(cluster: &Cluster, node: &str) {
    let shown = async {
        while !has_disk_trouble(cluster, node).await {
            // It says so with its next renewal.
            look_again().await;
        }
    };
    crate::harness::soon("what a node says of its disk", shown).await;
}

/// What a move to a node is refused for.
async fn refused_move(cluster: &Cluster, tablet: &pb::Tablet, to: &str) -> Option<Reason> {
    let (from, to) = (tablet.replicas[0].node.clone(), to.to_owned());
    let request = pb::MigrateRequest { tablet: tablet.id, from, to, ..Default::default() };
    cluster.admin().migrate(request).await.expect_err("no target").reason()
}

/// B4, what comes after: a disk has failed rows. Its node says so, the cluster shows it, and no
/// tablet goes there: no move by name, none of the balancer, none of a new table.
#[tokio::test(flavor = "multi_thread")]
async fn b4_a_node_whose_disk_fails_is_no_target() {
    let cluster = Cluster::start(5).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let holds = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    let free: Vec<&str> =
        ["n1", "n2", "n3", "n4", "n5"].into_iter().filter(|node| !holds(node)).collect();
    let router = cluster.router();
    router.put("orders", b"key", b"value").await.expect("a put");
    let request = |on| faults::SetDiskFaultRequest { fault: faults::DiskFault::Rows.into(), on };
    cluster.faults(free[0]).set_disk_fault(request(true)).await.expect("set");
    let from = tablet.replicas[0].node.clone();
    let id = cluster.migrate(&tablet, &from, free[0]).await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Reverted);
    shown(&cluster, free[0]).await;
    assert!(!has_disk_trouble(&cluster, free[1]).await);
    assert_eq!(refused_move(&cluster, &tablet, free[0]).await, Some(Reason::DiskError));
    for table in cluster.create_table_of("more", 4, 3).await {
        assert!(table.replicas.iter().all(|replica| replica.node != free[0]), "{table:#?}");
    }
    let planned = cluster.admin().plan_balance().await.expect("a plan");
    assert!(planned.moves.iter().all(|one| one.to != free[0]), "{planned:#?}");
    cluster.moved(&tablet, &from, free[1]).await;
}

/// B4: where there is no room for rows a move is refused before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn b4_a_full_node_is_refused_as_a_target_before_anything_is_done() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    // As if so much had to stay free that there is no room for a row.
    cluster.kill("n4");
    cluster.start_agent_with("n4", &["--reserve-bytes", &u64::MAX.to_string()]);
    shown(&cluster, "n4").await;
    assert_eq!(refused_move(&cluster, &tablet, "n4").await, Some(Reason::NodeFull));
    assert!(cluster.admin().list_migrations(false).await.expect("all").is_empty());
    // With room again it is a target again.
    cluster.kill("n4");
    cluster.start_agent("n4");
    let well = async {
        while has_disk_trouble(&cluster, "n4").await {
            look_again().await;
        }
    };
    crate::harness::soon("room", well).await;
    cluster.moved(&tablet, "n1", "n4").await;
}
