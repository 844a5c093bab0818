//! A tablet moves, is cancelled, repaired, and its table dropped; with writers all the time.

use crate::harness::{Cluster, soon};
use crate::workload::Workload;
use client::WaitFor;
use proto::admin::v1 as pb;
use proto::types::v1::Stage;

/// The nodes of a tablet's replicas.
fn nodes(tablet: &pb::Tablet) -> Vec<&str> {
    tablet.replicas.iter().map(|replica| replica.node.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_moves_under_writes_and_back_again() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    assert_eq!(nodes(&tablet), ["n1", "n2", "n3"]);
    let router = cluster.router();
    let writing = Workload::start(&router, "orders", 4, 50);
    soon("writes", writing.proceed(100)).await;
    // There, and back to where a copy was before: each time another copy.
    for (from, to) in [("n1", "n4"), ("n4", "n1"), ("n2", "n4")] {
        let id = cluster.migrate(&tablet, from, to).await;
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        let stages: Vec<Stage> = ended.stages.iter().map(pb::StageHistory::stage).collect();
        let forward = [
            Stage::AllowWriteBothReadOld,
            Stage::WriteBothReadOld,
            Stage::Streaming,
            Stage::WriteBothReadNew,
            Stage::UseNew,
            Stage::Cleanup,
            Stage::EndMigration,
        ];
        assert_eq!(stages, forward);
        soon("writes", writing.proceed(50)).await;
    }
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    let tablet = cluster.replicas_agree(&tablet).await;
    assert_eq!(nodes(&tablet), ["n1", "n3", "n4"]);
    history.check(&router, "orders").await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "a copy lies where it doesn't belong, or is missing");
}

/// B7: before the point of no return a cancel ends the migration and leaves the target clean.
#[tokio::test(flavor = "multi_thread")]
async fn b7_a_cancelled_migration_leaves_the_target_clean() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..200u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    // The first chunk is held on the target, so that the move stands in `streaming`.
    let held = proto::faults::v1::HoldNextChunkRequest { tablet: tablet.id };
    cluster.faults("n4").hold_next_chunk(held).await.expect("held");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let admin = cluster.admin();
    let streaming = admin.wait_migration(&id, WaitFor::Stage(Stage::Streaming), |_| {});
    soon("streaming", streaming).await.expect("it is known");
    let cancel = pb::CancelMigrationRequest { id: id.clone(), ..Default::default() };
    admin.cancel_migration(cancel).await.expect("it is not too late");
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{ended:#?}");
    let again = pb::CancelMigrationRequest { id, ..Default::default() };
    let refused = admin.cancel_migration(again).await.expect_err("it is over");
    assert_eq!(refused.reason(), Some(proto::reasons::Reason::NotFound));
    assert_eq!(nodes(&cluster.replicas_agree(&tablet).await), ["n1", "n2", "n3"]);
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// B6: what can't be is refused before anything is done, typed.
#[tokio::test(flavor = "multi_thread")]
async fn b6_moves_that_cannot_be_are_refused() {
    use proto::reasons::Reason;
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let admin = cluster.admin();
    let migrate = |tablet: u64, from: &str, to: &str| {
        let request = pb::MigrateRequest {
            tablet,
            from: from.to_owned(),
            to: to.to_owned(),
            ..Default::default()
        };
        admin.migrate(request)
    };
    for (tablet, from, to, reason) in [
        (tablet.id, "n1", "n2", Reason::PlacementViolation),
        (tablet.id, "n1", "n1", Reason::PlacementViolation),
        (tablet.id, "n4", "n4", Reason::PlacementViolation),
        (tablet.id, "n1", "nobody", Reason::NotFound),
        (tablet.id + 999, "n1", "n4", Reason::NotFound),
        (0, "n1", "n4", Reason::NotFound),
    ] {
        let refused = migrate(tablet, from, to).await.expect_err("it can't be");
        assert_eq!(refused.reason(), Some(reason), "{from} to {to}: {refused}");
    }
    let migrations = admin.list_migrations(false).await.expect("the list");
    assert_eq!(migrations, [], "nothing was begun");
    // A trial says what the change would say, and does nothing.
    let trial = pb::MigrateRequest {
        validate_only: true,
        tablet: tablet.id,
        from: "n1".to_owned(),
        to: "n4".to_owned(),
        ..Default::default()
    };
    admin.migrate(trial).await.expect("it could be");
    assert_eq!(admin.list_migrations(false).await.expect("the list"), []);
}

/// A repaired tablet's tombstones go; a dropped table's copies too.
#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_purged_and_a_dropped_table_leaves_nothing() {
    let mut cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for key in 0..50u32 {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
    for key in 0..20u32 {
        router.delete("orders", &key.to_be_bytes()).await.expect("a delete");
    }
    let before = cluster.digest(&tablet).await;
    assert!(before.digests.iter().any(|digest| digest.tombstones == 20), "{before:#?}");
    assert_eq!(cluster.repair(&tablet).await.state(), pb::MigrationState::Done);
    let id = migrations::id::TabletId::from_u64(tablet.id).expect("an id");
    let purged = cluster.admin().purge_tablet(id).await.expect("purged");
    assert_eq!(
        purged.iter().map(|p| (p.removed, p.error.as_str())).collect::<Vec<_>>(),
        [(20, ""), (20, ""), (20, "")]
    );
    let after = cluster.replicas_agree(&tablet).await;
    assert_eq!((after.digests[0].rows, after.digests[0].tombstones), (30, 0));
    let page = router.scan("orders", b"", 100).await.expect("a scan");
    assert_eq!((page.rows.len(), page.next), (30, None));
    let drop = pb::DropTableRequest { name: "orders".to_owned(), ..Default::default() };
    let dropped = cluster.admin().drop_table(drop).await.expect("dropped").migration;
    assert_eq!(cluster.ended(&dropped).await.state(), pb::MigrationState::Done);
    let gone = router.get("orders", b"x").await.expect_err("it is gone");
    assert_eq!(gone, client::DataError::NoSuchTable("orders".to_owned()));
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!((found, given), (vec![], vec![]));
}
