//! What group0 does: transitions begin, leave their stages, turn back and end; nodes are fenced
//! and admitted.

use super::rule::Rule;
use super::state::{Map, NODES, State, VERSIONS, members};
use super::{Stages, Way};
use migrations::stage::{
    BarrierWhen, SessionOnEdge, SilentRule, Stage, TransitionKind, WayBack, Work, session_on_edge,
};

impl Stages {
    /// The next transition of the plan begins. What it needs is admitted.
    pub(super) fn start(&self, s: &mut State) -> bool {
        let Some(planned) = self.bounds.plan.get(usize::from(s.begun)) else { return false };
        let now = s.map();
        let new = now.old & !planned.leaving | planned.pending;
        let asked_for = match planned.kind {
            TransitionKind::Rebuild if planned.leaving & s.live() != 0 => return false,
            TransitionKind::Rebuild => planned.pending,
            _ => planned.pending | planned.leaving,
        };
        if now.stage.is_some() || asked_for & !s.admitted != 0 || !has_room(s) {
            return false;
        }
        s.begun += 1;
        s.is_marked = false;
        let stage = planned.kind.first_stage();
        self.enter(s, stage, SessionOnEdge::Clear, new);
        if stage.has_session() {
            s.drawn += 1;
            s.maps[usize::from(s.version)].session = s.drawn;
        }
        true
    }

    /// The stage is left, one way or another.
    pub(super) fn leave(&self, s: &mut State, way: Way) -> bool {
        let map = s.map();
        let Some(stage) = map.stage else { return false };
        if !has_room(s) {
            return false;
        }
        match way {
            Way::Forward => self.forward(s, stage),
            Way::Retry => {
                let again = matches!(stage, Stage::Streaming | Stage::Repair);
                let Some(to) = stage.retry_from().filter(|_| again) else { return false };
                s.retries += 1;
                self.enter(s, to, session_on_edge(stage, to), map.new);
                true
            }
            Way::Cancel => {
                let may = !stage.is_past_no_return() && !stage.is_going_back();
                if may {
                    s.cancels += 1;
                    self.turn_back(s, stage);
                }
                may
            }
        }
    }

    fn turn_back(&self, s: &mut State, stage: Stage) {
        let WayBack::To(mut to) = stage.way_back() else { return };
        if to == Stage::WriteBothReadOldFallback && !self.holds(Rule::ReadsFirstOnTheWayBack) {
            to = Stage::CleanupTarget;
        }
        s.is_marked = true;
        s.is_whole = false;
        self.enter(s, to, session_on_edge(stage, to), s.map().new);
    }

    fn forward(&self, s: &mut State, stage: Stage) -> bool {
        let map = s.map();
        let ready = match stage.barrier() {
            BarrierWhen::Never => true,
            BarrierWhen::BeforeLeaving => self.has_acknowledged(s),
            BarrierWhen::BeforeWork => s.ordered & (1 << s.version) != 0,
        };
        if !ready || !self.is_work_done(s, stage) {
            return false;
        }
        let Some(mut to) = stage.on_success() else { return self.finish(s, stage) };
        let live = self.has_majority(map.new, s.live());
        if stage.is_guarded_forward(to) && (s.is_marked || !live) {
            return false;
        }
        if to == Stage::WriteBothReadNew && !self.holds(Rule::ReadsFirst) {
            to = Stage::UseNew;
        }
        let Some(sources) = self.sources(s, to) else { return false };
        if stage == Stage::OpenRepair {
            s.is_whole = map.old & !s.live() == 0;
        }
        self.enter(s, to, session_on_edge(stage, to), map.new);
        s.sources = sources;
        true
    }

    /// Whether the barrier of the tablet's version stands: all that are asked are there, and the
    /// silent are too few to serve an older version.
    pub(super) fn has_acknowledged(&self, s: &State) -> bool {
        let map = s.map();
        let has = |node: usize| {
            let holds_up = |op: &super::state::Operation| {
                op.version < s.version && op.entered & (1 << node) != 0
            };
            s.nodes[node].floor == s.version && !s.operations.iter().any(holds_up)
        };
        let asked = map.both() & s.admitted;
        let said: u8 = members(asked).filter(|node| has(*node)).map(|node| 1 << node).sum();
        let silent = map.both() & !said;
        let is_held = match map.stage.map_or(SilentRule::Neither, Stage::silent_rule) {
            SilentRule::Old => self.has_majority(map.old, silent),
            SilentRule::New => self.has_majority(map.new, silent),
            SilentRule::Both => {
                self.has_majority(map.old, silent) || self.has_majority(map.new, silent)
            }
            SilentRule::Neither => false,
        };
        let all = said == asked || !self.holds(Rule::Barrier);
        all && (!is_held || !self.holds(Rule::NoSilentMajority) || !self.holds(Rule::Barrier))
    }

    fn is_work_done(&self, s: &State, stage: Stage) -> bool {
        let map = s.map();
        let dropped = |set: u8| {
            members(set & s.admitted)
                .all(|node| s.nodes[node].floor == s.version && !s.nodes[node].has_copy)
        };
        match stage.work() {
            Work::None | Work::DropAll => true,
            Work::Stream => (0..NODES).all(|node| s.sources[node] & !s.complete[node] == 0),
            Work::DropLeaving => dropped(map.leaving()) || !self.holds(Rule::DropAfterUseNew),
            Work::DropPending => dropped(map.pending()),
        }
    }

