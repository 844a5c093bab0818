//! Replica agents as a coordinator sees them: their attachments, their leases, and questions put
//! to them.

mod admission;
mod attach;
#[cfg(test)]
mod fuzz;
mod inbound;
mod order;
mod registry;
mod service;

pub(crate) use order::{Everywhere, Orders};
pub(crate) use registry::{Agents, AskError};
pub(crate) use service::AgentApi;
