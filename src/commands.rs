//! What is asked of a running cluster: one module a subject.

mod barrier;
mod kv;
mod migrate;
mod migration;
mod node;
mod table;
mod tablet;
mod wait;

use crate::args::{ClientCommand, ConnectArgs, Output, TabletName};
use crate::exit::{Exit, Failure};
use crate::place;
use crate::render::{self, Json};
use client::{AdminClient, AdminOptions};
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One try of a request takes no longer than this, so that another coordinator gets its turn.
const TRY_TIMEOUT: Duration = Duration::from_secs(12);

/// What every command needs.
pub(crate) struct Session {
    pub(crate) admin: AdminClient,
    pub(crate) output: Output,
}

/// Runs a command.
pub(crate) async fn run(command: ClientCommand) -> Result<Exit, Failure> {
    match command {
        ClientCommand::Status(args) => status(&Session::new(&args.connect)?).await,
        ClientCommand::Table(on) => table::run(&Session::new(&on.connect)?, on.command).await,
        ClientCommand::Tablet(on) => tablet::run(&Session::new(&on.connect)?, on.command).await,
        ClientCommand::Migrate(args) => migrate::migrate(&Session::new(&args.connect)?, args).await,
        ClientCommand::ReplicaSet(on) => {
            migrate::replica_set(&Session::new(&on.connect)?, on.command).await
        }
        ClientCommand::Migration(on) => {
            migration::run(&Session::new(&on.connect)?, on.command).await
        }
        ClientCommand::Node(on) => node::run(&Session::new(&on.connect)?, on.command).await,
        ClientCommand::Barrier(on) => barrier::run(&Session::new(&on.connect)?, on.command).await,
        ClientCommand::Kv(on) => kv::run(&Session::new(&on.connect)?, on.command).await,
    }
}

impl Session {
    fn new(connect: &ConnectArgs) -> Result<Session, Failure> {
        let deadline = connect.deadline.0;
        let options = AdminOptions { deadline, try_timeout: TRY_TIMEOUT.min(deadline) };
        let admin = AdminClient::connect_with(place::coordinators(connect)?, options);
        Ok(Session { admin, output: connect.output })
    }

    /// Prints one thing: as `human` has it, as JSON, or by its name.
    fn show(&self, thing: &impl Json, name: &str, human: impl FnOnce() -> String) {
        match self.output {
            Output::Table => print(&human()),
            Output::Json => print(&format!("{:#}\n", thing.json())),
            Output::Name => print(&format!("{name}\n")),
        }
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
            .next(format!("palisade tablet list --table {table}")))
    }
}

async fn status(session: &Session) -> Result<Exit, Failure> {
    let status = session.admin.status().await?;
    session.show(&status, &status.cluster_id, || render::status(&status));
    Ok(Exit::Done)
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
