//! The whole command tree.

mod balance;
mod barrier;
mod cluster;
mod connect;
mod context;
mod doctor;
#[cfg(test)]
mod documented;
mod job;
mod kv;
mod migrate;
mod migration;
mod node;
mod snapshot;
mod table;
mod tablet;
mod unsafely;
mod values;

pub(crate) use balance::{BalanceCommand, ScopeArgs};
pub(crate) use barrier::BarrierCommand;
pub(crate) use cluster::{ConfigCommand, PauseArgs, RaftCommand, ResumeArgs, StatusArgs};
pub(crate) use connect::{Color, ConnectArgs, On, Output};
pub(crate) use context::{ContextArgs, ContextCommand};
pub(crate) use doctor::{BundleArgs, DebugCommand, DoctorArgs};
pub(crate) use job::{ChangeArgs, HoldArgs, JobArgs, WaitArgs};
pub(crate) use kv::{KvCommand, LoadArgs, WorkloadArgs};
pub(crate) use migrate::{MigrateArgs, ReplicaSetCommand};
pub(crate) use migration::MigrationCommand;
pub(crate) use node::NodeCommand;
pub(crate) use snapshot::{ReplicaCommand, ReplicaOffline, RestoreArgs, SnapshotCommand};
pub(crate) use table::{CreateTableArgs, TableCommand};
pub(crate) use tablet::TabletCommand;
pub(crate) use unsafely::{AcceptDataLossArgs, RecoverQuorumArgs, UnsafeCommand};
pub(crate) use values::{Span, TabletName, WaitStage};

use clap::{Parser, Subcommand};
use clap_complete::aot::Shell;

/// Where `palisade dev` keeps a cluster, unless it is told otherwise.
pub(crate) const DEV_DIRECTORY: &str = "palisade-dev";

const EXAMPLES: &str = "\
Examples:
  palisade dev                                         a cluster on this machine
  palisade table create orders --tablets 32 --rf 3
  palisade kv put orders k1 hello
  palisade migrate orders/17 --from n1 --to n4 --wait
  palisade migration watch
  palisade status";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  palisade migrate orders/17 --from n1 --to n4 --dry-run
  palisade migrate orders/17 --from n1 --to n4 --wait --timeout 5m
  palisade migrate orders/17 --from n1 --to n4 --wait=use_new --reason 'n1 is retired'";

const EXITS: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a precondition, 4 not found, 5 unreachable or \
no leader, 6 outcome unknown (run again with the same request id), 124 wait timed out and the job \
goes on, 130 detached and the job goes on.";

/// Moves tablets between the nodes of a storage system so that a failed copy can never hurt a
/// later stage.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, before_help = EXAMPLES, after_help = EXITS)]
#[command(propagate_version = true, infer_long_args = false)]
pub(crate) struct Cli {
    /// When colours are used.
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The main job, from start to proof: a cluster, clients, moves, faults, and a verdict.
    #[command(before_help = "Example:\n  palisade demo --quick\n  palisade demo --json")]
    Demo(crate::demo::DemoArgs),
    /// A cluster to play with, on this machine; Ctrl-C stops it.
    #[command(before_help = "Example:\n  palisade dev --agents 4")]
    Dev(crate::dev::DevArgs),
    /// Run a coordinator.
    #[command(before_help = "Example:\n  palisade coordinator --data c1 --bootstrap-expect 1")]
    Coordinator(Box<coordinator::CoordinatorArgs>),
    /// Run a replica agent.
    #[command(
        before_help = "Example:\n  palisade replica --name n1 --data n1 --coordinators c1:7402"
    )]
    Replica(ReplicaCommand),
    #[command(flatten)]
    Client(ClientCommand),
    /// Clusters by name: which coordinators, and which of them is meant.
    #[command(before_help = "Example:\n  \
                       palisade context set production --coordinators c1:7400,c2:7400\n  \
                       palisade context use production")]
    Context(ContextArgs),
    /// What a shell has to read so that it completes, with live names.
    #[command(before_help = "Examples:\n  source <(palisade completion bash)\n  \
                       palisade completion fish > ~/.config/fish/completions/palisade.fish")]
    Completion {
        /// Which shell.
        shell: Shell,
    },
    /// This build: version, features, feature level.
    #[command(before_help = "Example:\n  palisade version")]
    Version,
}

