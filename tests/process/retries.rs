//! H14: retries that come while their own move runs, from another leader, or after their id was
//! evicted; and coordinators whose clocks are thirty hours off.
//!
//! Not here: a client's clock (`outcomes.rs`).

use crate::harness::{Cluster, Shape, look_again, soon};
use crate::leaders::{one_move, others};
use crate::signals;
use client::{AdminClient, AdminOptions, new_request_id};
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::faults::v1::clock_service_client::ClockServiceClient;
use proto::reasons::Reason;
use tls::{Kind, Role};

const THIRTY_HOURS_MS: i64 = 30 * 3_600_000;
/// As many requests as are remembered where there is room for few.
const REMEMBERED: u32 = 10;

async fn set_clock(cluster: &Cluster, name: &str, ahead_ms: i64) {
    let mut clock = ClockServiceClient::new(cluster.agents_channel(name));
    clock.set_clock(faults::SetClockRequest { ahead_ms }).await.expect("set");
}

/// Whose clocks are not the leader's, and by how much, once that is so.
async fn alarm(cluster: &Cluster, what: &str, is_so: impl Fn(&[(String, i64)]) -> bool) {
    let seen = async {
        loop {
            let status = cluster.admin().status().await.expect("answered");
            let apart = |one: pb::Coordinator| Some((one.name, one.clock_ahead_ms?));
            let apart: Vec<_> = status.coordinators.into_iter().filter_map(apart).collect();
            if is_so(&apart) {
                return;
            }
            look_again().await;
        }
    };
    soon(what, seen).await;
}

fn table(name: String) -> pb::CreateTableRequest {
    let request_id = new_request_id().to_string();
    let (replication_factor, tablets) = (1, 1);
    pb::CreateTableRequest { request_id, name, replication_factor, tablets, ..Default::default() }
}

/// Another change, of somebody whose clock is right; why it was refused, if it was.
async fn another(cluster: &Cluster, name: String) -> Option<Reason> {
    let refused = cluster.admin().create_table(table(name)).await.err()?;
    Some(refused.reason().unwrap_or_else(|| panic!("it has a reason: {refused}")))
}

/// So many others ask for something that nothing is known any more of who asked before them.
async fn evict(cluster: &Cluster) {
    cluster.limit_memory(REMEMBERED, false).await;
    for number in 0..REMEMBERED + 2 {
        assert_eq!(another(cluster, format!("later{number}")).await, None, "shut out");
    }
}

async fn id_of(cluster: &Cluster, asked: &pb::MigrateRequest) -> String {
    let told = cluster.admin().migrate(asked.clone()).await.expect("the same request");
    told.migration.expect("a migration").id
}

/// A move runs, and stands still. Its request gets the stored outcome from whoever leads, and nobody
/// else is shut out, while the clock of a follower, and of one leader after the other, is thirty
/// hours off: it is an alarm, and such a leader hands over. Once the id is evicted, nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn h14_a_retry_is_answered_under_clocks_that_are_off_until_its_id_is_evicted() {
    let shape = Shape { coordinators: 3, profile: "standard", ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.admin().pause(pb::PauseRequest::default()).await.expect("paused");
    let asked = one_move(&tablet);
    let id = id_of(&cluster, &asked).await;
    let by_another_id = cluster.admin().migrate(one_move(&tablet)).await.expect_err("it runs");
    assert_eq!(by_another_id.reason(), Some(Reason::TabletBusy), "{by_another_id}");

    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let follower = others(&names, &leader).remove(0);
    alarm(&cluster, "clocks that agree", <[_]>::is_empty).await;
    set_clock(&cluster, &follower, THIRTY_HOURS_MS).await;
    let is_follower = |apart: &[(String, i64)]| matches!(apart, [(name, ahead)] if *name == follower && *ahead > THIRTY_HOURS_MS - 10_000);
    alarm(&cluster, "the follower's clock to be an alarm", is_follower).await;
    cluster.said(&leader, "this member's clock is not this coordinator's").await;
    let samples = signals::samples(cluster.agent(&leader)).await;
    assert!(signals::value(&samples, "palisade_clocks_apart_seconds") > 3_600.0);
    assert_eq!(cluster.leader(&names).await, leader, "the leader's own clock is right");
    assert_eq!(id_of(&cluster, &asked).await, id);
    assert_eq!(another(&cluster, "beside".into()).await, None, "nobody is shut out");
    set_clock(&cluster, &follower, 0).await;

    for (round, off) in [-THIRTY_HOURS_MS, THIRTY_HOURS_MS].into_iter().enumerate() {
        alarm(&cluster, "clocks that agree", <[_]>::is_empty).await;
        let odd = cluster.leader(&names).await;
        set_clock(&cluster, &odd, off).await;
        cluster.said(&odd, "another one is to lead").await;
        cluster.leader(&others(&names, &odd)).await;
        assert_eq!(id_of(&cluster, &asked).await, id, "from another leader");
        assert_eq!(another(&cluster, format!("under{round}")).await, None, "nobody is shut out");
        let is_odd = |apart: &[(String, i64)]| matches!(apart, [(name, ahead)] if *name == odd && ahead.signum() == off.signum());
        alarm(&cluster, "its clock to be an alarm", is_odd).await;
        set_clock(&cluster, &odd, 0).await;
    }

    evict(&cluster).await;
    let evicted = cluster.admin().migrate(asked).await.expect_err("nobody knows of it any more");
    assert!(evicted.is_outcome_unknown(), "{evicted}");
    assert_eq!(evicted.reason(), Some(Reason::RequestIdExpired), "{evicted}");
    // How to look.
    let running = cluster.admin().list_migrations(true).await.expect("those that run");
    assert_eq!(running.iter().map(|one| &one.id).collect::<Vec<_>>(), [&id]);
    cluster.admin().resume(pb::ResumeRequest::default()).await.expect("resumed");
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!(cluster.admin().list_migrations(false).await.expect("all").len(), 1, "once");
}

