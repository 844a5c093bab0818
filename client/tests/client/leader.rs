//! Admin calls against coordinators that do not lead, lose connections, refuse: a change is tried
//! under one request id, and its caller is told what became of it.

use crate::fakes::{Changed, Coordinator, TABLE, dead_address};
use migrations::retry::ChangeOutcome;
use palisade_client::{AdminClient, AdminOptions, ClientError, new_request_id};
use proto::admin::v1::CreateTableRequest;
use proto::reasons::Reason;
use proto::status::{Refusal, set_outcome};
use std::time::Duration;
use tonic::Status;

async fn coordinator() -> Coordinator {
    Coordinator::start(&[], &[]).await
}

fn admin(coordinators: &[&Coordinator]) -> AdminClient {
    let addresses = coordinators.iter().map(|coordinator| coordinator.address.to_string());
    AdminClient::connect(addresses.collect())
}

fn create() -> CreateTableRequest {
    CreateTableRequest { name: TABLE.to_owned(), ..Default::default() }
}

fn refused(refusal: Refusal, outcome: ChangeOutcome) -> Status {
    let mut status = Status::from(refusal);
    set_outcome(status.metadata_mut(), outcome);
    status
}

#[tokio::test]
async fn an_unknown_outcome_is_tried_again_under_the_same_id_on_a_new_connection() {
    let coordinator = coordinator().await;
    coordinator.answer_with([Status::unavailable("connection reset")]);
    admin(&[&coordinator]).create_table(create()).await.expect("the second try");
    let changes = coordinator.changes();
    let [Changed { request_id: first, from: before }, Changed { request_id: again, from: after }] =
        changes.as_slice()
    else {
        panic!("two tries: {changes:?}");
    };
    assert!(!first.is_empty());
    assert_eq!(first, again);
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_hint_is_followed_to_the_leader() {
    let (follower, leader) = (coordinator().await, coordinator().await);
    let hint = Refusal::new(Reason::NotLeader, "not the leader");
    let hint = hint.with("address", leader.address.to_string());
    follower.answer_with([refused(hint, ChangeOutcome::NotApplied)]);
    // The leader's address is not among those that were configured.
    admin(&[&follower]).create_table(create()).await.expect("at the leader");
    assert_eq!((follower.changes().len(), leader.changes().len()), (1, 1));
}

/// A coordinator that has not heard of the newest leader names the one before: who has been sent to
/// the newer one already does not go back.
#[tokio::test]
async fn a_hint_of_an_older_term_is_not_followed() {
    let (first, behind, deposed, leader) =
        (coordinator().await, coordinator().await, coordinator().await, coordinator().await);
    let hint = |to: &Coordinator, term: u64| {
        let hint = Refusal::new(Reason::NotLeader, "not the leader").with("term", term.to_string());
        let hint = hint.with("address", to.address.to_string());
        refused(hint, ChangeOutcome::NotApplied)
    };
    first.answer_with([hint(&behind, 7)]);
    behind.answer_with([hint(&deposed, 6)]);
    admin(&[&first, &leader]).create_table(create()).await.expect("at one of those it was given");
    assert_eq!((first.changes().len(), behind.changes().len()), (1, 1));
    assert_eq!((deposed.changes().len(), leader.changes().len()), (0, 1));
}

#[tokio::test]
async fn a_coordinator_that_is_down_is_passed_over() {
    let coordinator = coordinator().await;
    let addresses = vec![dead_address().await.to_string(), coordinator.address.to_string()];
    let admin = AdminClient::connect(addresses);
    admin.create_table(create()).await.expect("at the other one");
}

#[tokio::test]
async fn no_leader_is_waited_for() {
    let coordinator = coordinator().await;
    let none = Refusal::new(Reason::NoLeader, "no leader").retry_after(Duration::from_millis(1));
    coordinator.answer_with([
        refused(none.clone(), ChangeOutcome::NotApplied),
        refused(none, ChangeOutcome::NotApplied),
    ]);
    admin(&[&coordinator]).create_table(create()).await.expect("the third try");
    assert_eq!(coordinator.changes().len(), 3);
}

#[tokio::test]
async fn a_rejection_and_a_failed_check_are_told_at_once() {
    for outcome in [ChangeOutcome::Rejected, ChangeOutcome::NotApplied] {
        let coordinator = coordinator().await;
        let exists = Refusal::new(Reason::AlreadyExists, "it exists");
        coordinator.answer_with([refused(exists, outcome)]);
        let told = admin(&[&coordinator]).create_table(create()).await.expect_err("refused");
        assert_eq!(told.reason(), Some(Reason::AlreadyExists));
        assert!(!told.is_outcome_unknown());
        assert_eq!(coordinator.changes().len(), 1);
    }
}

#[tokio::test]
async fn an_expired_id_is_told_as_unknown_and_never_tried_again() {
    let coordinator = coordinator().await;
    let expired = Refusal::new(Reason::RequestIdExpired, "too old");
    coordinator.answer_with([refused(expired, ChangeOutcome::Unknown)]);
    let told = admin(&[&coordinator]).create_table(create()).await.expect_err("expired");
    assert!(told.is_outcome_unknown());
    assert_eq!(coordinator.changes().len(), 1);
}

#[tokio::test]
async fn at_the_deadline_an_unknown_outcome_stays_unknown_and_names_its_id() {
    let coordinator = coordinator().await;
    // After one try that may have taken effect, later ones that surely have not change nothing.
    let none = || refused(Refusal::new(Reason::NoLeader, "no leader"), ChangeOutcome::NotApplied);
    let lost = refused(Refusal::new(Reason::LeadershipLost, "lost"), ChangeOutcome::Unknown);
    coordinator.answer_with([lost]);
    coordinator.answer_with(std::iter::repeat_with(none).take(1_000));
    let options = AdminOptions { deadline: Duration::from_millis(300), ..Default::default() };
    let admin = AdminClient::connect_with(vec![coordinator.address.to_string()], options);
    let id = new_request_id();
    let request = CreateTableRequest { request_id: id.to_string(), ..create() };
    match admin.create_table(request).await {
        Err(ClientError::OutcomeUnknown { request_id, .. }) => assert_eq!(request_id, id),
        other => panic!("{other:?}"),
    }
}

/// The first try was lost and may be in the log yet; the second is refused by a check that comes
/// before the log. That check speaks of the second try alone. A rejection by the state machine
/// speaks of the id.
#[tokio::test]
async fn a_failed_check_after_an_unknown_outcome_leaves_it_unknown() {
    for (second, is_unknown) in
        [(ChangeOutcome::NotApplied, true), (ChangeOutcome::Rejected, false)]
    {
        let coordinator = coordinator().await;
        let lost = refused(Refusal::new(Reason::LeadershipLost, "lost"), ChangeOutcome::Unknown);
        let few = refused(Refusal::new(Reason::PlacementViolation, "too few nodes"), second);
        coordinator.answer_with([lost, few]);
        let told = admin(&[&coordinator]).create_table(create()).await.expect_err("refused");
        assert_eq!(told.is_outcome_unknown(), is_unknown, "{told}");
        assert_eq!(coordinator.changes().len(), 2);
    }
}

/// After a try that may have been done a stranger answers, a proxy perhaps: the id is not lost.
#[tokio::test]
async fn a_strangers_refusal_after_an_unknown_outcome_leaves_it_unknown() {
    let coordinator = coordinator().await;
    let lost = Status::unavailable("connection reset");
    let mut stranger = Status::permission_denied("who are you");
    set_outcome(stranger.metadata_mut(), ChangeOutcome::Unknown);
    coordinator.answer_with([lost, stranger]);
    let request_id = new_request_id();
    let asked = CreateTableRequest { request_id: request_id.to_string(), ..create() };
    let told = admin(&[&coordinator]).create_table(asked).await.expect_err("refused");
    let is_named =
        matches!(told, ClientError::OutcomeUnknown { request_id: id, .. } if id == request_id);
    assert!(is_named, "{told}");
}

/// A trial does nothing: that it was not answered leaves nothing unknown.
#[tokio::test]
async fn a_trial_that_is_not_answered_has_changed_nothing() {
    let coordinator = coordinator().await;
    coordinator.answer_with(std::iter::repeat_n(Status::unavailable("reset"), 100));
    let address = coordinator.address.to_string();
    let bounds = Duration::from_millis(300);
    let options = AdminOptions { deadline: bounds, try_timeout: bounds };
    let admin = AdminClient::connect_with(vec![address], options);
    let trial = CreateTableRequest { validate_only: true, ..create() };
    let told = admin.create_table(trial).await.expect_err("nobody answers");
    assert!(!told.is_outcome_unknown(), "{told}");
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_done() {
    let options = AdminOptions { deadline: Duration::from_millis(200), ..Default::default() };
    let admin = AdminClient::connect_with(vec![dead_address().await.to_string()], options);
    let told = admin.create_table(create()).await.expect_err("nobody");
    assert!(matches!(told, ClientError::Unreachable { .. }), "{told}");
    assert!(!told.is_outcome_unknown());
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let coordinator = coordinator().await;
    let tables = admin(&[&coordinator]).list_tables().await.expect("three pages");
    assert_eq!(tables.iter().map(|table| table.id).collect::<Vec<_>>(), [1, 2, 3]);
}
