//! One process of a cluster: started, asked to stop, killed, held up.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// How long a process may take until it serves.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a process may take to stop when asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A process that has been started, and may not serve yet.
pub(super) struct Starting {
    name: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// A process that serves. Killed when it is dropped, and when this process is.
pub(crate) struct Member {
    name: String,
    child: Child,
    ports: Value,
}

impl Starting {
    /// Starts `palisade KIND`, with its data and its log in a directory of its name.
    pub(super) fn spawn(
        cluster: &Path,
        kind: &str,
        name: &str,
        flags: &[String],
    ) -> anyhow::Result<Starting> {
        let directory = cluster.join(name);
        std::fs::create_dir_all(&directory)?;
        let log = directory.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([kind, "--name", name, "--data"])
            .arg(directory.join("data"))
            .arg("--print-ports")
            .args(["--metrics-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
            .args(flags)
            .env(process::PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            // Ctrl-C reaches the whole terminal's group; the members are stopped in order instead.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        Ok(Starting { name: name.to_owned(), child, stdout: BufReader::new(stdout), log })
    }

    /// Waits until it serves.
    pub(super) async fn served(mut self) -> anyhow::Result<Member> {
        let (name, log) = (self.name, self.log.display());
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if tokio::time::timeout(START_DEADLINE, read).await.is_err() {
            bail!("{name} does not serve after {START_DEADLINE:?}; its log: {log}");
        }
        if let Ok(ports) = serde_json::from_str(&line) {
            return Ok(Member { name, child: self.child, ports });
        }
        let status = self.child.wait().await?;
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing");
        bail!("{name} did not start ({status}): {last}\n  log: {log}");
    }
}

impl Member {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves what.
    pub(crate) fn address(&self, which: &str) -> anyhow::Result<String> {
        let found = self.ports.get(which).and_then(Value::as_str).map(str::to_owned);
        found.with_context(|| format!("{} serves no {which:?}: {}", self.name, self.ports))
    }

    /// What stands of it in the cluster file.
    pub(super) fn describe(&self) -> Value {
        let mut described = self.ports.clone();
        described["name"] = json!(self.name);
        described["pid"] = json!(self.child.id());
        described
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal, if it runs.
    pub(super) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It may end at this very moment.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// SIGKILL.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has stopped; kills it if it does not.
    pub(super) async fn stopped(&mut self) {
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
