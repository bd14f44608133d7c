//! A node whose disk fails stops, says so, and acknowledges nothing more.

use crate::support::faulty::FaultyDisk;
use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created};
use nodes::node::NodeError;
use nodes::node::core::Core;
use nodes::storage::error::StorageError;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_ends_the_node_and_what_it_did_not_acknowledge_is_not_claimed() {
    let disk = FaultyDisk::default();
    let mut members = Members::on_disk(1, disk.clone()).await;
    members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    disk.fail_syncs(true);
    let refused = members.core(1).proposer().propose_events(&[lot_created(2)]).await;
    assert!(refused.is_err(), "nothing is acknowledged without an fsync: {refused:?}");
    let failed = in_time("the failure", members.core(1).failed()).await.to_string();
    assert!(failed.contains("storage failed"), "{failed}");

    disk.fail_syncs(false);
    members.abandon(1);
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    assert!(
        members.core(1).projector().read(|fold| fold.lot(&lot(1)).is_some()),
        "what was acknowledged is there"
    );
}

/// Whoever starts nodes must know it from a disk that failed: this one is well as soon as it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_check_finds_damage_that_raft_reads_ends_as_one_that_its_next_start_repairs() {
    let mut members = Members::start(1).await;
    members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap();
    members.kill(1).await;
    let core = Core::open(members.core_deps(1)).await.unwrap();
    // The end of the segment that is sealed now: an open reads it, raft does not read it again.
    let sealed = members.data(1).join("log/segment-0000000000000001.log");
    let mut bytes = std::fs::read(&sealed).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&sealed, bytes).unwrap();
    core.run();
    let failed = in_time("the check's word", core.failed()).await;
    assert!(
        matches!(&failed, NodeError::Condemned(why) if why.contains("segment-0000000000000001.log")),
        "{failed}"
    );

    // Nobody is there to repair from, and another start is told what it found, not that a write failed.
    drop(core);
    let again = in_time("the folder that the ended life held", async {
        loop {
            match members.try_open(1).await {
                Err(NodeError::Storage(StorageError::InUse { .. })) => tokio::task::yield_now().await,
                opened => return opened,
            }
        }
    });
    let again = again.await;
    assert!(matches!(again, Err(NodeError::Storage(StorageError::Corrupt(_)))), "{:?}", again.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_nearly_full_takes_nothing_in_until_there_is_room_again() {
    let disk = FaultyDisk::default();
    let members = Members::on_disk(1, disk.clone()).await;
    members.leader().await;
    let (mut serving, mut room) = (members.core(1).serving(), members.core(1).room());
    in_time("service", serving.wait_for(|serving| *serving)).await.unwrap();
    disk.use_up(true);
    in_time("a refusal", serving.wait_for(|serving| !*serving)).await.unwrap();
    let known = *in_time("why", room.wait_for(|room| !room.is_enough())).await.unwrap();
    assert_eq!((known.free_bytes, known.reserve_bytes), (1, 1_000_000));
    disk.use_up(false);
    in_time("service again", serving.wait_for(|serving| *serving)).await.unwrap();
    members.core(1).proposer().propose_events(&[lot_created(1)]).await.unwrap();
}
