//! One coordinator asked by itself, whether anybody leads or not: who it is, whom it follows, and
//! until when its certificate is good.

use crate::channel::{endpoint, timed};
use proto::admin::v1 as pb;
use proto::admin::v1::cluster_service_client::ClusterServiceClient;
use std::time::Duration;
use tls::{Dial, Kind, Tls, Validity, causes};
use tokio::time::timeout;

/// One coordinator, by its own word.
#[derive(Debug, Clone, PartialEq)]
pub struct Introduced {
    /// What it says of itself. None where its build is too old to be asked.
    pub own: Option<pb::IntroduceResponse>,
    /// Of its certificate; none in the clear.
    pub validity: Option<Validity>,
}

/// Asks the coordinator at this address (`host:port`), and nobody else.
///
/// # Errors
///
/// Why it can't be had within the time, in words: nobody is there, or who is there does not let
/// this caller in.
pub async fn introduce(
    address: &str,
    tls: Option<Tls>,
    within: Duration,
) -> Result<Introduced, String> {
    let asked = async {
        let endpoint = endpoint(address, tls.is_some()).map_err(|error| error.to_string())?;
        let dial = Dial::new(tls, Kind::Coordinator);
        let validity = dial.look(endpoint.uri()).await.map_err(|error| error.to_string())?;
        let channel = dial.connect(&endpoint).await.map_err(|error| causes(&error))?;
        let request = timed(pb::IntroduceRequest {}, within);
        match ClusterServiceClient::new(channel).introduce(request).await {
            Ok(own) => Ok(Introduced { own: Some(own.into_inner()), validity }),
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                Ok(Introduced { own: None, validity })
            }
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        }
    };
    match timeout(within, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", within.as_secs_f32())),
    }
}
