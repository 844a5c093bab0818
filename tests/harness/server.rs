//! One process: started until it says its ports, stopped, paused, killed.

use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// One process of a cluster, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    ports: Value,
}

impl Server {
    /// Starts `palisade KIND` and waits for its line of ports; the end of its log if it ends.
    pub(crate) fn start(log: &Path, args: &[&str]) -> Result<Server, String> {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(args)
            .arg("--print-ports")
            .env("RUST_LOG", process::SERVER_LOGS)
            .env("PALISADE_METRICS_LISTEN", "127.0.0.1:0")
            .env("PALISADE_HEALTH_LISTEN", "127.0.0.1:0")
            .env_remove("PALISADE_COORDINATORS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("its output is text");
        match serde_json::from_str(&line) {
            Ok(ports) => Ok(Server { child, ports }),
            Err(_) => {
                let status = child.wait().expect("it has ended");
                let said = std::fs::read_to_string(log).unwrap_or_default();
                Err(format!("{status}: {said}"))
            }
        }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn port(&self, which: &str) -> String {
        self.ports[which].as_str().expect("a port").to_owned()
    }

    /// The most memory that it has had in use at a time, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number") << 10
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("it is ours")
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
