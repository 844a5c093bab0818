//! Streams between real processes that are cut, closed, stalled or silent, and disks that fail under
//! them: none hangs, none lies, and nothing is sent twice that is on record.
//!
//! Not here: what ends a stream from outside (`ends.rs`).

use crate::harness::middle::Beat;
use crate::harness::proxy::{Direction, Mode};
use crate::harness::steps::step;
use crate::harness::{Cluster, Shape, look_again, soon};
use client::Router;
use proto::admin::v1 as pb;
use proto::faults::v1 as faults;
use proto::faults::v1::Step;
use proto::stream::v1 as stream;
use proto::stream::v1::pull_response::Event as Says;
use proto::types::v1::{Settings, Stage};
use std::time::{Duration, Instant};

/// What has to happen within a second does so within this, on a machine that is busy.
pub(crate) const A_SECOND: Duration = Duration::from_secs(5);

pub(crate) async fn with_proxies(profile: &'static str) -> Cluster {
    let shape = Shape { agents: 3, has_proxies: true, profile, ..Shape::default() };
    Cluster::start_as(shape).await
}

pub(crate) async fn fill(router: &Router, table: &str, keys: u32) {
    for key in 0..keys {
        router.put(table, &key.to_be_bytes(), b"value").await.expect("a put");
    }
}

/// Why the attempts of a migration failed.
pub(crate) fn failures(migration: &pb::Migration) -> Vec<&str> {
    let failures = migration.stages.iter().map(|stage| stage.failure.as_str());
    failures.filter(|failure| !failure.is_empty()).collect()
}

pub(crate) async fn cancel(cluster: &Cluster, id: &str) {
    let request = pb::CancelMigrationRequest { id: id.to_owned(), ..Default::default() };
    cluster.admin().cancel_migration(request).await.expect("before the point of no return");
}

pub(crate) async fn set_rate(cluster: &Cluster, bytes_per_second: u64) {
    let admin = cluster.admin();
    let now = admin.settings().await.expect("the settings");
    let request = pb::SetSettingsRequest {
        settings: Some(Settings { bytes_per_second, ..now }),
        expected: Some(now),
        ..Default::default()
    };
    admin.set_settings(request).await.expect("set");
}

async fn disk(cluster: &Cluster, node: &str, fault: faults::DiskFault, on: bool) {
    let request = faults::SetDiskFaultRequest { fault: fault.into(), on };
    cluster.faults(node).set_disk_fault(request).await.expect("set");
}

/// D2: the receiver's last word is lost, with its record complete. The source asks for the record,
/// and nothing is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn d2_a_source_whose_last_acknowledgement_is_lost_asks_for_the_record() {
    let mut cluster = with_proxies("fast").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 200).await;
    let record = step("n4", tablet.id, Step::Record);
    cluster.hold(&record).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&record).await;
    // All rows have come, and nothing comes through any more, in either direction.
    cluster.links().streams("n1").set(Mode::HalfOpen);
    cluster.let_go(&record).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!((ended.attempt, failures(&ended)), (1, vec![]), "{ended:#?}");
    cluster.said("n1", "stream out complete, by the receiver's record").await;
    assert_eq!(cluster.logged("n4").matches("stream complete").count(), 1, "nothing again");
    cluster.links().streams("n1").set(Mode::Pass);
    cluster.replicas_agree(&tablet).await;
}

