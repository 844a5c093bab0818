//! A call's fault switches: chunks that are held, rules that are taken out.

use super::call::Pull;
use super::failure::Failure;
use super::pipe::Pipe;
use super::write::InChunk;
use crate::faults::{HeldChunk, Released, Switch};
use migrations::pull::{ReceiverEvent, SourceSays, Totals};

/// What the end of a call is where it is taken for the end of the rows: what is here is all.
pub(super) fn guessed(pipe: &Pipe) -> ReceiverEvent {
    let stored = &pipe.progress;
    let all = Totals { rows: stored.rows, bytes: stored.bytes, sum: stored.sum };
    ReceiverEvent::Heard(SourceSays::Complete(all))
}

impl Pull {
    /// Whether a switch of this tablet is on.
    pub(super) fn is_on(&self, switch: Switch) -> bool {
        self.faults.switches.is_on(self.order.record.tablet, switch)
    }

    /// Keeps a chunk in a task of its own, without a guard, until it is let go.
    pub(super) fn hold(&self, pipe: &Pipe, chunk: InChunk) {
        let held = HeldChunk { session: self.session, positions: chunk.positions() };
        let rows = held.positions.len() as u64;
        let let_go = self.holds.hold(self.order.record.tablet, held);
        let (writer, before) = (pipe.writer.clone(), pipe.progress.clone());
        tokio::spawn(async move {
            let Ok(answer) = let_go.await else { return };
            let wrote = tokio::task::spawn_blocking(move || writer.write(&chunk, &before)).await;
            let wrote = wrote.unwrap_or_else(|error| Err(Failure::panicked(&error)));
            let released = match wrote {
                Ok(_) => Released::Written { rows },
                Err(failure) => Released::Refused(failure.reason),
            };
            let _gone = answer.send(released);
        });
    }
}
