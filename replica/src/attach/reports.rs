//! What streams report, on its way to the coordinator.

use crate::agent::Agent;
use crate::stream::{StreamEvent, StreamId};
use proto::agent::v1 as pb;
use proto::agent::v1::attach_request::Event;
use proto::agent::v1::stream_report::Report;
use proto::convert;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Hands on what streams report, as long as the process runs. What finds no attachment is lost:
/// the next leader orders the stream again, and is told then how it stands.
pub(crate) async fn forward(agent: Arc<Agent>, mut events: mpsc::Receiver<StreamEvent>) {
    while let Some(event) = events.recv().await {
        agent.say(Event::StreamReport(report(event))).await;
    }
}

fn report(event: StreamEvent) -> pb::StreamReport {
    let (stream, report) = match event {
        StreamEvent::Progress { stream, rows, bytes, bytes_total, is_paused: paused } => {
            (stream, Report::Progress(pb::StreamProgress { rows, bytes, paused, bytes_total }))
        }
        StreamEvent::Complete { stream, report } => (
            stream,
            Report::Complete(pb::StreamComplete {
                rows: report.rows,
                bytes: report.bytes,
                sum_sent: convert::sum_bytes(report.sent.0),
                sum_stored: convert::sum_bytes(report.stored.0),
            }),
        ),
        StreamEvent::Failed { stream, failure } => (
            stream,
            Report::Failed(pb::StreamFailed {
                reason: failure.reason.name().to_owned(),
                detail: failure.detail,
                retryable: failure.reason.is_retryable(),
            }),
        ),
    };
    let StreamId { tablet, session, pair, source_incarnation, receiver_incarnation } = stream;
    pb::StreamReport {
        tablet: tablet.as_u64(),
        session: convert::bytes(session.as_uuid()),
        source: pair.source.as_u64(),
        receiver: pair.receiver.as_u64(),
        source_incarnation: Some(source_incarnation.0.into()),
        receiver_incarnation: Some(receiver_incarnation.0.into()),
        report: Some(report),
    }
}
