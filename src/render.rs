//! What is said: lists, screens, failures, the progress of a migration. Pure: texts and JSON from
//! messages, no I/O.

mod base64;
mod json;
mod list;
mod progress;
mod screens;
mod words;

pub(crate) use json::Json;
pub(crate) use list::{Row, list};
pub(crate) use progress::{Progress, headline, verdict};
pub(crate) use screens::{migration, node, purge, status, table, tablet};
pub(crate) use words::{short_id, stage};

use crate::exit::Failure;

/// A failure in its four parts.
pub(crate) fn failure(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.error);
    let parts = [("now: ", &failure.now), ("why: ", &failure.why), ("next:", &failure.next)];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!("  {name}  {part}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_failure_has_four_parts() {
        let shown = failure(
            &Failure::new(Exit::Refused, "n4 cannot take orders/17")
                .now("nothing was changed; n1, n2, n3 are serving")
                .why("PLACEMENT_VIOLATION")
                .next("palisade node list"),
        );
        let expected = "error: n4 cannot take orders/17\n  \
            now:   nothing was changed; n1, n2, n3 are serving\n  \
            why:   PLACEMENT_VIOLATION\n  \
            next:  palisade node list\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_part_that_nobody_knows_is_left_out() {
        assert_eq!(failure(&Failure::new(Exit::Failed, "x")), "error: x\n");
    }
}
