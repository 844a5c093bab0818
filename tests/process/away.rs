//! Processes that are away for a while: agents that are dead, or sleep, or are far behind when they
//! come back; and all coordinators at once.

use crate::harness::steps::{acknowledge, step};
use crate::harness::{Cluster, Shape, look_again, soon};
use crate::restore::palisade;
use crate::workload::Workload;
use client::{Router, RouterOptions};
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::faults::v1::Step;
use proto::types::v1::{LeaseTerms, Settings, Stage};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What a busy machine may add to a bound.
const SLACK: Duration = Duration::from_secs(15);

async fn set_lease(cluster: &Cluster, length_ms: u32) {
    let admin = cluster.admin();
    let now = admin.settings().await.expect("the settings");
    let lease = now.lease.map(|terms| LeaseTerms { length_ms, ..terms });
    let drain_deadline_ms = now.drain_deadline_ms.max(2 * length_ms);
    let settings = Some(Settings { lease, drain_deadline_ms, ..now });
    let request = pb::SetSettingsRequest { settings, expected: Some(now), ..Default::default() };
    admin.set_settings(request).await.expect("set");
}

async fn fill(router: &Router, keys: u32) {
    for key in 0..keys {
        router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

/// C3: a node that has nothing to do with a tablet is dead, and its lease has long to run: the
/// tablet moves before anybody has found that out.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_dead_node_that_takes_no_part_is_not_waited_for() {
    let mut cluster = Cluster::start(5).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster.router(), 50).await;
    let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    let free: Vec<String> = (1..=5).map(|n| format!("n{n}")).filter(|node| !has(node)).collect();
    let [to, bystander] = [&free[0], &free[1]];
    set_lease(&cluster, 30_000).await;
    // Its lease is as long as this once it has been renewed under the new terms.
    cluster.readmitted(bystander).await;
    cluster.kill(bystander);
    for _ in 0..2 {
        cluster.moved(&tablet, &tablet.replicas[0].node, to).await;
        cluster.moved(&tablet, to, &tablet.replicas[0].node).await;
    }
    let dead = cluster.admin().node(bystander).await.expect("it is known");
    assert_eq!(dead.state(), pb::NodeState::Admitted, "nobody has waited for its fence");
}

/// C4: a replica that stays is dead when its tablet moves. It is waited for until its lease has
/// surely run out, and no longer; then the move goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn c4_a_dead_participant_is_waited_for_until_its_fence() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    fill(&cluster.router(), 50).await;
    let lease = Duration::from_millis(2_500);
    set_lease(&cluster, 2_500).await;
    cluster.readmitted("n2").await;
    // What is asked of it can't be answered: it was alive when it was last heard of.
    cluster.pause("n2");
    let since = Instant::now();
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let waits = async {
        while cluster.admin().migration(&id).await.expect("it runs").waiting_for != ["n2"] {
            look_again().await;
        }
    };
    soon("the move to wait for n2", waits).await;
    cluster.fenced("n2").await;
    let most = lease + lease / 50 + Duration::from_secs(1);
    assert!(since.elapsed() < most + SLACK, "{:?}", since.elapsed());
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    cluster.resume("n2");
    cluster.admitted(4).await;
    cluster.replicas_agree(&tablet).await;
}

