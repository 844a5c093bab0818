//! `palisade debug bundle`: one file with all that a report of a fault needs, and a manifest that
//! says what is in it and what could not be had.
//!
//! In it are: what the cluster says of itself, metrics, the ends of logs. Not in it: keys and values
//! of rows, where tablets begin and end (in tables by range these are pieces of keys), keys of
//! certificates, lines of logs below INFO. What operators gave as reasons is in it.

use super::doctor::{look, why};
use super::{Session, now_ms, print};
use crate::args::BundleArgs;
use crate::doctor::{Seen, examine};
use crate::exit::{Exit, Failure};
use crate::render::{self, Described, Paint};
use flate2::Compression;
use flate2::write::GzEncoder;
use proto::admin::v1 as pb;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// So much of the end of a log.
const LOG_BYTES: u64 = 2 << 20;
/// The most that a process may say as metrics.
const METRICS_BYTES: u64 = 4 << 20;
/// How long a process may take for its metrics.
const METRICS_TIME: Duration = Duration::from_secs(5);
/// So many tablets, those with something to say first.
const TABLETS: usize = 10_000;
/// In which directory of the archive all is.
const DIRECTORY: &str = "palisade-bundle";

/// What goes into the archive.
#[derive(Debug, Default)]
struct Bundle {
    /// By name.
    files: Vec<(String, Vec<u8>)>,
    /// What could not be had, and why.
    absent: Vec<(String, String)>,
}

impl Bundle {
    fn add(&mut self, name: impl Into<String>, found: Result<Vec<u8>, String>) {
        match found {
            Ok(bytes) => self.files.push((name.into(), bytes)),
            Err(why) => self.absent.push((name.into(), why)),
        }
    }

    fn add_value(&mut self, name: &str, found: Result<Value, String>) {
        self.add(name, found.map(|value| format!("{value:#}\n").into_bytes()));
    }

    fn manifest(&self, session: &Session, seen: &Seen) -> Value {
        let files =
            self.files.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes.len() }));
        let absent = self.absent.iter().map(|(name, why)| json!({ "name": name, "why": why }));
        json!({
            "form": 1,
            "atMs": seen.now_ms.to_string(),
            "build": seen.build,
            "featureLevel": seen.feature_level,
            "askedAs": session.tls.as_ref().map(|tls| tls.identity().to_string()),
            "coordinators": session.coordinators,
            "files": files.collect::<Vec<_>>(),
            "absent": absent.collect::<Vec<_>>(),
            "leftOut": [
                "keys and values of rows",
                "where tablets begin and end",
                "keys and certificates",
                "lines of logs below INFO",
            ],
        })
    }

    /// Writes the archive, for nobody else to read.
    fn write(&self, manifest: &Value, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        let manifest = ("manifest.json".to_owned(), format!("{manifest:#}\n").into_bytes());
        for (name, bytes) in [&manifest].into_iter().chain(&self.files) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now_ms() / 1_000);
            archive.append_data(&mut header, format!("{DIRECTORY}/{name}"), bytes.as_slice())?;
        }
        let mut file: File = archive.into_inner()?.finish()?;
        file.flush()?;
        file.sync_all()
    }
}

pub(super) async fn bundle(session: &Session, args: BundleArgs) -> Result<Exit, Failure> {
    let seen = look(session).await;
    let mut bundle = Bundle::default();
    add_seen(&mut bundle, &seen);
    let finished = why(session.admin.list_migrations(false).await);
    bundle.add_value("migrations.json", finished.map(|all| list("migrations", &all)));
    let plan = why(session.admin.plan_balance().await);
    bundle.add_value("balance-plan.json", plan.map(|plan| render::json(&plan)));
    let named = args.metrics.iter().map(|address| (address.clone(), address.clone()));
    for (name, address) in session.metrics.iter().cloned().chain(named) {
        bundle.add(format!("metrics/{}.txt", file_name(&name)), metrics(&address).await);
    }
    for (number, path) in args.log.iter().enumerate() {
        let name = format!("logs/{number}-{}.txt", file_name(&path.display().to_string()));
        bundle.add(name, why(log_end(path)));
    }
    let path = args.to.unwrap_or_else(|| {
        PathBuf::from(format!("palisade-bundle-{}.tar.gz", seen.now_ms / 1_000))
    });
    let manifest = bundle.manifest(session, &seen);
    bundle.write(&manifest, &path).map_err(|error| {
        Failure::new(Exit::Failed, format!("can't write {}: {error}", path.display()))
            .next("palisade debug bundle --to FILE     where there is none yet")
    })?;
    match session.output.is_for_people() {
        true => print(&said(&bundle, &path)),
        false => session.show_value(&manifest),
    }
    Ok(Exit::Done)
}

