//! H: holes that earlier wordings of the protocol had.

mod early;
mod late;
