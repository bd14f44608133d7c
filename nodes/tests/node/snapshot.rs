//! Stories of snapshots.

use crate::support::faulty::FaultyDisk;
use crate::support::members::{Members, lot, lot_created, timers};
use crate::support::{PATIENCE, in_time};
use events::ids::NodeId;
use events::log::segment::HEADER_BYTES;
use events::log::snapshot::SNAPSHOT_HEADER_BYTES;
use events::vocabulary::shared::Wrapped;
use events::vocabulary::{Event, LotCreated};
use nodes::config::RaftTimers;
use nodes::peers::message::{SNAPSHOT_CHUNK_BYTES, SnapshotChunk, SnapshotReceipt};
use nodes::peers::{PeerAddress, PeerReply, PeerRequest};
use nodes::raft::types::{SnapshotMeta, TypeConfig, Vote};
use nodes::storage::disk::OsDisk;
use nodes::storage::log_reader::{History, LogReader};
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn propose_lots(members: &Members, through: u64, numbers: std::ops::Range<u32>) -> u64 {
    let mut last = 0;
    for number in numbers {
        let proposed = members.core(through).proposer().propose_events(&[lot_created(number)]).await;
        last = proposed.unwrap().index;
    }
    last
}

pub(crate) async fn snapshot_and_purge(members: &Members, node: u64) -> u64 {
    snapshot_and_purge_after(members, node, 0).await
}

