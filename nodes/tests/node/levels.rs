//! Snapshots that an older version left: its rules were others, so the state is folded again.

use crate::snapshot::{propose_lots, snapshot_and_purge, snapshot_and_purge_after};
use crate::support::members::{Members, timers};
use crate::support::{CLUSTER, in_time};
use events::ids::{LogIndex, NodeId};
use events::log::record::EntryBody;
use events::time::Timestamp;
use events::vocabulary::rejection::{RejectionCount, RejectionReason, RejectionSummary};
use nodes::entropy::OsEntropy;
use nodes::raft::tree::split_frontier;
use nodes::storage::disk::OsDisk;
use nodes::storage::log_reader::{History, HistoryEntry, LogReader};
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use projector::settings::Settings;
use projector::{Projector, SNAPSHOT_VERSION};
use std::sync::Arc;

/// As level 5 had it: nine refused codes at once raised a flag.
fn rules_of_level_5() -> Settings {
    let mut rules = Settings::default();
    rules.code_bruteforce.capacity = 8;
    rules
}

/// More refused codes than level 5 let pass, and fewer than this one does.
async fn refuse_codes(members: &Members, through: NodeId) {
    let source = "shop-7".parse().unwrap();
    let entry = RejectionCount { source, reason: RejectionReason::CodeRefused, device: None, count: 9 };
    let now = Timestamp::from_millis(1);
    let refused = RejectionSummary { node: 1, from: now, until: now, entries: vec![entry], overflow: 0 };
    members.core(through).proposer().propose_events(&[refused.into()]).await.unwrap();
}

/// What a member's own log holds, folded up to an index.
fn folded(members: &Members, node: NodeId, mut fold: Projector, through: LogIndex) -> Projector {
    let keys = members.keyring().segment_keys().unwrap();
    let reader = LogReader::open(Arc::new(OsDisk), members.data(node).join("log"), keys).unwrap();
    for item in reader {
        let History::Entry(HistoryEntry { entry, .. }) = item.unwrap() else { panic!("a gap") };
        match entry.body {
            _ if entry.at.index > through => break,
            EntryBody::Batch(payload) => drop(fold.apply(entry.at.index, &payload).unwrap()),
            EntryBody::Blank | EntryBody::Membership(_) => fold.skip(entry.at.index).unwrap(),
        }
    }
    assert_eq!(fold.applied(), through);
    fold
}

/// In the place of a stopped member's newest snapshot, the one that level 5 would have made; `whole` has all history.
fn go_back_to_level_5(members: &Members, node: NodeId, whole: NodeId) -> LogIndex {
    let options = SnapshotOptions {
        dir: members.data(node).join("snapshots"),
        cluster: CLUSTER,
        node,
        keys: members.keyring().segment_keys().unwrap(),
        reserve_bytes: 0,
    };
    let files = SnapshotFiles::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
    let kept = files.load_newest().unwrap().snapshot.unwrap();
    let fold = folded(members, whole, Projector::with_settings(rules_of_level_5()), kept.index);
    assert_eq!(fold.flags().count(), 1, "the flag that this level does not raise");
    let mut state = fold.to_snapshot();
    state[8..10].copy_from_slice(&5u16.to_le_bytes());
    let (as_it_was, _) = split_frontier(&kept.state);
    state.extend_from_slice(&kept.state[as_it_was.len()..]);
    files.save(kept.index, &kept.meta, &state).unwrap();
    kept.index
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_an_older_level_and_the_log_after_it_give_what_the_whole_log_gives() {
    let mut members = Members::start(1).await;
    members.leader().await;
    propose_lots(&members, 1, 0..3).await;
    refuse_codes(&members, 1).await;
    snapshot_and_purge(&members, 1).await;
    members.kill(1).await;
    let at = go_back_to_level_5(&members, 1, 1);

    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    let last = propose_lots(&members, 1, 3..140).await;
    members.all_applied(last).await;
    let fixed = last / 64 * 64;
    let mut expected = folded(&members, 1, Projector::new(), fixed);
    assert_eq!(members.digests_at(fixed), [Some(expected.digest())]);
    assert_eq!(members.core(1).projector().read(|fold| fold.flags().count()), 0);

    let standing = members.core(1).projector().read(Projector::applied);
    snapshot_and_purge_after(&members, 1, at).await;
    members.kill(1).await;
    let left = std::fs::read_dir(members.data(1).join("snapshots")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(
        left.iter().all(|name| name.ends_with(".snap")),
        "nobody needs the one at {at} any more: {left:?}"
    );
    members.open(1).await;
    let again = members.core(1).projector().read(|fold| (fold.level(), fold.applied()));
    assert!(again.0 == SNAPSHOT_VERSION && again.1 >= standing, "it goes on from its own: {again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_own_history_is_not_whole_folds_again_what_its_peers_hold() {
    let mut members = Members::start_with(3, timers()).await;
    let leader = members.leader().await;
    let lagging = members.a_follower().await;
    members.board.cut_off(lagging);
    refuse_codes(&members, leader).await;
    let last = propose_lots(&members, leader, 0..20).await;
    snapshot_and_purge(&members, leader).await;
    let mut missing = members.core(lagging).gaps().missing();
    members.board.heal();
    members.all_applied(last).await;
    in_time("a gap", missing.wait_for(|missing| *missing > 0)).await.unwrap();
    members.kill(lagging).await;
    go_back_to_level_5(&members, lagging, leader);
    // What it fetched of what the snapshot left out.
    std::fs::remove_dir_all(members.data(lagging).join("backfill")).unwrap();

    members.board.cut_off(lagging);
    let refused = members.try_open(lagging).await.unwrap_err().to_string();
    assert!(refused.contains("neither here nor with a peer in reach"), "{refused}");
    members.board.heal();
    members.open(lagging).await;
    let leader = members.leader().await;
    let last = propose_lots(&members, leader, 20..200).await;
    members.all_applied(last).await;
    let digests = members.digests_at(last / 64 * 64);
    assert!(digests.iter().all(|digest| digest.is_some() && *digest == digests[0]), "{digests:?}");
}
