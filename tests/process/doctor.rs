//! `palisade doctor` and `palisade debug bundle` on a cluster with certificates: well, with balancing
//! off, without an agent, without a coordinator, without a majority, gone.

use crate::harness::{Cluster, Shape, look_again, soon};
use flate2::read::GzDecoder;
use proto::admin::v1 as pb;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tls::authority::Issued;
use tls::{Kind, Role};

/// What is in a key, and in no bundle.
const KEY: &str = "confidential-key-zq";
/// The same of a value.
const VALUE: &str = "confidential-value-zq";
/// What is in a log, and in a bundle.
const IN_LOG: &str = "line-of-a-log-zq";

/// Runs a command with a context that names certificate and key.
fn palisade(contexts: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(args)
        .env("XDG_CONFIG_HOME", contexts)
        .env_remove("PALISADE_COORDINATORS")
        .output()
        .expect("it runs")
}

/// The exit code, and each check by name.
fn doctor(contexts: &Path) -> (i32, BTreeMap<String, Value>) {
    let output = palisade(contexts, &["doctor", "-o", "json", "--deadline", "3s"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = found["checks"].as_array().expect("a list").clone();
    let by_name = |check: Value| (check["name"].as_str().expect("a name").to_owned(), check);
    (output.status.code().expect("it ended"), checks.into_iter().map(by_name).collect())
}

/// Asks until a check says so with these words.
async fn says(contexts: &Path, check: &str, verdict: &str, words: &str) -> i32 {
    let asked = async {
        loop {
            let (code, checks) = doctor(contexts);
            let found = &checks[check];
            if found["verdict"] == verdict
                && found["seen"].as_str().is_some_and(|s| s.contains(words))
            {
                assert_ne!(found["remedy"], "", "{found}");
                return code;
            }
            look_again().await;
        }
    };
    soon(&format!("{check}: {verdict}, {words}"), asked).await
}

/// A table whose tablets begin at keys, and rows in it.
async fn write_rows(cluster: &Cluster) {
    let request = pb::CreateTableRequest {
        name: "orders".to_owned(),
        replication_factor: 3,
        split_keys: vec![KEY.as_bytes().to_vec().into()],
        ..Default::default()
    };
    cluster.admin().create_table(request).await.expect("created");
    let router = cluster.router();
    for row in 0..20 {
        let (key, value) = (format!("{KEY}-{row}"), format!("{VALUE}-{row}"));
        let put = router.put("orders", key.as_bytes(), value.as_bytes());
        soon("a put", put).await.expect("stored");
    }
}

/// The files of a bundle, by name.
fn unpacked(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = std::fs::File::open(path).expect("a bundle");
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let entries = archive.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("whole");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("whole");
        (name, bytes)
    });
    entries.collect()
}

/// The files in which something is, as it is or in base 64, whichever way that falls.
fn holding(files: &BTreeMap<String, Vec<u8>>, text: &str) -> Vec<String> {
    let mut forms = vec![text.as_bytes().to_vec()];
    for skipped in 0..3 {
        forms.push(base64(&text.as_bytes()[skipped..text.len() - (text.len() - skipped) % 3]));
    }
    let has = |bytes: &[u8]| {
        forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
    };
    files.iter().filter(|(_, bytes)| has(bytes)).map(|(name, _)| name.clone()).collect()
}

