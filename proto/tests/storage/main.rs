//! What group0 writes to disk: that nothing is lost on the way there and back, that the form does
//! not drift unseen, and that bytes which are no entry or snapshot are refused.

extern crate palisade_proto as proto;

mod cluster;
mod entries;
mod examples;
mod golden;
mod hostile;
mod snapshots;

/// The examples, after a check that there is one of each variant. A variant that is not named
/// does not compile.
macro_rules! one_of_each {
    ($examples:expr, $($pattern:pat),+ $(,)?) => {{
        let examples = $examples;
        for example in &examples {
            match example {
                $($pattern => {})+
            }
        }
        $(
            let is_there = examples.iter().any(|example| matches!(example, $pattern));
            assert!(is_there, "no example of {}", stringify!($pattern));
        )+
        examples
    }};
}
pub(crate) use one_of_each;
