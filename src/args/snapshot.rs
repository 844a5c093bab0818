//! `palisade snapshot` and `palisade replica adopt`.

use super::{ConnectArgs, Output};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use migrations::id::ClusterId;
use std::path::PathBuf;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Write all that group0 holds into a file.
    #[command(before_help = "Example:\n  palisade snapshot save group0.snapshot")]
    Save {
        /// The file. One that is there is replaced, once the new one is whole.
        file: PathBuf,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// What is in a file; checks all of it. Asks nobody.
    #[command(before_help = "Example:\n  palisade snapshot inspect group0.snapshot")]
    Inspect {
        /// The file.
        file: PathBuf,
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Make the data directory of a coordinator that begins a new cluster with what was saved.
    #[command(before_help = "Example:\n  \
                       palisade snapshot restore group0.snapshot --data c1 --name c1")]
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The file: one that was saved, or one of a coordinator's own, from DATA/snapshots.
    pub(crate) file: PathBuf,
    /// The coordinator's data directory: empty, or not there yet.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The coordinator's name.
    #[arg(long, default_value = "c1")]
    pub(crate) name: String,
    /// The era of the new cluster, above that of the file; otherwise the seconds since 1970.
    #[arg(long, value_name = "N")]
    pub(crate) era: Option<u32>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// `palisade replica`: an agent, or what is done to the directory of one that doesn't run.
#[derive(Debug)]
pub(crate) enum ReplicaCommand {
    /// An agent.
    Run(Box<replica::ReplicaArgs>),
    /// Something with its directory.
    Offline(ReplicaOffline),
}

// By hand: the flags of an agent are needed only where no subcommand is given.
impl Args for ReplicaCommand {
    fn augment_args(command: Command) -> Command {
        let command = replica::ReplicaArgs::augment_args(command);
        let command = ReplicaOffline::augment_subcommands(command);
        let command = command.subcommand_required(false).arg_required_else_help(false);
        command.args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ReplicaCommand::augment_args(command)
    }
}

impl FromArgMatches for ReplicaCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ReplicaCommand, clap::Error> {
        match matches.subcommand_name() {
            Some(_) => ReplicaOffline::from_arg_matches(matches).map(ReplicaCommand::Offline),
            None => replica::ReplicaArgs::from_arg_matches(matches)
                .map(Box::new)
                .map(ReplicaCommand::Run),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ReplicaCommand::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaOffline {
    /// Bring the directory of an agent that doesn't run over to a cluster that was restored.
    #[command(before_help = "Example:\n  palisade replica adopt \
                       --cluster 7b0c52a1-7a3c-4f0e-9e55-0b6a4f6e2c11 --data n1")]
    Adopt {
        /// The id of the restored cluster, as `snapshot restore` and `status` say it.
        #[arg(long, value_parser = cluster)]
        cluster: ClusterId,
        /// The agent's data directory.
        #[arg(long)]
        data: PathBuf,
    },
}

fn cluster(text: &str) -> Result<ClusterId, String> {
    let uuid = Uuid::parse_str(text).ok().and_then(ClusterId::from_uuid);
    uuid.ok_or_else(|| "not a cluster's id: a UUID".to_owned())
}