/// Of a number of bytes that three divides.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |three: &[u8]| {
        let number = three.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS[number >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

/// The bundle holds what was asked for, and nothing that is nobody's business.
fn check_bundle(cluster: &Cluster, contexts: &Path, key: &Path) {
    let log = cluster.path().join("a.log");
    let secret = std::fs::read_to_string(key).expect("a key");
    let text = format!("{IN_LOG}\n{secret}2026-11-21T00:00:00Z DEBUG h2: {KEY}-1\n");
    std::fs::write(&log, text).expect("written");
    let path = cluster.path().join("bundle.tar.gz");
    let (to, log) = (path.display().to_string(), log.display().to_string());
    let metrics = cluster.agent("n1").port("metrics");
    let args = ["debug", "bundle", "--to", &to, "--log", &log, "--metrics", &metrics];
    let args = [&args[..], &["--metrics", "127.0.0.1:1", "-o", "json"]].concat();
    let output = palisade(contexts, &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let manifest: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let files = unpacked(&path);
    let listed = manifest["files"].as_array().expect("a list").len();
    assert_eq!(files.len(), listed + 1, "and the manifest: {:?}", files.keys());
    for (name, words) in [
        ("manifest.json", "metrics/127.0.0.1_1.txt"),
        ("doctor.txt", "balancing"),
        ("status.json", "clusterId"),
        ("tablets.json", "orders/1"),
        ("migrations.json", "migrations"),
        ("settings.json", "lease"),
        ("barriers.json", "barriers"),
        ("coordinators.json", "raftId"),
    ] {
        let bytes = &files[&format!("palisade-bundle/{name}")];
        assert!(String::from_utf8_lossy(bytes).contains(words), "{name}");
    }
    assert_eq!(holding(&files, "palisade_lease_valid").len(), 1, "metrics of n1");
    assert_eq!(holding(&files, IN_LOG).len(), 1, "control: what is there is found");
    for line in [KEY, VALUE].into_iter().chain(secret.lines().filter(|line| line.len() > 24)) {
        assert_eq!(holding(&files, line), Vec::<String>::new(), "{line}");
    }
    // Controls: the same search finds both where they are.
    let range = palisade(contexts, &["tablet", "list", "-o", "json"]).stdout;
    assert_eq!(holding(&[("range".to_owned(), range)].into(), KEY).len(), 1);
    let row = palisade(contexts, &["kv", "get", "orders", &format!("{KEY}-1")]).stdout;
    assert_eq!(holding(&[("row".to_owned(), row)].into(), VALUE).len(), 1);
    let again = palisade(contexts, &args);
    assert_eq!(again.status.code(), Some(1), "nothing is written over");
}

/// A directory with one context: all coordinators, as an admin. And where the admin's key is.
fn context(cluster: &Cluster) -> (PathBuf, PathBuf) {
    let Issued { cacert, cert, key } = cluster.papers().issued(Kind::User(Role::Admin), "doctor");
    let contexts = cluster.path().join("config");
    std::fs::create_dir_all(contexts.join("palisade")).expect("a directory");
    let text = format!(
        "current = \"it\"\n[contexts.it]\ncoordinators = {:?}\ncacert = {cacert:?}\ncert = {cert:?}\n\
         key = {key:?}\n",
        cluster.admin_addresses(),
    );
    std::fs::write(contexts.join("palisade/contexts.toml"), text).expect("written");
    (contexts, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_cluster_is_named_with_its_remedy() {
    let shape =
        Shape { coordinators: 3, agents: 3, has_tls: true, balances: true, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    cluster.everybody().await;
    write_rows(&cluster).await;
    let (contexts, key) = context(&cluster);
    // A member that has just come may not have been heard yet.
    soon("a cluster that is well", async {
        loop {
            let (code, checks) = doctor(&contexts);
            let is_well = checks.values().all(|check| check["verdict"] == "ok");
            if (code, is_well) == (0, true) {
                return;
            }
            look_again().await;
        }
    })
    .await;
    let request =
        pb::DisableBalancingRequest { reason: "network work".to_owned(), ..Default::default() };
    cluster.admin().disable_balancing(request).await.expect("it is on");
    assert_eq!(says(&contexts, "balancing", "warn", "network work").await, 0, "no failure");
    check_bundle(&cluster, &contexts, &key);
    cluster.kill("n3");
    assert_eq!(says(&contexts, "nodes", "fail", "n3").await, 1);
    says(&contexts, "replicas", "warn", "(2 of 3)").await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    let mut followers = names.iter().filter(|name| **name != leader);
    let (first, second) = (followers.next().expect("two"), followers.next().expect("two"));
    cluster.kill(first);
    assert_eq!(says(&contexts, "coordinators", "fail", first).await, 1);
    says(&contexts, "quorum", "fail", "the loss of 0").await;
    cluster.kill(second);
    assert_eq!(says(&contexts, "leader", "fail", "").await, 1);
    assert_eq!(says(&contexts, "quorum", "fail", "no majority").await, 1);
    cluster.kill(&leader);
    assert_eq!(says(&contexts, "coordinators", "fail", "0 of 3").await, 5);
}