/// As [`snapshot_and_purge`], of a state after `before`.
pub(crate) async fn snapshot_and_purge_after(members: &Members, node: u64, before: u64) -> u64 {
    let raft = members.core(node).raft();
    raft.trigger().snapshot().await.unwrap();
    let wait = raft.wait(Some(crate::support::PATIENCE));
    let made = wait.metrics(
        |metrics| metrics.snapshot.is_some_and(|at| at.index > before) && metrics.purged == metrics.snapshot,
        "purged",
    );
    made.await.unwrap().snapshot.unwrap().index
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_makes_a_snapshot_by_itself_again_and_again_and_the_log_behind_it_goes() {
    let members = Members::start_with(3, RaftTimers { snapshot_entries: 20, ..timers() }).await;
    let leader = members.leader().await;
    let mut before = 0;
    // The log has to grow by a quarter of a snapshot each time: a lot has about as much in both.
    for numbers in [0..40, 40..120] {
        let last = propose_lots(&members, leader, numbers).await;
        for (_, core) in members.all() {
            let wait = core.raft().wait(Some(PATIENCE));
            let made = |at: &openraft::RaftMetrics<TypeConfig>| {
                at.snapshot.is_some_and(|snapshot| snapshot.index > before) && at.purged == at.snapshot
            };
            wait.metrics(made, "a snapshot that nobody asked for").await.unwrap();
        }
        before = last;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_behind_the_purged_log_gets_a_snapshot() {
    let members = Members::start_with(3, timers()).await;
    let leader = members.leader().await;
    let lagging = members.a_follower().await;
    propose_lots(&members, leader, 0..3).await;
    members.board.cut_off(lagging);
    let last = propose_lots(&members, leader, 3..80).await;
    let floor = snapshot_and_purge(&members, leader).await;
    assert!(floor >= last, "the leader has only its snapshot of what the other missed");

    members.board.heal();
    members.all_applied(last).await;
    let wait = members.core(lagging).raft().wait(Some(crate::support::PATIENCE));
    wait.metrics(|metrics| metrics.snapshot.is_some(), "it came as a snapshot").await.unwrap();
    let leader = members.leader().await;
    let after = propose_lots(&members, leader, 80..200).await;
    members.all_applied(after).await;
    let fixed = after / 64 * 64;
    let digests = members.digests_at(fixed);
    assert!(digests.iter().all(|digest| digest.is_some() && *digest == digests[0]), "{digests:?}");
}

/// Indices of all history that a member holds, in its own log and in what it fetched.
fn history_of(members: &Members, node: u64) -> BTreeSet<u64> {
    let keys = || members.keyring().segment_keys().unwrap();
    let folders = ["log", "backfill"].map(|folder| members.data(node).join(folder));
    let readers = folders.map(|folder| LogReader::open(Arc::new(OsDisk), folder, keys()).unwrap());
    let held = readers.into_iter().flatten().filter_map(|item| match item.unwrap() {
        History::Entry(held) => Some(held.entry.at.index),
        History::Gap { .. } => None,
    });
    held.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_left_out_of_a_members_history_is_fetched_from_its_peers_and_given_to_others() {
    let mut members = Members::start_with(3, timers()).await;
    let leader = members.leader().await;
    let lagging = members.a_follower().await;
    propose_lots(&members, leader, 0..3).await;
    members.board.cut_off(lagging);
    let last = propose_lots(&members, leader, 3..80).await;
    snapshot_and_purge(&members, leader).await;
    let mut missing = members.core(lagging).gaps().missing();
    members.board.heal();
    members.all_applied(last).await;
    in_time("a gap", missing.wait_for(|missing| *missing > 0)).await.unwrap();
    // A restart in the middle of it, or after it.
    members.kill(lagging).await;
    members.open(lagging).await;
    let mut missing = members.core(lagging).gaps().missing();
    in_time("a whole history", missing.wait_for(|missing| *missing == 0)).await.unwrap();

    let history = history_of(&members, lagging);
    assert!((0..=last).all(|index| history.contains(&index)), "{history:?}");
    let address = PeerAddress { node: lagging, address: String::new() };
    let asked = members.transport(leader).call(&address, PeerRequest::LogRange { from: 40 }, PATIENCE).await;
    let Ok(PeerReply::LogRange(entries)) = asked else { panic!("no range: {asked:?}") };
    assert_eq!(
        entries.first().map(|entry| nodes::storage::view::LogEntry::from(entry.clone()).at.index),
        Some(40)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stands_at_its_snapshot_again_after_a_restart() {
    let mut members = Members::start(1).await;
    members.leader().await;
    let before = propose_lots(&members, 1, 0..5).await;
    snapshot_and_purge(&members, 1).await;
    let after = propose_lots(&members, 1, 5..8).await;
    let whole = members.core(1).projector().read(|fold| (fold.lots().count(), fold.applied()));
    members.kill(1).await;
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    let (lots, applied) = members.core(1).projector().read(|fold| (fold.lots().count(), fold.applied()));
    assert_eq!(lots, 8);
    assert!(before < after && applied >= whole.1);
    assert!(members.core(1).projector().read(|fold| fold.lot(&lot(7)).is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_snapshot_is_written_entries_are_applied_and_it_holds_none_of_them() {
    let disk = FaultyDisk::default();
    let mut members = Members::on_disk(1, disk.clone()).await;
    members.leader().await;
    let before = propose_lots(&members, 1, 0..5).await;
    disk.shut_gate(true);
    let raft = members.core(1).raft().clone();
    raft.trigger().snapshot().await.unwrap();
    let after = in_time("entries beside a snapshot", propose_lots(&members, 1, 5..9)).await;
    assert!(raft.metrics().borrow_watched().snapshot.is_none(), "it is still being written");
    disk.shut_gate(false);
    let wait = raft.wait(Some(PATIENCE));
    let made =
        wait.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await.unwrap().snapshot.unwrap();
    assert!((before..after).contains(&made.index), "{before} {} {after}", made.index);
    members.kill(1).await;
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    assert_eq!(members.core(1).projector().read(|fold| fold.lots().count()), 9);
}

/// A member with two snapshots that is down: where they stand. The floor is at the newer one, and its log goes on in a
/// second segment.
async fn with_two_snapshots() -> (Members, u64, u64) {
    let mut members = Members::start(1).await;
    members.leader().await;
    propose_lots(&members, 1, 0..5).await;
    let older = snapshot_and_purge(&members, 1).await;
    propose_lots(&members, 1, 5..8).await;
    let floor = snapshot_and_purge_after(&members, 1, older).await;
    members.kill(1).await;
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    members.kill(1).await;
    (members, older, floor)
}

async fn with_a_damaged_snapshot() -> (Members, u64, u64) {
    let (members, older, floor) = with_two_snapshots().await;
    damage(&members.data(1).join(format!("snapshots/snapshot-{floor:020}.snap")));
    (members, older, floor)
}

fn damage(snapshot: &Path) {
    let mut bytes = std::fs::read(snapshot).unwrap();
    bytes[200] ^= 1;
    std::fs::write(snapshot, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_newest_snapshot_is_damaged_reads_the_state_again_from_its_history() {
    let (mut members, _, floor) = with_a_damaged_snapshot().await;
    members.open(1).await;
    in_time("its own leadership", members.leader()).await;
    let (lots, applied) = members.core(1).projector().read(|fold| (fold.lots().count(), fold.applied()));
    assert_eq!(lots, 8, "none of those that only the damaged one held is missing");
    let file = |end: &str| members.data(1).join(format!("snapshots/snapshot-{floor:020}.{end}"));
    assert!(applied >= floor && file("snap").exists(), "there is a whole one again, for those who lag");
    propose_lots(&members, 1, 8..9).await;
    snapshot_and_purge_after(&members, 1, floor).await;
    assert!(!file("snap.damaged").exists(), "nobody needs it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_that_no_start_reads_is_set_aside_by_the_check_after_it() {
    let (mut members, older, _) = with_two_snapshots().await;
    let file = |end: &str| members.data(1).join(format!("snapshots/snapshot-{older:020}.{end}"));
    let (kept, aside) = (file("snap"), file("snap.damaged"));
    damage(&kept);
    members.open(1).await;
    let set_aside = async {
        while !aside.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("the check of snapshots", set_aside).await;
    in_time("its own leadership", members.leader()).await;
    assert_eq!(members.core(1).projector().read(|fold| fold.lots().count()), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_below_the_purge_floor_is_refused_by_name_at_the_start_if_history_is_damaged_too() {
    let (mut members, older, floor) = with_a_damaged_snapshot().await;
    let segment = members.data(1).join("log/segment-0000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[HEADER_BYTES..].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    let refused = members.try_open(1).await.unwrap_err().to_string();
    for expected in
        ["snapshots", &format!("stands at {older}"), &format!("purged through {floor}"), "gone for good"]
    {
        assert!(refused.contains(expected), "{expected} in: {refused}");
    }
}

/// Pieces of one snapshot, as a leader sends them.
fn piece(vote: Vote, transfer: u64, offset: u64, total: u64, data: &'static [u8]) -> PeerRequest {
    let data = bytes::Bytes::from_static(data);
    PeerRequest::Snapshot(SnapshotChunk {
        transfer,
        vote,
        meta: SnapshotMeta::default(),
        offset,
        total,
        data,
    })
}

static PIECE: [u8; SNAPSHOT_CHUNK_BYTES] = [7; SNAPSHOT_CHUNK_BYTES];
const TOTAL: u64 = 3 * SNAPSHOT_CHUNK_BYTES as u64;

/// A cluster whose third member was sent something by another one.
struct Sent {
    members: Members,
    to: NodeId,
    vote: Vote,
    leader: NodeId,
}

impl Sent {
    async fn start() -> Self {
        let members = Members::start(3).await;
        let leader = members.leader().await;
        let to = members.a_follower().await;
        let vote = members.core(leader).raft().metrics().borrow_watched().vote;
        Sent { members, to, vote, leader }
    }

    async fn send(&self, request: PeerRequest) -> PeerReply {
        let PeerRequest::Snapshot(chunk) = &request else { panic!("a piece of a snapshot") };
        let from = chunk.vote.leader_id.voted_for;
        let to = PeerAddress { node: self.to, address: String::new() };
        self.members.transport(from).call(&to, request, crate::support::PATIENCE).await.unwrap()
    }

    /// The file in which the pieces wait.
    fn incoming(&self) -> Option<PathBuf> {
        let folder = std::fs::read_dir(self.members.data(self.to).join("snapshots")).unwrap();
        let mut paths = folder.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|end| end == "part"))
    }

    /// The process of who gets the pieces ends, and another takes its place.
    async fn restart(&mut self) {
        self.members.kill(self.to).await;
        self.members.open(self.to).await;
        self.vote = self.members.core(self.members.leader().await).raft().metrics().borrow_watched().vote;
    }
}

fn kept(reply: &PeerReply) -> Option<u64> {
    match reply {
        PeerReply::Snapshot(SnapshotReceipt::Kept { offset }) => Some(*offset),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_snapshot_is_kept_from_who_does_not_lead() {
    let sent = Sent::start().await;
    let deposed = Vote::new_committed(sent.vote.leader_id.term - 1, sent.leader);
    let reply = sent.send(piece(deposed, 1, 0, TOTAL, &PIECE)).await;
    let PeerReply::Snapshot(SnapshotReceipt::Installed(response)) = reply else { panic!("{reply:?}") };
    assert!(response.vote > deposed, "the sender learns that it leads no more");
    let candidate = Vote::new(sent.vote.leader_id.term + 1, sent.leader);
    let reply = sent.send(piece(candidate, 1, 0, TOTAL, &PIECE)).await;
    assert!(matches!(reply, PeerReply::Refused(_)), "{reply:?}");
    assert!(sent.incoming().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_snapshot_comes_in_at_a_time_and_waits_sealed_on_the_disk() {
    let sent = Sent::start().await;
    let first = sent.send(piece(sent.vote, 1, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&first), Some(SNAPSHOT_CHUNK_BYTES as u64));
    let on_disk = std::fs::read(sent.incoming().unwrap()).unwrap();
    let parts = &on_disk[SNAPSHOT_HEADER_BYTES..];
    assert!(parts.len() > SNAPSHOT_CHUNK_BYTES && !parts.windows(8).any(|bytes| bytes == [7; 8]));

    // Out of order, half a piece, another transfer, larger than may be: none of them is kept.
    let far = 2 * SNAPSHOT_CHUNK_BYTES as u64;
    let wrong = [
        piece(sent.vote, 1, far, TOTAL, &PIECE),
        piece(sent.vote, 1, SNAPSHOT_CHUNK_BYTES as u64, TOTAL, &PIECE[1..]),
        piece(sent.vote, 2, SNAPSHOT_CHUNK_BYTES as u64, TOTAL, &PIECE),
        piece(sent.vote, 3, 0, u64::MAX, &PIECE),
    ];
    for request in wrong {
        let reply = sent.send(request).await;
        assert!(matches!(reply, PeerReply::Refused(_)), "{reply:?}");
    }
    let second = sent.send(piece(sent.vote, 1, SNAPSHOT_CHUNK_BYTES as u64, TOTAL, &PIECE)).await;
    assert_eq!(kept(&second), Some(far), "what was refused disturbed nothing");

    // A leader of a later term takes the place of one that will not go on.
    let other = sent.members.all().map(|(node, _)| node).find(|node| ![sent.to, sent.leader].contains(node));
    let later = Vote::new_committed(sent.vote.leader_id.term + 5, other.unwrap());
    let reply = sent.send(piece(later, 4, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&reply), Some(SNAPSHOT_CHUNK_BYTES as u64));
    let reply = sent.send(piece(sent.vote, 1, far, TOTAL, &PIECE)).await;
    assert!(kept(&reply).is_none(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_cut_goes_on_where_it_ended_also_after_a_restart() {
    let mut sent = Sent::start().await;
    let chunk = SNAPSHOT_CHUNK_BYTES as u64;
    for offset in [0, chunk] {
        let reply = sent.send(piece(sent.vote, 1, offset, TOTAL, &PIECE)).await;
        assert_eq!(kept(&reply), Some(offset + chunk));
    }
    let again = sent.send(piece(sent.vote, 1, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&again), Some(2 * chunk), "it is told what it need not send");

    sent.restart().await;
    let again = sent.send(piece(sent.vote, 1, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&again), Some(2 * chunk), "the next process has it still");

    sent.restart().await;
    let path = sent.incoming().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    let again = sent.send(piece(sent.vote, 1, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&again), Some(chunk), "a piece that was torn comes again");
    let reply = sent.send(piece(sent.vote, 1, chunk, TOTAL, &PIECE)).await;
    assert_eq!(kept(&reply), Some(2 * chunk));

    let other = sent.send(piece(sent.vote, 2, 0, TOTAL, &PIECE)).await;
    assert_eq!(kept(&other), Some(chunk), "another snapshot begins with nothing");
    assert!(!path.exists(), "and what came of the first gave its room back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_level_is_refused_at_its_first_piece_and_the_node_goes_on() {
    let sent = Sent::start().await;
    for level in [5, u16::MAX] {
        let mut first = vec![7; SNAPSHOT_CHUNK_BYTES];
        first[..8].copy_from_slice(b"MUSTSNAP");
        first[8..10].copy_from_slice(&level.to_le_bytes());
        let reply = sent.send(piece(sent.vote, 1, 0, TOTAL, first.leak())).await;
        let PeerReply::Refused(why) = reply else { panic!("{reply:?}") };
        assert!(why.contains(&format!("level {level}")), "{why}");
        assert!(sent.incoming().is_none(), "no byte of it is kept");
    }
    let last = propose_lots(&sent.members, sent.leader, 0..3).await;
    sent.members.all_applied(last).await;
}

/// A lot that takes a quarter of a million bytes of state.
pub(crate) fn heavy_lot(number: u32) -> Event {
    LotCreated {
        lot: lot(number),
        sku: "heavy".to_owned(),
        required: vec![],
        optional: vec![],
        threshold: 0,
        tamper_key: Wrapped { key: 1, salt: [0; 16], sealed: vec![number as u8; 250_000] },
    }
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_way_is_cut_is_not_sent_twice() {
    let members = Members::start(3).await;
    let leader = members.leader().await;
    let lagging = members.a_follower().await;
    propose_lots(&members, leader, 0..3).await;
    members.board.cut_off(lagging);
    let mut last = 0;
    for number in 100..124 {
        let proposed = members.core(leader).proposer().propose_events(&[heavy_lot(number)]).await;
        last = proposed.unwrap().index;
    }
    snapshot_and_purge(&members, leader).await;
    members.board.cut_at_piece(4);
    members.board.heal();
    in_time("the cut", members.board.cut_came()).await;
    members.board.heal();
    members.all_applied(last).await;
    let pieces = members.board.pieces();
    let chunk = SNAPSHOT_CHUNK_BYTES as u64;
    assert_eq!(pieces[..4], [0, chunk, 2 * chunk, 3 * chunk]);
    assert_eq!(pieces[4..], [0, 4 * chunk, 5 * chunk], "one piece asks how far it is, and the rest follows");
    let wait = members.core(lagging).raft().wait(Some(PATIENCE));
    wait.metrics(|metrics| metrics.snapshot.is_some(), "it came as a snapshot").await.unwrap();
    let left = std::fs::read_dir(members.data(lagging).join("snapshots")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.ends_with(".snap")), "{left:?}");
}
