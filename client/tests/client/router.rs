//! The router against agents that refuse, lag behind, are dead: one operation is one version, a
//! majority of each set, and one timestamp that was drawn after the version was read.

use crate::fakes::{
    Agent, Call, Coordinator, Kind, Reply, TABLE, dead_address, moving, record, refusal, tablet,
    version,
};
use migrations::clock::HybridTime;
use migrations::id::RouterId;
use migrations::record::TabletRecord;
use migrations::stage::Stage;
use migrations::version::TopologyVersion;
use palisade_client::{AdminClient, DataError, Router, RouterOptions};
use proto::data::v1 as pb;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

async fn router(tablets: &[TabletRecord], nodes: &[SocketAddr]) -> Router {
    router_within(tablets, nodes, Duration::from_secs(20)).await
}

async fn router_within(
    tablets: &[TabletRecord],
    nodes: &[SocketAddr],
    deadline: Duration,
) -> Router {
    let coordinator = Coordinator::start(tablets, nodes).await;
    let admin = AdminClient::connect(vec![coordinator.address.to_string()]);
    Router::connect(
        admin,
        RouterOptions { deadline, attempt: Duration::from_secs(10), ..Default::default() },
    )
}

/// An agent at one version of the tablet: it refuses every other one, as agents do.
async fn agent_at(own: TabletRecord) -> Agent {
    Agent::start(move |call| match call.version.cmp(&own.version) {
        std::cmp::Ordering::Less => Reply::Refuse(refusal(Reason::StaleVersion, &own)),
        std::cmp::Ordering::Equal => Reply::Done,
        std::cmp::Ordering::Greater => Reply::Refuse(refusal(Reason::VersionAhead, &own)),
    })
    .await
}

async fn agents_at(own: &TabletRecord) -> Vec<Agent> {
    let mut agents = Vec::new();
    for _ in 0..3 {
        agents.push(agent_at(own.clone()).await);
    }
    agents
}

fn addresses(agents: &[Agent]) -> Vec<SocketAddr> {
    agents.iter().map(|agent| agent.address).collect()
}

fn row(position: &str, time: u64, value: Option<&str>) -> pb::Row {
    let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
    let version = proto::types::v1::RowVersion {
        time,
        router: proto::convert::bytes(router.as_uuid()),
        value: value.map(|value| value.as_bytes().to_vec().into()),
    };
    pb::Row { position: position.as_bytes().to_vec().into(), version: Some(version) }
}

fn times(calls: &[Call], at: u64) -> BTreeSet<HybridTime> {
    calls.iter().filter(|call| call.version == version(at)).map(|call| call.time).collect()
}

#[tokio::test]
async fn g4_a_stale_version_is_refreshed_from_the_refusal_with_a_new_timestamp() {
    let agents = agents_at(&record(6)).await;
    // The watch never tells of version 6.
    let router = router(&[record(5)], &addresses(&agents)).await;
    router.put(TABLE, b"k", b"v").await.expect("stored at version 6");
    let calls: Vec<Call> = agents.iter().flat_map(Agent::calls).collect();
    let (before, after) = (times(&calls, 5), times(&calls, 6));
    assert_eq!((before.len(), after.len()), (1, 1), "one attempt, one timestamp: {calls:?}");
    assert!(after.first() > before.first(), "drawn after version 6 was read");
    let retries = router.retries();
    assert_eq!((retries.newer_version, retries.total()), (1, 1), "{retries:?}");
}

#[tokio::test]
async fn g9_answers_under_different_versions_are_never_added_up() {
    // 1 agrees only at version 5, 2 only at 6; 3 is dead. Each version has one of three.
    let agents = [agent_at(record(5)).await, agent_at(record(6)).await];
    let nodes = [agents[0].address, agents[1].address, dead_address().await];
    let router = router_within(&[record(5)], &nodes, Duration::from_secs(1)).await;
    let failed = router.put(TABLE, b"k", b"v").await.expect_err("no version has a majority");
    assert!(matches!(&failed, DataError::Unavailable { outcome_unknown: true, .. }), "{failed}");
    assert!(!times(&agents[0].calls(), 5).is_empty(), "1 has agreed under version 5");
    assert!(!times(&agents[1].calls(), 6).is_empty(), "2 has agreed under version 6");
}

#[tokio::test]
async fn agents_that_cannot_catch_up_are_asked_at_their_own_version() {
    let agents = agents_at(&record(5)).await;
    let router = router(&[record(6)], &addresses(&agents)).await;
    router.put(TABLE, b"k", b"v").await.expect("a majority is at version 5");
    let calls: Vec<Call> = agents.iter().flat_map(Agent::calls).collect();
    assert!(times(&calls, 5).first() > times(&calls, 6).first());
}

