//! Who the members are, and how that changes: one at a time, through the leader, each change an
//! entry of the log.
//!
//! What is begun is in the log, so that whoever leads ends it: a member without a vote is to get
//! one once it has caught up, and a change of voters that stopped half way goes to its end.

use crate::call;
use crate::limits::{IDENTIFY_DEADLINE, LEARNER_LAG, MEMBERS_MAX, PROPOSAL_DEADLINE};
use crate::wait::Wait;
use process::wait::bounded;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, Fatal, RaftError};
use openraft::type_config::alias::StoredMembershipOf;
use tokio::sync::MutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clocks::is_odd;
use super::error::{MemberError, ProposeError};
use super::follow::{self, Standing};
use super::types::{Group0Types, Member};
use super::{Group0, StateMachine};

type Change = ChangeMembers<u64, Member>;
type Effective = StoredMembershipOf<Group0Types>;

impl<S: StateMachine> Group0<S> {
    /// Takes an empty coordinator in, which answers at `address`; it gets its vote once it has
    /// caught up. One that is a member already stays what it is. A trial only looks.
    ///
    /// # Errors
    ///
    /// Every [`MemberError`] but those of a removal and of a transfer.
    pub async fn add_member(
        &self,
        name: &str,
        address: &str,
        is_trial: bool,
    ) -> Result<Standing, MemberError> {
        let deadline = call::until(Instant::now() + PROPOSAL_DEADLINE);
        self.confirm_leadership().await?;
        let _turn = self.turn(deadline).await?;
        let found = self.inner.dialler.identify(address, IDENTIFY_DEADLINE).await;
        let found =
            found.map_err(|detail| MemberError::Silent { address: address.to_owned(), detail })?;
        if found.member.name != name {
            let (name, address, found) = (name.into(), address.into(), found.member.name);
            return Err(MemberError::OtherName { name, address, found });
        }
        let settled = self.settled(deadline).await?;
        let own = || self.members().into_iter().find(|one| one.raft_id == found.raft_id);
        if let Some(standing) = own() {
            return Ok(standing);
        }
        let name = name.to_owned();
        let (reads, needed) = (found.feature_level, self.read(S::feature_level));
        if reads < needed {
            return Err(MemberError::TooOld { name, reads, needed });
        }
        if let Some((raft_id, _)) = settled.nodes().find(|(_, member)| member.name == name) {
            return Err(MemberError::NameTaken { name, raft_id: *raft_id });
        }
        match found.cluster {
            // An addition that another leader began, and that never was committed.
            Some(cluster) if Some(cluster) == self.cluster() && found.pending => {}
            Some(cluster) if Some(cluster) == self.cluster() => {
                return Err(MemberError::WasRemoved { name });
            }
            Some(cluster) => return Err(MemberError::OtherCluster { name, cluster }),
            None => {}
        }
        let is_ours = |name: &String| settled.nodes().any(|(_, known)| known.name == *name);
        let others: Vec<String> = found.expected.into_iter().filter(|one| *one != name).collect();
        if !others.is_empty() && !others.iter().any(is_ours) {
            return Err(MemberError::ExpectsOthers { name, expected: others.join(", ") });
        }
        if settled.nodes().count() >= MEMBERS_MAX {
            return Err(MemberError::TooMany(MEMBERS_MAX));
        }
        // The address by which it has just been reached; it says itself if it is another one.
        let member = Member { raft_address: address.to_owned(), ..found.member };
        if !is_trial {
            let nodes = BTreeMap::from([(found.raft_id, member.clone())]);
            self.change_members(ChangeMembers::AddNodes(nodes), true, deadline).await?;
            tracing::info!(name, raft_id = found.raft_id, address, "a coordinator is taken in");
        }
        let (raft_id, voter, leads) = (found.raft_id, false, false);
        let fresh = Standing {
            raft_id,
            member,
            voter,
            leads,
            matched: None,
            silent: None,
            state_differs_at: None,
            clock_ahead_ms: None,
        };
        Ok(own().unwrap_or(fresh))
    }

