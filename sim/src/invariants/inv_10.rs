//! INV-10: what a deposed leader has made takes effect only if all that it expects still holds. (That
//! nothing which it makes after its successor's first entry is committed is the log's.)

use crate::world::World;
use migrations::command::Command;
use migrations::topology::Topology;

impl World {
    pub(super) fn inv_10_expected(&mut self, before: &Topology, command: &Command) {
        let Command::Advance(advance) = command else { return };
        let id = advance.expected.tablet;
        let is_it = before.tablet(id).is_some_and(|tablet| {
            let transition = tablet.transition.as_ref().map(|transition| &transition.record);
            tablet.version == advance.expected.version
                && transition.is_some_and(|record| {
                    record.migration == advance.expected.migration
                        && record.stage == advance.expected.stage
                        && record.session == advance.expected.session
                })
        });
        if !is_it {
            self.broken(10, || format!("t{id}: a command is applied to what it did not expect"));
        }
    }
}
