//! `palisade-coordinator`: the coordinator alone. The same as `palisade coordinator`.

use clap::Parser;
use palisade_coordinator::{CoordinatorArgs, run};

#[derive(Parser)]
#[command(version, about = "One coordinator of a Palisade cluster")]
struct Cli {
    #[command(flatten)]
    args: CoordinatorArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { args } = Cli::parse();
    process::init_logs(args.process.log_format, process::SERVER_LOGS);
    Ok(run(args, process::stop_on_signals()?).await?)
}
