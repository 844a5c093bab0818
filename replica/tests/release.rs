//! What a release artefact must not have. Nothing to see in a build with the fault switches.
#![cfg(not(feature = "faults"))]

use clap::Parser;
use palisade_replica::{ReplicaArgs, ServeError, run};
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ReplicaArgs,
}

#[tokio::test]
async fn fault_switches_are_refused_where_they_were_not_built_in() {
    let flags =
        ["palisade-replica", "--name=n1", "--data=never-made", "--coordinators=x:1", "--faults"];
    let cli = Cli::try_parse_from(flags).expect("flags");
    let refused = run(cli.args, CancellationToken::new()).await.expect_err("no switches");
    assert!(matches!(refused, ServeError::NoFaults), "{refused}");
    assert!(!std::path::Path::new("never-made").exists());
}
