//! The fault switches of agents, in a test's words. A fault that can't be put in place is no pass.

use super::{Cluster, look_again, soon};
use proto::faults::v1 as pb;
use proto::faults::v1::memory_service_client::MemoryServiceClient;
use proto::faults::v1::wait_service_client::WaitServiceClient;
use proto::types::v1::Stage;
use std::time::Duration;
use tonic::transport::Channel;

pub(crate) use proto::faults::v1::Switch;

/// A step of one tablet on one node.
#[derive(Debug, Clone)]
pub(crate) struct At {
    node: String,
    step: pb::HeldStep,
}

impl At {
    /// Whether it is on this node.
    pub(crate) fn is_on(&self, node: &str) -> bool {
        self.node == node
    }
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

    /// The same, whether it is held, or wanted, or gone with its process.
    pub(crate) async fn hold_no_more(&self, at: &At) {
        let request = pb::ReleaseStepRequest { step: Some(at.step) };
        self.faults(&at.node).release_step(request).await.expect("released");
    }

    /// The copies that a node has, by tablet.
    pub(crate) async fn copies(&self, node: &str) -> Vec<pb::Copy> {
        let copies = self.faults(node).list_copies(pb::ListCopiesRequest {}).await;
        copies.expect("a list").into_inner().copies
    }

    /// Turns a switch of one tablet on or off, on one node.
    pub(crate) async fn switch(&self, node: &str, tablet: u64, switch: Switch, on: bool) {
        let request = pb::SetSwitchRequest { tablet, switch: switch.into(), on };
        self.faults(node).set_switch(request).await.expect("set");
    }

    /// Has every coordinator take each try of a change for a new request, or no longer.
    pub(crate) async fn forget_requests(&self, on: bool) {
        for name in self.coordinators() {
            let mut memory = MemoryServiceClient::new(self.agents_channel(&name));
            let forget = pb::ForgetRequestsRequest { on };
            memory.forget_requests(forget).await.expect("it forgets");
        }
    }

    /// Has every coordinator remember so many requests at the most, from now on; whether it forgets
    /// as well which ids are too old to know of.
    pub(crate) async fn limit_memory(&self, requests: u32, forgets_horizon: bool) {
        for name in self.coordinators() {
            let mut memory = MemoryServiceClient::new(self.agents_channel(&name));
            let limit = pb::LimitMemoryRequest { requests, forgets_horizon };
            memory.limit_memory(limit).await.expect("it is limited");
        }
    }

    fn silences(&self, name: &str) -> WaitServiceClient<Channel> {
        WaitServiceClient::new(match name.starts_with('c') {
            true => self.agents_channel(name),
            false => self.channel(name, "stream"),
        })
    }

    /// All waits of a process, and the bound of each.
    pub(crate) async fn waits(&self, name: &str) -> Vec<(String, Duration)> {
        let all = self.silences(name).list_waits(pb::ListWaitsRequest {}).await;
        let all = all.expect("a list").into_inner().waits;
        all.into_iter().map(|wait| (wait.name, Duration::from_millis(wait.bound_ms))).collect()
    }

    /// Has a wait of a process never answered, or answered again.
    pub(crate) async fn silence(&self, name: &str, wait: &str, on: bool) {
        let request = pb::SilenceWaitRequest { name: wait.to_owned(), on };
        self.silences(name).silence_wait(request).await.expect("there is such a wait");
    }

    /// Waits until so many answers of a wait were taken away.
    pub(crate) async fn met(&self, name: &str, wait: &str, times: u64) {
        let met = self.until_wait(name, wait, |one| one.silenced >= times);
        soon(&format!("{wait} of {name} to be met {times} times"), met).await;
    }

    /// Waits until one whose answer was taken away is over, without one.
    pub(crate) async fn over(&self, name: &str, wait: &str) {
        let over = self.until_wait(name, wait, |one| one.ended > 0);
        soon(&format!("{wait} of {name} to be over"), over).await;
    }

    /// Whether one whose answer was taken away is over.
    pub(crate) async fn is_over(&self, name: &str, wait: &str) -> bool {
        found(&mut self.silences(name), wait).await.ended > 0
    }

    async fn until_wait(&self, name: &str, wait: &str, is_so: impl Fn(&pb::Wait) -> bool) {
        let mut silences = self.silences(name);
        while !is_so(&found(&mut silences, wait).await) {
            look_again().await;
        }
    }
}

/// What became of a wait.
async fn found(silences: &mut WaitServiceClient<Channel>, wait: &str) -> pb::Wait {
    let all = silences.list_waits(pb::ListWaitsRequest {}).await;
    let mut all = all.expect("a list").into_inner().waits.into_iter();
    all.find(|one| one.name == wait).expect("there is such a wait")
}
