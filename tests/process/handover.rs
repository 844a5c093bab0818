//! Changes that are asked for while leadership is being handed over: refused, with their outcome
//! known, and done once it is over.
//!
//! Not here: hand-overs that succeed at once (`members.rs`, `requests.rs`).

use crate::harness::proxy::Mode;
use crate::harness::{Cluster, Shape, soon};
use crate::leaders::{one_move, others};
use client::{AdminClient, AdminOptions, ClientError, new_request_id};
use migrations::retry::ChangeOutcome;
use proto::admin::v1 as pb;
use proto::admin::v1::member_service_client::MemberServiceClient;
use proto::admin::v1::migration_service_client::MigrationServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use std::time::Duration;
use tonic::{Code, Status};

/// A hand-over that doesn't come to its end.
struct HandOver {
    from: String,
    to: String,
}

/// What a refusal says, which has to say when to come again.
fn transferring(status: &Status) -> ChangeOutcome {
    let refusal = Refusal::from_status(status).expect("a reason");
    assert_eq!((status.code(), refusal.reason), (Code::Unavailable, Reason::LeaderTransferring));
    assert!(refusal.retry_after.is_some_and(|after| !after.is_zero()), "{refusal:?}");
    outcome_of(status)
}

impl HandOver {
    /// Has the leader hand over to one that stands still, while nobody hears that the third one
    /// would like to lead.
    async fn begin(cluster: &Cluster) -> HandOver {
        let names = cluster.coordinators();
        let began = async {
            loop {
                let from = cluster.leader(&names).await;
                let [to, third]: [String; 2] = others(&names, &from).try_into().expect("three");
                cluster.links().way(&third, &from).set(Mode::HalfOpen);
                cluster.pause(&to);
                let began = HandOver { from, to };
                let mut members = MemberServiceClient::new(cluster.admin_channel(&began.from));
                let (request_id, to) = (new_request_id().to_string(), began.to.clone());
                let asked = pb::TransferLeaderRequest { request_id, to, ..Default::default() };
                let refused = members.transfer_leader(asked).await.expect_err("nobody takes it");
                let reason = Refusal::from_status(&refused).map(|refusal| refusal.reason);
                if reason == Some(Reason::LeaderTransferring) {
                    assert_eq!(transferring(&refused), ChangeOutcome::Unknown, "it may lead yet");
                    return began;
                }
                // It was silent for too long by the time that it was chosen.
                assert_eq!(reason, Some(Reason::NodeNotReady), "{refused}");
                began.end(cluster);
            }
        };
        soon("a hand-over that stands still", began).await
    }

    fn end(&self, cluster: &Cluster) {
        cluster.links().heal();
        cluster.resume(&self.to);
    }
}

/// The one that hands over takes no change, and says so, for as long as that lasts: whoever asks
/// knows that nothing was done. The client library comes again, until its deadline or until
/// somebody leads; then the change is made, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_a_hand_over_is_not_applied_and_then_done_once() {
    let profile = "standard";
    let shape = Shape { coordinators: 3, has_proxies: true, profile, ..Shape::default() };
    let cluster = Cluster::start_as(shape).await;
    let tablet = cluster.create_table("orders", 1).await.remove(0);
    let asked = one_move(&tablet);
    let hand_over = HandOver::begin(&cluster).await;

    let mut leader = MigrationServiceClient::new(cluster.admin_channel(&hand_over.from));
    let refused = leader.migrate(asked.clone()).await.expect_err("it hands over");
    assert_eq!(transferring(&refused), ChangeOutcome::NotApplied, "{refused}");
    let newest = leader.list_migrations(pb::ListMigrationsRequest::default()).await;
    transferring(&newest.expect_err("nor does it read what is newest"));

    let deadline = Duration::from_secs(1);
    let options = AdminOptions { deadline, try_timeout: deadline };
    let at_it = vec![cluster.admin_address(&hand_over.from).to_owned()];
    let hasty = AdminClient::connect_with(at_it, options);
    let late = hasty.migrate(asked.clone()).await.expect_err("not by then");
    assert!(matches!(late, ClientError::Unreachable { .. }), "{late:?}");
    assert!(late.to_string().contains("handed over") && !late.is_outcome_unknown(), "{late}");

    let (admin, request) = (cluster.admin(), asked.clone());
    let patient = tokio::spawn(async move { admin.migrate(request).await });
    hand_over.end(&cluster);
    let done = soon("the move to begin", patient).await.expect("no panic").expect("it begins");
    let id = done.migration.expect("a migration").id;
    let again = cluster.admin().migrate(asked).await.expect("the same request");
    assert_eq!(again.migration.expect("a migration").id, id);
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");
    assert_eq!(cluster.admin().list_migrations(false).await.expect("all").len(), 1, "once");
}
