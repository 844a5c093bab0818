//! The permit of a barrier's steps.

/// Permits the steps of a barrier and of a full state in the store: floors, empty copies, drops.
/// No method that writes rows takes it. Only this module can make one, and does so under the
/// tablet's lock.
#[derive(Debug)]
pub struct StepPermit {
    _only_here: (),
}

impl StepPermit {
    pub(in crate::tablets) const fn new() -> StepPermit {
        StepPermit { _only_here: () }
    }
}
