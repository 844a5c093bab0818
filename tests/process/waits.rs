//! E5: "never answers", put into every wait of an agent, one after the other, by the list that the
//! processes themselves give. Each ends within its bound: what follows on it goes on, and nothing
//! hangs.
//!
//! Not here: those of a coordinator (`coordinator_waits.rs`). That nothing waits past the lists is
//! `process/tests/waits.rs`.

use crate::harness::proxy::Mode;
use crate::harness::steps::{Switch, step};
use crate::harness::{Cluster, Shape, look_again, soon};
use crate::streams::failures;
use proto::admin::v1 as pb;
use proto::data::v1 as data;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::faults::v1 as faults;
use proto::faults::v1::Step;
use proto::reasons::Reason;
use proto::status::Refusal;
use proto::types::v1::Settings;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// What a busy machine may add to a bound.
pub(crate) const SLACK: Duration = Duration::from_secs(15);

/// Which of the clusters a wait of an agent is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Attachments,
    Steps,
    Streams,
    Ending,
}

fn group(wait: &str) -> Group {
    match wait {
        "dial" | "attach" | "greeting" | "order" | "say" | "renewal" | "catch_up" => {
            Group::Attachments
        }
        "floor" | "drop" | "drain" | "forced" => Group::Steps,
        "stream_open" | "stream_next" | "stream_heard" | "stream_record" | "stream_note"
        | "stream_last_word" | "stream_goodbye" | "outcome" => Group::Streams,
        "stop" => Group::Ending,
        new => panic!("the wait {new} has no story here: give it one"),
    }
}

/// What the attempt says that a wait of a stream has ended; those that come after its outcome
/// change nothing any more.
fn reason(wait: &str) -> Option<&'static str> {
    match wait {
        "stream_open" | "stream_next" | "stream_heard" => Some("PEER_CLOSED"),
        "stream_record" => Some("DISK_ERROR"),
        "stream_note" => Some("CHECKSUM_MISMATCH"),
        _ => None,
    }
}

/// A cluster with a tablet on n1, n2 and n3 for each wait of a group, and n4 to move it to.
struct Stage {
    cluster: Cluster,
    /// Each wait of the group with its bound.
    waits: Vec<(String, Duration, pb::Tablet)>,
}

impl Stage {
    async fn set(group_of: Group) -> Stage {
        let shape = Shape { agents: 3, has_proxies: true, ..Shape::default() };
        let mut cluster = Cluster::start_as(shape).await;
        let tablets = cluster.create_table("orders", 12).await;
        cluster.add_agent("n4").await;
        let router = cluster.router();
        for key in 0..120u32 {
            router.put("orders", &key.to_be_bytes(), b"value").await.expect("a put");
        }
        let all = cluster.waits("n4").await;
        let meant = all.into_iter().filter(|(name, _)| group(name) == group_of);
        let waits = meant.zip(tablets).map(|((name, bound), tablet)| (name, bound, tablet));
        Stage { waits: waits.collect(), cluster }
    }

    /// Takes the answers of a wait away until it was met so often: the one before has ended then,
    /// and something came after it. Answers them again, and everybody is there.
    async fn met(&self, node: &str, wait: &str, bound: Duration, times: u64) {
        let since = Instant::now();
        self.cluster.met(node, wait, times).await;
        self.cluster.over(node, wait).await;
        let within = bound * u32::try_from(times).expect("few") + SLACK;
        assert!(since.elapsed() < within, "{wait}: {times} times in {:?}", since.elapsed());
        self.cluster.silence(node, wait, false).await;
    }

    /// How often a node has attached.
    fn attachments(&self, node: &str) -> usize {
        self.cluster.logged(node).matches("\"message\":\"attached\"").count()
    }

    /// After it a tablet moves as ever.
    async fn mended(&self, wait: &str, tablet: &pb::Tablet) {
        self.cluster.admitted(4).await;
        let now = self.cluster.digest(tablet).await;
        if now.replicas.iter().all(|replica| replica.node != "n4") {
            let id = self.cluster.migrate(tablet, "n1", "n4").await;
            let ended = self.cluster.ended(&id).await;
            assert_eq!(ended.state(), pb::MigrationState::Done, "after {wait}: {ended:#?}");
        }
    }

    /// A disk that doesn't answer is in trouble for a minute after, and nothing moves there. A
    /// process that has just started has not met that yet.
    async fn with_another_disk(&mut self) {
        self.cluster.kill_and_restart("n4");
        self.cluster.everybody().await;
        let is_fine = |nodes: &[pb::Node]| nodes.iter().all(|node| node.disk_trouble.is_empty());
        let fine = async {
            while !is_fine(&self.cluster.admin().list_nodes().await.expect("the nodes")) {
                look_again().await;
            }
        };
        soon("a disk that answers", fine).await;
    }