    /// Removes a member for good: the one of this Raft id, or, if that is none, of this name. One
    /// that is gone already stays gone. If this member is meant, another one leads first, and the
    /// caller is sent there.
    ///
    /// # Errors
    ///
    /// Every [`MemberError`] but those of an addition and of a transfer.
    pub async fn remove_member(
        &self,
        name: &str,
        raft_id: Option<u64>,
        is_trial: bool,
    ) -> Result<(), MemberError> {
        let deadline = call::until(Instant::now() + PROPOSAL_DEADLINE);
        self.confirm_leadership().await?;
        let turn = self.turn(deadline).await?;
        self.settled(deadline).await?;
        let is_meant = |one: &&Standing| match raft_id {
            Some(raft_id) => one.raft_id == raft_id,
            None => one.member.name == name,
        };
        let members = self.members();
        let Some(meant) = members.iter().find(is_meant) else {
            let unknown = || MemberError::NotFound(name.to_owned());
            return raft_id.map(drop).ok_or_else(unknown);
        };
        if meant.member.name != name {
            return Err(MemberError::NotFound(name.to_owned()));
        }
        let change = match meant.voter {
            true => {
                self.outlives(meant).await?;
                Change::RemoveVoters(BTreeSet::from([meant.raft_id]))
            }
            false => Change::RemoveNodes(BTreeSet::from([meant.raft_id])),
        };
        if is_trial {
            return Ok(());
        }
        if meant.raft_id == self.raft_id() {
            drop(turn);
            self.hand_over().await;
            let leader = self.leader().filter(|leader| leader.name != name);
            // Nothing of the removal was proposed, whether or not somebody took over.
            let leader = leader.map(Box::new).ok_or(ProposeError::HandingOver)?;
            let term = self.metrics().term;
            return Err(ProposeError::NotLeader { leader, term }.into());
        }
        self.change_members(change, false, deadline).await?;
        tracing::info!(name, raft_id = meant.raft_id, "a coordinator is removed");
        Ok(())
    }

    /// Has another member lead: the one of this name, or whoever is best; which. If `from` no
    /// longer leads, it was done before, unless another one leads than the one that was named.
    ///
    /// # Errors
    ///
    /// Every [`MemberError`] of a transfer.
    pub async fn transfer_leader(
        &self,
        to: Option<&str>,
        from: Option<u64>,
        is_trial: bool,
    ) -> Result<Member, MemberError> {
        self.confirm_leadership().await?;
        let own = self.member();
        let has_gone = from.is_some_and(|from| from != self.raft_id());
        match to {
            Some(to) if to == own.name => return Ok(own.clone()),
            None if has_gone => return Ok(own.clone()),
            Some(to) if has_gone => {
                let (leads, to) = (own.name.clone(), to.to_owned());
                return Err(MemberError::Moved { leads, to });
            }
            Some(_) | None => {}
        }
        let next = self.ready_to_lead(to).await?;
        if is_trial {
            return Ok(next.member);
        }
        call::proposes();
        let taken = self.handed_over(next.raft_id);
        match bounded(Wait::HandOver, Wait::HandOver.bound(), taken).await {
            Ok(true) => {
                // An election may have come in between.
                let leader = self.leader().filter(|one| to.is_none_or(|to| to == one.name));
                leader.ok_or(MemberError::NotTaken)
            }
            Ok(false) | Err(_) => Err(MemberError::NotTaken),
        }
    }

    /// The one of this name, or whoever is best, if it can lead. This one may have just begun to
    /// lead, and not have heard from it: it waits a little.
    async fn ready_to_lead(&self, name: Option<&str>) -> Result<Standing, MemberError> {
        let limit = Instant::now() + self.inner.election_max;
        loop {
            let members = self.members();
            let refused = match name {
                None => match self.next_leader(&members) {
                    Some(next) => return Ok(next.clone()),
                    None => MemberError::NobodyElse,
                },
                Some(name) => {
                    let named = members.into_iter().find(|one| one.member.name == name);
                    let named = named.ok_or_else(|| MemberError::NotFound(name.to_owned()))?;
                    let is_alive =
                        named.silent.is_some_and(|silent| silent <= self.inner.election_max);
                    let why = match (named.voter, is_alive) {
                        (true, true) => return Ok(named),
                        (true, false) => "it is not heard from",
                        (false, _) => "it has no vote yet",
                    };
                    MemberError::CantLead { name: name.to_owned(), why }
                }
            };
            if Instant::now() >= limit {
                return Err(refused);
            }
            tokio::time::sleep(self.inner.heartbeat).await;
        }
    }