/// D3: a connection that goes in the middle of a stream, reset while rows come or before the source
/// was heard, or closed in order, is no trouble of a disk: the node stays in, and the next attempt is
/// done.
#[tokio::test(flavor = "multi_thread")]
async fn d3_a_connection_that_goes_is_not_the_disks() {
    let mut cluster = with_proxies("fast").await;
    let tablets = cluster.create_table("orders", 3).await;
    cluster.add_agent("n4").await;
    let router = cluster.router();
    for key in 0..192u32 {
        router.put("orders", &key.to_be_bytes(), &[7; 32 << 10]).await.expect("a put");
    }
    let forms = [
        Mode::CutAfter(Direction::ToClient, 300 << 10),
        Mode::CutAfter(Direction::ToServer, 100),
        Mode::CloseAfter(Direction::ToClient, 300 << 10),
    ];
    for (tablet, form) in tablets.iter().zip(forms) {
        let pull = step("n4", tablet.id, Step::Pull);
        cluster.hold(&pull).await;
        let id = cluster.migrate(tablet, "n1", "n4").await;
        cluster.held(&pull).await;
        let failed = || cluster.logged("n4").matches("stream failed").count();
        let before = failed();
        let streams = cluster.links().streams("n1");
        streams.set(form);
        cluster.let_go(&pull).await;
        let goes = async {
            while failed() == before {
                look_again().await;
            }
        };
        soon(&format!("a stream to fail by {form:?}"), goes).await;
        streams.set(Mode::Pass);
        let ended = cluster.ended(&id).await;
        assert_eq!(ended.state(), pb::MigrationState::Done, "{form:?}: {ended:#?}");
        assert!(ended.attempt > 1, "{form:?}: {ended:#?}");
        assert!(failures(&ended).iter().all(|why| *why == "PEER_CLOSED"), "{form:?}: {ended:#?}");
        assert!(!cluster.logged("n4").contains("is unfit"), "the disk had no part in it");
        cluster.replicas_agree(tablet).await;
    }
}

/// The control of D3, and B4: a real EIO on a row is the disk's, by its own name; the move goes
/// back, the tablet is served, and another node takes it.
#[tokio::test(flavor = "multi_thread")]
async fn d3_b4_an_error_of_the_disk_is_the_disks_and_takes_the_move_back() {
    let mut cluster = Cluster::start(5).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let holds = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
    let free: Vec<&str> =
        ["n1", "n2", "n3", "n4", "n5"].into_iter().filter(|node| !holds(node)).collect();
    let from = tablet.replicas[0].node.clone();
    let router = cluster.router();
    fill(&router, "orders", 50).await;
    disk(&cluster, free[0], faults::DiskFault::Rows, true).await;
    let id = cluster.migrate(&tablet, &from, free[0]).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert!(ended.reason.contains("DISK_ERROR"), "{}", ended.reason);
    router.put("orders", b"key", b"served").await.expect("a put");
    cluster.moved(&tablet, &from, free[1]).await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "the bad disk's node is clean all the same");
}

