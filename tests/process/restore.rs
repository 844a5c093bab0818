//! H2: a snapshot, a move, a restore; the same file restored twice; a number that meets an old
//! copy; a chunk that is held over a restore. On real processes and with the commands that people
//! have.

use crate::harness::steps::acknowledge;
use crate::harness::{Cluster, Shape, look_again, soon};
use proto::admin::v1 as pb;
use proto::data::v1 as data;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::faults::v1 as faults;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1::Stage;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

pub(crate) const AGENTS: [&str; 4] = ["n1", "n2", "n3", "n4"];

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Runs a command: its exit code, and what it said.
pub(crate) fn palisade(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(args)
        .env_remove("PALISADE_COORDINATORS")
        .output()
        .expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), said(&output.stdout), said(&output.stderr))
}

pub(crate) fn done(args: &[&str]) -> Value {
    let (code, out, error) = palisade(args);
    assert_eq!(code, Some(0), "{args:?}: {out}{error}");
    serde_json::from_str(&out).unwrap_or(Value::Null)
}

/// Saves a snapshot into a file of the cluster's directory.
pub(crate) fn save(cluster: &Cluster, name: &str) -> String {
    let file = text(&cluster.path().join(name)).to_owned();
    let coordinators = cluster.admin_addresses().join(",");
    let saved = done(&["snapshot", "save", &file, "--coordinators", &coordinators, "-o", "json"]);
    let inspected = done(&["snapshot", "inspect", &file, "-o", "json"]);
    assert_eq!(saved, inspected, "what came is what is in the file");
    file
}

/// Ends the coordinator for good, and begins one in its place with what a file holds. Answers what
/// `restore` said.
pub(crate) fn restore(cluster: &mut Cluster, file: &str, era: Option<&str>) -> Value {
    cluster.kill("c1");
    let data = cluster.path().join("c1");
    let aside = (0..).map(|n| cluster.path().join(format!("c1-before-{n}")));
    let aside = aside.into_iter().find(|path| !path.exists()).expect("one is free");
    std::fs::rename(&data, aside).expect("moved");
    let mut args = vec!["snapshot", "restore", file, "--data", text(&data), "-o", "json"];
    args.extend(era.iter().flat_map(|era| ["--era", *era]));
    let restored = done(&args);
    let (code, _, error) = palisade(&args);
    assert_eq!(code, Some(1), "nothing is overwritten: {error}");
    cluster.restart("c1");
    restored
}

pub(crate) fn cluster_of(restored: &Value) -> String {
    restored["clusterId"].as_str().expect("an id").to_owned()
}

/// Brings a stopped agent over.
fn adopt(cluster: &Cluster, name: &str, id: &str) {
    let data = cluster.path().join(name);
    let (code, out, error) =
        palisade(&["replica", "adopt", "--cluster", id, "--data", text(&data)]);
    assert_eq!(code, Some(0), "{out}{error}");
}

/// Brings agents that run over, one by one, and waits until they are admitted.
pub(crate) async fn bring_over(cluster: &mut Cluster, names: &[&str], id: &str) {
    for name in names {
        cluster.kill(name);
        adopt(cluster, name, id);
        cluster.start_agent(name);
    }
    let are_there = |nodes: &[pb::Node]| {
        let admitted = |name: &str| {
            nodes.iter().any(|n| n.name == name && n.state() == pb::NodeState::Admitted)
        };
        names.iter().all(|name| admitted(name))
    };
    cluster.nodes("the nodes that came over", are_there).await;
}

