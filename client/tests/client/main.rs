//! The client library against coordinators and agents that answer as each test says.

mod fakes;
mod leader;
mod router;
mod watch;
