//! Changes: each takes effect once, and says what became of it.
//!
//! The memory of requests is looked up before anything else: else the retry of a change would be
//! refused because of its own effect. Apply looks it up again, and decides.

use super::{AdminApi, views};
use crate::limits::REQUEST_ID_AHEAD;
use crate::now::wall_millis;
use crate::status::{rejected_of, submit_error};
use migrations::apply::check;
use migrations::command::{Applied, Change, Command, Outcome, Rejected};
use migrations::id::{MigrationId, RequestId};
use migrations::request::{RequestStamp, Seen};
use migrations::retry::ChangeOutcome;
use migrations::topology::Topology;
use proto::reasons::Reason;
use proto::status::{Refusal, set_outcome};
use tonic::{Response, Status};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// Who asks, until callers show certificates: one and the same.
const CALLER: &str = "operator";

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
);

/// What came of a change.
pub(super) enum Changed {
    /// It took effect, now or before.
    Applied(Applied),
    /// It would; nothing was done.
    Valid,
}

/// A fresh migration id.
pub(super) fn fresh_migration() -> MigrationId {
    loop {
        if let Some(migration) = MigrationId::from_uuid(Uuid::new_v4()) {
            return migration;
        }
    }
}

/// An answer to a change that took effect, or would.
pub(super) fn answer<T>(changed: &Changed, message: T) -> Response<T> {
    let mut response = Response::new(message);
    let outcome = match changed {
        Changed::Applied(_) => ChangeOutcome::Applied,
        Changed::Valid => ChangeOutcome::NotApplied,
    };
    set_outcome(response.metadata_mut(), outcome);
    response
}

/// Refused before anything was proposed.
fn not_applied(refusal: Refusal) -> Status {
    marked(refusal.into(), ChangeOutcome::NotApplied)
}

/// A status that says what became of the change.
fn marked(mut status: Status, outcome: ChangeOutcome) -> Status {
    set_outcome(status.metadata_mut(), outcome);
    status
}

impl AdminApi {
    /// Makes a change. `build` turns the request into a command by the newest topology; it is not
    /// called for a request that is remembered.
    pub(super) async fn change<R: ChangeRequest>(
        &self,
        mut request: R,
        build: impl FnOnce(&Topology, &R) -> Result<Change, Status>,
    ) -> Result<Changed, Status> {
        let is_trial = std::mem::take(request.validate_only());
        let stamp = stamp(&mut request, is_trial)?;
        let built = self.read(|topology| match topology.state().requests.look_up(&stamp) {
            Seen::Before(outcome) if !is_trial => Ok(Err(outcome.clone())),
            Seen::Reused if !is_trial => Ok(Err(Err(Rejected::RequestIdReused))),
            Seen::Expired if !is_trial => Ok(Err(Err(Rejected::RequestIdExpired))),
            _ => {
                // What is refused here was not proposed, and is not remembered.
                let change = build(topology, &request)
                    .map_err(|refused| marked(refused, ChangeOutcome::NotApplied))?;
                match is_trial {
                    true => {
                        check(topology, &change).map_err(|refused| named(topology, &refused))?
                    }
                    // Not of an id that is remembered: the clock may have been set back since.
                    false => check_age(stamp.id.as_uuid())?,
                }
                Ok::<Result<Change, Outcome>, Status>(Ok(change))
            }
        });
        let change = match built.await?? {
            Ok(_) if is_trial => return Ok(Changed::Valid),
            Ok(change) => change,
            Err(remembered) => return self.changed(remembered),
        };
        let command = Command::Change { stamp, change };
        let committed = self.proposer.submit(command).await;
        self.changed(committed.map_err(|error| submit_error(&error))?.outcome)
    }

    fn changed(&self, outcome: Outcome) -> Result<Changed, Status> {
        let refused = |refused| self.group0.read(|machine| named(&machine.topology, &refused));
        outcome.map(Changed::Applied).map_err(refused)
    }
}

/// A refusal with nodes by their names.
fn named(topology: &Topology, refused: &Rejected) -> Status {
    rejected_of(refused, &|node| views::node_name(topology, node))
}

/// By what the request is recognised: its id, and a digest of all the rest.
fn stamp<R: ChangeRequest>(request: &mut R, is_trial: bool) -> Result<RequestStamp, Status> {
    let text = std::mem::take(request.request_id());
    let uuid = match Uuid::parse_str(&text) {
        Ok(uuid) => uuid,
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
    let digest = xxh3_128(&request.encode_to_vec());
    Ok(RequestStamp { id, digest, caller: CALLER.to_owned() })
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
