//! A disk that refuses a snapshot, and a log on it that goes on or ends with its name.

use crate::snapshot::propose_lots;
use crate::support::faulty::FaultyDisk;
use crate::support::members::Members;
use crate::support::{PATIENCE, in_time};
use nodes::node::NodeError;
use nodes::raft::leadership::Leadership;
use std::io::ErrorKind;
use std::time::Duration;

async fn with_a_refusal(why: ErrorKind) -> (Members, FaultyDisk) {
    let disk = FaultyDisk::default();
    let members = Members::on_disk(1, disk.clone()).await;
    members.leader().await;
    propose_lots(&members, 1, 0..5).await;
    disk.refuse_snapshots(Some(why));
    members.core(1).raft().trigger().snapshot().await.unwrap();
    (members, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_for_which_there_is_no_room_is_skipped_and_made_later_and_nothing_is_purged_meanwhile() {
    for why in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        let (members, disk) = with_a_refusal(why).await;
        let skipped = &members.measures(1).snapshots_skipped;
        in_time("a refusal", async {
            while skipped.get() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        propose_lots(&members, 1, 5..9).await;
        assert!(
            matches!(Leadership::now(members.core(1).raft()), Leadership::Here { .. }),
            "{why}: raft goes on"
        );

        disk.refuse_snapshots(None);
        let raft = members.core(1).raft();
        let made = async {
            loop {
                // As each entry does once there are many: refused while it rests.
                raft.trigger().snapshot().await.unwrap();
                let wait = raft.wait(Some(Duration::from_millis(200)));
                let made = wait.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await;
                if let Ok(metrics) = made {
                    return metrics;
                }
            }
        };
        let made = in_time("a snapshot after all", made).await;
        assert!(made.purged <= made.snapshot, "{why}: {made:?}");
        raft.wait(Some(PATIENCE)).metrics(|metrics| metrics.purged.is_some(), "a purge").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_a_snapshot_ends_the_node_as_one_that_fails_at_the_log() {
    for why in [ErrorKind::Other, ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        let (members, _disk) = with_a_refusal(why).await;
        let failed = in_time("the failure", members.core(1).failed()).await;
        assert!(matches!(failed, NodeError::DiskFailed(_)), "{why}: {failed:?}");
        let said = failed.to_string();
        assert!(said.contains("storage failed") && said.contains("snapshot-"), "{said}");
    }
}
