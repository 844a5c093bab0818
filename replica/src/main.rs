//! `palisade-replica`: the replica agent alone. The same as `palisade replica`.

use clap::Parser;
use palisade_replica::{ReplicaArgs, run};

#[derive(Parser)]
#[command(version, about = "The replica agent beside one storage node of a Palisade cluster")]
struct Cli {
    #[command(flatten)]
    args: ReplicaArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { args } = Cli::parse();
    process::init_logs(args.process.log_format, process::SERVER_LOGS);
    Ok(run(args, process::stop_on_signals()?).await?)
}