    /// Who streams to whom in a stage, chosen as it is entered; `None`: it can't be.
    fn sources(&self, s: &State, to: Stage) -> Option<[u8; NODES]> {
        let mut sources = [0; NODES];
        if to.work() != Work::Stream {
            return Some(sources);
        }
        let map = s.map();
        let live = map.old & s.live();
        if to == Stage::Repair {
            members(live).for_each(|node| sources[node] = live & !(1 << node));
            return Some(sources);
        }
        let kind = self.bounds.plan[usize::from(s.begun) - 1].kind;
        let from_leaving = matches!(kind, TransitionKind::Migrate | TransitionKind::RemoveReplica);
        let mut chosen = map.leaving() & live;
        if !from_leaving || chosen == 0 {
            chosen = live;
            let left_out = self.has_majority(map.old, map.old & !live);
            if left_out && self.holds(Rule::NoMajorityLeftOut) {
                return None;
            }
            if !self.holds(Rule::AllLiveSources) {
                chosen &= chosen.wrapping_neg();
            }
        }
        let removal = kind == TransitionKind::RemoveReplica;
        let receivers = match removal {
            true if self.holds(Rule::MergeOnRemoval) => map.new & !s.lost,
            true => 0,
            false => map.pending(),
        };
        members(receivers).for_each(|node| sources[node] = chosen & !(1 << node));
        Some(sources)
    }

    fn enter(&self, s: &mut State, to: Stage, rule: SessionOnEdge, new: u8) {
        let before = s.map();
        let session = match rule {
            SessionOnEdge::Keep => before.session,
            SessionOnEdge::Clear => 0,
            SessionOnEdge::OpenFresh => {
                s.drawn += 1;
                s.drawn
            }
        };
        s.version += 1;
        s.maps[usize::from(s.version)] = Map { stage: Some(to), old: before.old, new, session };
        s.sources = [0; NODES];
        s.complete = [0; NODES];
        let drops_now =
            to == Stage::Cleanup || (to == Stage::UseNew && !self.holds(Rule::DropAfterUseNew));
        if drops_now {
            s.ordered |= 1 << s.version;
        }
        if to == Stage::OpenRepair {
            s.proposed = s.newest();
            s.is_whole = false;
        }
    }

    /// The barrier of `cleanup_target` stands: the order to drop is sent.
    pub(super) fn order(&self, s: &mut State) -> bool {
        let may = s.map().stage == Some(Stage::CleanupTarget) && self.has_acknowledged(s);
        s.ordered |= if may { 1 << s.version } else { 0 };
        may
    }

    fn finish(&self, s: &mut State, stage: Stage) -> bool {
        let map = s.map();
        let replicas = if stage == Stage::EndMigration { map.new } else { map.old };
        if stage == Stage::EndRepair {
            let all = s.is_whole && map.old & !s.live() == 0;
            s.t = if all || !self.holds(Rule::AllPromise) { s.t.max(s.proposed) } else { s.t };
            s.is_whole = false;
        }
        s.version += 1;
        s.maps[usize::from(s.version)] =
            Map { stage: None, old: replicas, new: replicas, session: 0 };
        s.is_marked = false;
        true
    }

    /// A node is fenced: it goes on serving data at its floor. If it is the pending one, the same
    /// command takes the transition back.
    pub(super) fn fence(&self, s: &mut State, node: usize) -> bool {
        if !s.is_admitted(node) || !has_room(s) {
            return false;
        }
        s.fences += 1;
        s.admitted &= !(1 << node);
        if self.holds(Rule::PendingFenceTurnsBack) {
            self.goes_without(s, node);
        }
        true
    }

    /// A node's copy is gone, and group0 has marked it: until then it has answered nothing.
    pub(super) fn lose(&self, s: &mut State, node: usize) -> bool {
        let has_one = s.nodes[node].has_copy && s.lost & (1 << node) == 0;
        let is_given = s.map().given() & (1 << node) != 0;
        if !has_one || !is_given || !s.is_admitted(node) || !has_room(s) {
            return false;
        }
        s.losses += 1;
        s.lost |= 1 << node;
        s.nodes[node].cell = 0;
        self.goes_without(s, node);
        true
    }

    fn goes_without(&self, s: &mut State, node: usize) {
        let map = s.map();
        s.is_whole &= map.old & (1 << node) == 0;
        if let Some(stage) = map.stage
            && map.pending() & (1 << node) != 0
        {
            let forward = !stage.is_past_no_return() && !stage.is_going_back();
            if forward {
                self.turn_back(s, stage);
            }
        }
    }

    /// A node is admitted anew, drained, and works its full state off before it does anything.
    pub(super) fn admit(&self, s: &mut State, node: usize) -> bool {
        let bit = 1 << node;
        let holds_guard = s.operations.iter().any(|operation| operation.entered & bit != 0);
        if s.is_admitted(node) || holds_guard || !has_room(s) {
            return false;
        }
        s.admitted |= bit;
        let map = s.map();
        if let Some(stage) = map.stage
            && map.both() & bit != 0
            && let Some(to) = stage.retry_from()
        {
            self.enter(s, to, session_on_edge(stage, to), map.new);
        }
        let is_given = s.map().given() & bit != 0;
        self.take_on(s, node, s.version);
        let is_pending = s.map().pending() & bit != 0;
        if is_pending && !self.holds(Rule::PendingFenceTurnsBack) {
            // Its directory is as good as new: what it had is given up at its admission.
            s.nodes[node].cell = 0;
        }
        if !is_given && self.holds(Rule::CleanupAtAdmission) {
            s.drop_rows(node);
        }
        true
    }
}

fn has_room(s: &State) -> bool {
    usize::from(s.version) + 2 < VERSIONS
}
