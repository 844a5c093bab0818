//! H3: data directories that are not what they were when their process stopped: a copy in them is
//! gone, the whole of one is an older copy of itself, or two processes have the same one.

use crate::harness::{Cluster, Server, look_again, soon};
use client::Router;
use migrations::id::TabletId;
use proto::admin::v1 as pb;
use std::path::Path;

async fn fill(router: &Router, keys: u32) {
    for key in 0..keys {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

async fn check(router: &Router, keys: u32) {
    for key in 0..keys {
        let found = router.get("orders", &key.to_be_bytes()).await.expect("a majority answers");
        assert!(found.is_some(), "key {key} is lost");
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("known").is_dir() {
            true => copy_all(&from, &to),
            false => drop(std::fs::copy(&from, &to).expect("copied")),
        }
    }
}

/// A copy is gone from a store that is otherwise whole. The replica is marked as lost before it
/// answers anything, no read misses what the others have, and it is made anew elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn h3_a_copy_that_is_gone_after_a_restart_is_lost_and_made_anew() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    fill(&router, 50).await;
    let before = cluster.incarnation("n1").await;
    cluster.kill("n1");
    {
        let rows = sled::Config::new().path(cluster.path().join("n1/rows")).segment_size(2 << 20);
        let rows = rows.open().expect("nobody else has it");
        let names = rows.tree_names();
        let copy = names.iter().find(|name| name.starts_with(b"t/")).expect("its copy");
        assert!(rows.drop_tree(copy).expect("the disk works"));
    }
    cluster.restart("n1");
    cluster.admitted_after("n1", before).await;
    let id = TabletId::from_u64(tablet.id).expect("an id");
    let marked = async {
        loop {
            let now = cluster.admin().tablet(id, false).await.expect("the tablet");
            let lost = now.replicas.iter().filter(|one| one.lost).map(|one| one.node.as_str());
            if lost.collect::<Vec<&str>>() == ["n1"] {
                return;
            }
            // Before and after, nothing that was acknowledged is missed.
            check(&router, 1).await;
        }
    };
    soon("the loss to be marked", marked).await;
    check(&router, 50).await;
    fill(&router, 60).await;
    let (from, to) = ("n1".to_owned(), "n4".to_owned());
    let request = pb::RebuildReplicaRequest { tablet: tablet.id, from, to, ..Default::default() };
    let begun = cluster.admin().rebuild_replica(request).await.expect("its copy is lost");
    let ended = cluster.ended(&begun.migration.expect("a migration").id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    cluster.replicas_agree(&tablet).await;
    check(&router, 60).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// A directory is put back from a copy of it, after the node has been admitted anew and promised
/// more: the process is told so and stays out. With the true directory the node comes back.
#[tokio::test(flavor = "multi_thread")]
async fn h3_a_directory_that_is_put_back_from_a_copy_stays_out() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    fill(&router, 20).await;
    let [now, old, newest] = ["n2", "n2-old", "n2-newest"].map(|name| cluster.path().join(name));
    cluster.kill("n2");
    copy_all(&now, &old);
    cluster.restart("n2");
    cluster.admitted(4).await;
    cluster.moved(&tablet, "n1", "n4").await;
    fill(&router, 40).await;
    cluster.kill("n2");
    std::fs::rename(&now, &newest).expect("the same file system");
    std::fs::rename(&old, &now).expect("the same file system");
    cluster.restart("n2");
    cluster.said("n2", "the directory is not the newest one of this node").await;
    cluster.fenced("n2").await;
    check(&router, 40).await;
    cluster.kill("n2");
    std::fs::remove_dir_all(&now).expect("writable");
    std::fs::rename(&newest, &now).expect("the same file system");
    cluster.restart("n2");
    cluster.admitted(4).await;
    cluster.replicas_agree(&tablet).await;
    check(&router, 40).await;
}

/// A second process on a copy of a directory whose process lives: it is not let in beside it, and
/// costs it nothing.
#[tokio::test(flavor = "multi_thread")]
async fn h3_a_second_process_on_a_copied_directory_is_not_let_in() {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    fill(&router, 20).await;
    let [own, copied] = ["n2", "n2-copied"].map(|name| cluster.path().join(name));
    // Copied while it lives: its identity is whole at any moment, and what must be in the rows, if
    // that is copied first.
    std::fs::create_dir(&copied).expect("a new directory");
    for name in ["identity", "format", "manifest"] {
        std::fs::copy(own.join(name), copied.join(name)).expect("copied");
    }
    copy_all(&own.join("rows"), &copied.join("rows"));
    let before = cluster.incarnation("n2").await;
    let log = cluster.path().join("n2-copied.log");
    let args = [
        "replica",
        "--name=n2",
        "--data",
        copied.to_str().expect("text"),
        "--coordinators",
        &cluster.agents_address,
        "--data-listen=127.0.0.1:0",
        "--stream-listen=127.0.0.1:0",
    ];
    let second = Server::start(&log, &args).expect("it starts");
    let refused = async {
        let said = || std::fs::read_to_string(&log).expect("a log");
        while said().matches("the attachment ended").count() < 3 {
            look_again().await;
        }
        said()
    };
    let said = soon("its refusals", refused).await;
    assert!(!said.contains("\"message\":\"attached\""), "{said}");
    assert_eq!(cluster.incarnation("n2").await, before, "the first one goes on");
    drop(second);
    fill(&router, 40).await;
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.replicas_agree(&tablet).await;
}
