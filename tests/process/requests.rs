//! Changes whose answers are lost, whose leader is lost, or for which there is no quorum: each
//! takes effect once at most, and says what became of it.

use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{Cluster, Seed, Shape, look_again, soon};
use crate::signals;
use crate::workload::Workload;
use client::{AdminClient, AdminOptions, ClientError, new_request_id};
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::table_service_client::TableServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

/// An answer that takes longer is taken for lost.
const ANSWERED: Duration = Duration::from_millis(400);
/// Callers of F5, each with a connection of its own.
const CALLERS: usize = 8;

async fn of_three() -> Cluster {
    let profile = "standard";
    Cluster::start_as(Shape { coordinators: 3, profile, ..Shape::default() }).await
}

fn table(name: &str) -> pb::CreateTableRequest {
    pb::CreateTableRequest {
        request_id: new_request_id().to_string(),
        name: name.to_owned(),
        replication_factor: 1,
        tablets: 1,
        ..Default::default()
    }
}

/// A caller of its own, through a proxy of its own.
async fn caller(cluster: &Cluster) -> (AdminClient, Proxy) {
    let proxy = Proxy::start(Some(cluster.admin_address("c1"))).await;
    let options = AdminOptions { deadline: Duration::from_secs(60), try_timeout: ANSWERED };
    (AdminClient::connect_with(vec![proxy.address()], options), proxy)
}

/// What came of many repairs.
#[derive(Default)]
struct Asked {
    /// Answers that were eaten.
    eaten: usize,
    /// Tries that were refused because of what an earlier try of the same request had begun.
    in_its_own_way: usize,
}

/// Repairs each tablet once, while one in so many answers is eaten.
async fn repair_all(cluster: &Cluster, tablets: &[pb::Tablet], one_in: u64) -> Asked {
    let mut seed = Seed::draw("eaten answers");
    let mut callers = JoinSet::new();
    for part in tablets.chunks(tablets.len().div_ceil(CALLERS)) {
        let (admin, proxy) = caller(cluster).await;
        let part: Vec<(u64, bool)> =
            part.iter().map(|tablet| (tablet.id, seed.below(one_in) == 0)).collect();
        callers.spawn(async move {
            let mut asked = Asked::default();
            for (tablet, is_eaten) in part {
                let connections = proxy.connections();
                if is_eaten && !connections.is_empty() {
                    connections.iter().for_each(|one| one.set(Mode::EatAnswers));
                    asked.eaten += 1;
                }
                let request = pb::RepairTabletRequest { tablet, ..Default::default() };
                match admin.repair_tablet(request).await {
                    Ok(_) => {}
                    Err(error) if error.reason() == Some(Reason::TabletBusy) => {
                        asked.in_its_own_way += 1;
                    }
                    Err(error) => panic!("it is known to have begun: {error}"),
                }
            }
            asked
        });
    }
    let add = |all: Asked, one: Asked| Asked {
        eaten: all.eaten + one.eaten,
        in_its_own_way: all.in_its_own_way + one.in_its_own_way,
    };
    callers.join_all().await.into_iter().fold(Asked::default(), add)
}

/// How often each tablet was repaired, once all repairs are over.
async fn repairs(cluster: &Cluster) -> BTreeMap<u64, usize> {
    let admin = cluster.admin();
    let over = async {
        while !admin.list_migrations(true).await.expect("those that run").is_empty() {
            look_again().await;
        }
    };
    soon("all repairs to end", over).await;
    let mut repairs = BTreeMap::new();
    for migration in admin.list_migrations(false).await.expect("all that is remembered") {
        *repairs.entry(migration.tablet).or_default() += 1;
    }
    repairs
}

/// F5: one in ten answers to a thousand changes is lost. Each of them takes effect once.
#[tokio::test(flavor = "multi_thread")]
async fn f5_a_thousand_changes_take_effect_once_though_answers_are_lost() {
    let cluster = Cluster::start(1).await;
    let tablets = cluster.create_table_of("orders", 1_000, 1).await;
    let Asked { eaten, in_its_own_way } = repair_all(&cluster, &tablets, 10).await;
    assert!(eaten > 50, "{eaten}");
    assert_eq!(in_its_own_way, 0, "a try of what is remembered is not refused");
    // A thousand are remembered: one too many, and another one would be missing.
    let repairs = repairs(&cluster).await;
    assert_eq!(repairs.len(), 1_000);
    assert!(repairs.values().all(|count| *count == 1));
}

