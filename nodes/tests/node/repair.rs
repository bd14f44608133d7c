//! Stories of damaged logs: repaired from the peers before raft starts, and torn tails, which need no repair.

use crate::false_history::altered;
use crate::processes::{Process, leader};
use crate::support::in_time;
use crate::support::members::{Members, lot_created};
use crate::whole::House;
use events::ids::NodeId;
use futures::future::BoxFuture;
use nodes::node::core::Core;
use nodes::node::repair::Repair;
use nodes::peers::message::LogStanding;
use nodes::peers::{PeerAddress, PeerReply, PeerRequest, PeerService};
use nodes::storage::disk::OsDisk;
use nodes::storage::error::{Corruption, CorruptionKind};
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::repair::NEED_FILE;
use nodes::storage::suspect::{SUSPECT_FILE, Suspect};
use nodes::storage::view::LogEntry;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The segments of a node's log that hold frames, oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "log");
    let mut found: Vec<_> = files.filter(is_segment).filter(|path| length(path) > 192).collect();
    found.sort();
    found
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Flips some bytes in the middle of a node's log.
pub(crate) fn damage(data: &Path) -> PathBuf {
    let path = segments(data).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 3].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn is_kept_as_damaged(path: &Path) -> bool {
    path.with_extension("log.damaged").exists() && !path.with_file_name(NEED_FILE).exists()
}

