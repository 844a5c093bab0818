//! The fault switches of agents, in a test's words. A fault that can't be put in place is no pass.

use super::{Cluster, soon};
use proto::faults::v1 as pb;
use proto::types::v1::Stage;

pub(crate) use proto::faults::v1::Switch;

/// A step of one tablet on one node.
#[derive(Debug, Clone)]
pub(crate) struct At {
    node: String,
    step: pb::HeldStep,
}

/// The acknowledgement of a stage's barrier.
pub(crate) fn acknowledge(node: &str, tablet: u64, stage: Stage) -> At {
    let step = pb::Step::Acknowledge.into();
    At { node: node.to_owned(), step: pb::HeldStep { tablet, step, stage: stage.into() } }
}

/// Any other step.
pub(crate) fn step(node: &str, tablet: u64, step: pb::Step) -> At {
    let step = pb::HeldStep { tablet, step: step.into(), stage: Stage::Unspecified.into() };
    At { node: node.to_owned(), step }
}

impl Cluster {
    /// The next such step will be held.
    pub(crate) async fn hold(&self, at: &At) {
        let request = pb::HoldNextStepRequest { step: Some(at.step) };
        self.faults(&at.node).hold_next_step(request).await.expect("wanted");
    }

    /// Waits until it is held.
    pub(crate) async fn held(&self, at: &At) {
        let request = pb::AwaitStepHeldRequest { step: Some(at.step) };
        let mut faults = self.faults(&at.node);
        let held = soon(&format!("{at:?} to be held"), faults.await_step_held(request)).await;
        held.unwrap_or_else(|status| panic!("{at:?} was not held: {status}"));
    }

    /// Lets it go on.
    pub(crate) async fn let_go(&self, at: &At) {
        let request = pb::ReleaseStepRequest { step: Some(at.step) };
        let released = self.faults(&at.node).release_step(request).await.expect("released");
        assert!(released.into_inner().was_held, "{at:?} was not held");
    }

    /// Turns a switch of one tablet on or off, on one node.
    pub(crate) async fn switch(&self, node: &str, tablet: u64, switch: Switch, on: bool) {
        let request = pb::SetSwitchRequest { tablet, switch: switch.into(), on };
        self.faults(node).set_switch(request).await.expect("set");
    }
}
