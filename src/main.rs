//! `palisade`: one program for people and for machines. It parses, runs, and ends with an exit
//! code that says what became of the request; errors come in four parts.

mod args;
mod checker;
mod cluster;
mod commands;
mod demo;
mod dev;
mod exit;
mod place;
mod render;

use args::{Cli, Command};
use clap::Parser;
use exit::{Exit, Failure};
use process::LogFormat;
use std::process::ExitCode;

/// What the command line logs where `RUST_LOG` is not set.
const CLI_LOGS: &str = "error";

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let ended = match command {
        Command::Coordinator(args) => {
            process::init_logs(args.process.log_format, process::SERVER_LOGS);
            process::end_with_parent();
            server(coordinator(*args).await)
        }
        Command::Replica(args) => {
            process::init_logs(args.process.log_format, process::SERVER_LOGS);
            process::end_with_parent();
            server(replica(*args).await)
        }
        Command::Dev(args) => server(dev::run(args).await),
        Command::Demo(args) => {
            process::init_logs(LogFormat::Text, CLI_LOGS);
            demo::run(args).await
        }
        Command::Client(command) => {
            process::init_logs(LogFormat::Text, CLI_LOGS);
            commands::run(command).await
        }
        Command::Version => {
            println!("palisade {}", env!("CARGO_PKG_VERSION"));
            Ok(Exit::Done)
        }
    };
    let exit = ended.unwrap_or_else(|failure| {
        eprint!("{}", render::failure(&failure));
        failure.exit
    });
    ExitCode::from(exit.code())
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