/// D4: an error while nothing can be sent: the last word is given up, all is joined, and whoever
/// waits for the session waits no longer.
#[tokio::test(flavor = "multi_thread")]
async fn d4_a_stream_that_fails_while_its_last_word_is_blocked_ends_all_the_same() {
    let mut cluster = with_proxies("fast").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    let router = cluster.router();
    // More than fits into the buffers on the way.
    for key in 0..96u32 {
        router.put("orders", &key.to_be_bytes(), &[7; 256 << 10]).await.expect("a put");
    }
    let pull = step("n4", tablet.id, Step::Pull);
    cluster.hold(&pull).await;
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    cluster.held(&pull).await;
    set_rate(&cluster, 4 << 20).await;
    cluster.let_go(&pull).await;
    let begun = async {
        while cluster
            .links()
            .streams("n1")
            .connections()
            .iter()
            .all(|connection| connection.passed(Direction::ToClient) < 1 << 20)
        {
            look_again().await;
        }
    };
    soon("some rows", begun).await;
    cluster.links().streams("n1").set(Mode::Stall);
    let since = Instant::now();
    cancel(&cluster, &id).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{ended:#?}");
    // Still stalled: nobody has waited for the last word to go out, nor for force. What a task may
    // wait for after its stream has failed is bounded in `replica/src/limits.rs`.
    for node in ["n1", "n4"] {
        assert!(!cluster.logged(node).contains("a drain is forced"), "{node}");
    }
    assert!(since.elapsed() < A_SECOND, "after {:?}", since.elapsed());
    cluster.said("n1", "a stream out failed").await;
    cluster.links().streams("n1").set(Mode::Pass);
    set_rate(&cluster, 0).await;
    cluster.moved(&tablet, "n1", "n4").await;
}

/// D5: the stream of a session fails, a chunk of it is just before its write, the session is
/// closed, and it goes on: not a byte is written. Then the agent is killed: it starts clean.
#[tokio::test(flavor = "multi_thread")]
async fn d5_a_chunk_that_goes_on_after_its_session_writes_nothing_and_a_restart_is_clean() {
    let mut cluster = Cluster::start(3).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    fill(&cluster.router(), "orders", 200).await;
    let mut switches = cluster.faults("n4");
    let hold = faults::HoldNextChunkRequest { tablet: tablet.id };
    switches.hold_next_chunk(hold).await.expect("wanted");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let held = faults::AwaitHeldRequest { tablet: tablet.id };
    soon("a chunk", switches.await_held(held)).await.expect("held");
    let pull = step("n4", tablet.id, Step::Pull);
    cluster.hold(&pull).await;
    cancel(&cluster, &id).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Cancelled, "{ended:#?}");
    let release = faults::ReleaseRequest { tablet: tablet.id };
    let released = switches.release(release).await.expect("it was held").into_inner();
    assert_eq!(released.written, 0);
    let expected = ["SESSION_UNKNOWN", "SESSION_CLOSING"];
    assert!(expected.contains(&released.refused.as_str()), "{released:?}");
    cluster.kill_and_restart("n4");
    cluster.admitted(4).await;
    cluster.moved(&tablet, "n1", "n4").await;
    cluster.replicas_agree(&tablet).await;
    let (found, given) = cluster.copies_on_disk().await;
    assert_eq!(found, given, "no orphan");
}

/// D6: a chunk now and then goes on; signs of life without rows are a stall; silence is a peer
/// that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn d6_slow_goes_on_stalled_is_named_and_half_open_is_gone() {
    let mut cluster = with_proxies("fast").await;
    // Nothing in it: what a script says of it is true.
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    let mut middle = cluster.stand_between("n1").await;
    let empty = |number| stream::Chunk {
        number,
        checksum: 0,
        rows: Default::default(),
        sum: vec![0; 16].into(),
    };
    // The stall bound is 800 ms: this takes three times as long, and is never silent for half of it.
    let mut slow = vec![Beat::Accept, Beat::Tell];
    for number in 1..=12 {
        slow.extend([
            Beat::Pause(Duration::from_millis(200)),
            Beat::Say(Says::Chunk(empty(number))),
        ]);
    }
    let sum = vec![0; 16].into();
    slow.push(Beat::Say(Says::Complete(stream::Complete { rows: 0, bytes: 0, sum })));
    slow.push(Beat::Hang);
    middle.play(tablet.id, slow);
    let done = cluster.moved(&tablet, "n1", "n4").await;
    assert_eq!(done.attempt, 1, "slow is not stalled: {done:#?}");
    middle.pass(tablet.id);
    cluster.moved(&tablet, "n4", "n1").await;

    let alive = Beat::Say(Says::KeepAlive(stream::KeepAlive { paused: false }));
    let mut stalled = vec![Beat::Accept, Beat::Tell];
    for _ in 0..200 {
        stalled.extend([alive.clone(), Beat::Pause(Duration::from_millis(50))]);
    }
    middle.play(tablet.id, stalled);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert!(failures(&ended).iter().all(|why| *why == "STREAM_STALLED"), "{ended:#?}");

    middle.play(tablet.id, vec![Beat::Accept, Beat::Tell, Beat::Hang]);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    middle.told().await;
    cluster.links().streams("n1").set(Mode::HalfOpen);
    let since = Instant::now();
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Reverted, "{ended:#?}");
    assert!(failures(&ended).iter().all(|why| *why == "PEER_CLOSED"), "{ended:#?}");
    assert!(since.elapsed() < 6 * A_SECOND, "all tries: {:?}", since.elapsed());
    cluster.links().streams("n1").set(Mode::Pass);
    middle.pass(tablet.id);
    cluster.moved(&tablet, "n1", "n4").await;
}