/// C5: the receiver sleeps through its lease with a chunk in hand. When it wakes the chunk is
/// refused; what it had of the tablet is dropped, and it is admitted as another incarnation.
#[tokio::test(flavor = "multi_thread")]
async fn c5_a_node_that_sleeps_through_its_lease_wakes_with_a_chunk_that_is_refused() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    fill(&router, 200).await;
    let mut switches = cluster.faults("n4");
    let hold = faults::HoldNextChunkRequest { tablet: tablet.id };
    switches.hold_next_chunk(hold).await.expect("wanted");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let held = faults::AwaitHeldRequest { tablet: tablet.id };
    soon("a chunk", switches.await_held(held)).await.expect("held");
    let before = cluster.incarnation("n4").await;
    cluster.pause("n4");
    cluster.fenced("n4").await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert_eq!(ended.reason, "NODE_FENCED: n4");
    cluster.resume("n4");
    let release = faults::ReleaseRequest { tablet: tablet.id };
    let released = switches.release(release).await.expect("it was held").into_inner();
    assert_eq!(released.written, 0);
    let refusals = ["SESSION_UNKNOWN", "SESSION_CLOSING", "LEASE_EXPIRED", "NODE_FENCED"];
    assert!(refusals.contains(&released.refused.as_str()), "{released:?}");
    cluster.admitted_after("n4", before).await;
    let node = cluster.admin().node("n4").await.expect("it is known");
    assert!(node.repair_owed, "{node:#?}");
    cluster.everybody().await;
    assert_eq!(cluster.copies("n4").await, [], "what the full state does not give it is gone");
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// C9: an agent is away while tablets come and go, a table is dropped, and a session is opened and
/// closed and another one opened. It is given the whole state: what it has then is what it is
/// given, and it takes its part in what runs.
#[tokio::test(flavor = "multi_thread")]
async fn c9_an_agent_that_is_far_behind_is_given_the_whole_state() {
    let mut cluster = Cluster::start(4).await;
    let gone = cluster.create_table_of("gone", 2, 3).await;
    let tablets = cluster.create_table("orders", 4).await;
    // Long enough that a busy machine fences none of the others.
    set_lease(&cluster, 3_000).await;
    fill(&cluster.router(), 100).await;
    let away = tablets[0].replicas[1].node.clone();
    let other = |tablet: &pb::Tablet| {
        let has = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
        (1..=4).map(|n| format!("n{n}")).find(|node| !has(node)).expect("one is free")
    };
    let mut left = Vec::new();
    cluster.kill(&away);
    cluster.fenced(&away).await;
    let drop = pb::DropTableRequest { name: "gone".to_owned(), ..Default::default() };
    cluster.admin().drop_table(drop).await.expect("dropped");
    // What it holds is made anew elsewhere, but for one tablet.
    for tablet in &tablets[1..] {
        let (from, to) = (away.clone(), other(tablet));
        if to == away {
            continue;
        }
        let request =
            pb::RebuildReplicaRequest { tablet: tablet.id, from, to, ..Default::default() };
        let begun = cluster.admin().rebuild_replica(request).await.expect("its node is dead");
        let ended = cluster.ended(&begun.migration.expect("a migration").id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
        left.push(tablet.id);
    }
    assert!(!left.is_empty(), "it held more than one");
    // One session comes and goes, the next one is open when it is back.
    assert_ne!(cluster.repair(&tablets[0]).await.state(), pb::MigrationState::Running);
    let to = other(&tablets[0]);
    let pull = step(&to, tablets[0].id, Step::Pull);
    cluster.hold(&pull).await;
    let id = cluster.migrate(&tablets[0], &tablets[0].replicas[0].node, &to).await;
    cluster.held(&pull).await;
    cluster.restart(&away);
    cluster.everybody().await;
    let has: Vec<u64> = cluster.copies(&away).await.iter().map(|copy| copy.tablet).collect();
    assert!(has.iter().all(|has| !left.contains(has)), "{has:?} with {left:?}");
    assert!(gone.iter().all(|gone| !has.contains(&gone.id)), "{has:?}");
    let logged = cluster.logged(&away);
    assert!(!logged.contains("panicked"), "{logged}");
    cluster.hold_no_more(&pull).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    let opened = ended.stages.iter().filter(|one| one.stage() == Stage::WriteBothReadOld);
    assert!(opened.count() > 1, "under a fresh session once it was back: {ended:#?}");
    for tablet in &tablets {
        cluster.replicas_agree(tablet).await;
    }
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// C13 and H15: all coordinators die after a commit and before the end of its barrier. Data is
/// served at the version that the agents have, though one of them starts again meanwhile; when the
/// coordinators are back the move goes on and ends.
#[tokio::test(flavor = "multi_thread")]
async fn c13_h15_data_is_served_while_all_coordinators_are_away() {
    let shape = Shape { coordinators: 3, profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let deadline = Duration::from_secs(20);
    let options = RouterOptions { deadline, ..RouterOptions::default() };
    let router = Router::connect(cluster.admin(), options);
    let writing = Workload::start(&router, "orders", 4, 40);
    soon("writes", writing.proceed(100)).await;
    let at =
        ["n1", "n2", "n3", "n4"].map(|node| acknowledge(node, tablet.id, Stage::WriteBothReadNew));
    for at in &at {
        cluster.hold(at).await;
    }
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    for at in &at {
        cluster.held(at).await;
    }
    for name in cluster.coordinators() {
        cluster.kill(&name);
    }
    soon("writes without coordinators", writing.proceed(200)).await;
    // It can't be let in, and the others go on without it.
    cluster.kill_and_restart("n2");
    soon("writes without coordinators and n2", writing.proceed(200)).await;
    // Longer than each lease.
    cluster.said("n1", "the lease has run out").await;
    soon("writes without leases", writing.proceed(200)).await;
    for name in cluster.coordinators() {
        cluster.restart(&name);
    }
    for at in &at {
        cluster.hold_no_more(at).await;
    }
    let ended = cluster.ended(&id).await;
    assert_ne!(ended.state(), pb::MigrationState::Running, "{ended:#?}");
    cluster.admitted(4).await;
    let history = writing.stop().await;
    assert_eq!(history.errors, Vec::<String>::new());
    history.check(&router, "orders").await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given);
}

/// INV-14: all replicas of a tablet are dead in the middle of a move, and the leader starts anew:
/// nobody says a word to it. It names whom the tablet waits for all the same, and since when.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_names_the_dead_that_a_tablet_waits_for() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let all = ["n1", "n2", "n3", "n4"];
    for node in all {
        cluster.hold(&acknowledge(node, tablet.id, Stage::AllowWriteBothReadOld)).await;
    }
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    for node in all {
        cluster.held(&acknowledge(node, tablet.id, Stage::AllowWriteBothReadOld)).await;
    }
    let begun = cluster.admin().migration(&id).await.expect("it runs");
    for node in all {
        cluster.kill(node);
    }
    cluster.kill_and_restart("c1");
    let coordinators = cluster.admin_addresses().join(",");
    let of = format!("orders/{}", tablet.id);
    let held = async {
        loop {
            let args = ["barrier", "holders", "--tablet", &of, "--coordinators", &coordinators];
            let (code, said, _) = palisade(&[&args[..], &["-o", "json"]].concat());
            if code == Some(0) && said.contains("n1") {
                break serde_json::from_str::<Value>(&said).expect("JSON");
            }
            look_again().await;
        }
    };
    let held = soon("the new leader to name them", held).await;
    let held = held["holders"].as_array().expect("a list");
    let mut named: Vec<&str> = held.iter().filter_map(|one| one["node"].as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, all, "{held:#?}");
    let entered_ms = begun.stages.last().expect("a stage").entered_ms;
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    for one in held {
        assert_eq!(one["tabletName"], of.as_str());
        assert_eq!(one["holder"], Value::Null, "it is silent");
        let waited = one["waitingMs"].as_str().expect("a number");
        let waited: u128 = waited.parse().expect("a number");
        assert!(waited > 0 && waited <= now - u128::from(entered_ms), "{held:#?}");
    }
    let explain = ["tablet", "explain", &of, "--coordinators", &coordinators];
    let (code, said, error) = palisade(&explain);
    assert_eq!(code, Some(0), "{error}");
    assert!(said.contains("it waits for the word of n"), "{said}");
    assert!(!said.contains("nobody"), "{said}");
    // All are fenced in the end: no stage is left by that, and the same are named.
    for node in all {
        cluster.fenced(node).await;
    }
    let now = cluster.admin().migration(&id).await.expect("it runs");
    let mut waits = now.waiting_for.clone();
    waits.sort_unstable();
    assert_eq!(waits, all, "{now:#?}");
}

/// INV-14: who has acknowledged and is fenced then is waited for again, beside the one that has
/// said nothing so far: both are named.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_fenced_after_their_word_are_named_beside_the_silent() {
    let mut cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let silent = acknowledge("n3", tablet.id, Stage::AllowWriteBothReadOld);
    cluster.hold(&silent).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&silent).await;
    let admin = cluster.admin();
    let waits_for = async |nodes: &[&str]| {
        loop {
            let mut now = admin.migration(&id).await.expect("it runs").waiting_for;
            now.sort_unstable();
            if now == nodes {
                break;
            }
            look_again().await;
        }
    };
    soon("all but n3 to acknowledge", waits_for(&["n3"])).await;
    for node in ["n1", "n2"] {
        cluster.kill(node);
        cluster.fenced(node).await;
    }
    soon("the fenced to be named", waits_for(&["n1", "n2", "n3"])).await;
}
