//! INV-11: a request id takes effect at most once: no migration begins twice, however often its
//! request comes.

use crate::world::World;
use migrations::record::TabletRecord;

impl World {
    pub(super) fn inv_11_begun(&mut self, record: &TabletRecord, was: Option<&TabletRecord>) {
        let migration = |record: &TabletRecord| record.transition.as_ref().map(|t| t.migration);
        let Some(begun) = migration(record) else { return };
        if was.and_then(migration) == Some(begun) {
            return;
        }
        if !self.oracles.begun.insert((begun, record.tablet)) {
            let id = record.tablet;
            self.broken(11, || format!("migration {begun} of t{id} begins a second time"));
        }
    }
}