/// What they go by is of the cluster before a restore: nobody writes by that any more, and of what
/// is written there the restored cluster knows nothing.
#[tokio::test]
async fn an_older_record_of_an_earlier_era_is_never_gone_by() {
    let agents = agents_at(&record(5)).await;
    let mut restored = record(6);
    restored.version = TopologyVersion::from_parts(1, 1);
    let router = router_within(&[restored], &addresses(&agents), Duration::from_secs(1)).await;
    let failed = router.put(TABLE, b"k", b"v").await.expect_err("nobody is at that version");
    assert!(matches!(&failed, DataError::Unavailable { .. }), "{failed}");
    let calls: Vec<Call> = agents.iter().flat_map(Agent::calls).collect();
    assert!(calls.iter().all(|call| call.version.era() == 1), "{calls:?}");
}

#[tokio::test]
async fn a_timestamp_that_is_behind_goes_above_the_highest_named() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let ahead = u64::try_from(now).expect("it fits") + 300;
    let highest = HybridTime::from_millis(ahead);
    let mut agents = Vec::new();
    for _ in 0..3 {
        agents.push(
            Agent::start(move |call| match call.time > highest {
                true => Reply::Done,
                false => {
                    let behind = Refusal::new(Reason::TimestampBehind, "behind");
                    Reply::Refuse(behind.with("highest", highest.0.to_string()).into())
                }
            })
            .await,
        );
    }
    let router = router(&[record(5)], &addresses(&agents)).await;
    let timestamp = router.delete(TABLE, b"k").await.expect("above it");
    assert!(timestamp.time > highest);
    assert_eq!(timestamp.router, router.id());
    assert_eq!((router.retries().timestamp_behind, router.retries().total()), (1, 1));
    assert!(agents.iter().all(|agent| agent.calls().len() <= 2), "the second attempt is enough");
}

#[tokio::test]
async fn one_dead_replica_of_three_does_not_matter() {
    let agents = [agent_at(record(5)).await, agent_at(record(5)).await];
    let nodes = [agents[0].address, dead_address().await, agents[1].address];
    let router = router(&[record(5)], &nodes).await;
    router.put(TABLE, b"k", b"v").await.expect("two of three");
    router.delete(TABLE, b"k").await.expect("two of three");
    assert_eq!(router.get(TABLE, b"k").await, Ok(None));
    assert_eq!(router.scan(TABLE, b"", 10).await.expect("two of three").rows, []);
    assert!(agents.iter().all(|agent| agent.calls().len() == 4), "one attempt each");
}

#[tokio::test]
async fn one_replica_that_never_answers_does_not_matter() {
    let silent = Agent::start(|_| Reply::Hang).await;
    let agents = [agent_at(record(5)).await, agent_at(record(5)).await];
    let nodes = [agents[0].address, silent.address, agents[1].address];
    let router = router(&[record(5)], &nodes).await;
    router.put(TABLE, b"k", b"v").await.expect("two of three");
}

#[tokio::test]
async fn while_a_tablet_moves_a_write_needs_a_majority_of_both_sets() {
    let moving = moving(5, Stage::Streaming);
    let ready = |own: &TabletRecord| agent_at(own.clone());
    let not_ready =
        || Agent::start(|_| Reply::Refuse(Refusal::new(Reason::NodeNotReady, "not yet").into()));
    // 1 and 2 are a majority of {1, 2, 3}; of {2, 3, 4} only 2 agrees.
    let agents = [ready(&moving).await, ready(&moving).await, not_ready().await, not_ready().await];
    let within = Duration::from_millis(300);
    let few = router_within(std::slice::from_ref(&moving), &addresses(&agents), within).await;
    few.put(TABLE, b"k", b"v").await.expect_err("no majority of the new set");
    // With 4 there is one.
    let agents =
        [ready(&moving).await, ready(&moving).await, not_ready().await, ready(&moving).await];
    let enough = router(&[moving], &addresses(&agents)).await;
    enough.put(TABLE, b"k", b"v").await.expect("a majority of each");
    enough.get(TABLE, b"k").await.expect("1 and 2");
    let asked = agents[3].calls();
    assert!(asked.iter().all(|call| call.kind == Kind::Put), "reads go to the old set: {asked:?}");
}

