//! H3: a store that is not what it was when its node stopped.

use crate::harness::Cluster;
use crate::restore::{all_there, lost, put};
use std::fs;
use std::path::Path;

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for item in fs::read_dir(from).expect("it is there") {
        let path = item.expect("listed").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// A node's row store has forgotten what it had acknowledged, and is whole otherwise: its copies
/// are lost before anything is served from them, the others answer, and a rebuild from them mends
/// it. What is left of the lost copies goes.
#[tokio::test(flavor = "multi_thread")]
async fn h3_a_store_that_has_forgotten_is_found_out_and_rebuilt_from_its_peers() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    put(&cluster, 0..50).await;
    let (rows, aside) = (cluster.path().join("n1/rows"), cluster.path().join("n1-rows-before"));
    cluster.kill("n1");
    copy_all(&rows, &aside);
    cluster.restart("n1");
    // Two are a majority, so that n1 has to acknowledge what comes now.
    cluster.kill("n3");
    put(&cluster, 50..100).await;
    cluster.restart("n3");
    cluster.kill("n1");
    fs::remove_dir_all(&rows).expect("removed");
    copy_all(&aside, &rows);
    cluster.restart("n1");
    lost(&cluster, "n1").await;
    cluster.said("n1", "changes are missing that were durable").await;
    all_there(&cluster, 0..100).await;
    cluster.moved(&tablet, "n1", "n4").await;
    all_there(&cluster, 0..100).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "nothing but what is given is left");
}
