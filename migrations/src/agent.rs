//! What an agent decides, as functions: what is durable and what is open comes in, what is to be
//! done goes out. One file a subject: the steps of a barrier and what a full state leaves out; who
//! is admitted, with rows, requests and purges; the calls of streams on record.
//!
//! Not here: locks, syncs, waiting for guards and the disk (the agent's); the ends of a call
//! (`pull`). INV-2, INV-3, INV-5.

pub mod admit;
pub mod calls;
pub mod step;