fn said(bundle: &Bundle, path: &Path) -> String {
    let mut text = format!("{}: {} files\n", path.display(), bundle.files.len() + 1);
    for (name, why) in &bundle.absent {
        text.push_str(&format!("  not had: {name}: {why}\n"));
    }
    text
}

/// What the doctor has seen, and what it says.
fn add_seen(bundle: &mut Bundle, seen: &Seen) {
    let checks = examine(seen);
    let version = format!("palisade {}\nfeature level {}\n", seen.build, seen.feature_level);
    bundle.add("version.txt", Ok(version.into_bytes()));
    bundle.add("doctor.txt", Ok(render::findings(&checks, Paint::default()).into_bytes()));
    bundle.add_value("doctor.json", Ok(render::findings_value(&checks, seen.now_ms)));
    let asked = seen.asked.iter().map(|asked| {
        let own = asked.answer.as_ref().ok().and_then(|answer| answer.own.as_ref());
        json!({
            "address": asked.address,
            "name": asked.name,
            "own": own.map(render::json),
            "why": asked.answer.as_ref().err(),
        })
    });
    let asked: Vec<Value> = asked.collect();
    bundle.add_value("coordinators.json", Ok(json!({ "coordinators": asked })));
    bundle.add_value("status.json", seen.status.as_ref().map(render::json).map_err(Clone::clone));
    let settings = seen.settings.as_ref().map(render::json);
    bundle.add_value("settings.json", settings.map_err(Clone::clone));
    let barriers = seen.barriers.as_ref().map(|all| list("barriers", all));
    bundle.add_value("barriers.json", barriers.map_err(Clone::clone));
    let orphans = seen.orphans.as_ref().map(render::json);
    bundle.add_value("orphans.json", orphans.map_err(Clone::clone));
    let tablets = seen.tablets.as_ref().map(|all| tablets(all));
    bundle.add_value("tablets.json", tablets.map_err(Clone::clone));
}

fn list<M: Described>(name: &str, all: &[M]) -> Value {
    json!({ name: all.iter().map(render::json).collect::<Vec<_>>() })
}

/// Tablets without where they begin and end; of many those in a transition or with a lost copy first.
fn tablets(all: &[pb::Tablet]) -> Value {
    let is_plain = |tablet: &&pb::Tablet| {
        tablet.migration.is_empty() && !tablet.replicas.iter().any(|replica| replica.lost)
    };
    let mut sorted: Vec<&pb::Tablet> = all.iter().collect();
    sorted.sort_by_key(is_plain);
    let shown = sorted.into_iter().take(TABLETS);
    let bare = shown.map(|tablet| pb::Tablet { range: None, ..tablet.clone() });
    json!({
        "tabletCount": all.len(),
        "tablets": bare.map(|tablet| render::json(&tablet)).collect::<Vec<_>>(),
    })
}

/// A name for a file, of an address or a path.
fn file_name(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let plain: String = text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let skipped = plain.len().saturating_sub(64);
    plain[skipped..].trim_start_matches(['.', '_']).to_owned()
}