pub(crate) async fn put(cluster: &Cluster, keys: std::ops::Range<u32>) {
    let router = cluster.router();
    for key in keys {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

pub(crate) async fn all_there(cluster: &Cluster, keys: std::ops::Range<u32>) {
    let router = cluster.router();
    for key in keys {
        let read = router.get("orders", &key.to_be_bytes()).await.expect("a read");
        assert_eq!(read.expect("it is there").value, b"value", "{key}");
    }
}

/// The copies that are set aside, once all are asked and so many are.
async fn orphans(cluster: &Cluster, count: usize) -> Vec<pb::OrphanCopy> {
    let listed = async {
        loop {
            let listed = cluster.admin().list_orphans("").await.expect("a list");
            let aside = listed.orphans.into_iter().filter(|orphan| orphan.aside);
            let aside: Vec<pb::OrphanCopy> = aside.collect();
            if listed.unknown.is_empty() && aside.len() == count {
                return aside;
            }
            look_again().await;
        }
    };
    soon(&format!("{count} orphans"), listed).await
}

/// Waits until the tablet's replica on a node is marked as lost.
pub(crate) async fn lost(cluster: &Cluster, node: &str) {
    let marked = async {
        loop {
            let tablets = cluster.admin().list_tablets("orders").await.expect("the tablets");
            let mut replicas = tablets.iter().flat_map(|tablet| &tablet.replicas);
            if replicas.any(|replica| replica.node == node && replica.lost) {
                return;
            }
            look_again().await;
        }
    };
    soon(&format!("the lost replica of {node}"), marked).await;
}

/// Brings an agent over while no coordinator runs, and asks it in the name of the new cluster for
/// what it knows by the old one. What was written by that would be on copies that the new cluster
/// may not give.
async fn serves_nothing_of_before(
    cluster: &mut Cluster,
    name: &str,
    id: &str,
    tablet: &pb::Tablet,
) {
    cluster.kill("c1");
    cluster.kill(name);
    adopt(cluster, name, id);
    cluster.start_agent(name);
    let cluster_id = uuid::Uuid::parse_str(id).expect("a UUID");
    let mut direct = DataServiceClient::new(cluster.channel(name, "data"));
    let header = data::RequestHeader {
        cluster_id: bytes::Bytes::copy_from_slice(cluster_id.as_bytes()),
        tablet: tablet.id,
        version: tablet.version,
        clock: 0,
        node: 2,
    };
    let position = b"12345678key".to_vec().into();
    let get = data::GetRequest { header: Some(header), position };
    let refused = soon("an answer", direct.get(get)).await.expect_err("nothing is served");
    let reason = Refusal::from_status(&refused).map(|refusal| refusal.reason);
    assert_eq!(reason, Some(Reason::NodeNotReady), "{refused}");
    cluster.restart("c1");
}

/// The snapshot is from before a move: the node that the tablet went to has a copy that nobody
/// gives it, and the node that it left has none of the one that it is given. Nothing is dropped,
/// nothing is served that isn't there, no acknowledged write is missing, and it can be mended.
#[tokio::test(flavor = "multi_thread")]
async fn h2_a_move_after_the_snapshot_is_forgotten_and_nothing_is_lost() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    put(&cluster, 0..50).await;
    let file = save(&cluster, "saved");
    cluster.moved(&tablet, "n1", "n4").await;
    put(&cluster, 50..100).await;
    let moved = cluster.digest(&tablet).await;
    let restored = restore(&mut cluster, &file, None);
    assert!(restored["era"].as_u64().expect("a number") > 1_700_000_000);
    let id = cluster_of(&restored);
    // Who has not been brought over is not let in, and says why.
    cluster.said("n1", "the directory belongs to cluster").await;
    serves_nothing_of_before(&mut cluster, "n2", &id, &moved).await;
    bring_over(&mut cluster, &["n1", "n3", "n4"], &id).await;
    cluster.admitted(4).await;
    // It says of which tablet the state is older than what it has heard of.
    cluster.said("n3", "an older state of the tablet was restored").await;
    let aside = orphans(&cluster, 1).await;
    assert_eq!((aside[0].node.as_str(), aside[0].tablet), ("n4", tablet.id));
    lost(&cluster, "n1").await;
    all_there(&cluster, 0..100).await;
    // A new copy beside the one that is set aside, under a number of its own.
    cluster.moved(&tablet, "n1", "n4").await;
    put(&cluster, 100..120).await;
    cluster.replicas_agree(&tablet).await;
    all_there(&cluster, 0..120).await;
    // It stays where it is over restarts, until somebody decides.
    cluster.kill_and_restart("n4");
    cluster.admitted(4).await;
    let aside = orphans(&cluster, 1).await;
    assert_eq!(aside[0].copy.map_or(1, |copy| copy.era), 0, "an old number");
    let name = format!("n4/{}/{}", tablet.id, aside[0].copy.expect("a number").counter);
    let coordinators = cluster.admin_addresses().join(",");
    let drop = |name: &str| {
        palisade(&["node", "orphans", "--drop", name, "--coordinators", &coordinators])
    };
    let given = cluster.digest(&tablet).await.replicas;
    let given = given.iter().find(|replica| replica.node == "n4").expect("it went there");
    let given = given.copy.expect("a number");
    let own = format!("n4/{}/{}.{}", tablet.id, given.era, given.counter);
    let (code, _, error) = drop(&own);
    assert_eq!(code, Some(4), "only what is set aside: {error}");
    let id = client::new_request_id().to_string();
    let by = |id: &str| {
        let again = ["--request-id", id, "--coordinators", &coordinators];
        palisade(&[&["node", "orphans", "--drop", &name], &again[..]].concat())
    };
    for _ in 0..2 {
        let (code, _, error) = by(&id);
        assert_eq!(code, Some(0), "done, now or before: {error}");
    }
    let (code, _, error) = drop(&name);
    assert_eq!(code, Some(4), "it is gone already: {error}");
    orphans(&cluster, 0).await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "nothing but what is given is left");
}

