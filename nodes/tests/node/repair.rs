//! Stories of damaged logs: repaired from the peers before raft starts, and torn tails, which need no repair.

use crate::processes::{Process, leader};
use crate::support::in_time;
use crate::support::members::{Members, lot_created};
use crate::whole::House;
use events::ids::NodeId;
use nodes::node::core::Core;
use nodes::node::repair::Repair;
use nodes::peers::{PeerAddress, PeerReply, PeerRequest};
use nodes::storage::repair::NEED_FILE;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use std::path::{Path, PathBuf};

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
fn damage(data: &Path) -> PathBuf {
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
        members.kill(node).await;
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