/// D10: the receiver is killed when 60 % are on its disk. The same source goes on from there: less
/// than 5 % is sent again. Where it is the source that is killed, the others begin at the start.
#[tokio::test(flavor = "multi_thread")]
async fn d10_the_same_source_goes_on_at_60_percent_and_others_begin_at_the_start() {
    const VALUES: u32 = 128;
    const VALUE: usize = 256 << 10;
    // A receiver that takes longer to come back than its lease lasts is fenced, and the move ends.
    let mut cluster = with_proxies("standard").await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    cluster.add_agent("n4").await;
    let router = cluster.router();
    for key in 0..VALUES {
        router.put("orders", &key.to_be_bytes(), &[7; VALUE]).await.expect("a put");
    }
    cluster.create_table_of("others", 1, 4).await;
    let total = u64::from(VALUES) * VALUE as u64;
    set_rate(&cluster, 8 << 20).await;
    let streams = cluster.links().streams("n1");
    let sent = |streams: &crate::harness::proxy::Proxy| -> u64 {
        streams.connections().iter().map(|one| one.passed(Direction::ToClient)).sum()
    };
    let before_it = sent(streams);
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    let most = async {
        while sent(streams) - before_it < total / 10 * 6 {
            look_again().await;
        }
    };
    soon("60 %", most).await;
    cluster.admin().pause(pb::PauseRequest::default()).await.expect("paused");
    // Writes to another tablet of the same disk: what is durable there, is so with all before it.
    // (One to this tablet would be a row more at the source, behind which nobody may go on.)
    fill(&router, "others", 20).await;
    let running = cluster.admin().migration(&id).await.expect("it runs");
    assert_eq!(running.stage(), Stage::Streaming, "{running:#?}");
    let total_known = running.streams[0].bytes_total;
    assert!(total_known.abs_diff(total) < total / 20, "{total_known} of about {total}");
    let first = sent(streams) - before_it;
    cluster.kill("n4");
    let gone = async {
        while !cluster.links().streams("n1").connections().is_empty() {
            look_again().await;
        }
    };
    soon("its connection to go", gone).await;
    cluster.restart("n4");
    cluster.admitted(4).await;
    cluster.admin().resume(pb::ResumeRequest::default()).await.expect("resumed");
    let all = async {
        let mut second = 0;
        loop {
            let migration = cluster.admin().migration(&id).await.expect("it is known");
            // After the question: what came before the end was counted.
            second = second.max(sent(cluster.links().streams("n1")));
            if migration.state() != pb::MigrationState::Running {
                return (second, migration);
            }
            look_again().await;
        }
    };
    let (second, ended) = soon("the end", all).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    let again = (first + second).saturating_sub(total);
    // Beside what was on its way when it was killed: a window of 4 MiB, and chunks around it.
    assert!(again < (5 << 20) + total / 20, "{first} and {second} of {total}: {again} again");
    cluster.replicas_agree(&tablet).await;

    let passed = |node: &str| sent(cluster.links().streams(node));
    let id = cluster.migrate(&tablet, "n4", "n1").await;
    let most = async {
        while passed("n4") < total / 10 * 6 {
            look_again().await;
        }
    };
    soon("60 %", most).await;
    cluster.kill("n4");
    set_rate(&cluster, 0).await;
    let passed = |node: &str| sent(cluster.links().streams(node));
    let all = async {
        let mut most = [0; 2];
        loop {
            let migration = cluster.admin().migration(&id).await.expect("it is known");
            most = [most[0].max(passed("n2")), most[1].max(passed("n3"))];
            if migration.state() != pb::MigrationState::Running {
                return (most, migration);
            }
            look_again().await;
        }
    };
    let (others, ended) = soon("the end", all).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert!(others.iter().all(|sent| *sent >= total), "{others:?} of {total}: {ended:#?}");
}
