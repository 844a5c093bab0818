//! `palisade dev`: a whole cluster on this machine, as processes of its own. Ctrl-C stops it.
//!
//! The directory keeps the cluster: started again on it, it goes on where it stopped.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process may take until it serves.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is looked whether agents are attached.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a process may take to stop when asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Where the ports of a cluster are written, in its directory.
pub(crate) const CLUSTER_FILE: &str = "cluster.json";

/// Flags of `palisade dev`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    /// How many coordinators.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=1))]
    coordinators: u8,
    /// How many replica agents, each in a rack of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    agents: u8,
    /// Where everything is kept.
    #[arg(long, default_value = crate::args::DEV_DIRECTORY)]
    data: PathBuf,
    /// Short leases and deadlines.
    #[arg(long)]
    fast: bool,
}

/// A process of the cluster: asked to stop when the cluster does, killed with it at the latest.
struct Member {
    name: String,
    child: Child,
    ports: Value,
}

/// Runs the cluster until it is interrupted, or one of its processes ends.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("can't make {}", args.data.display()))?;
    let mut members = Vec::new();
    let ran = run_members(&args, &mut members).await;
    for member in &mut members {
        member.stop().await;
    }
    // Without the file nobody looks for a cluster that is gone.
    let _ = std::fs::remove_file(args.data.join(CLUSTER_FILE));
    ran
}

async fn run_members(args: &DevArgs, members: &mut Vec<Member>) -> anyhow::Result<()> {
    let mut flags = vec!["--bootstrap-expect".into(), "1".into()];
    flags.extend(
        ["--admin-listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"].map(Into::into),
    );
    if args.fast {
        flags.extend(["--profile".into(), "fast".into()]);
    }
    members.push(Member::start(&args.data, "coordinator", "c1", flags).await?);
    let attach_to = address(&members[0].ports, "agents")?;
    for number in 1..=args.agents {
        let name = format!("n{number}");
        let mut flags: Vec<String> = vec!["--coordinators".into(), attach_to.clone()];
        flags.extend(
            ["--data-listen", "127.0.0.1:0", "--stream-listen", "127.0.0.1:0"].map(Into::into),
        );
        flags.extend(["--rack".into(), format!("r{number}")]);
        if cfg!(feature = "faults") {
            flags.push("--faults".into());
        }
        members.push(Member::start(&args.data, "replica", &name, flags).await?);
        // One after the other, so that names and numbers of nodes go together.
        admitted(&address(&members[0].ports, "admin")?, usize::from(number)).await?;
    }
    let file = args.data.join(CLUSTER_FILE);
    std::fs::write(&file, describe(members)?)
        .with_context(|| format!("can't write {}", file.display()))?;
    println!("a cluster of 1 coordinator and {} agents is up; Ctrl-C stops it", args.agents);
    println!("  admin   {}", address(&members[0].ports, "admin")?);
    println!("  ports   {}", file.display());
    println!("  logs    {}/*/log", args.data.display());
    println!("  next    palisade status        (in another terminal, in this directory)");
    until_interrupted(members).await
}

/// Returns once so many agents are attached.
async fn admitted(admin: &str, count: usize) -> anyhow::Result<()> {
    let admin = client::AdminClient::connect(vec![admin.to_owned()]);
    let attached = async {
        loop {
            let nodes = admin.list_nodes().await?;
            if nodes.iter().filter(|node| node.attached).count() >= count {
                return anyhow::Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let waited = tokio::time::timeout(START_DEADLINE, attached).await;
    waited.with_context(|| format!("{count} agents are not attached after {START_DEADLINE:?}"))?
}

/// Returns at Ctrl-C or SIGTERM; an error if a process ends before.
async fn until_interrupted(members: &mut [Member]) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut look = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = look.tick() => for member in members.iter_mut() {
                if let Some(status) = member.child.try_wait()? {
                    bail!("{} has ended ({status}); its log says why", member.name);
                }
            },
        }
    }
}

fn address(ports: &Value, which: &str) -> anyhow::Result<String> {
    let found = ports.get(which).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no port {which:?} among {ports}"))
}

/// What stands in the cluster file.
fn describe(members: &[Member]) -> anyhow::Result<String> {
    let describe = |member: &Member| {
        let mut described = member.ports.clone();
        described["name"] = json!(member.name);
        described["pid"] = json!(member.child.id());
        described
    };
    let (coordinators, agents): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.ports.get("admin").is_some());
    let all = json!({
        "coordinators": coordinators.into_iter().map(describe).collect::<Vec<_>>(),
        "agents": agents.into_iter().map(describe).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&all)?)
}

impl Member {
    /// Starts one and waits until it serves.
    async fn start(
        data: &Path,
        kind: &str,
        name: &str,
        flags: Vec<String>,
    ) -> anyhow::Result<Member> {
        let directory = data.join(name);
        std::fs::create_dir_all(&directory)?;
        let log_file = directory.join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_file)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([kind, "--name", name, "--data"])
            .arg(directory.join("data"))
            .arg("--print-ports")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C reaches the whole terminal's group; the members are stopped in order instead.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = stdout.read_line(&mut line);
        if tokio::time::timeout(START_DEADLINE, read).await.is_err() {
            bail!(
                "{name} does not serve after {START_DEADLINE:?}; its log: {}",
                log_file.display()
            );
        }
        if let Ok(ports) = serde_json::from_str(&line) {
            return Ok(Member { name: name.to_owned(), child, ports });
        }
        let status = child.wait().await?;
        let said = std::fs::read_to_string(&log_file).unwrap_or_default();
        let last = said.lines().last().unwrap_or("it said nothing");
        bail!("{name} did not start ({status}): {last}\n  log: {}", log_file.display());
    }

    async fn stop(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