/// What a process serves as metrics.
async fn metrics(address: &str) -> Result<Vec<u8>, String> {
    let got = async {
        let mut stream = TcpStream::connect(address).await?;
        let ask = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(METRICS_BYTES).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = timeout(METRICS_TIME, got).await.map_err(|_| "no answer in time".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer of HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    match line.contains(" 200 ") {
        true => Ok(body.as_bytes().to_vec()),
        false => Err(line.to_owned()),
    }
}

/// The end of a log, from the beginning of a line on.
fn log_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match (skipped, text.find('\n')) {
        (0, _) | (_, None) => &text[..],
        (_, Some(end)) => &text[end + 1..],
    };
    Ok(redacted(whole).into_bytes())
}

/// A log without what libraries say below INFO, and without keys that somebody has put there: also
/// without the rest of one that begins before it.
fn redacted(log: &str) -> String {
    let mut text = String::new();
    let (mut is_key, mut begun) = (false, false);
    for line in log.lines() {
        let has_key = line.contains("PRIVATE KEY-----");
        let below = ["\"level\":\"DEBUG\"", "\"level\":\"TRACE\"", " DEBUG ", " TRACE "];
        if !is_key && !has_key && !below.iter().any(|level| line.contains(level)) {
            text.push_str(line);
            text.push('\n');
        }
        if has_key {
            let (begin, end) = (line.find("-----BEGIN"), line.find("-----END"));
            if !begun && end.is_some_and(|end| begin.is_none_or(|begin| end < begin)) {
                text.clear();
            }
            begun = true;
            // A key in one line has both its ends there.
            is_key = line.rfind("-----BEGIN") > line.rfind("-----END");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_loses_keys_and_what_libraries_whisper() {
        let log = "\
a line
2026-11-21T00:00:00Z DEBUG h2: frame
{\"level\":\"TRACE\",\"target\":\"sled\"}
-----BEGIN PRIVATE KEY-----
c2VjcmV0
-----END PRIVATE KEY-----
{\"pem\":\"-----BEGIN EC PRIVATE KEY-----\\nc2VjcmV0\\n-----END EC PRIVATE KEY-----\"}
{\"level\":\"INFO\",\"message\":\"the end\"}
";
        assert_eq!(redacted(log), "a line\n{\"level\":\"INFO\",\"message\":\"the end\"}\n");
    }

    #[test]
    fn a_log_that_begins_within_a_key_loses_the_rest_of_it() {
        let log = "\
cmVzdA
-----END PRIVATE KEY-----
a line
-----BEGIN PRIVATE KEY-----
c2VjcmV0
-----END PRIVATE KEY-----
another line
";
        assert_eq!(redacted(log), "a line\nanother line\n");
        let within = "rest-----END PRIVATE KEY----- -----BEGIN PRIVATE KEY-----\nc2VjcmV0\n";
        assert_eq!(redacted(within), "");
    }

    #[test]
    fn the_end_of_a_long_log_begins_with_a_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let lines: String = (0..400_000).map(|number| format!("line {number}\n")).collect();
        std::fs::write(&path, &lines).expect("written");
        let end = String::from_utf8(log_end(&path).expect("read")).expect("text");
        assert!(end.len() as u64 <= LOG_BYTES && end.starts_with("line "), "{}", &end[..40]);
        assert!(lines.ends_with(&end));
    }

    #[test]
    fn tablets_that_move_come_first_and_none_says_where_it_begins() {
        let range = proto::types::v1::PositionRange { start: b"alice".to_vec().into(), end: None };
        let tablet = |id: u64, migration: &str| pb::Tablet {
            id,
            migration: migration.to_owned(),
            range: Some(range.clone()),
            ..Default::default()
        };
        let shown = tablets(&[tablet(1, ""), tablet(2, "9f2c")]);
        assert_eq!(shown["tablets"][0]["id"], "2");
        assert_eq!(shown["tabletCount"], 2);
        assert!(shown["tablets"][0].get("range").is_none());
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name("../../etc/passwd"), "etc_passwd");
        assert_eq!(file_name("127.0.0.1:7403"), "127.0.0.1_7403");
        assert_eq!(file_name(&"x".repeat(100)).len(), 64);
    }
}
