//! What is asked of a running cluster: one module a subject.

mod balance;
mod barrier;
mod bundle;
mod cluster;
mod config;
pub(crate) mod context;
mod doctor;
mod hold;
mod kv;
mod migrate;
mod migration;
mod node;
pub(crate) mod snapshot;
mod raft;
mod table;
mod tablet;
mod unsafely;
mod wait;

use crate::args::{
    ClientCommand, Color, ConnectArgs, DebugCommand, Output, Span, TabletName, UnsafeCommand,
};
use crate::exit::{Exit, Failure};
use crate::place::Where;
use crate::render::{self, Described, Paint};
use crate::{place, terminal};
use client::{AdminClient, AdminOptions, Tls};
use serde_json::Value;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What every command needs.
pub(crate) struct Session {
    pub(crate) admin: AdminClient,
    pub(crate) output: Output,
    /// The admin addresses that were given.
    coordinators: Vec<String>,
    /// Where processes serve metrics, as far as a cluster file says it: by name.
    metrics: Vec<(String, String)>,
    tls: Option<Tls>,
    paint: Paint,
    /// What people watch is drawn again and again in the same place.
    is_live: bool,
}

/// Runs a command.
pub(crate) async fn run(command: ClientCommand, color: Color) -> Result<Exit, Failure> {
    let session = |connect: &ConnectArgs| Session::new(connect, color);
    match command {
        ClientCommand::Status(args) => cluster::status(&session(&args.connect)?, args.watch).await,
        ClientCommand::Doctor(args) => doctor::doctor(&brief(&args.connect, color)?).await,
        ClientCommand::Debug(on) => match on.command {
            DebugCommand::Bundle(args) => bundle::bundle(&brief(&on.connect, color)?, args).await,
        },
        ClientCommand::Table(on) => table::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Tablet(on) => tablet::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Migrate(args) => migrate::migrate(&session(&args.connect)?, args).await,
        ClientCommand::ReplicaSet(on) => {
            migrate::replica_set(&session(&on.connect)?, on.command).await
        }
        ClientCommand::Migration(on) => migration::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Node(on) => node::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Balance(on) => balance::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Pause(args) => cluster::pause(&session(&args.connect)?, args).await,
        ClientCommand::Resume(args) => cluster::resume(&session(&args.connect)?, args).await,
        ClientCommand::Config(on) => config::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Raft(on) => raft::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Barrier(on) => barrier::run(&session(&on.connect)?, on.command).await,
        ClientCommand::Unsafe(on) => match on.command {
            UnsafeCommand::AcceptDataLoss(args) => {
                unsafely::accept_data_loss(&session(&on.connect)?, args).await
            }
            UnsafeCommand::RecoverQuorum(args) => unsafely::recover_quorum(on.connect.output, args),
        },
        ClientCommand::Snapshot { command } => snapshot::run(command, color).await,
        ClientCommand::Kv(on) => kv::run(&session(&on.connect)?, on.command).await,
    }
}

/// For what looks at much: no part of it waits for long.
fn brief(connect: &ConnectArgs, color: Color) -> Result<Session, Failure> {
    let deadline = Span(connect.deadline.0.min(doctor::PATIENCE));
    Session::new(&ConnectArgs { deadline, ..connect.clone() }, color)
}

impl Session {
    fn new(connect: &ConnectArgs, color: Color) -> Result<Session, Failure> {
        let deadline = connect.deadline.0;
        let options = AdminOptions { deadline, ..AdminOptions::default() };
        let Where { coordinators, tls, metrics } = place::cluster(connect)?;
        let tls = tls.load().map_err(|error| {
            Failure::new(Exit::Usage, error.to_string()).now("nothing was asked of any cluster")
        })?;
        let admin = AdminClient::connect_as(coordinators.clone(), options, tls.clone());
        let paint = terminal::paint(color, &std::io::stdout());
        let is_live = connect.output.is_for_people() && terminal::is_live();
        let output = connect.output;
        Ok(Session { admin, output, coordinators, metrics, tls, paint, is_live })
    }

    /// Prints one thing: as `human` has it, for programs, or by its name.
    fn show<M: Described>(&self, thing: &M, name: &str, human: impl FnOnce() -> String) {
        match self.output {
            Output::Table | Output::Wide => print(&human()),
            Output::Json | Output::Yaml => self.show_value(&render::json(thing)),
            Output::Name => print(&format!("{name}\n")),
        }
    }

    /// Prints one thing that is no message of the protos.
    fn show_value(&self, value: &Value) {
        print(&render::value(self.output, value));
    }

    /// Prints a list.
    fn show_all<R: render::Row>(&self, rows: &[R]) {
        print(&render::list(self.output, rows));
    }

    /// Checks that a tablet is of the table that it was named by.
    async fn check_name(&self, name: &TabletName) -> Result<(), Failure> {
        let Some(table) = &name.table else { return Ok(()) };
        let tablet = self.admin.tablet(name.id, false).await?;
        if tablet.table == *table {
            return Ok(());
        }
        let error = format!("there is no tablet {name}: {} is {}", name.id, tablet.name);
        Err(Failure::new(Exit::NotFound, error)
            .now("nothing was changed")
            .why("a tablet's number is its own in the whole cluster")
            .next(format!("palisade tablet list --table {table}")))
    }
}

/// Interrupts, from here on: Ctrl-C no longer ends the program by itself.
fn interrupts() -> Result<Signal, Failure> {
    signal(SignalKind::interrupt()).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// A change that was refused has changed nothing.
fn unchanged(error: client::ClientError) -> Failure {
    let is_unknown = error.is_outcome_unknown();
    let failure = Failure::from(error);
    if is_unknown || failure.now.is_some() { failure } else { failure.now("nothing was changed") }
}

/// Writes to standard output. A reader that has gone away, such as `head`, ends the program.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(i32::from(Exit::Failed.code()));
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