/// One file, two clusters: a node that was with the first is not let into the second unless its era
/// is a later one. No number is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn h2_the_same_file_restored_twice() {
    let mut cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    put(&cluster, 0..30).await;
    let file = save(&cluster, "saved");
    let era = "2000000000";
    let first = cluster_of(&restore(&mut cluster, &file, Some(era)));
    bring_over(&mut cluster, &["n1", "n2", "n3"], &first).await;
    put(&cluster, 30..60).await;
    cluster.replicas_agree(&tablet).await;
    let second = cluster_of(&restore(&mut cluster, &file, Some(era)));
    assert_ne!(first, second);
    cluster.kill("n1");
    adopt(&cluster, "n1", &second);
    cluster.start_agent("n1");
    cluster.said("n1", "restore the snapshot with --era 2000000001").await;
    let third = cluster_of(&restore(&mut cluster, &file, Some("2000000001")));
    bring_over(&mut cluster, &["n1", "n2", "n3"], &third).await;
    orphans(&cluster, 0).await;
    all_there(&cluster, 0..60).await;
    cluster.replicas_agree(&tablet).await;
    let (code, _, error) = palisade(&[
        "snapshot",
        "restore",
        text(&cluster.path().join("c1-before-1/snapshots/snapshot-00000000000000000001-0")),
        "--data",
        text(&cluster.path().join("c9")),
        "--era",
        era,
    ]);
    assert_eq!(code, Some(3), "a coordinator's own file, and no era that was: {error}");
}

/// The snapshot is from the middle of a stream, one chunk of which is held on its receiver while
/// the cluster is restored. It is let go after its keys have been deleted: they stay deleted, and
/// what it was written to is set aside.
#[tokio::test(flavor = "multi_thread")]
async fn h2_a_chunk_is_held_over_a_restore() {
    // Nobody is to be fenced while others use the processor.
    let shape = Shape { profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    put(&cluster, 0..40).await;
    let mut target = cluster.faults("n4");
    let hold = faults::HoldNextChunkRequest { tablet: tablet.id };
    target.hold_next_chunk(hold).await.expect("wanted");
    // The attempts that follow don't get past the point of no return meanwhile.
    cluster.hold(&acknowledge("n2", tablet.id, Stage::WriteBothReadNew)).await;
    cluster.hold(&acknowledge("n3", tablet.id, Stage::WriteBothReadNew)).await;
    let migration = cluster.migrate(&tablet, "n1", "n4").await;
    let await_held = faults::AwaitHeldRequest { tablet: tablet.id };
    soon("a held chunk", target.await_held(await_held)).await.expect("held");
    cluster.reached(&migration, Stage::WriteBothReadOld).await;
    let file = save(&cluster, "saved");
    let restored = restore(&mut cluster, &file, None);
    assert_eq!(restored["turnedBack"], 1, "{restored}");
    let id = cluster_of(&restored);
    bring_over(&mut cluster, &["n1", "n2", "n3"], &id).await;
    // The new leader found nobody admitted, and turned it back.
    let ended = cluster.ended(&migration).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    let router = cluster.router();
    for key in 0..40u32 {
        router.delete("orders", &key.to_be_bytes()).await.expect("a delete");
    }
    assert_eq!(cluster.repair(&tablet).await.state(), pb::MigrationState::Done);
    let release = faults::ReleaseRequest { tablet: tablet.id };
    let released = target.release(release).await.expect("it was held").into_inner();
    assert_eq!(released.written, 0, "{}", released.refused);
    assert_ne!(released.refused, "");
    bring_over(&mut cluster, &["n4"], &id).await;
    assert_eq!(orphans(&cluster, 1).await[0].node, "n4");
    for key in 0..40u32 {
        let read = router.get("orders", &key.to_be_bytes()).await.expect("a read");
        assert_eq!(read, None, "{key} is back");
    }
    cluster.replicas_agree(&tablet).await;
}
