//! Arbitrary bytes against what crates read and make public: entries and snapshots of group0,
//! messages that become types of the core, rows of a chunk.
//!
//! Nothing here panics; what is written is read back as it was; what is read is written again in
//! the one form that there is, or was refused with an error that has a type.

#[path = "../../../proto/tests/storage/cluster.rs"]
mod cluster;
#[path = "../../../proto/tests/storage/examples.rs"]
mod examples;
mod messages;
mod rows;
mod stored;

/// As in the tests whose examples these are, which see to it that there is one of each.
macro_rules! one_of_each {
    ($examples:expr, $($pattern:pat),+ $(,)?) => {
        $examples
    };
}
pub(crate) use one_of_each;