    async fn attachment(&self, wait: &str, bound: Duration, tablet: &pb::Tablet) {
        if wait == "catch_up" {
            return self.catch_up(bound, tablet).await;
        }
        if wait == "order" {
            return self.order(bound, tablet).await;
        }
        let before = self.attachments("n4");
        self.cluster.silence("n4", wait, true).await;
        let id = match wait {
            "say" => Some(self.cluster.migrate(tablet, "n1", "n4").await),
            "renewal" => None,
            _ => {
                for link in self.cluster.links().to_coordinators("n4") {
                    link.cut_all();
                }
                None
            }
        };
        self.met("n4", wait, bound, 2).await;
        let again = async {
            while self.attachments("n4") == before {
                look_again().await;
            }
        };
        soon("a new attachment", again).await;
        self.cluster.admitted(4).await;
        if let Some(id) = id {
            self.cluster.ended(&id).await;
        }
    }

    /// No order comes through. There may be none for long, so it is the leader that finds it out:
    /// nobody confirms what it sends. Fenced within the bound, the agent attaches anew.
    async fn order(&self, bound: Duration, tablet: &pb::Tablet) {
        self.cluster.silence("n4", "order", true).await;
        let (before, since) = (self.attachments("n4"), Instant::now());
        let id = self.cluster.migrate(tablet, "n1", "n4").await;
        self.cluster.fenced("n4").await;
        assert!(since.elapsed() < bound + SLACK, "{:?}", since.elapsed());
        self.cluster.silence("n4", "order", false).await;
        self.cluster.admitted(4).await;
        assert!(self.attachments("n4") > before, "by a new attachment");
        self.cluster.ended(&id).await;
    }

    /// A request with a version that nobody knows: it is answered within its bound.
    async fn catch_up(&self, bound: Duration, tablet: &pb::Tablet) {
        self.cluster.silence("n1", "catch_up", true).await;
        let mut version = tablet.version.expect("a version");
        version.counter += 1_000;
        let header = self.cluster.header("n1", tablet, Some(version)).await;
        let position = b"12345678key".to_vec().into();
        let get = data::GetRequest { header: Some(header), position };
        let mut n1 = DataServiceClient::new(self.cluster.channel("n1", "data"));
        let since = Instant::now();
        let refused = soon("an answer", n1.get(get)).await.expect_err("nobody knows it");
        assert!(since.elapsed() < bound + SLACK, "{:?}", since.elapsed());
        let refusal = Refusal::from_status(&refused).expect("typed");
        assert_eq!(refusal.reason, Reason::VersionAhead);
        self.cluster.silence("n1", "catch_up", false).await;
    }

    async fn step(&self, wait: &str, bound: Duration, tablet: &pb::Tablet) {
        // n4 has nothing of the tablet yet that could be drained.
        let node = if wait == "floor" { "n4" } else { "n1" };
        if wait == "forced" || wait == "drain" {
            // Somebody who is waited for: until it has left, or to be forced out.
            drop(self.cluster.stuck_read("n1", tablet).await);
        }
        if wait == "drain" {
            self.drain_within(8_000).await;
        }
        let before = self.attachments(node);
        self.cluster.silence(node, wait, true).await;
        let id = self.cluster.migrate(tablet, "n1", "n4").await;
        let since = Instant::now();
        if wait == "drain" {
            self.leave(tablet).await;
        }
        self.cluster.met(node, wait, 1).await;
        self.cluster.over(node, wait).await;
        // What it can't do makes it unfit, and it is fenced; or it is forced, and goes on.
        if wait == "floor" || wait == "drop" || wait == "forced" {
            self.cluster.said(node, "this node is unfit").await;
            let settings = self.cluster.admin().settings().await.expect("the settings");
            let drain = Duration::from_millis(u64::from(settings.drain_deadline_ms));
            assert!(since.elapsed() < drain + bound + SLACK, "{wait}: {:?}", since.elapsed());
            self.cluster.silence(node, wait, false).await;
            // Fenced, found fit again, and admitted anew.
            let again = async {
                while self.attachments(node) == before {
                    look_again().await;
                }
            };
            soon("a new attachment", again).await;
        }
        if wait == "drain" {
            self.cluster.said(node, "a drain is forced").await;
        }
        self.cluster.silence(node, wait, false).await;
        self.cluster.ended(&id).await;
        if wait == "drain" {
            self.drain_within(3_000).await;
        }
    }

    async fn drain_within(&self, drain_deadline_ms: u32) {
        let admin = self.cluster.admin();
        let now = admin.settings().await.expect("the settings");
        let settings = Some(Settings { drain_deadline_ms, ..now });
        let request =
            pb::SetSettingsRequest { settings, expected: Some(now), ..Default::default() };
        admin.set_settings(request).await.expect("set");
    }

