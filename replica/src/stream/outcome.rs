//! Asking a receiver how a stream stands by its record: for a source whose call ended between
//! `Complete` and `Received`.

use super::failure::Failure;
use super::transport::endpoint;
use crate::limits::OUTCOME_DEADLINE;
use crate::store::StreamState;
use crate::wait::Wait;
use migrations::id::{ClusterId, SessionId, TabletId};
use migrations::pull::Totals;
use migrations::record::StreamPair;
use migrations::row::RowSum;
use process::wait::bounded as bounded_by;
use proto::convert;
use proto::stream::v1 as pb;
use proto::stream::v1::stream_service_client::StreamServiceClient;
use tls::Dial;

/// Which stream is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeQuery {
    /// In which cluster.
    pub cluster: ClusterId,
    /// Of which tablet.
    pub tablet: TabletId,
    /// Under which session.
    pub session: SessionId,
    /// From where to where.
    pub pair: StreamPair,
}

/// How it stands by the receiver's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its state.
    pub state: StreamState,
    /// What is stored.
    pub stored: Totals,
}

/// Asks the receiver at an address. `None`: the stream isn't on record there. Bounded.
pub async fn ask_outcome(
    dial: &Dial,
    address: &str,
    query: OutcomeQuery,
) -> Result<Option<Outcome>, Failure> {
    let endpoint = endpoint(address).map_err(|error| Failure::closed(error.to_string()))?;
    let request = pb::GetOutcomeRequest {
        cluster_id: convert::bytes(query.cluster.as_uuid()),
        tablet: query.tablet.as_u64(),
        session: convert::bytes(query.session.as_uuid()),
        source: query.pair.source.as_u64(),
        receiver: query.pair.receiver.as_u64(),
    };
    let asked = async {
        let channel = dial.connect(&endpoint).await;
        let channel = channel.map_err(|error| Failure::closed(tls::causes(&error)))?;
        let answer = StreamServiceClient::new(channel).get_outcome(request).await;
        answer.map_err(|status| Failure::of_status(&status))
    };
    let answer = bounded_by(Wait::Outcome, OUTCOME_DEADLINE, asked).await;
    let answer = answer.map_err(|overdue| Failure::closed(overdue.to_string()))??.into_inner();
    let state = match answer.state() {
        pb::StreamState::Unspecified => return Err(Failure::protocol("an unknown state")),
        pb::StreamState::Unknown => return Ok(None),
        pb::StreamState::Running => StreamState::Running,
        pb::StreamState::Complete => StreamState::Complete,
        pb::StreamState::Failed => StreamState::Failed,
    };
    let sum = RowSum(convert::sum("sum", &answer.sum)?);
    let stored = Totals { rows: answer.rows, bytes: answer.bytes, sum };
    Ok(Some(Outcome { state, stored }))
}
