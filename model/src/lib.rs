//! Two small models of the protocol, each searched through all of its interleavings.
//!
//! [`session`] is model A: sessions, barriers, leases, fences and admission on one tablet.
//! [`stages`] is model B: the stages of all kinds of transitions, with majorities over one key.
//! The stage table and the arithmetic of leases are the core's; the rest is an abstract state of
//! a few bytes. What the models leave out stands in `docs/TESTING.md`. Not here: the product.

pub mod search;
pub mod session;
pub mod stages;