/// F5, the control: a coordinator that takes each try for a new request does some of them twice, or
/// refuses one because of what the try before it has begun.
#[tokio::test(flavor = "multi_thread")]
async fn f5_control_without_a_memory_of_ids_there_are_more() {
    let cluster = Cluster::start(1).await;
    let tablets = cluster.create_table_of("orders", 80, 1).await;
    cluster.forget_requests(true).await;
    let Asked { eaten, in_its_own_way } = repair_all(&cluster, &tablets, 2).await;
    assert!(eaten > 10, "{eaten}");
    let repairs = repairs(&cluster).await;
    let twice = repairs.values().sum::<usize>() - tablets.len();
    assert!(twice + in_its_own_way > 0, "{repairs:?}");
}

/// F4: a connection that the other end has closed while nobody used it costs one try.
#[tokio::test(flavor = "multi_thread")]
async fn f4_a_connection_that_was_closed_while_idle_costs_one_try() {
    let cluster = Cluster::start(1).await;
    let (admin, proxy) = caller(&cluster).await;
    admin.create_table(table("first")).await.expect("made");
    assert_eq!(proxy.accepted(), 1);
    for round in 0..20 {
        proxy.cut_all();
        admin.create_table(table(&format!("t{round}"))).await.expect("made, once");
        assert!(proxy.accepted() <= round + 2, "more than one try more");
    }
    assert_eq!(cluster.admin().list_tables().await.expect("all").len(), 21);
}

/// F4, where nobody says that the connection has died: its other end is gone without a word. A
/// change is not sent into it, so that its outcome stays known.
#[tokio::test(flavor = "multi_thread")]
async fn f4_a_connection_that_has_died_without_a_word_is_not_used_for_a_change() {
    let cluster = Cluster::start(1).await;
    let proxy = Proxy::start(Some(cluster.admin_address("c1"))).await;
    // Less than it takes a keep-alive to find out.
    let deadline = Duration::from_secs(9);
    let options = AdminOptions { deadline, try_timeout: deadline };
    let admin = AdminClient::connect_with(vec![proxy.address()], options);
    admin.create_table(table("first")).await.expect("made");
    // What makes it an idle one.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    proxy.connections().iter().for_each(|one| one.set(Mode::HalfOpen));
    admin.create_table(table("second")).await.expect("made, over a new connection");
    assert_eq!(proxy.accepted(), 2);
    assert_eq!(cluster.admin().list_tables().await.expect("all").len(), 2);
}

/// F6: the leader is told to stop under moves and a hundred clients. It hands over first; nobody
/// sees an error; it is gone within a minute.
#[tokio::test(flavor = "multi_thread")]
async fn f6_a_leader_that_is_told_to_stop_is_not_missed() {
    let mut cluster = of_three().await;
    let tablets = cluster.create_table("orders", 8).await;
    let router = cluster.router();
    let workload = Workload::start(&router, "orders", 90, 5);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut changers = JoinSet::new();
    for changer in 0..10 {
        let (admin, stop, made) = (cluster.admin(), Arc::clone(&stop), Arc::clone(&made));
        changers.spawn(async move {
            let mut own = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("t{changer}-{own}");
                admin.create_table(table(&name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
                admin.table(&name).await.unwrap_or_else(|e| panic!("{name}: {e}"));
                own += 1;
                made.fetch_add(1, Ordering::Relaxed);
            }
            own
        });
    }
    let more = async |more: u64| {
        let goal = made.load(Ordering::Relaxed) + more;
        while made.load(Ordering::Relaxed) < goal {
            look_again().await;
        }
    };
    soon("some changes", more(20)).await;
    let mut ids = Vec::new();
    for tablet in &tablets {
        let has: Vec<String> = tablet.replicas.iter().map(|one| one.node.clone()).collect();
        let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n));
        ids.push(cluster.migrate(tablet, &has[0], &free.expect("one is free")).await);
    }
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let told = Instant::now();
    cluster.agent(&leader).signal(Signal::TERM);
    assert!(cluster.ends(&leader).await, "in order");
    assert!(told.elapsed() < Duration::from_secs(60), "{:?}", told.elapsed());
    assert!(cluster.logged(&leader).contains("leadership was handed over"));
    soon("some more changes", more(20)).await;
    soon("some more writes", workload.proceed(200)).await;
    for id in ids {
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    }
    stop.store(true, Ordering::Relaxed);
    let own: usize = changers.join_all().await.into_iter().sum();
    assert_eq!(cluster.admin().list_tables().await.expect("all").len(), own + 1);
    let history = workload.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

