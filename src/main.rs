//! `palisade`: one program for people and for machines. It parses, runs, and ends with an exit
//! code that says what became of the request; errors come in four parts.

mod args;
mod checker;
mod cluster;
mod commands;
mod complete;
mod demo;
mod dev;
mod doctor;
mod exit;
#[cfg(test)]
mod fuzz;
mod place;
mod render;
mod terminal;
mod workload;

use args::{Cli, Color, Command, ReplicaCommand};
use clap::Parser;
use exit::{Exit, Failure};
use process::LogFormat;
use std::process::ExitCode;
use std::time::Duration;

/// What still blocks at the end is waited for so long.
const LEFT_BEHIND: Duration = Duration::from_secs(2);
/// What the command line logs where `RUST_LOG` is not set.
const CLI_LOGS: &str = "error";

fn main() -> ExitCode {
    complete::answer();
    let Cli { color, command } = Cli::parse();
    let ended = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let ended = runtime.block_on(run(command, color));
            // What blocks in a disk that hangs keeps no process from ending.
            runtime.shutdown_timeout(LEFT_BEHIND);
            ended
        }
        Err(error) => Err(Failure::new(Exit::Failed, error.to_string())),
    };
    let exit = ended.unwrap_or_else(|failure| {
        let paint = terminal::paint(color, &std::io::stderr());
        eprint!("{}", render::failure(&failure, paint));
        failure.exit
    });
    ExitCode::from(exit.code())
}

async fn run(command: Command, color: Color) -> Result<Exit, Failure> {
    match command {
        Command::Coordinator(args) => {
            process::init_logs(args.process.log_format, process::SERVER_LOGS);
            process::end_with_parent();
            server(coordinator(*args).await)
        }
        Command::Replica(command) => match command {
            ReplicaCommand::Offline(offline) => commands::snapshot::offline(offline),
            ReplicaCommand::Run(args) => {
                process::init_logs(args.process.log_format, process::SERVER_LOGS);
                process::end_with_parent();
                server(replica(*args).await)
            }
        },
        Command::Dev(args) => server(dev::run(args).await),
        Command::Demo(args) => {
            process::init_logs(LogFormat::Text, CLI_LOGS);
            demo::run(args).await
        }
        Command::Client(command) => {
            process::init_logs(LogFormat::Text, CLI_LOGS);
            commands::run(command, color).await
        }
        Command::Context(args) => commands::context::run(args),
        Command::Completion { shell } => {
            let script = complete::script(&shell.to_string());
            print!("{}", script.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?);
            Ok(Exit::Done)
        }
        Command::Version => {
            print!("{}", version());
            Ok(Exit::Done)
        }
    }
}

/// This build: its version, what was built in, and the newest state that it can keep.
fn version() -> String {
    let features = if cfg!(feature = "faults") { "faults" } else { "none" };
    format!(
        "palisade {}\nfeatures       {features}\nfeature level  {}\n",
        env!("CARGO_PKG_VERSION"),
        migrations::state::FEATURE_LEVEL,
    )
}

async fn coordinator(args: coordinator::CoordinatorArgs) -> anyhow::Result<()> {
    Ok(coordinator::run(args, process::stop_on_signals()?).await?)
}

async fn replica(args: replica::ReplicaArgs) -> anyhow::Result<()> {
    Ok(replica::run(args, process::stop_on_signals()?).await?)
}

/// How a process that serves has ended.
fn server(ended: anyhow::Result<()>) -> Result<Exit, Failure> {
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure::new(Exit::Failed, format!("{error:#}"))),
    }
}