/// Who asks more than a tenth of what is remembered loses his own ids, by the name that his certificate
/// has; nobody else's. And an id is its caller's own.
#[tokio::test(flavor = "multi_thread")]
async fn h14_who_asks_too_much_shuts_out_nobody_but_himself() {
    let shape = Shape { agents: 1, has_tls: true, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    cluster.limit_memory(20, false).await;
    let operator = |name: &str| {
        let tls = cluster.papers().of(Kind::User(Role::Operator), name);
        AdminClient::connect_as(cluster.admin_addresses(), AdminOptions::default(), Some(tls))
    };
    let (quiet, greedy) = (operator("quiet"), operator("greedy"));
    let asked = table("quiet".into());
    let made = quiet.create_table(asked.clone()).await.expect("made");
    let first = table("greedy".into());
    greedy.create_table(first.clone()).await.expect("made");
    for number in 0..4 {
        greedy.create_table(table(format!("greedy{number}"))).await.expect("made");
    }
    let refused = greedy.create_table(first).await.expect_err("nobody knows of it any more");
    assert!(refused.is_outcome_unknown(), "{refused}");
    assert_eq!(refused.reason(), Some(Reason::RequestIdExpired), "{refused}");
    let again = quiet.create_table(asked.clone()).await.expect("it is remembered");
    assert_eq!(again.table, made.table);
    let stolen = greedy.create_table(asked).await.expect_err("it is another's");
    assert_eq!(stolen.reason(), Some(Reason::RequestIdReused), "{stolen}");
}

/// The control of H14, three times: under a clock that is thirty hours behind, where nobody else
/// could lead, others are shut out; a retry whose id nobody remembers is refused because of its own
/// move; and so is one whose id was evicted, where nobody knows that it was.
#[tokio::test(flavor = "multi_thread")]
async fn h14_control_without_memory_horizon_or_another_leader_retries_and_others_are_refused() {
    let cluster = Cluster::start_as(Shape { profile: "standard", ..Shape::default() }).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.admin().pause(pb::PauseRequest::default()).await.expect("paused");
    let asked = one_move(&tablet);
    let id = id_of(&cluster, &asked).await;
    let of_its_own_move = async || {
        let refused = cluster.admin().migrate(asked.clone()).await.expect_err("it runs");
        assert_eq!(refused.reason(), Some(Reason::TabletBusy), "{refused}");
    };

    set_clock(&cluster, "c1", -THIRTY_HOURS_MS).await;
    assert_eq!(another(&cluster, "beside".into()).await, Some(Reason::RequestIdAhead));
    set_clock(&cluster, "c1", 0).await;

    cluster.forget_requests(true).await;
    of_its_own_move().await;
    cluster.forget_requests(false).await;
    assert_eq!(id_of(&cluster, &asked).await, id);

    evict(&cluster).await;
    cluster.limit_memory(REMEMBERED, true).await;
    of_its_own_move().await;
}
