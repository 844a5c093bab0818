//! A gate: what a session and a version of a tablet are on an agent. Open, then closed, never
//! back; who is inside is counted; it has drained when it is closed and empty.
//!
//! One gate serves sessions (topology guards) and versions (version guards). Not here: waiting
//! (the agent's), and which gates exist (a tablet's record says so). INV-2, INV-3.

/// A gate as one number, so that an agent can hold it in one atomic: the highest bit says
/// closed, the others count who is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate(u64);

/// The gate is closed: nobody enters any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("closed")]
pub struct Closed;

const CLOSED: u64 = 1 << 63;

impl Gate {
    /// Open, and nobody inside.
    pub const OPEN: Gate = Gate(0);
    /// What is added to the number when somebody enters, and taken away when they leave.
    pub const ONE: u64 = 1;

    /// The gate whose number this is.
    pub const fn from_number(number: u64) -> Gate {
        Gate(number)
    }

    /// The number to hold.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// One more inside; refused once it is closed.
    pub const fn enter(self) -> Result<Gate, Closed> {
        if self.is_closed() { Err(Closed) } else { Ok(Gate(self.0 + Gate::ONE)) }
    }

    /// One fewer inside.
    pub const fn leave(self) -> Gate {
        debug_assert!(self.inside() > 0);
        Gate(self.0 - Gate::ONE)
    }

    /// From here on nobody enters. Closing twice is closing once.
    pub const fn close(self) -> Gate {
        Gate(self.0 | CLOSED)
    }

    /// Whether it was closed.
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// How many are inside.
    pub const fn inside(self) -> u64 {
        self.0 & !CLOSED
    }

    /// Closed and empty: nothing that began here can act any more.
    pub const fn has_drained(self) -> bool {
        self.0 == CLOSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_nobody_in_and_drains_with_the_last() {
        let inside = Gate::OPEN.enter().expect("open").enter().expect("open");
        assert!(!inside.has_drained());
        let closed = inside.close();
        assert_eq!(closed.enter(), Err(Closed));
        assert_eq!(closed.close(), closed);
        assert!(!closed.leave().has_drained());
        assert!(closed.leave().leave().has_drained());
        assert_eq!(closed.leave().leave().enter(), Err(Closed));
    }
}