#[tokio::test]
async fn a_read_gives_the_newest_version_and_hides_tombstones() {
    let holding = |time, value: Option<&'static str>| {
        Agent::start(move |_| Reply::Row(row("k", time, value)))
    };
    let nodes = [holding(1, Some("old")).await, holding(2, Some("new")).await];
    let nodes = [nodes[0].address, nodes[1].address, dead_address().await];
    let found = router(&[record(5)], &nodes).await.get(TABLE, b"k").await.expect("two of three");
    assert_eq!(found.expect("it has a value").value, b"new");
    let nodes = [holding(3, None).await, holding(2, Some("deleted")).await];
    let nodes = [nodes[0].address, nodes[1].address, dead_address().await];
    assert_eq!(router(&[record(5)], &nodes).await.get(TABLE, b"k").await, Ok(None));
}

/// An agent that holds these rows and gives at most two of them a page.
async fn shelf(rows: Vec<pb::Row>) -> Agent {
    Agent::start(move |call| {
        let mine = |row: &&pb::Row| {
            let is_second = row.position.as_ref() >= b"m".as_slice();
            row.position.as_ref() >= call.start.as_slice() && is_second == (call.tablet == 2)
        };
        let found: Vec<pb::Row> = rows.iter().filter(mine).cloned().collect();
        let limit = call.limit.min(2);
        let more = found.len() > limit;
        Reply::Rows(found.into_iter().take(limit).collect(), more)
    })
    .await
}

#[tokio::test]
async fn a_scan_crosses_pages_and_tablets_and_shows_no_deleted_row() {
    let value = Some("v");
    // The first agent knows of two deletes; the second has missed them, and has "d" alone.
    let first = [("a", 1, value), ("b", 9, None), ("c", 9, None), ("n", 1, value), ("z", 1, value)];
    let second = [
        ("a", 1, value),
        ("b", 2, value),
        ("c", 2, value),
        ("d", 2, value),
        ("n", 1, value),
        ("z", 1, value),
    ];
    let rows = |rows: &[(&str, u64, Option<&str>)]| {
        rows.iter().map(|(key, time, value)| row(key, *time, *value)).collect()
    };
    let agents = [shelf(rows(&first)).await, shelf(rows(&second)).await];
    let nodes = [agents[0].address, agents[1].address, dead_address().await];
    let tablets =
        [tablet(1, 5, &[1, 2, 3], ("", Some("m"))), tablet(2, 6, &[1, 2, 3], ("m", None))];
    let router = router(&tablets, &nodes).await;
    let all = router.scan(TABLE, b"", 100).await.expect("two of three");
    let keys = |page: &palisade_client::ScanPage| -> Vec<String> {
        let key =
            |row: &palisade_client::ScanRow| String::from_utf8(row.key.clone()).expect("text");
        page.rows.iter().map(key).collect()
    };
    assert_eq!((keys(&all), &all.next), (["a", "d", "n", "z"].map(str::to_owned).into(), &None));
    // The same in steps of one row.
    let (mut stepped, mut at) = (Vec::new(), Some(Vec::new()));
    while let Some(start) = at {
        let page = router.scan(TABLE, &start, 1).await.expect("two of three");
        assert!(page.rows.len() <= 1);
        stepped.extend(keys(&page));
        at = page.next;
    }
    assert_eq!(stepped, keys(&all));
}

#[tokio::test]
async fn a_table_that_is_not_in_the_picture_is_asked_for_by_name() {
    let agents = agents_at(&record(5)).await;
    let nodes = addresses(&agents);
    let coordinator = Coordinator::start(&[], &nodes).await;
    let admin = AdminClient::connect(vec![coordinator.address.to_string()]);
    let router = Router::connect(admin, RouterOptions::default());
    let none = router.put(TABLE, b"k", b"v").await;
    assert_eq!(none, Err(DataError::NoSuchTable(TABLE.to_owned())));
    // It was made meanwhile; the watch tells of it only after the leader was asked.
    coordinator.publish_on_ask(&[record(5)], &nodes);
    router.put(TABLE, b"k", b"v").await.expect("the table is there");
}

#[tokio::test]
async fn without_a_coordinator_a_read_is_unavailable_and_nothing_is_unknown() {
    let admin = AdminClient::connect(vec![dead_address().await.to_string()]);
    let deadline = Duration::from_millis(200);
    let router = Router::connect(admin, RouterOptions { deadline, ..Default::default() });
    let failed = router.put(TABLE, b"k", b"v").await.expect_err("no topology");
    assert!(!failed.is_outcome_unknown(), "nothing was sent: {failed}");
}
