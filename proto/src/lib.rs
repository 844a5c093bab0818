//! Palisade's messages: compiled protos, their conversion to the types of the core, the closed
//! list of reasons, and errors as statuses.
//!
//! Wire and disk formats stop here: no other crate's types know how they are written.

mod generated;
mod malformed;

pub mod access;
pub mod convert;
pub mod reasons;
pub mod status;
pub mod storage;

pub use generated::{FILE_DESCRIPTOR_SET, admin, agent, data, faults, raft, stream, types};
pub use malformed::Malformed;
