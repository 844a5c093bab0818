//! What processes say of themselves: metrics, health, logs.

use crate::harness::{Cluster, Server, soon};
use process::exposition;
use proto::admin::v1 as pb;
use proto::admin::v1::cluster_service_client::ClusterServiceClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Code, head and body of an answer.
struct Answer {
    code: u16,
    head: String,
    body: String,
}

async fn ask(address: &str, path: &str, accept: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    Answer { code: code.expect("a code"), head: head.to_lowercase(), body: body.to_owned() }
}

pub(crate) async fn code(server: &Server, path: &str) -> u16 {
    ask(&server.port("metrics"), path, "*/*").await.code
}

/// All samples as they are now: `(series, value)`.
pub(crate) async fn samples(server: &Server) -> Vec<(String, f64)> {
    let body = ask(&server.port("metrics"), "/metrics", "text/plain").await.body;
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        (series.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

pub(crate) fn value(samples: &[(String, f64)], series: &str) -> f64 {
    let found = samples.iter().find(|(name, _)| name == series);
    found.unwrap_or_else(|| panic!("{series} is not among {samples:#?}")).1
}

/// Scrapes until a series has a value.
async fn until(server: &Server, series: &str, wanted: f64) -> Vec<(String, f64)> {
    let scraped = async {
        loop {
            let samples = samples(server).await;
            if value(&samples, series) == wanted {
                return samples;
            }
        }
    };
    soon(series, scraped).await
}

async fn health(address: &str, service: &str) -> Result<ServingStatus, tonic::Code> {
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = HealthClient::new(channel.connect_lazy());
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = client.check(request).await.map_err(|status| status.code())?;
    Ok(answer.into_inner().status())
}

/// Asks until health is as it should be: it follows by a moment.
async fn until_health(address: &str, service: &str, wanted: ServingStatus) {
    let asked = async { while health(address, service).await != Ok(wanted) {} };
    soon(service, asked).await;
}

fn lines(cluster: &Cluster, name: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(cluster.path().join(format!("{name}.log")));
    let log = log.expect("a log");
    log.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// An agent beside the cluster, whose coordinators are not there.
fn agent_without_coordinators(cluster: &Cluster) -> Server {
    let (data, log) = (cluster.path().join("n9"), cluster.path().join("n9.log"));
    let data = data.to_str().expect("text");
    let args = [
        "replica",
        "--name=n9",
        "--data",
        data,
        "--coordinators=127.0.0.1:1",
        "--data-listen=127.0.0.1:0",
        "--stream-listen=127.0.0.1:0",
    ];
    Server::start(&log, &args).expect("the agent starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_shows_in_metrics_and_logs_and_no_row_does() {
    let cluster = Cluster::start(4).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let router = cluster.router();
    for number in 0..20u32 {
        let key = format!("the-secret-key-{number}");
        router.put("orders", key.as_bytes(), b"the-secret-value").await.expect("a put");
    }
    let before = samples(cluster.agent("c1")).await;
    let done = "palisade_migrations_total{kind=\"migrate\",result=\"done\"}";
    assert_eq!(value(&before, done), 0.0, "it is there from the start");
    let id = cluster.migrate(&tablet, "n1", "n4").await;
    assert_eq!(cluster.ended(&id).await.state(), pb::MigrationState::Done);
    let after = until(cluster.agent("c1"), done, 1.0).await;
    for (series, least) in [
        ("palisade_leader", 1.0),
        ("palisade_barrier_messages_total", 6.0),
        ("palisade_barrier_wait_seconds_count", 6.0),
        ("palisade_migration_seconds_count{kind=\"migrate\"}", 1.0),
        ("palisade_migration_stage_seconds_count{stage=\"streaming\"}", 1.0),
        ("palisade_admissions_total{outcome=\"applied\"}", 4.0),
        ("palisade_agents_attached", 4.0),
        ("palisade_proposals_total{outcome=\"applied\"}", 12.0),
    ] {
        assert!(value(&after, series) >= least, "{series}: {}", value(&after, series));
    }
    assert_eq!(value(&after, "palisade_migrations_in_flight{stage=\"streaming\"}"), 0.0);
    let source = samples(cluster.agent("n1")).await;
    assert_eq!(value(&source, "palisade_stream_rows_total{direction=\"out\"}"), 20.0);
    let target = samples(cluster.agent("n4")).await;
    assert_eq!(value(&target, "palisade_streams_total{result=\"complete\"}"), 1.0);
    assert_eq!(value(&target, "palisade_stream_rows_total{direction=\"in\"}"), 20.0);
    assert_eq!(value(&target, "palisade_guards_refused_total{reason=\"SESSION_UNKNOWN\"}"), 0.0);
    assert_eq!(value(&target, "palisade_copies"), 1.0);
    assert!(value(&target, "palisade_barriers_acknowledged_total") >= 6.0);
    logs_tell_of_it(&cluster, &tablet, &id);
}

fn logs_tell_of_it(cluster: &Cluster, tablet: &pb::Tablet, id: &str) {
    let of_coordinator = lines(cluster, "c1");
    let advanced: Vec<&Value> =
        of_coordinator.iter().filter(|line| line["message"] == "stage advanced").collect();
    let stages: Vec<&str> = advanced.iter().filter_map(|line| line["stage"].as_str()).collect();
    let forward = [
        "allow_write_both_read_old",
        "write_both_read_old",
        "streaming",
        "write_both_read_new",
        "use_new",
        "cleanup",
        "end_migration",
    ];
    assert_eq!(stages, forward);
    for line in advanced {
        assert_eq!(line["tablet"], tablet.id.to_string(), "{line}");
        assert_eq!(line["migration"], id, "{line}");
        assert!(line["version"].is_string() && line["attempt"] == 1, "{line}");
        assert!(line["term"].is_u64() && line["cluster"].is_string(), "{line}");
    }
    for name in ["c1", "n1", "n2", "n3", "n4"] {
        let lines = lines(cluster, name);
        assert!(lines.iter().all(|line| line["node"] == *name), "{lines:#?}");
        assert!(lines.last().is_some_and(|line| line["cluster"].is_string()), "{lines:#?}");
        let log = cluster.path().join(format!("{name}.log"));
        let log = std::fs::read_to_string(log).expect("a log");
        assert!(!log.contains("the-secret"), "a row is in the log of {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_keeps_the_rules_in_both_forms() {
    let cluster = Cluster::start(1).await;
    let operations = include_str!("../../docs/OPERATIONS.md");
    for (server, heading) in [
        (cluster.agent("c1"), "### Metrics of a coordinator"),
        (cluster.agent("n1"), "### Metrics of an agent"),
    ] {
        let address = server.port("metrics");
        let plain = ask(&address, "/metrics", "text/plain").await;
        assert!(plain.head.contains("text/plain; version=0.0.4"), "{}", plain.head);
        let all = exposition::described(&plain.body).expect("text");
        assert_eq!(exposition::broken_rules(&all), Vec::<String>::new());
        assert_eq!(exposition::served(&all), exposition::documented(operations, heading));
        let open = ask(&address, "/metrics", "application/openmetrics-text;version=1.0.0").await;
        assert!(open.head.contains("application/openmetrics-text"), "{}", open.head);
        assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_on_both_ports_and_an_agent_stays_ready_without_coordinators() {
    use ServingStatus::{NotServing, Serving};
    let mut cluster = Cluster::start(1).await;
    let coordinator = cluster.agent("c1");
    assert_eq!((code(coordinator, "/livez").await, code(coordinator, "/readyz").await), (200, 200));
    let (own, admin) = (coordinator.port("health"), coordinator.port("admin"));
    for address in [&own, &admin] {
        for service in ["", "livez", "readyz", "palisade.admin.v1.MigrationService"] {
            until_health(address, service, Serving).await;
        }
        assert_eq!(health(address, "no.such.Service").await, Err(tonic::Code::NotFound));
    }
    // The port of health serves nothing else.
    let channel = Endpoint::from_shared(format!("http://{own}")).expect("an address");
    let mut other = ClusterServiceClient::new(channel.connect_lazy());
    let refused = other.get_status(pb::GetStatusRequest::default()).await;
    assert_eq!(refused.expect_err("not here").code(), tonic::Code::Unimplemented);
    // An agent that has never been attached lives, and is not ready.
    let nobody = agent_without_coordinators(&cluster);
    assert_eq!((code(&nobody, "/livez").await, code(&nobody, "/readyz").await), (200, 503));
    until_health(&nobody.port("health"), "livez", Serving).await;
    until_health(&nobody.port("health"), "", NotServing).await;
    // One that has been stays ready while the coordinators are away.
    until(cluster.agent("n1"), "palisade_attached", 1.0).await;
    cluster.kill("c1");
    let agent = cluster.agent("n1");
    until(agent, "palisade_attached", 0.0).await;
    assert_eq!((code(agent, "/livez").await, code(agent, "/readyz").await), (200, 200));
    until_health(&agent.port("health"), "readyz", Serving).await;
}