    /// Lets a stuck read on n1 go once a barrier waits for it there.
    async fn leave(&self, tablet: &pb::Tablet) {
        let named = async {
            let admin = self.cluster.admin();
            let is_there = |barriers: Vec<pb::Barrier>| {
                let mut held = barriers.iter().flat_map(|barrier| &barrier.holders);
                // Not only silent: the read has been met.
                held.any(|held| held.node == "n1" && held.holder.is_some())
            };
            while !is_there(admin.list_barriers(tablet.id).await.expect("the barriers")) {
                look_again().await;
            }
        };
        soon("the read to be waited for", named).await;
        let release = faults::ReleaseDataRequest { tablet: tablet.id };
        self.cluster.faults("n1").release_data(release).await.expect("released");
    }

    /// Nothing that is under way comes to its end: the process ends all the same.
    async fn stopped(&mut self, wait: &str, bound: Duration) {
        self.cluster.silence("n4", wait, true).await;
        let since = Instant::now();
        self.cluster.agent("n4").signal(Signal::TERM);
        assert!(self.cluster.ends("n4").await, "{}", self.cluster.logged("n4"));
        let took = since.elapsed();
        assert!(bound <= took && took < bound + SLACK, "{wait}: {took:?}");
        self.cluster.said("n4", &format!("{wait}: nothing came within")).await;
        self.cluster.restart("n4");
    }

    async fn stream(&self, wait: &str, bound: Duration, tablet: &pb::Tablet) {
        let is_sources = matches!(wait, "stream_heard" | "stream_last_word" | "outcome");
        let node = if is_sources { "n1" } else { "n4" };
        self.cluster.silence(node, wait, true).await;
        let bend = |on| self.cluster.switch("n1", tablet.id, Switch::BendChunks, on);
        let at = step("n4", tablet.id, if wait == "outcome" { Step::Record } else { Step::Pull });
        if wait == "stream_note" {
            bend(true).await;
        }
        self.cluster.hold(&at).await;
        let id = self.cluster.migrate(tablet, "n1", "n4").await;
        self.cluster.held(&at).await;
        match wait {
            "outcome" => self.cluster.links().streams("n1").set(Mode::HalfOpen),
            "stream_last_word" => {
                self.cluster.admin().pause(pb::PauseRequest::default()).await.expect("paused");
            }
            _ => {}
        }
        let begun = || self.cluster.logged("n1").matches("a stream out began").count();
        let before = begun();
        self.cluster.let_go(&at).await;
        if wait == "stream_last_word" {
            // This one, not one of those before it.
            let began = async {
                while begun() == before {
                    look_again().await;
                }
            };
            soon("a stream to begin", began).await;
            let request = pb::CancelMigrationRequest { id: id.clone(), ..Default::default() };
            self.cluster.admin().cancel_migration(request).await.expect("it streams");
        }
        let since = Instant::now();
        self.cluster.met(node, wait, 1).await;
        self.cluster.over(node, wait).await;
        assert!(since.elapsed() < bound + SLACK, "{wait}: {:?}", since.elapsed());
        self.cluster.silence(node, wait, false).await;
        bend(false).await;
        self.cluster.admin().resume(pb::ResumeRequest::default()).await.expect("resumed");
        let ended = self.cluster.ended(&id).await;
        let failures = failures(&ended);
        let is_named = |reason: &str| failures.iter().any(|failure| failure.contains(reason));
        if let Some(reason) = reason(wait) {
            assert!(is_named(reason), "{wait}: {reason} is not in {failures:?}");
        }
        self.cluster.links().streams("n1").set(Mode::Pass);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_an_agents_waits_for_a_coordinator_end_within_their_bounds() {
    let stage = Stage::set(Group::Attachments).await;
    assert!(!stage.waits.is_empty());
    for (wait, bound, tablet) in &stage.waits {
        stage.attachment(wait, *bound, tablet).await;
        stage.mended(wait, tablet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_an_agents_waits_for_its_disk_and_its_guards_end_within_their_bounds() {
    let stage = Stage::set(Group::Steps).await;
    assert!(!stage.waits.is_empty());
    for (wait, bound, tablet) in &stage.waits {
        stage.step(wait, *bound, tablet).await;
        stage.mended(wait, tablet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_an_agents_waits_at_its_end_end_within_their_bounds() {
    let mut stage = Stage::set(Group::Ending).await;
    let waits = std::mem::take(&mut stage.waits);
    assert!(!waits.is_empty());
    for (wait, bound, tablet) in &waits {
        stage.stopped(wait, *bound).await;
        stage.mended(wait, tablet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_an_agents_waits_in_streams_end_within_their_bounds() {
    let mut stage = Stage::set(Group::Streams).await;
    let waits = std::mem::take(&mut stage.waits);
    assert!(!waits.is_empty());
    for (wait, bound, tablet) in &waits {
        stage.stream(wait, *bound, tablet).await;
        if matches!(wait.as_str(), "stream_record" | "stream_note") {
            stage.with_another_disk().await;
        }
        stage.mended(wait, tablet).await;
    }
}
