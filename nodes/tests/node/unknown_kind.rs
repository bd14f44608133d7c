//! A node that meets an event of a later version halts: to pass over it would be a state that no other node has.

use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created};
use bytes::Bytes;
use events::batch::{Batch, BatchId, EncodedEvent, stamped};
use events::time::Timestamp;
use events::vocabulary::Event;
use nodes::raft::types::Payload;

const KIND: u16 = 60_000;

/// What a leader of a later version could have committed: an event that this one knows, and one that it does not.
fn of_a_later_version() -> Payload {
    let mut batch = Batch::new(BatchId { node: 9, boot: 9, counter: 1 });
    batch.push(&lot_created(7)).unwrap();
    batch.events.push(EncodedEvent { kind: KIND, bytes: vec![1] });
    Payload(Bytes::from(stamped(Timestamp::from_millis(1), &batch.encode().unwrap())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_node_halts_at_a_kind_that_it_does_not_know_and_applies_nothing_of_its_entry() {
    assert!(!Event::KINDS.contains(&KIND));
    let members = Members::start(1).await;
    members.leader().await;
    let applied = members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap().index;
    let refused = in_time("an answer", members.core(1).raft().client_write(of_a_later_version())).await;
    assert!(refused.is_err(), "nothing is acknowledged");
    let failed = in_time("the halt", members.core(1).failed()).await.to_string();
    assert!(failed.contains(&format!("event kind {KIND}")), "{failed}");
    let (lots, unknown) =
        members.core(1).projector().read(|fold| (fold.lots().count(), fold.lot(&lot(7)).is_some()));
    assert_eq!((lots, unknown), (1, false));
    assert!(members.core(1).projector().read(|fold| fold.applied()) >= applied);
    let later = members.core(1).proposer().propose_events(&[lot_created(2)]).await;
    assert!(later.is_err(), "it decides nothing any more");
}