/// F7: a leader that was deposed and is alone with its clients, who can reach nobody else.
/// Nothing succeeds through it, and it reads nothing out that is asked for as the newest.
#[tokio::test(flavor = "multi_thread")]
async fn f7_nothing_is_had_through_an_isolated_leader() {
    let cluster = of_three().await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let others: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
    cluster.pause(&leader);
    cluster.leader(&others).await;
    cluster.create_table("elsewhere", 1).await;
    // The others are out of reach from here on, and it thinks that it leads.
    others.iter().for_each(|name| cluster.pause(name));
    cluster.resume(&leader);
    let mut tables = TableServiceClient::new(cluster.admin_channel(&leader));
    let read = soon("an answer", tables.list_tables(pb::ListTablesRequest::default())).await;
    let refused = Refusal::from_status(&read.expect_err("it can't know")).expect("a reason");
    assert_eq!(refused.reason, Reason::NoLeader);
    let stale = pb::ListTablesRequest { stale: true, ..Default::default() };
    let stale = tables.list_tables(stale).await.expect("what it knows").into_inner();
    assert!(stale.tables.is_empty(), "it does not know of the table: {stale:?}");
    let asked = table("never");
    let change = soon("an answer", tables.create_table(asked.clone())).await;
    let refused = change.expect_err("no quorum");
    assert_ne!(outcome_of(&refused), ChangeOutcome::Applied);
    others.iter().for_each(|name| cluster.resume(name));
    let done = cluster.admin().create_table(asked).await.expect("the same request, once");
    assert_eq!(done.table.expect("it").name, "never");
    assert_eq!(cluster.admin().list_tables().await.expect("all").len(), 2);
}

/// F9: two of three coordinators are gone. Changes are answered within their bound, rows are read
/// and written as if nothing were, and when the two are back moves go on.
#[tokio::test(flavor = "multi_thread")]
async fn f9_without_a_quorum_changes_are_refused_and_rows_go_on() {
    let mut cluster = of_three().await;
    let tablets = cluster.create_table("orders", 2).await;
    let router = cluster.router();
    let workload = Workload::start(&router, "orders", 4, 20);
    soon("writes", workload.proceed(20)).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let gone: Vec<String> = names.iter().filter(|name| **name != leader).cloned().collect();
    gone.iter().for_each(|name| cluster.kill(name));
    let deadline = Duration::from_secs(8);
    let options = AdminOptions { deadline, try_timeout: Duration::from_secs(3) };
    let admin = AdminClient::connect_with(cluster.admin_addresses(), options);
    let (asked, began) = (table("later"), Instant::now());
    let refused = admin.create_table(asked.clone()).await.expect_err("no quorum");
    assert!(began.elapsed() < deadline * 2, "{:?}", began.elapsed());
    let is_definite = matches!(
        &refused,
        ClientError::Unreachable { .. }
            | ClientError::DeadlineExceeded { .. }
            | ClientError::OutcomeUnknown { .. }
    );
    assert!(is_definite, "{refused:?}");
    let began = Instant::now();
    admin.list_tables().await.expect_err("nobody can know the newest");
    assert!(began.elapsed() < deadline * 2, "{:?}", began.elapsed());
    soon("rows go on", workload.proceed(200)).await;
    gone.iter().for_each(|name| cluster.restart(name));
    cluster.admin().create_table(asked).await.expect("the same request");
    let has: Vec<String> = tablets[0].replicas.iter().map(|one| one.node.clone()).collect();
    let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n));
    let (from, to) = (has[0].clone(), free.expect("one is free"));
    // Leases have ended meanwhile: any node may be fenced yet before it is admitted anew, and a move
    // that meets such a fence is refused, or taken back for want of a live majority.
    let moved = async {
        loop {
            cluster.everybody().await;
            let (from, to) = (from.clone(), to.clone());
            let request =
                pb::MigrateRequest { tablet: tablets[0].id, from, to, ..Default::default() };
            let begun = match cluster.admin().migrate(request).await {
                Ok(begun) => begun.migration.expect("a migration").id,
                Err(error) => {
                    assert_eq!(error.reason(), Some(Reason::NodeFenced), "{error}");
                    continue;
                }
            };
            let ended = cluster.ended(&begun).await;
            if ended.state() == pb::MigrationState::Done {
                return;
            }
            let of_fences =
                ["NODE_FENCED", "the new set has no live", "the live replicas may miss"];
            assert!(of_fences.iter().any(|why| ended.reason.starts_with(why)), "{ended:#?}");
        }
    };
    soon("a move to be done", moved).await;
    let history = workload.stop().await;
    assert!(history.errors.is_empty(), "{:?}", history.errors);
    history.check(&router, "orders").await;
}

