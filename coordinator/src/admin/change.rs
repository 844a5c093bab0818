//! Changes: each takes effect once, and says what became of it.
//!
//! The memory of requests is looked up before anything else: else the retry of a change would be
//! refused because of its own effect. Apply looks it up again, and decides.

use super::{AdminApi, views};
use crate::limits::{REASON_MAX, REQUEST_ID_AHEAD};
use crate::now::wall_millis;
use crate::status::{Port, not_begun, rejected_of, submit_error};
use migrations::apply::check;
use migrations::command::{Applied, Change, Command, Outcome, Rejected};
use migrations::id::RequestId;
use migrations::request::{ANYBODY, RequestStamp, Seen};
use migrations::retry::ChangeOutcome;
use migrations::topology::Topology;
use proto::reasons::Reason;
use proto::status::{Refusal, set_outcome};
use tonic::{Response, Status};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// A request for a change, as all of them are made.
pub(super) trait ChangeRequest: prost::Message + Clone {
    /// The caller's id for it.
    fn request_id(&mut self) -> &mut String;
    /// Whether nothing is to be done.
    fn validate_only(&mut self) -> &mut bool;
}

macro_rules! change_requests {
    ($($request:ident),* $(,)?) => {
        $(impl ChangeRequest for proto::admin::v1::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
            fn validate_only(&mut self) -> &mut bool {
                &mut self.validate_only
            }
        })*
    };
}

change_requests!(
    CreateTableRequest,
    DropTableRequest,
    MigrateRequest,
    AddReplicaRequest,
    RemoveReplicaRequest,
    RepairTabletRequest,
    CancelMigrationRequest,
    PauseRequest,
    ResumeRequest,
    SetSettingsRequest,
    DrainNodeRequest,
    RemoveNodeRequest,
    RebuildReplicaRequest,
    AcceptDataLossRequest,
    UndrainNodeRequest,
    DisableBalancingRequest,
    EnableBalancingRequest,
    AddMemberRequest,
    RemoveMemberRequest,
    TransferLeaderRequest,
    DropOrphanRequest,
);

/// What came of a change.
pub(super) enum Changed {
    /// It took effect, now or before.
    Applied(Applied),
    /// It would; nothing was done.
    Valid,
}

/// An answer to a change that took effect, or would.
pub(super) fn answer<T>(changed: &Changed, message: T) -> Response<T> {
    answered(
        match changed {
            Changed::Applied(_) => ChangeOutcome::Applied,
            Changed::Valid => ChangeOutcome::NotApplied,
        },
        message,
    )
}

/// An answer to a change that says what became of it.
pub(super) fn answered<T>(outcome: ChangeOutcome, message: T) -> Response<T> {
    let mut response = Response::new(message);
    set_outcome(response.metadata_mut(), outcome);
    response
}

/// Refused before anything was proposed.
fn not_applied(refusal: Refusal) -> Status {
    marked(refusal.into(), ChangeOutcome::NotApplied)
}

/// A status that says what became of the change.
pub(super) fn marked(mut status: Status, outcome: ChangeOutcome) -> Status {
    set_outcome(status.metadata_mut(), outcome);
    status
}

impl AdminApi {
    /// Makes a change. `build` turns the request into a command by the newest topology; it is not
    /// called for a request that is remembered.
    pub(super) async fn change<R: ChangeRequest>(
        &self,
        mut request: R,
        build: impl Fn(&Topology, &R) -> Result<Change, Status>,
    ) -> Result<Changed, Status> {
        let is_trial = std::mem::take(request.validate_only());
        let stamp = stamp(&mut request, is_trial)?;
        if is_trial {
            let checked = self.read(|topology| {
                let change = build(topology, &request)?;
                check(topology, &change).map_err(|refused| named(topology, &refused))
            });
            let checked = checked.await.and_then(std::convert::identity);
            checked.map_err(|refused| marked(refused, ChangeOutcome::NotApplied))?;
            return Ok(Changed::Valid);
        }
        let prepare = |topology: &Topology| prepare(topology, &stamp, || build(topology, &request));
        // Apply decides, so what is proposed may be built from what is known here. A refusal that
        // never reaches the log has to be by the newest state.
        let leads = self.group0.leadership().borrow().is_some();
        let known = || self.group0.read(|machine| prepare(&machine.topology)).ok();
        let prepared = match leads.then(known).flatten() {
            Some(prepared) => prepared,
            None => self.read_leading(prepare).await??,
        };
        let change = match prepared {
            Prepared::Remembered(outcome) => return self.changed(outcome),
            Prepared::Change(change) => change,
        };
        let command = Command::Change { stamp, change };
        let committed = self.proposer.submit(command).await;
        self.note_version();
        self.changed(committed.map_err(|error| submit_error(&error, Port::Admin))?.outcome)
    }