    /// If this member leads others, has the one with the longest log lead that says that it goes
    /// on, and waits for it, up to a second.
    pub async fn hand_over(&self) {
        if self.inner.raft.metrics().borrow_watched().current_leader != Some(self.raft_id()) {
            return;
        }
        let members = self.members();
        let Some(next) = self.goes_on(self.next_leaders(&members)).await else { return };
        let taken = self.handed_over(next);
        match bounded(Wait::HandOver, Wait::HandOver.bound(), taken).await {
            Ok(true) => tracing::info!("leadership was handed over"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "nobody has taken leadership over; an election follows")
            }
        }
    }

    /// The first of these who answers, and does not stop as this one may.
    async fn goes_on(&self, candidates: Vec<&Standing>) -> Option<u64> {
        for candidate in candidates {
            match self
                .inner
                .dialler
                .identify(&candidate.member.raft_address, self.inner.election_max)
                .await
            {
                Ok(found) if found.raft_id == candidate.raft_id && !found.stopping => {
                    return Some(candidate.raft_id);
                }
                Ok(_) | Err(_) => {}
            }
        }
        None
    }

    /// Who is to lead next: the other voter with the longest log.
    fn next_leader<'a>(&self, members: &'a [Standing]) -> Option<&'a Standing> {
        self.next_leaders(members).into_iter().next()
    }

    /// The other voters that have been heard from, the longest log first; after all others those
    /// whose clocks are far from most.
    pub(super) fn next_leaders<'a>(&self, members: &'a [Standing]) -> Vec<&'a Standing> {
        let others = members.iter().filter(|one| one.voter && one.raft_id != self.raft_id());
        let mut others: Vec<&Standing> = others.filter(|one| one.matched.is_some()).collect();
        // Who has been heard from last, where logs are equally long.
        others
            .sort_by_key(|one| (std::cmp::Reverse(one.matched), one.silent.is_none(), one.silent));
        others.sort_by_key(|one| is_odd(one.raft_id, members));
        others
    }

    /// Has another one lead, and waits for it; whether somebody does.
    pub(super) async fn handed_over(&self, next: u64) -> bool {
        let mut metrics = self.inner.raft.metrics();
        if self.inner.raft.trigger().transfer_leader(next).await.is_err() {
            return false;
        }
        let own = self.raft_id();
        let is_over = |leader: Option<u64>| leader.is_some_and(|leader| leader != own);
        while !is_over(metrics.borrow_watched().current_leader) {
            if metrics.changed().await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends what was begun, for as long as this member leads, until `stop`.
    pub async fn tend_members(&self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(self.inner.heartbeat);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            if self.leadership().borrow().is_none() {
                continue;
            }
            let Some((what, change, retain)) = self.unfinished() else { continue };
            let Ok(_turn) = self.inner.changes.try_lock() else { continue };
            let deadline = Instant::now() + PROPOSAL_DEADLINE;
            match self.change_members(change, retain, deadline).await {
                Ok(()) => tracing::info!("{what}"),
                Err(error) => tracing::info!(%error, "not yet: {what}"),
            }
        }
    }

    /// What is to be done of what was begun, if anything is.
    fn unfinished(&self) -> Option<(&'static str, Change, bool)> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        if membership.get_joint_config().len() > 1 {
            let none = Change::AddVoterIds(BTreeSet::new());
            return Some(("a change of the voters has come to its end", none, false));
        }
        let (own, member) = (self.raft_id(), self.member());
        if membership.get_node(&own).is_some_and(|known| known != member) {
            let nodes = BTreeMap::from([(own, member.clone())]);
            return Some((
                "the leader's addresses are written back",
                Change::SetNodes(nodes),
                true,
            ));
        }
        let enough = metrics.last_log_index.unwrap_or_default().saturating_sub(LEARNER_LAG);
        let standings = follow::standings(&metrics.membership_config, &metrics);
        let is_ready = |one: &Standing| {
            let is_alive = one.silent.is_some_and(|silent| silent <= self.inner.election_max);
            !one.voter && is_alive && one.matched.is_some_and(|matched| matched >= enough)
        };
        let ready = standings.into_iter().find(is_ready)?;
        let change = Change::AddVoterIds(BTreeSet::from([ready.raft_id]));
        Some(("a coordinator has caught up, and votes from now on", change, true))
    }

    /// A member says where it is; whether it is one. Only a leader knows: from the confirmation on
    /// it has applied every membership that was committed before.
    ///
    /// # Errors
    ///
    /// [`MemberError::Read`], [`MemberError::Propose`].
    pub(super) async fn announced(&self, raft_id: u64, said: Member) -> Result<bool, MemberError> {
        self.confirm_leadership().await?;
        let Some(known) = self.known(raft_id) else { return Ok(false) };
        if known == said || known.name != said.name {
            return Ok(true);
        }
        match self.inner.dialler.identify(&said.raft_address, IDENTIFY_DEADLINE).await {
            Ok(found) if found.raft_id == raft_id => {}
            Ok(_) | Err(_) => return Ok(true),
        }
        // If something else goes on, it says it again.
        let Ok(_turn) = self.inner.changes.try_lock() else { return Ok(true) };
        tracing::info!(name = said.name, address = said.raft_address, "a coordinator has moved");
        let change = Change::SetNodes(BTreeMap::from([(raft_id, said)]));
        self.change_members(change, true, Instant::now() + PROPOSAL_DEADLINE).await?;
        Ok(true)
    }

    /// A member that this one has heard of.
    pub(super) fn known(&self, raft_id: u64) -> Option<Member> {
        let effective = self.inner.raft.metrics().borrow_watched().membership_config.clone();
        let applied = self.inner.state.membership();
        let known = effective.membership().get_node(&raft_id);
        // One that is being taken in or removed just now may be in one of the two only.
        known.or_else(|| applied.membership().get_node(&raft_id)).cloned()
    }

    /// The newest term that is known here.
    pub(super) fn term(&self) -> u64 {
        self.inner.raft.metrics().borrow_watched().current_term
    }

    pub(super) async fn turn(&self, deadline: Instant) -> Result<MutexGuard<'_, ()>, ProposeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let turn = bounded(Wait::Place, left, self.inner.changes.lock()).await;
        turn.map_err(|_| ProposeError::TooLate)
    }

    /// The membership, once nothing of it is on its way.
    pub(super) async fn settled(&self, deadline: Instant) -> Result<Effective, ProposeError> {
        let mut metrics = self.inner.raft.metrics();
        loop {
            let effective = metrics.borrow_watched().membership_config.clone();
            if self.inner.state.membership().log_id() == effective.log_id() {
                return Ok((*effective).clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let changed = bounded(Wait::Commit, left, metrics.changed()).await;
            changed.map_err(|_| ProposeError::TooLate)?.map_err(|_| ProposeError::ShuttingDown)?;
        }
    }

    /// Whether those who are left without this voter could go on. One that has just begun to lead
    /// may not have heard from all of them: it waits a little.
    async fn outlives(&self, without: &Standing) -> Result<(), MemberError> {
        let limit = Instant::now() + self.inner.election_max;
        loop {
            let members = self.members();
            let left = members.iter().filter(|one| one.voter && one.raft_id != without.raft_id);
            let left: Vec<&Standing> = left.collect();
            let is_alive = |one: &&&Standing| {
                one.silent.is_some_and(|silent| silent <= self.inner.election_max)
            };
            let (voters, alive) = (left.len(), left.iter().filter(is_alive).count());
            let name = without.member.name.clone();
            if voters == 0 {
                return Err(MemberError::LastVoter { name });
            }
            if alive > voters / 2 {
                return Ok(());
            }
            if Instant::now() >= limit {
                return Err(MemberError::LosesQuorum { name, alive, voters });
            }
            tokio::time::sleep(self.inner.heartbeat).await;
        }
    }

    /// One change, owned by a task of its own: a caller who hangs up can't drop it half way.
    async fn change_members(
        &self,
        change: Change,
        retain: bool,
        deadline: Instant,
    ) -> Result<(), ProposeError> {
        loop {
            call::proposes();
            let (raft, proposed) = (self.inner.raft.clone(), change.clone());
            let answer =
                tokio::spawn(async move { raft.change_membership(proposed, retain).await });
            let left = deadline.saturating_duration_since(Instant::now());
            let written = bounded(Wait::Commit, left, answer).await;
            let written = written.map_err(|_| ProposeError::CommitTimeout)?;
            let pause = match written.unwrap_or(Err(RaftError::Fatal(Fatal::Panicked))) {
                Ok(_) => return Ok(()),
                // Another change is on its way; nothing was done of this one.
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_)
                    | ChangeMembershipError::UncommittedLeaderLog(_),
                ))) => self.inner.heartbeat,
                // Refused before anything of it was proposed, or after its first half: it can't
                // be told which from here.
                Err(RaftError::APIError(_)) => return Err(ProposeError::LeadershipLost),
                Err(RaftError::Fatal(Fatal::Stopped)) => return Err(ProposeError::LeadershipLost),
                Err(RaftError::Fatal(fatal)) => {
                    return Err(ProposeError::Fatal(follow::reason(&fatal)));
                }
            };
            self.paused(pause, deadline).await?;
        }
    }

    async fn paused(&self, pause: Duration, deadline: Instant) -> Result<(), ProposeError> {
        if Instant::now() + pause >= deadline {
            return Err(ProposeError::TooLate);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
