//! The demonstration itself, in its short form: everything holds; and with the guards' check off it
//! finds what the guards prevent.

use crate::harness::Cluster;
use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn demo(flags: &[&str]) -> (Output, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["demo", "--quick", "--json"])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let told = String::from_utf8_lossy(&output.stderr);
    let result = last.unwrap_or_else(|| panic!("no result: {text}\n{told}"));
    eprintln!("{told}");
    (output, result)
}

#[test]
fn in_its_short_form_everything_holds() {
    let (output, result) = demo(&["--rows", "1000"]);
    assert_eq!(output.status.code(), Some(0), "{result:#}");
    assert_eq!(result["ok"], true, "{result:#}");
    let zero = ["lost_writes", "resurrected_deletes", "orphan_tablets", "digest_mismatches"];
    for name in zero.into_iter().chain(["stale_reads", "invented_values", "client_errors"]) {
        assert_eq!(result[name], 0, "{name}: {result:#}");
    }
    assert_eq!(result["rows"], 1000);
    assert_eq!(result["stale_chunks_refused"], 1);
    for name in ["acknowledged_writes", "acknowledged_deletes", "migrations_done", "seed"] {
        assert!(result[name].as_u64().is_some_and(|count| count > 0), "{name}: {result:#}");
    }
    assert!(result["barrier_p99_ms"].is_u64() && result["stream_mib_per_s"].is_f64());
}

/// The control: what the demonstration looks for is found when it is there. With a person's own
/// rows.
#[test]
fn control_without_the_guard_deleted_keys_are_back_and_it_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rows.csv");
    let rows: String = (0..1_000).map(|row| format!("name {row},{row}\n")).collect();
    std::fs::write(&file, format!("name,number\n{rows}")).expect("a file");
    let input = file.to_str().expect("text");
    let (output, result) = demo(&["--without-guard", "--input", input]);
    assert_eq!(result["rows"], 1000);
    assert_eq!(output.status.code(), Some(1), "{result:#}");
    assert_eq!(result["ok"], false);
    assert!(result["resurrected_deletes"].as_u64().is_some_and(|keys| keys >= 1), "{result:#}");
    assert_eq!(result["stale_chunks_refused"], 0);
    assert_eq!(result["lost_writes"], 0, "{result:#}");
}

#[test]
fn a_file_of_rows_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.csv");
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["demo", "--quick", "--input"])
        .arg(&missing)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing.csv"));
}

/// A history is judged by itself: no cluster is asked.
#[test]
fn a_kept_history_can_be_judged_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("history.ndjson");
    let history = r#"{"op":"put","key":"k","value":"a","began_us":1,"ended_us":2,"outcome":"ok"}
{"op":"delete","key":"k","began_us":3,"ended_us":4,"outcome":"ok"}
{"op":"get","key":"k","value":"a","began_us":5,"ended_us":6,"outcome":"ok"}
"#;
    std::fs::write(&file, history).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["kv", "check", "-o", "json"])
        .arg(&file)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(verdict["resurrected_deletes"], 1, "{verdict:#}");
    assert_eq!(verdict["acknowledged_writes"], 1, "{verdict:#}");
    assert_eq!(verdict["ok"], false, "{verdict:#}");
}

/// Clients of the command line on a cluster whose tablets move; and their history, which is judged
/// by itself, fails once an acknowledged value is taken out of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_judged_and_a_history_that_lies_is_found() {
    let cluster = Cluster::start(4).await;
    let tablets = cluster.create_table("orders", 2).await;
    let history = cluster.path().join("history.ndjson");
    let path = history.to_str().expect("text").to_owned();
    let addresses = cluster.admin_addresses().join(",");
    let mut clients = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["kv", "workload", "orders", "--duration", "2s", "--keys", "200"])
        .args(["--coordinators", &addresses, "--history", &path])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary starts");
    let has: Vec<&str> = tablets[0].replicas.iter().map(|one| one.node.as_str()).collect();
    let free = ["n1", "n2", "n3", "n4"].into_iter().find(|n| !has.contains(n)).expect("one");
    cluster.moved(&tablets[0], has[0], free).await;
    let ended = tokio::task::spawn_blocking(move || clients.wait());
    assert!(ended.await.expect("joined").expect("waited for").success());
    let check = || {
        let check =
            Command::new(env!("CARGO_BIN_EXE_palisade")).args(["kv", "check", &path]).output();
        check.expect("the binary starts").status.code()
    };
    assert_eq!(check(), Some(0));
    let lines = std::fs::read_to_string(&history).expect("a history");
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    let found = |line: &&mut String| line.contains("\"get\"") && line.contains("\"value\":\"");
    let read = lines.iter_mut().rev().find(found).expect("a value was read");
    *read = read.replace("\"value\":\"", "\"value\":\"never ");
    std::fs::write(&history, lines.join("\n")).expect("written");
    assert_eq!(check(), Some(1));
}