async fn propose_lots(members: &Members, through: NodeId, numbers: std::ops::Range<u32>) -> u64 {
    let mut last = 0;
    for number in numbers {
        let proposed = members.core(through).proposer().propose_events(&[lot_created(number)]).await;
        last = proposed.unwrap().index;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_damaged_log_gives_no_vote_and_no_acknowledgement_until_it_is_repaired() {
    let mut members = Members::start(3).await;
    let leading = members.leader().await;
    let (patient, third) = {
        let others: Vec<_> = members.all().map(|(node, _)| node).filter(|node| *node != leading).collect();
        (others[0], others[1])
    };
    let before = propose_lots(&members, leading, 0..60).await;
    members.all_applied(before).await;
    members.kill(patient).await;
    let path = damage(&members.data(patient));
    let after = propose_lots(&members, leading, 60..150).await;

    let deps = members.core_deps(patient);
    let failed = Core::open(deps.clone()).await.err().unwrap();
    let repair = Repair::after(failed, &deps).await.unwrap().unwrap();
    assert!(path.with_file_name(NEED_FILE).exists(), "it is noted before anything else is done");
    assert!(repair.need().acknowledged >= Some(before));
    members.board.plug_in(patient, repair.service().unwrap());
    let ask = async |from: NodeId, request| {
        let to = PeerAddress { node: patient, address: String::new() };
        members.transport(from).call(&to, request, crate::support::PATIENCE).await.unwrap()
    };
    let vote = members.core(leading).raft().metrics().borrow_watched().vote;
    let asks_vote = openraft::Vote::new(vote.leader_id.term + 5, third);
    let reply = ask(third, PeerRequest::Vote(VoteRequest::new(asks_vote, None))).await;
    assert!(matches!(reply, PeerReply::Refused(_)), "{reply:?}");
    let append = AppendEntriesRequest { vote, prev_log_id: None, entries: vec![], leader_commit: None };
    let reply = ask(leading, PeerRequest::Append(append)).await;
    assert!(matches!(reply, PeerReply::Refused(_)), "{reply:?}");
    let PeerReply::LogRange(intact) = ask(third, PeerRequest::LogRange { from: 0 }).await else {
        panic!("what is intact is served")
    };
    assert!(intact.len() > 10, "{}", intact.len());

    in_time("the repair", repair.run()).await.unwrap();
    members.open(patient).await;
    let last = propose_lots(&members, leading, 150..200).await;
    members.all_applied(last).await;
    let fixed = last / 64 * 64;
    let digests = members.digests_at(fixed);
    assert!(digests.iter().all(|digest| digest.is_some() && *digest == digests[0]), "{digests:?}");
    assert!(after < last && is_kept_as_damaged(&path));
}

/// A member that claims to know most, and gives one entry that is not what was committed.
struct OneLie {
    honest: Arc<dyn PeerService>,
    about: u64,
}

impl PeerService for OneLie {
    fn answer(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'_, PeerReply> {
        Box::pin(async move {
            match self.honest.answer(from, request).await {
                PeerReply::LogStanding(standing) => {
                    PeerReply::LogStanding(LogStanding { committed: Some((u64::MAX, u64::MAX)), ..standing })
                }
                PeerReply::LogRange(entries) => {
                    let told = entries.into_iter();
                    let told = told.map(|it| if it.index == self.about { altered(it) } else { it });
                    PeerReply::LogRange(told.collect())
                }
                other => other,
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_gives_another_entry_than_is_intact_here_is_asked_last_and_the_repair_goes_on_with_others()
 {
    let mut members = Members::start(3).await;
    let leading = members.leader().await;
    let patient = members.a_follower().await;
    let before = propose_lots(&members, leading, 0..60).await;
    members.all_applied(before).await;
    members.kill(patient).await;
    damage(&members.data(patient));
    let liar = members.all().map(|(node, _)| node).find(|node| *node != patient).unwrap();
    // The last one is intact on the patient's disk.
    let lie = OneLie { honest: members.core(liar).receiver(), about: before };
    members.board.plug_in(liar, Arc::new(lie));

    let deps = members.core_deps(patient);
    let failed = Core::open(deps.clone()).await.err().unwrap();
    let repair = Repair::after(failed, &deps).await.unwrap().unwrap();
    in_time("the repair", repair.run()).await.unwrap();
    members.open(patient).await;
    let last = propose_lots(&members, leading, 60..80).await;
    members.all_applied(last).await;
    let honest = members.all().map(|(node, _)| node).find(|node| ![patient, liar].contains(node)).unwrap();
    assert_eq!(history(&members, patient)[..60], history(&members, honest)[..60]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_noted_repair_was_interrupted_takes_it_up_again() {
    let mut members = Members::start(3).await;
    let leading = members.leader().await;
    let patient = members.a_follower().await;
    let before = propose_lots(&members, leading, 0..40).await;
    members.all_applied(before).await;
    members.kill(patient).await;
    damage(&members.data(patient));
    let deps = members.core_deps(patient);
    let failed = Core::open(deps.clone()).await.err().unwrap();
    drop(Repair::after(failed, &deps).await.unwrap());

    let failed = Core::open(deps.clone()).await.err().unwrap();
    assert!(failed.to_string().contains("needs repair"), "{failed}");
    let repair = Repair::after(failed, &deps).await.unwrap().unwrap();
    let after = propose_lots(&members, leading, 40..60).await;
    in_time("the repair", repair.run()).await.unwrap();
    members.open(patient).await;
    members.all_applied(after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_peers_changes_nothing_and_says_what_is_damaged() {
    let mut members = Members::start(1).await;
    propose_lots(&members, members.leader().await, 0..10).await;
    members.kill(1).await;
    let path = damage(&members.data(1));
    let bytes = std::fs::read(&path).unwrap();
    let deps = members.core_deps(1);
    let failed = Core::open(deps.clone()).await.err().unwrap();
    let refused = Repair::after(failed, &deps).await.err().unwrap().to_string();
    assert!(refused.contains("segment-0000000000000001.log is corrupt at offset"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(!path.with_file_name(NEED_FILE).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_tails_after_a_power_cut_of_the_whole_cluster_need_no_repair_and_lock_nobody_out() {
    let mut members = Members::start(3).await;
    let before = propose_lots(&members, members.leader().await, 0..20).await;
    members.all_applied(before).await;
    for node in 1..=3 {
        let note = members.data(node).join("log/newest.json");
        let before_its_end = std::fs::read(&note).unwrap();
        members.kill(node).await;
        std::fs::write(&note, before_its_end).unwrap();
        // The end mark, and a part of the frame before it.
        let last = segments(&members.data(node)).pop().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&last).unwrap();
        file.set_len(length(&last) - 60).unwrap();
    }
    for node in 1..=3 {
        members.open(node).await;
    }
    let leading = members.leader().await;
    let last = propose_lots(&members, leading, 20..40).await;
    members.all_applied(last).await;
    for node in 1..=3 {
        assert!(!members.data(node).join("log").join(NEED_FILE).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_convalescent_that_knows_its_vote_lets_another_one_that_needs_every_members_word_come_back() {
    let mut members = Members::start(5).await;
    let leading = members.leader().await;
    let patients: Vec<_> =
        members.all().map(|(node, _)| node).filter(|node| *node != leading).take(2).collect();
    let (unsure, sure) = (patients[0], patients[1]);
    let before = propose_lots(&members, leading, 0..20).await;
    members.all_applied(before).await;
    // Of the damage of a first segment the header of the second tells what was voted in it.
    for patient in &patients {
        members.kill(*patient).await;
        members.open(*patient).await;
    }
    let before = propose_lots(&members, leading, 20..40).await;
    members.all_applied(before).await;
    members.kill(unsure).await;
    members.kill(sure).await;
    // All that the one said last is gone, and it may have been a vote.
    std::fs::remove_file(segments(&members.data(unsure)).pop().unwrap()).unwrap();
    damage(&members.data(sure));

    let repair_of = async |members: &Members, node| {
        let deps = members.core_deps(node);
        let failed = Core::open(deps.clone()).await.err().unwrap();
        Repair::after(failed, &deps).await.unwrap().unwrap()
    };
    let convalescent = repair_of(&members, sure).await;
    assert!(convalescent.need().vote_is_known);
    members.board.plug_in(sure, convalescent.service().unwrap());
    let repair = repair_of(&members, unsure).await;
    assert!(!repair.need().vote_is_known && repair.need().tail_is_lost);
    members.board.plug_in(unsure, repair.service().unwrap());
    let ask = PeerRequest::LogStanding;
    let to = PeerAddress { node: unsure, address: String::new() };
    let reply = members.transport(sure).call(&to, ask, crate::support::PATIENCE).await.unwrap();
    assert!(matches!(reply, PeerReply::Refused(_)), "it does not know it itself: {reply:?}");
    in_time("the repair beside another patient", repair.run()).await.unwrap();
    in_time("the repair of the other", convalescent.run()).await.unwrap();
    for patient in patients {
        members.open(patient).await;
    }
    let last = propose_lots(&members, leading, 40..60).await;
    members.all_applied(last).await;
}

/// Lets a member's log begin a new segment, whose header knows that all before it is purged.
pub(crate) async fn purge_and_begin_anew(members: &mut Members, node: NodeId) {
    let raft = members.core(node).raft();
    // What an earlier snapshot purged is not enough.
    let applied = raft.metrics().borrow_watched().last_applied;
    raft.trigger().snapshot().await.unwrap();
    let purged = raft.wait(Some(crate::support::PATIENCE));
    purged.metrics(|it| it.purged >= applied && it.purged == it.snapshot, "purged").await.unwrap();
    members.kill(node).await;
    members.open(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_with_damage_in_old_history_come_back_after_a_power_cut_of_all() {
    let mut members = Members::start(3).await;
    let before = propose_lots(&members, members.leader().await, 0..40).await;
    members.all_applied(before).await;
    for node in [1, 2] {
        purge_and_begin_anew(&mut members, node).await;
        let last =
            propose_lots(&members, members.leader().await, 100 * node as u32..100 * node as u32 + 10).await;
        members.all_applied(last).await;
        purge_and_begin_anew(&mut members, node).await;
        let last =
            propose_lots(&members, members.leader().await, 100 * node as u32 + 10..100 * node as u32 + 20)
                .await;
        members.all_applied(last).await;
    }
    for node in 1..=3 {
        members.kill(node).await;
    }
    for node in [1, 2] {
        let path = damage(&members.data(node));
        let found = Corruption { path: path.clone(), offset: 192, what: CorruptionKind::Missing };
        Suspect::note(&OsDisk, path.parent().unwrap(), &found).unwrap();
    }
    for node in 1..=3 {
        members.try_open(node).await.unwrap();
    }
    let leading = members.leader().await;
    let last = propose_lots(&members, leading, 400..420).await;
    members.all_applied(last).await;
    for node in [1, 2] {
        let log = members.data(node).join("log");
        assert!(!log.join(NEED_FILE).exists());
        in_time("what is damaged mended in its place, from a peer", async {
            while log.join(SUSPECT_FILE).exists() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        // Committed later than it was written, the end may differ.
        assert_eq!(history(&members, node)[..60], history(&members, 3)[..60]);
    }
}

/// All entries that a member's own log holds.
pub(crate) fn history(members: &Members, node: NodeId) -> Vec<LogEntry> {
    let keys = members.keyring().segment_keys().unwrap();
    let reader = LogReader::open(Arc::new(OsDisk), members.data(node).join("log"), keys).unwrap();
    let entries = reader.filter_map(|item| match item.unwrap() {
        History::Entry(held) => Some(held.entry),
        History::Gap { .. } => None,
    });
    entries.collect()
}

#[test]
fn a_process_whose_log_was_damaged_repairs_it_and_serves_and_nothing_is_lost() {
    let house = House::new(3);
    house.write_members();
    let mut processes: Vec<_> = (1..=3).map(|node| Process::start(&house, node)).collect();
    let leading = leader(&mut processes);
    let last = processes[leading].ask("lots 0 100");
    let patient = (leading + 1) % 3;
    processes[patient].ask(&format!("applied {last}"));
    // Killed, not stopped: there is no end mark.
    let node = patient as NodeId + 1;
    drop(processes.remove(patient));
    let path = damage(&house.path().join(format!("data-{node}")));
    let survivor = if leading > patient { leading - 1 } else { leading };
    processes[survivor].ask("lots 100 150");

    processes.insert(patient, Process::start(&house, node));
    leader(&mut processes);
    let last = processes[patient].ask("lots 150 300");
    let fixed = last.parse::<u64>().unwrap() / 64 * 64;
    let mut digests = Vec::new();
    for process in &mut processes {
        assert_eq!(process.numbers(&format!("applied {last}"))[1], 300, "no lot is lost");
        digests.push(process.ask(&format!("digest {fixed}")));
    }
    assert!(digests[0] != "none" && digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    assert!(is_kept_as_damaged(&path));
}
