//! Clients that write, delete and read all the time, and the history of what they did and saw, which
//! the [checker](crate::checker) judges.

mod random;
mod recorder;
mod traffic;

pub(crate) use random::Random;
pub(crate) use recorder::{Counts, Recorder, Recording};
pub(crate) use traffic::{Traffic, delete, load, read};
