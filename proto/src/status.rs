//! Refusals as gRPC statuses and back: `google.rpc.Status` with `ErrorInfo` of the domain
//! "palisade", and the trailer that says what became of a change.

use crate::reasons::Reason;
use crate::types::v1 as pb;
use migrations::record::TabletRecord;
pub use migrations::retry::ChangeOutcome;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// The domain of our reasons.
pub const DOMAIN: &str = "palisade";

/// The trailer that every answer to a change bears.
pub const OUTCOME_TRAILER: &str = "palisade-outcome";

/// The header in which an agent's record of a tablet travels with a refusal.
const RECORD_HEADER: &str = "palisade-record-bin";

/// A typed refusal. Its texts never hold keys or values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// On the closed list.
    pub reason: Reason,
    /// What was refused and why, in one sentence.
    pub message: String,
    /// Particulars, by name.
    pub metadata: BTreeMap<String, String>,
    /// The refuser's own record of the tablet, where that helps.
    pub record: Option<Box<TabletRecord>>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// What it is about: kind and name.
    pub resource: Option<(String, String)>,
    /// Which field is wrong, and how.
    pub field: Option<(String, String)>,
}

impl Refusal {
    /// A refusal with nothing but its reason and a sentence.
    pub fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            message: message.into(),
            metadata: BTreeMap::new(),
            record: None,
            retry_after: None,
            resource: None,
            field: None,
        }
    }

    /// A field of a request is not what it has to be.
    pub fn invalid_field(field: &str, problem: impl Into<String>) -> Refusal {
        let problem = problem.into();
        let mut refusal = Refusal::new(Reason::InvalidField, format!("{field}: {problem}"));
        refusal.field = Some((field.to_owned(), problem));
        refusal
    }

    /// With one more particular.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Refusal {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// With the refuser's own record of the tablet.
    pub fn with_record(mut self, record: Option<&TabletRecord>) -> Refusal {
        self.record = record.cloned().map(Box::new);
        self
    }

    /// With a time after which to come again.
    pub fn retry_after(mut self, after: Duration) -> Refusal {
        self.retry_after = Some(after);
        self
    }

    /// With what it is about.
    pub fn of_resource(mut self, kind: &str, name: impl Into<String>) -> Refusal {
        self.resource = Some((kind.to_owned(), name.into()));
        self
    }

    /// A particular.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// The refusal in a status; `None` if it is nobody of ours who refused.
    pub fn from_status(status: &Status) -> Option<Refusal> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = info.reason.parse().ok()?;
        let mut refusal = Refusal::new(reason, status.message());
        refusal.metadata = info.metadata.clone().into_iter().collect();
        refusal.record = record_in(status.metadata());
        refusal.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        refusal.resource = details
            .resource_info()
            .map(|found| (found.resource_type.clone(), found.resource_name.clone()));
        let violations = details.bad_request().map(|bad| &bad.field_violations);
        refusal.field = violations
            .and_then(|violations| violations.first())
            .map(|found| (found.field.clone(), found.description.clone()));
        Some(refusal)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let Refusal { reason, message, metadata, record, retry_after, resource, field } = refusal;
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> = metadata.into_iter().collect();
        details.set_error_info(reason.name(), DOMAIN, metadata);
        if let Some(after) = retry_after {
            details.set_retry_info(Some(after));
        }
        if let Some((kind, name)) = resource {
            details.set_resource_info(kind, name, "", message.clone());
        }
        if let Some((field, problem)) = field {
            details.set_bad_request(vec![FieldViolation::new(field, problem)]);
        }
        let mut headers = MetadataMap::new();
        if let Some(record) = record {
            let bytes = pb::TabletRecord::from(&*record).encode_to_vec();
            headers.insert_bin(RECORD_HEADER, MetadataValue::from_bytes(&bytes));
        }
        Status::with_error_details_and_metadata(reason.code(), message, details, headers)
    }
}

fn record_in(headers: &MetadataMap) -> Option<Box<TabletRecord>> {
    let bytes = headers.get_bin(RECORD_HEADER)?.to_bytes().ok()?;
    let record = pb::TabletRecord::decode(bytes).ok()?;
    TabletRecord::try_from(record).ok().map(Box::new)
}

/// Says what became of a change.
pub fn set_outcome(headers: &mut MetadataMap, outcome: ChangeOutcome) {
    headers.insert(OUTCOME_TRAILER, MetadataValue::from_static(outcome.name()));
}

/// What became of a change; `None` where nobody said so.
pub fn outcome(headers: &MetadataMap) -> Option<ChangeOutcome> {
    let said = headers.get(OUTCOME_TRAILER)?.to_str().ok()?;
    ChangeOutcome::from_name(said)
}

/// What became of a change that ended with this status: what it says, or unknown if anything may
/// have been sent.
pub fn outcome_of(status: &Status) -> ChangeOutcome {
    outcome(status.metadata()).unwrap_or_else(|| {
        match (status.code(), Refusal::from_status(status)) {
            // The server's own checks of form, before it has looked at anything.
            (Code::InvalidArgument, Some(_)) => ChangeOutcome::NotApplied,
            _ => ChangeOutcome::Unknown,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusal = Refusal::new(Reason::TabletBusy, "the tablet is busy")
            .with("highest", "17")
            .of_resource("migration", "9f2c")
            .retry_after(Duration::from_millis(200));
        let status = Status::from(refusal.clone());
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(Refusal::from_status(&status), Some(refusal));
    }

    #[test]
    fn a_field_violation_names_its_field() {
        let status = Status::from(Refusal::invalid_field("name", "is empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let back = Refusal::from_status(&status).expect("ours");
        assert_eq!(back.field, Some(("name".to_owned(), "is empty".to_owned())));
    }

    #[test]
    fn a_strangers_status_is_no_refusal_and_leaves_the_outcome_open() {
        let status = Status::unavailable("connection reset");
        assert_eq!(Refusal::from_status(&status), None);
        assert_eq!(outcome_of(&status), ChangeOutcome::Unknown);
    }
}
