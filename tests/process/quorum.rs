//! A majority of the coordinators is gone for good: a new cluster begins with what is left, offline
//! and with the command that people have.

use crate::harness::{Cluster, Shape};
use crate::restore::{AGENTS, all_there, bring_over, cluster_of, done, palisade, put, text};
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_client::TableServiceClient;
use std::path::PathBuf;

/// Two of three directories are gone, with the leader's: no acknowledged row is missing, what the
/// survivor's log had is known, and the new cluster moves tablets. Nobody does it by mistake.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_from_the_one_coordinator_that_is_left() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, profile, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    put(&cluster, 0..50).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let left = names.iter().find(|name| **name != leader).expect("two others").clone();
    // It answers once it has all of it.
    let mut tables = TableServiceClient::new(cluster.admin_channel(&left));
    let read = tables.list_tables(pb::ListTablesRequest::default()).await.expect("its answer");
    let version = read.into_inner().version.expect("a version");
    let aside = |name: &str| cluster.path().join(format!("{name}-before"));
    let asides: Vec<PathBuf> = names.iter().map(|name| aside(name)).collect();
    let kept = aside(&left);
    for name in &names {
        cluster.kill(name);
        let path = cluster.path().join(name);
        std::fs::rename(path, cluster.path().join(format!("{name}-before"))).expect("moved");
    }
    let data = cluster.path().join("c1");
    let recover = |from: &[&PathBuf], confirm: &str| {
        let mut args = vec!["unsafe", "recover-quorum", "--data", text(&data), "-o", "json"];
        args.extend(from.iter().flat_map(|from| ["--from", text(from)]));
        args.extend(["--confirm", confirm]);
        args.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let refused = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, _, error) = palisade(&args);
        assert_eq!(code, Some(3), "{error}");
        error
    };
    let two = refused(&recover(&[&asides[0], &asides[1]], "c1"));
    assert!(two.contains("which is a majority: start them"), "{two}");
    let wrong = refused(&recover(&[&kept], "c9"));
    assert!(wrong.contains(&format!("is not {left}")), "{wrong}");
    assert!(!data.exists(), "a refusal makes nothing");
    let args = recover(&[&kept], &left);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let recovered = done(&args);
    for gone in asides.iter().filter(|path| **path != kept) {
        std::fs::remove_dir_all(gone).expect("it is gone for good");
    }
    let known = recovered["from"]["version"].as_str().and_then(|known| known.parse::<u64>().ok());
    assert!(known >= Some(version.counter), "all that the survivor had: {recovered:#}");
    cluster.restart("c1");
    bring_over(&mut cluster, &AGENTS, &cluster_of(&recovered)).await;
    all_there(&cluster, 0..50).await;
    cluster.moved(&tablet, "n1", "n4").await;
    put(&cluster, 50..80).await;
    all_there(&cluster, 0..80).await;
    cluster.replicas_agree(&tablet).await;
    let status = cluster.admin().status().await.expect("a status");
    assert_eq!(status.coordinators.len(), 1, "{:?}", status.coordinators);
}