    fn changed(&self, outcome: Outcome) -> Result<Changed, Status> {
        let refused = |refused| self.group0.read(|machine| named(&machine.topology, &refused));
        outcome.map(Changed::Applied).map_err(refused)
    }
}

/// A change before it is proposed.
enum Prepared {
    /// It was asked for before: this came of it.
    Remembered(Outcome),
    /// To be proposed.
    Change(Change),
}

/// What a topology makes of a request: what it remembers, or what is to be proposed. What is
/// refused here was not proposed, and is not remembered.
fn prepare(
    topology: &Topology,
    stamp: &RequestStamp,
    build: impl FnOnce() -> Result<Change, Status>,
) -> Result<Prepared, Status> {
    Ok(match topology.state().requests.look_up(stamp) {
        Seen::Before(outcome) => Prepared::Remembered(outcome.clone()),
        Seen::Reused => Prepared::Remembered(Err(Rejected::RequestIdReused)),
        Seen::Expired => Prepared::Remembered(Err(Rejected::RequestIdExpired)),
        // A moment after the first election: proposed, it would be refused for good.
        _ if topology.state().cluster.is_none() => return Err(not_begun()),
        _ => {
            let change = build().map_err(|refused| marked(refused, ChangeOutcome::NotApplied))?;
            // Not of an id that is remembered: the clock may have been set back since.
            check_age(stamp.id.as_uuid())?;
            Prepared::Change(change)
        }
    })
}

/// A text that people give a reason in, within its bound.
pub(super) fn bounded(field: &'static str, text: &str) -> Result<(), Status> {
    if text.len() > REASON_MAX {
        return Err(Refusal::invalid_field(field, "at most 1024 bytes").into());
    }
    Ok(())
}

/// A refusal with nodes by their names.
fn named(topology: &Topology, refused: &Rejected) -> Status {
    rejected_of(refused, &|node| views::node_name(topology, node))
}

/// The same for a change that is recognised by what it names: the id is checked, not remembered.
pub(super) fn checked_stamp<R: ChangeRequest>(
    request: &mut R,
    is_trial: bool,
) -> Result<RequestStamp, Status> {
    let stamp = stamp(request, is_trial)?;
    if !is_trial {
        check_age(stamp.id.as_uuid())?;
    }
    Ok(stamp)
}

/// By what the request is recognised: its id, and a digest of all the rest.
fn stamp<R: ChangeRequest>(request: &mut R, is_trial: bool) -> Result<RequestStamp, Status> {
    let text = std::mem::take(request.request_id());
    if is_trial {
        tls::note_trial();
    }
    let uuid = match Uuid::parse_str(&text) {
        Ok(uuid) => {
            tls::note_request(uuid);
            uuid
        }
        // A trial changes nothing that an id could be remembered for.
        Err(_) if is_trial => Uuid::from_u128(1),
        Err(_) => {
            let problem = "must be a UUIDv7 that the caller makes for this request";
            return Err(not_applied(Refusal::invalid_field("request_id", problem)));
        }
    };
    if !is_trial && uuid.get_version_num() != 7 {
        let problem = "must be a UUIDv7: ids are kept in order of time";
        return Err(not_applied(Refusal::invalid_field("request_id", problem)));
    }
    let id = RequestId::from_uuid(uuid);
    let id = id.ok_or_else(|| not_applied(Refusal::invalid_field("request_id", "is nil")))?;
    #[cfg(feature = "faults")]
    let id = RequestId::from_uuid(crate::faults_api::remembered_as(id.as_uuid())).unwrap_or(id);
    let digest = xxh3_128(&request.encode_to_vec());
    let caller = tls::caller().map_or_else(|| ANYBODY.to_owned(), |caller| caller.name());
    Ok(RequestStamp { id, digest, caller })
}

/// Ids are kept in order of time; one from the far future would push out all others.
fn check_age(uuid: Uuid) -> Result<(), Status> {
    let millis = u64::try_from(uuid.as_u128() >> 80).unwrap_or(u64::MAX);
    let now = wall_millis();
    let ahead = u64::try_from(REQUEST_ID_AHEAD.as_millis()).unwrap_or(u64::MAX);
    if millis > now.saturating_add(ahead) {
        let message = "the request id is more than 5 minutes ahead of the leader's clock";
        let refusal = Refusal::new(Reason::RequestIdAhead, message);
        return Err(not_applied(refusal.with("clock_ms", now.to_string())));
    }
    Ok(())
}