/// What is asked of a running cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// One screen: leader, failure tolerance, nodes, tables, migrations.
    #[command(before_help = "Examples:\n  palisade status\n  palisade status --watch")]
    Status(StatusArgs),
    /// What is wrong with a cluster, each thing with its remedy. Exit code 1 if a check fails.
    #[command(before_help = "Examples:\n  palisade doctor\n  palisade doctor -o json")]
    Doctor(DoctorArgs),
    /// What a report of a fault takes.
    #[command(before_help = "Example:\n  palisade debug bundle")]
    Debug(On<DebugCommand>),
    /// Tables.
    #[command(before_help = "Example:\n  palisade table create orders --tablets 32 --rf 3\n  \
                       palisade table describe orders")]
    Table(On<TableCommand>),
    /// Tablets: the units that move.
    #[command(before_help = "Example:\n  palisade tablet list --table orders\n  \
                       palisade tablet describe orders/17 --digest")]
    Tablet(On<TabletCommand>),
    /// Move a replica of a tablet to another node.
    #[command(before_help = MIGRATE_EXAMPLES)]
    Migrate(MigrateArgs),
    /// Add, remove, repair replicas.
    #[command(before_help = "Example:\n  palisade replica-set add orders/17 --to n4 --wait")]
    ReplicaSet(On<ReplicaSetCommand>),
    /// Migrations: transitions of every kind, running and finished.
    #[command(before_help = "Example:\n  palisade migration list\n  palisade migration wait 9f2c")]
    Migration(On<MigrationCommand>),
    /// Nodes.
    #[command(before_help = "Example:\n  palisade node list")]
    Node(On<NodeCommand>),
    /// The moves that Palisade begins by itself.
    #[command(before_help = "Example:\n  palisade balance status\n  \
                       palisade balance disable --reason 'network work' --for 2h")]
    Balance(On<BalanceCommand>),
    /// No transition goes past its next safe stage; streams stand still.
    #[command(before_help = "Example:\n  palisade pause --reason 'switch is being replaced'")]
    Pause(PauseArgs),
    /// Transitions go on.
    #[command(before_help = "Example:\n  palisade resume")]
    Resume(ResumeArgs),
    /// What is the same everywhere: leases, limits, retries.
    #[command(before_help = "Example:\n  palisade config get\n  palisade config set attempts=5")]
    Config(On<ConfigCommand>),
    /// The coordinators, as the Raft group that they are.
    #[command(before_help = "Example:\n  palisade raft status")]
    Raft(On<RaftCommand>),
    /// All that group0 holds, as a file; and a new cluster from one.
    #[command(before_help = "Example:\n  palisade snapshot save group0.snapshot\n  \
                       palisade snapshot restore group0.snapshot --data c1 --name c1")]
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Barriers that wait, and who holds them up.
    #[command(before_help = "Example:\n  palisade barrier holders --tablet orders/17")]
    Barrier(On<BarrierCommand>),
    /// What can lose data: the name of the thing has to be typed, and it is logged.
    #[command(before_help = "Example:\n  \
                       palisade unsafe accept-data-loss orders/17 --reason 'both burnt'")]
    Unsafe(On<UnsafeCommand>),
    /// Rows, through the router.
    #[command(
        before_help = "Example:\n  palisade kv put orders k1 hello\n  palisade kv get orders k1"
    )]
    Kv(On<KvCommand>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Command {
        Cli::try_parse_from(line.split(' ')).expect("a command line that is meant").command
    }

    #[test]
    fn the_tree_agrees_with_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_migration_is_asked_for_as_the_interface_says() {
        let line =
            "palisade migrate orders/17 --from n1 --to n4 --wait=use_new --timeout 5m -o json";
        let Command::Client(ClientCommand::Migrate(args)) = parse(line) else { panic!("{line}") };
        assert_eq!(args.tablet.to_string(), "orders/17");
        assert_eq!(args.job.wait.wait.expect("given").to_string(), "use_new");
        assert_eq!(args.connect.output, Output::Json);
        let line = "palisade migrate 17 --from n1 --to n4 --wait";
        let Command::Client(ClientCommand::Migrate(args)) = parse(line) else { panic!("{line}") };
        assert_eq!(args.job.wait.wait.expect("given").to_string(), "end");
    }

    #[test]
    fn a_servers_own_flags_are_not_taken_for_the_clients() {
        let line = "palisade replica --name n1 --data d --coordinators c1:7402";
        let Command::Replica(command) = parse(line) else { panic!("{line}") };
        let ReplicaCommand::Run(args) = command else { panic!("{line}") };
        assert_eq!(args.coordinators, ["c1:7402"]);
        let line = "palisade replica adopt --data d --cluster 7b0c52a1-7a3c-4f0e-9e55-0b6a4f6e2c11";
        let Command::Replica(command) = parse(line) else { panic!("{line}") };
        assert!(matches!(command, ReplicaCommand::Offline(ReplicaOffline::Adopt { .. })));
        assert!(Cli::try_parse_from(["palisade", "replica"]).is_err());
        let line = "palisade table list --coordinators c1:7400,c2:7400";
        let Command::Client(ClientCommand::Table(on)) = parse(line) else { panic!("{line}") };
        assert_eq!(on.connect.coordinators, ["c1:7400", "c2:7400"]);
    }

    fn walk(command: &clap::Command, path: &str, check: &mut impl FnMut(&clap::Command, &str)) {
        check(command, path);
        for below in command.get_subcommands() {
            walk(below, &format!("{path} {}", below.get_name()), check);
        }
    }

    #[test]
    fn the_help_of_each_command_begins_with_an_example_of_it() {
        let mut seen = 0;
        walk(&Cli::command(), "palisade", &mut |command, path| {
            let before = command.get_before_long_help().or(command.get_before_help());
            let before = before.map(ToString::to_string).unwrap_or_default();
            assert!(before.starts_with("Example"), "{path}: {before:?}");
            let is_leaf = command.get_subcommands().next().is_none();
            assert!(!is_leaf || before.contains(path), "{path}: {before:?}");
            seen += usize::from(is_leaf);
        });
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn each_example_is_a_command_line_that_is_meant() {
        walk(&Cli::command(), "palisade", &mut |command, _| {
            let before = command.get_before_help().map(ToString::to_string).unwrap_or_default();
            for line in before.lines().filter_map(|line| line.trim().strip_prefix("palisade ")) {
                // What stands two spaces apart explains the line; what is quoted is one word.
                let line = line.split("  ").next().unwrap_or(line);
                let line = line.split(" > ").next().unwrap_or(line);
                let mut words = vec!["palisade".to_owned()];
                for (index, part) in line.split('\'').enumerate() {
                    match index % 2 {
                        0 => words.extend(part.split_whitespace().map(str::to_owned)),
                        _ => words.push(part.to_owned()),
                    }
                }
                let parsed = Cli::try_parse_from(&words);
                assert!(
                    parsed.is_ok(),
                    "{words:?}: {}",
                    parsed.err().map_or(String::new(), |error| error.to_string())
                );
            }
        });
    }

    #[test]
    fn a_switch_has_one_scope_and_a_reason() {
        let line = "palisade balance disable --table orders --reason load --for 2h --wait";
        let Command::Client(ClientCommand::Balance(on)) = parse(line) else { panic!("{line}") };
        let BalanceCommand::Disable { scope, lasts, hold, .. } = on.command else {
            panic!("{line}")
        };
        assert_eq!((scope.table.as_str(), scope.node.as_str()), ("orders", ""));
        assert_eq!(lasts.map(|lasts| lasts.0.as_secs()), Some(7_200));
        assert!(hold.wait);
        for wrong in [
            "palisade balance disable --table a --node b --reason c",
            "palisade balance disable --table a",
            "palisade node drain n1",
            "palisade config set",
            "palisade node drain n1 --reason c --timeout 5s",
            "palisade status --coordinators a:1 --context b",
        ] {
            assert!(Cli::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