/// How a change fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// It comes to a coordinator that doesn't lead.
    NotLeader,
    /// The one that has proposed it leads no more.
    LeadershipLost,
}

/// Has this one lead.
async fn transfer(cluster: &Cluster, to: &str) {
    let names = cluster.coordinators();
    let transferred = async {
        while cluster.leader(&names).await != to {
            let request = pb::TransferLeaderRequest { to: to.to_owned(), ..Default::default() };
            // Another one may have been elected meanwhile; it is asked again.
            let _ = cluster.admin().transfer_leader(request).await;
        }
    };
    soon(&format!("{to} to lead"), transferred).await;
}

/// Makes one change fail at the coordinator `at`, on this connection; what it said.
async fn failing(
    cluster: &mut Cluster,
    failure: Failure,
    at: &str,
    channel: &Channel,
    asked: &pb::CreateTableRequest,
) -> Status {
    let others: Vec<String> =
        cluster.coordinators().into_iter().filter(|name| name != at).collect();
    let mut tables = TableServiceClient::new(channel.clone());
    let request = asked.clone();
    if failure == Failure::NotLeader {
        transfer(&*cluster, &others[0]).await;
        return tables.create_table(request).await.expect_err("it does not lead");
    }
    let before = cluster.admin().status().await.expect("a status").committed_index;
    // Killed: what waits in the buffers of one that is only paused is read when it goes on.
    others.iter().for_each(|name| cluster.kill(name));
    let proposed = tokio::spawn(async move { tables.create_table(request).await });
    // It is in the leader's log, which says so itself.
    let in_log = async {
        loop {
            let samples = signals::samples(cluster.agent(at)).await;
            if signals::value(&samples, "palisade_log_last_index") > before as f64 {
                return;
            }
        }
    };
    soon("the proposal", in_log).await;
    cluster.pause(at);
    others.iter().for_each(|name| cluster.restart(name));
    cluster.leader(&others).await;
    cluster.resume(at);
    let answer = soon("the answer", proposed).await.expect("no panic");
    answer.expect_err("its entry was overwritten")
}

/// F8: {not leader, leadership lost} × {first, second change of a connection} × {it leads again,
/// another one does}. Each answer says what became of the change, and the same request is then done
/// once, wherever it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn f8_each_answer_says_what_became_of_the_change() {
    let mut cluster = of_three().await;
    let names = cluster.coordinators();
    let mut count = 0;
    for failure in [Failure::NotLeader, Failure::LeadershipLost] {
        for is_second in [false, true] {
            for leads_again in [false, true] {
                let cell = format!("{failure:?}, second: {is_second}, again: {leads_again}");
                let at = cluster.leader(&names).await;
                let channel = cluster.admin_channel(&at);
                if is_second {
                    let mut tables = TableServiceClient::new(channel.clone());
                    let first = table(&format!("first{count}"));
                    let first = tables.create_table(first).await;
                    first.unwrap_or_else(|status| panic!("{cell}: {status}"));
                }
                let asked = table(&format!("t{count}"));
                let status = failing(&mut cluster, failure, &at, &channel, &asked).await;
                let reason = Refusal::from_status(&status).map(|refusal| refusal.reason);
                let expected = match failure {
                    Failure::NotLeader => (Reason::NotLeader, ChangeOutcome::NotApplied),
                    Failure::LeadershipLost => (Reason::LeadershipLost, ChangeOutcome::Unknown),
                };
                let said = (reason.expect("a reason"), outcome_of(&status));
                assert_eq!(said, expected, "{cell}: {status}");
                if leads_again {
                    transfer(&cluster, &at).await;
                }
                for _ in 0..2 {
                    let done = cluster.admin().create_table(asked.clone()).await;
                    done.unwrap_or_else(|error| panic!("{cell}: {error}"));
                }
                count += 1;
            }
        }
    }
    let tables = cluster.admin().list_tables().await.expect("all of them");
    assert_eq!(tables.len(), 8 + 4, "one for each request that was asked for");
}
