//! Watches that break: they go on after what was seen last, or, where that is no longer kept, begin
//! anew with everything.

use crate::fakes::{Coordinator, record, version};
use palisade_client::{AdminClient, Router, RouterOptions};
use proto::reasons::Reason;
use proto::status::Refusal;

#[tokio::test]
async fn a_watch_goes_on_where_it_was_or_begins_anew() {
    let coordinator = Coordinator::start(&[record(7)], &[]).await;
    let admin = AdminClient::connect(vec![coordinator.address.to_string()]);
    let _watches = Router::connect(admin, RouterOptions::default());
    assert_eq!(coordinator.watches(1).await, [None], "everything comes first");
    let seen = Some(version(7).into());
    // A break, and a leader that goes: the place is kept.
    coordinator.end_watches([Refusal::new(Reason::ShuttingDown, "it ends").into()]);
    assert_eq!(coordinator.watches(3).await, [None, seen, seen]);
    coordinator.end_watches([Refusal::new(Reason::Compacted, "no longer known").into()]);
    assert_eq!(coordinator.watches(5).await, [None, seen, seen, seen, None]);
}
