//! Damaged history that is mended with what peers give, some of whom give other entries than were committed.

use crate::checkpoints::sign;
use crate::false_history::Liar;
use crate::repair::{damage, history, purge_and_begin_anew};
use crate::snapshot::propose_lots;
use crate::support::in_time;
use crate::support::members::Members;
use nodes::storage::suspect::SUSPECT_FILE;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_not_mended_into_history_where_a_signed_checkpoint_tells_and_another_peer_is_asked() {
    let mut members = Members::start(3).await;
    let last = propose_lots(&members, members.leader().await, 0..60).await;
    members.all_applied(last).await;
    let signed = sign(&members, members.leader().await).await;
    assert!(signed.size > last);
    let patient = members.a_follower().await;
    // So that raft needs nothing of the first segment.
    for more in [100, 110] {
        members.all_applied(last).await;
        purge_and_begin_anew(&mut members, patient).await;
        let last = propose_lots(&members, members.leader().await, more..more + 10).await;
        members.all_applied(last).await;
    }
    let truth = history(&members, patient);
    members.kill(patient).await;
    let path = damage(&members.data(patient));
    // The first of the others is asked first.
    let liar = members.all().map(|(node, _)| node).find(|node| *node != patient).unwrap();
    members.board.plug_in(liar, Arc::new(Liar(members.core(liar).receiver())));
    members.open(patient).await;

    let log = members.data(patient).join("log");
    let was_mended = || path.with_extension("log.damaged").exists() && !log.join(SUSPECT_FILE).exists();
    in_time("a mended log", async {
        while !was_mended() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(history(&members, patient)[..60] == truth[..60], "another peer's entries were mended in");
}
