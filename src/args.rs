//! The whole command tree.

mod values;

pub(crate) use values::{Span, TabletName, WaitStage};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

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
    Replica(Box<replica::ReplicaArgs>),
    #[command(flatten)]
    Client(ClientCommand),
    /// This build.
    Version,
}

/// What is asked of a running cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// One screen: leader, failure tolerance, nodes, tables, migrations.
    #[command(before_help = "Example:\n  palisade status")]
    Status(StatusArgs),
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
    /// Barriers that wait, and who holds them up.
    #[command(before_help = "Example:\n  palisade barrier holders --tablet orders/17")]
    Barrier(On<BarrierCommand>),
    /// Rows, through the router.
    #[command(
        before_help = "Example:\n  palisade kv put orders k1 hello\n  palisade kv get orders k1"
    )]
    Kv(On<KvCommand>),
}

/// A group of commands, with where to connect.
#[derive(Debug, Args)]
pub(crate) struct On<T: Subcommand> {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(subcommand)]
    pub(crate) command: T,
}

/// Where to connect, and how to answer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectArgs {
    /// The coordinators' admin addresses, `host:port`, separated by commas.
    #[arg(long, env = "PALISADE_COORDINATORS", value_delimiter = ',', global = true)]
    #[arg(value_name = "HOST:PORT", help_heading = "Connection")]
    pub(crate) coordinators: Vec<String>,
    /// A cluster file, as `palisade dev` writes it.
    #[arg(long, env = "PALISADE_CLUSTER_FILE", global = true, help_heading = "Connection")]
    pub(crate) cluster_file: Option<PathBuf>,
    /// How long one request may take, with all its tries.
    #[arg(long, env = "PALISADE_DEADLINE", default_value = "30s", global = true)]
    #[arg(help_heading = "Connection", value_name = "DURATION")]
    pub(crate) deadline: Span,
    /// How answers are written.
    #[arg(short, long, env = "PALISADE_OUTPUT", value_enum, default_value_t, global = true)]
    pub(crate) output: Output,
}

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// As the proto JSON mapping has it; watches give one object a line.
    Json,
    /// Names alone, one a line.
    Name,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableCommand {
    /// Make a table and place its replicas.
    Create(CreateTableArgs),
    /// All tables.
    List,
    /// One table, with its tablets.
    Describe {
        /// The table.
        name: String,
    },
    /// Drop a table and all its data.
    Drop {
        /// The table.
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateTableArgs {
    /// 1 to 128 letters, digits, '_', '-' or '.'.
    pub(crate) name: String,
    /// Cut the hash space into this many even tablets.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(conflicts_with = "ranges")]
    pub(crate) tablets: u32,
    /// Replicas of each tablet.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rf: u32,
    /// Order keys as they are, and split at the keys in this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) ranges: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// What all changes take.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChangeArgs {
    /// The server's own checks; nothing is done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The id of an earlier try whose outcome is unknown: it takes effect once at most.
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<String>,
}

/// What all changes take that begin a job.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Why, for those who look later.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// Whether, for what and for how long to wait.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it has ended, or has reached a stage. Ctrl-C detaches.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "end")]
    #[arg(value_name = "STAGE")]
    pub(crate) wait: Option<WaitStage>,
    /// Wait no longer than this; the job goes on.
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: Option<Span>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TabletCommand {
    /// Tablets, of one table or of all.
    List {
        /// Only of this table.
        #[arg(long, default_value = "", hide_default_value = true)]
        table: String,
    },
    /// One tablet.
    Describe {
        /// The tablet, TABLE/NUMBER or NUMBER.
        tablet: TabletName,
        /// Ask each replica what it holds.
        #[arg(long)]
        digest: bool,
    },
    /// Remove tombstones that every replica has.
    Purge {
        /// The tablet, TABLE/NUMBER or NUMBER.
        tablet: TabletName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// The tablet, TABLE/NUMBER or NUMBER.
    pub(crate) tablet: TabletName,
    /// The node that loses its replica.
    #[arg(long, value_name = "NODE")]
    pub(crate) from: String,
    /// The node that gets one.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) job: JobArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaSetCommand {
    /// One more replica.
    Add {
        /// The tablet, TABLE/NUMBER or NUMBER.
        tablet: TabletName,
        /// The node that gets it.
        #[arg(long, value_name = "NODE")]
        to: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// One replica fewer.
    Remove {
        /// The tablet, TABLE/NUMBER or NUMBER.
        tablet: TabletName,
        /// The node that loses it.
        #[arg(long, value_name = "NODE")]
        from: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Let the replicas exchange what differs.
    Repair {
        /// The tablet, TABLE/NUMBER or NUMBER.
        tablet: TabletName,
        #[command(flatten)]
        job: JobArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrationCommand {
    /// Running ones, then finished ones, the newest first.
    List {
        /// Only those that run.
        #[arg(long)]
        running: bool,
    },
    /// One migration, with its stages and their evidence.
    Describe {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Migrations as they change, until Ctrl-C.
    Watch {
        /// Only this one: its id, or the beginning of it.
        id: Option<String>,
    },
    /// Wait until one has ended, or has reached a stage.
    Wait {
        /// Its id, or the beginning of it.
        id: String,
        /// Until it has reached this stage.
        #[arg(long, default_value = "end")]
        stage: WaitStage,
        /// Wait no longer than this; the job goes on.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<Span>,
    },
    /// Ask one to go back, as long as it can.
    Cancel {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        change: ChangeArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// All nodes.
    List,
    /// One node.
    Describe {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BarrierCommand {
    /// Barriers that wait, and for whom.
    List,
    /// Who holds them up on those nodes.
    Holders {
        /// Only of this tablet.
        #[arg(long)]
        tablet: Option<TabletName>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Store a value.
    Put {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The value of a key, as it is; exit code 4 if it has none.
    Get {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// Delete a key.
    Delete {
        /// The table.
        table: String,
        /// The key.
        key: String,
    },
    /// Rows in order of position.
    Scan {
        /// The table.
        table: String,
        /// Rows at the most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Store rows made from a seed.
    Load(LoadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The table.
    pub(crate) table: String,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) rows: u64,
    /// The same seed makes the same rows.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) value_bytes: u32,
    /// Rows under way at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
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
        let Command::Replica(args) = parse(line) else { panic!("{line}") };
        assert_eq!(args.coordinators, ["c1:7402"]);
        let line = "palisade table list --coordinators c1:7400,c2:7400";
        let Command::Client(ClientCommand::Table(on)) = parse(line) else { panic!("{line}") };
        assert_eq!(on.connect.coordinators, ["c1:7400", "c2:7400"]);
    }
}
