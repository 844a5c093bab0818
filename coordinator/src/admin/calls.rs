//! What every call of the admin port passes: its deadline, which is kept here with a reason and an
//! outcome, and the trailer that says what became of a change.
//!
//! Not here: what became of it (`status.rs`, `change.rs`).

use crate::call::Call;
use crate::limits::{CALL_DEADLINE_MAX, CALL_MARGIN_MAX, CALL_MARGIN_PART};
use http_body::Frame;
use http_body_util::BodyExt as _;
use migrations::retry::ChangeOutcome;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use proto::reasons::Reason;
use proto::status::{OUTCOME_TRAILER, Refusal, set_outcome};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

/// What a status is in, where an answer has no message.
const STATUS: &str = "grpc-status";
/// How long the caller waits.
const TIMEOUT: &str = "grpc-timeout";

/// Puts every call of a port under its deadline.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    changes: Arc<BTreeSet<String>>,
}

impl Calls {
    /// With the methods that are changes: those whose requests have an id of the caller's.
    pub(super) fn new() -> Calls {
        let files = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
        Calls { changes: Arc::new(changes(&files)) }
    }
}

/// The paths of all changes.
fn changes(files: &FileDescriptorSet) -> BTreeSet<String> {
    let messages = files.file.iter().flat_map(|file| {
        let named = |name: &str| format!(".{}.{name}", file.package());
        file.message_type.iter().map(move |message| (named(message.name()), message))
    });
    let with_id: BTreeSet<String> = messages
        .filter(|(_, message)| message.field.iter().any(|field| field.name() == "request_id"))
        .map(|(name, _)| name)
        .collect();
    let mut paths = BTreeSet::new();
    for file in &files.file {
        for service in &file.service {
            let changes = service.method.iter().filter(|one| with_id.contains(one.input_type()));
            let path = |name: &str| format!("/{}.{}/{name}", file.package(), service.name());
            paths.extend(changes.map(|method| path(method.name())));
        }
    }
    paths
}

impl<S> Layer<S> for Calls {
    type Service = Answers<S>;

    fn layer(&self, inner: S) -> Answers<S> {
        Answers { inner, changes: Arc::clone(&self.changes) }
    }
}

/// Answers each call by its deadline, one way or the other.
#[derive(Debug, Clone)]
pub(crate) struct Answers<S> {
    inner: S,
    changes: Arc<BTreeSet<String>>,
}

impl<S> Service<Request<Body>> for Answers<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_change = self.changes.contains(request.uri().path());
        let patience = patience(request.headers());
        // Whoever waits on the way has a better reason than the one that is given here.
        let margin = CALL_MARGIN_MAX.min(patience / CALL_MARGIN_PART);
        let limit = Instant::now() + patience - margin;
        let call = Call::new(limit - margin);
        let answer = call.clone().scope(self.inner.call(request));
        Box::pin(async move {
            tokio::select! {
                answered = answer => {
                    let answered = answered?;
                    Ok(if is_change { with_trailer(told(answered, &call)) } else { answered })
                }
                () = sleep_until(limit) => Ok(late(is_change, &call).into_http()),
            }
        })
    }
}

/// How long the caller waits for an answer to begin, and no longer than is waited here.
fn patience(headers: &HeaderMap) -> Duration {
    let asked = headers.get(TIMEOUT).and_then(|value| timeout_in(value.to_str().ok()?));
    asked.map_or(CALL_DEADLINE_MAX, |asked| asked.min(CALL_DEADLINE_MAX))
}

/// A timeout in gRPC's form: up to eight digits and a unit.
fn timeout_in(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 {
        return None;
    }
    let number = number.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What is known of a change that nobody else says it of.
fn known(call: &Call) -> ChangeOutcome {
    match call.has_proposed() {
        true => ChangeOutcome::Unknown,
        false => ChangeOutcome::NotApplied,
    }
}

/// The deadline has come, and nobody has answered.
fn late(is_change: bool, call: &Call) -> Status {
    if !is_change {
        let message = "the deadline passed before there was an answer";
        return Refusal::new(Reason::QueueTimeout, message).into();
    }
    let outcome = known(call);
    let refusal = match outcome {
        ChangeOutcome::Unknown => {
            let message = "the deadline passed after the change was proposed";
            Refusal::new(Reason::CommitTimeout, message)
        }
        _ => {
            let message = "the deadline passed before the change was proposed";
            Refusal::new(Reason::QueueTimeout, message)
        }
    };
    let mut status = Status::from(refusal);
    set_outcome(status.metadata_mut(), outcome);
    status
}

/// An answer to a change that says what became of it, also if it was refused before any of us saw
/// it, as bytes that are no request are.
fn told(mut answer: Response<Body>, call: &Call) -> Response<Body> {
    if !answer.headers().contains_key(OUTCOME_TRAILER) {
        let outcome = HeaderValue::from_static(known(call).name());
        answer.headers_mut().insert(OUTCOME_TRAILER, outcome);
    }
    answer
}

/// The same in the trailers. An answer without a message is all trailers already.
fn with_trailer(answer: Response<Body>) -> Response<Body> {
    let outcome = answer.headers().get(OUTCOME_TRAILER).cloned();
    let Some(outcome) = outcome.filter(|_| !answer.headers().contains_key(STATUS)) else {
        return answer;
    };
    answer.map(|body| {
        Body::new(body.map_frame(move |frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.insert(OUTCOME_TRAILER, outcome.clone());
                Frame::trailers(trailers)
            }
            Err(data) => data,
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_change_is_by_its_request() {
        let Calls { changes } = Calls::new();
        assert!(changes.contains("/palisade.admin.v1.TableService/CreateTable"), "{changes:?}");
        assert!(!changes.contains("/palisade.admin.v1.TableService/ListTables"));
        assert!(changes.len() >= 20, "{changes:?}");
    }

    #[test]
    fn a_callers_patience_is_kept_up_to_a_minute() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(text));
            patience(&headers)
        };
        assert_eq!(of("3S"), Duration::from_secs(3));
        assert_eq!(of("1500m"), Duration::from_millis(1_500));
        assert_eq!(of("2000000u"), Duration::from_secs(2));
        assert_eq!(of("7n"), Duration::from_nanos(7));
        for capped in ["61S", "2M", "1H", "99999999H", "S", "123456789S", "3x"] {
            assert_eq!(of(capped), CALL_DEADLINE_MAX, "{capped}");
        }
    }
}
