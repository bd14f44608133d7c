//! The log as evidence: proofs for somebody who has the public key alone, and what gives an altered log away.

use crate::author::Author;
use crate::bad_input::flip;
use crate::story::{Fleet, fleet, found};
use crate::{muster, muster_json, path};
use events::batch::{Batch, access, split_stamp, stamped};
use events::log::checkpoint::Checkpoint;
use events::log::recent::SIZES_KNOWN;
use events::log::record::EntryBody;
use events::vocabulary::{CheckpointSigned, Event, OperationOrdered};
use nodes::entropy::OsEntropy;
use nodes::storage::birth::Beginning;
use nodes::storage::disk::OsDisk;
use nodes::storage::log::{DurableLog, LogOptions};
use nodes::storage::log_reader::{History, LogReader};
use nodes::storage::snapshot_file::{SnapshotFiles, SnapshotOptions};
use nodes::storage::view::LogEntry;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The story of `fleet`, signed by its cluster in the middle and near the end; closed in good order.
pub(crate) struct Signed {
    pub(crate) fleet: Fleet,
    /// Sizes of its checkpoints.
    pub(crate) sizes: [u64; 2],
}

pub(crate) fn signed(dir: &Path) -> Signed {
    let mut fleet = fleet(dir);
    let author = &mut fleet.author;
    author.restart_stopped();
    let first = author.checkpoint();
    fleet.honest.observed(author);
    fleet.cloned.observed(author);
    fleet.honest.observed(author);
    let second = author.checkpoint();
    fleet.honest.observed(author);
    save_snapshot(author);
    author.stop();
    let public = serde_json::to_string(&author.keyring.public()).unwrap();
    std::fs::write(author.dir.join("public.json"), public).unwrap();
    Signed { fleet, sizes: [first, second] }
}

fn save_snapshot(author: &Author) {
    let options = SnapshotOptions {
        dir: author.data().join("snapshots"),
        cluster: author.keyring.cluster,
        node: 1,
        keys: author.keyring.segment_keys().unwrap(),
        reserve_bytes: 0,
    };
    let files = SnapshotFiles::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
    let frontier = author.tree.frontier();
    let state = nodes::raft::tree::with_frontier(author.fold.to_snapshot(), Some(&frontier));
    files.save(author.index(), b"meta", &state).unwrap();
}

fn verify(author: &Author, more: &[&str]) -> (i32, Value) {
    let flags = author.flags();
    let mut arguments: Vec<&str> = vec!["log", "verify", "--json"];
    arguments.extend(flags.iter().map(String::as_str));
    arguments.extend(more);
    let ran = muster(&arguments);
    let said = serde_json::from_str(&ran.stdout);
    (ran.code, said.unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.stdout, ran.stderr)))
}

#[test]
fn a_sound_log_has_the_root_of_every_checkpoint_and_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    let (code, said) = verify(&signed.fleet.author, &[]);
    assert_eq!((code, &said["ok"], &said["snapshots"]), (0, &true.into(), &1.into()), "{said}");
    let heads = said["heads"].as_array().unwrap();
    let sizes: Vec<_> = heads.iter().map(|head| head["size"].as_u64().unwrap()).collect();
    let all = signed.fleet.author.index() + 1;
    assert_eq!(sizes, [signed.sizes[0], signed.sizes[1], all]);
    assert!(heads.iter().all(|head| head["holds"] == true), "{said}");
    assert_eq!(said["tree"][0], all);
}

#[test]
fn a_changed_byte_anywhere_in_a_nodes_folder_is_found_and_named_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    let author = &signed.fleet.author;
    let gaps = r#"[{"from":7,"through":9}]"#;
    let proof = data_encoding::HEXLOWER.encode(&Sha256::digest(gaps));
    std::fs::create_dir(author.data().join("backfill")).unwrap();
    let noted = format!("{gaps}\n{{\"sha256\":\"{proof}\"}}\n");
    std::fs::write(author.data().join("backfill/gaps.json"), noted).unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["backfill", "log", "snapshots"] {
        let listed = std::fs::read_dir(author.data().join(folder)).unwrap();
        files.extend(listed.map(|file| file.unwrap().path()));
    }
    files.retain(|file| std::fs::metadata(file).unwrap().len() > 0);
    files.sort();
    assert!(files.len() >= 4, "several segments and a snapshot: {files:?}");
    let mut flipped = 0;
    for (number, file) in files.iter().enumerate() {
        let length = std::fs::metadata(file).unwrap().len() as usize;
        let is_last_log = file.starts_with(author.data().join("log")) && number + 2 == files.len();
        // Headers byte by byte, in the first file and the snapshot; elsewhere here and there, the ends included.
        let step = if number <= 1 || file.extension().is_some_and(|end| end == "snap") { 3 } else { 11 };
        let header = (0..length.min(160)).step_by(step);
        let body = (160..length).step_by((length / 24).max(1)).chain([length - 1]);
        for at in header.chain(body) {
            flip(file, at);
            let (code, said) = verify(author, &[]);
            let said_all = said.to_string();
            let torn = said["torn_tail"].as_str().unwrap_or_default();
            let named = said["fault"].as_str().unwrap_or_default();
            let found = (code == 5 && named.contains(path(file)) && named.contains("offset"))
                // Nothing after it says that the very last frame ever reached the disk; it is told all the same.
                || (is_last_log && torn.contains(path(file)) && torn.contains("offset"));
            assert!(found, "byte {at} of {} ({length}): {code} {said_all}", file.display());
            flip(file, at);
            flipped += 1;
        }
    }
    assert!(flipped > 200, "{flipped}");
    assert_eq!(verify(author, &[]).0, 0, "all was put back");
}

/// A node that starts again far behind the others applies old entries, and may sign them before it is near.
#[test]
fn a_head_that_was_signed_long_before_it_was_committed_is_judged_by_its_root_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut author = Author::begin(dir.path());
    found(&mut author);
    let Checkpoint { size, root, .. } = author.head();
    let sign = |author: &mut Author, root| {
        let head = Checkpoint { size, root, ..author.head() };
        let signature = head.signature(&author.keyring.checkpoint_key);
        author.tell(CheckpointSigned { generation: 1, size, root, signature });
    };
    (0..SIZES_KNOWN + 10).for_each(|_| author.lead());
    sign(&mut author, root);
    author.stop();
    let (code, said) = verify(&author, &[]);
    assert_eq!((code, &said["heads"][0]["holds"], &said["ok"]), (0, &true.into(), &true.into()), "{said}");

    author.restart_stopped();
    sign(&mut author, [1; 32]);
    author.stop();
    let (code, said) = verify(&author, &[]);
    assert_eq!((code, &said["heads"][1]["holds"]), (5, &false.into()), "{said}");
    assert!(said["fault"].as_str().unwrap().contains("was signed"), "{said}");
}

/// Writes the whole log anew as somebody does who holds the segment keys, with one entry changed.
fn rewrite(author: &Author, to: &Path, change: impl Fn(&mut LogEntry)) {
    let keys = || author.keyring.segment_keys().unwrap();
    let reader = LogReader::open(Arc::new(OsDisk), author.data().join("log"), keys()).unwrap();
    let begin = Beginning::DangerUnasked;
    let options = LogOptions::new(to.join("log"), author.keyring.cluster, 1, keys(), begin);
    let log = DurableLog::open(Arc::new(OsDisk), Arc::new(OsEntropy), options).unwrap();
    for history in reader {
        let History::Entry(mut held) = history.unwrap() else { panic!("a gap") };
        change(&mut held.entry);
        let at = held.entry.at;
        log.append(vec![held.entry], Box::new(|_| ())).unwrap();
        log.save_committed(at).unwrap();
    }
    log.close().unwrap();
}

/// Nobody ever ordered what this entry orders.
fn hide_order(entry: &mut LogEntry) {
    let EntryBody::Batch(payload) = &entry.body else { panic!("no batch") };
    let (stamp, bytes) = split_stamp(payload).unwrap();
    let archived = access(bytes).unwrap();
    let mut batch = Batch::new(archived.batch_id());
    for event in archived.decode_events() {
        let event = match event.unwrap() {
            Event::OperationOrdered(order) => {
                let expires = events::time::Timestamp::from_millis(1);
                OperationOrdered { expires, ..order }.into()
            }
            other => other,
        };
        batch.push(&event).unwrap();
    }
    entry.body = EntryBody::Batch(stamped(stamp, &batch.encode().unwrap()).into());
}

#[test]
fn an_entry_altered_and_sealed_anew_by_somebody_who_holds_the_keys_is_found_by_the_roots_that_were_signed() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(&dir.path().join("1"));
    let author = &signed.fleet.author;
    let altered = dir.path().join("altered");
    let ordered = signed.fleet.ordered;
    rewrite(author, &altered, |entry| {
        if entry.at.index == ordered {
            hide_order(entry)
        }
    });
    let [.., keyring, file] = &author.flags();
    let told = |ran: &crate::Ran| serde_json::from_str::<Value>(&ran.stdout).unwrap();

    let ran = muster(&["log", "verify", "--json", "--data", path(&altered), keyring, file]);
    assert_eq!(ran.code, 5, "every checksum and seal of it is good: {}", ran.stderr);
    let said = told(&ran);
    let first = &said["heads"][0];
    assert_eq!((&first["holds"], &first["size"]), (&false.into(), &signed.sizes[0].into()), "{said}");
    let among: Vec<u64> = serde_json::from_value(first["altered_among"].clone()).unwrap();
    assert!((among[0]..=among[1]).contains(&ordered), "{said}");

    let ran = muster(&[
        "log",
        "verify",
        "--json",
        "--data",
        path(&altered),
        author.data().to_str().unwrap(),
        keyring,
        file,
    ]);
    assert_eq!(ran.code, 5);
    let said = told(&ran);
    let fault = said["fault"].as_str().unwrap();
    assert!(fault.contains(&format!("entry {ordered} differs")), "another node's folder names it: {fault}");
    for folder in [&altered, &author.data()] {
        assert!(fault.contains(path(folder)), "{fault}");
    }
}

#[test]
fn an_entry_altered_between_two_checkpoints_is_placed_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(&dir.path().join("1"));
    let author = &signed.fleet.author;
    let altered = dir.path().join("altered");
    let [from, to] = signed.sizes;
    // The stamp of an entry of which no checkpoint is made before the second one.
    let late = to - 1;
    rewrite(author, &altered, |entry| {
        if entry.at.index == late
            && let EntryBody::Batch(payload) = &entry.body
        {
            let mut bytes = payload.to_vec();
            bytes[0] ^= 1;
            entry.body = EntryBody::Batch(bytes.into());
        }
    });
    let [.., keyring, file] = &author.flags();
    let ran = muster(&["log", "verify", "--json", "--data", path(&altered), keyring, file]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &said["heads"][0]["holds"]), (5, &true.into()), "{said}");
    assert_eq!(said["heads"][1]["altered_among"], serde_json::json!([from, to - 1]), "{said}");
}

#[test]
fn a_checkpoint_that_somebody_kept_finds_a_log_that_was_rolled_back_or_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(&dir.path().join("1"));
    let author = &signed.fleet.author;
    let [data, folder, keyring, file] = &author.flags();
    let kept = dir.path().join("kept.checkpoint");
    muster_json(&["log", "checkpoint", data, folder, keyring, file, "--out", path(&kept)]);
    let (code, said) = verify(author, &["--checkpoint", path(&kept)]);
    assert_eq!((code, &said["heads"][3]["from"]), (0, &path(&kept).into()), "{said}");

    let earlier = dir.path().join("earlier/log");
    std::fs::create_dir_all(&earlier).unwrap();
    for number in 1..3 {
        let segment = author.segment(number);
        std::fs::copy(&segment, earlier.join(segment.file_name().unwrap())).unwrap();
    }
    let earlier = dir.path().join("earlier");
    let sound = muster(&["log", "verify", "--data", path(&earlier), keyring, file]);
    assert_eq!(sound.code, 0, "an earlier moment of a log is a sound log: {}", sound.stderr);
    let held = ["log", "verify", "--data", path(&earlier), keyring, file, "--checkpoint", path(&kept)];
    let ran = muster(&held);
    assert_eq!(ran.code, 5);
    assert!(ran.stdout.contains("entries only"), "{}", ran.stdout);

    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replacen("generation 1", "generation 2", 1)).unwrap();
    let ran = muster(&["log", "verify", data, folder, keyring, file, "--checkpoint", path(&kept)]);
    assert_eq!(ran.code, 5, "a checkpoint that is not signed is none");
    assert!(ran.stderr.contains(path(&kept)) && ran.stderr.contains("signature"), "{}", ran.stderr);
}

/// Proves from the folder, and checks with the public file alone.
fn shown(author: &Author, asked: &[&str], since: &[&str]) -> Value {
    let flags = author.flags();
    let proof = author.dir.join("a.proof");
    let mut arguments = vec!["log", "prove"];
    arguments.extend(asked);
    arguments.extend(flags.iter().map(String::as_str));
    arguments.extend(["--out", path(&proof)]);
    muster_json(&arguments);
    let public = author.dir.join("public.json");
    let mut arguments = vec!["log", "check", path(&proof), "--key", path(&public)];
    arguments.extend(since);
    muster_json(&arguments)
}

#[test]
fn a_proof_of_one_device_shows_what_concerns_it_and_nothing_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    let Fleet { author, honest, cloned, quiet, .. } = &signed.fleet;
    // A batch of two rows: one device each.
    let batch = (*quiet - 1).to_string();
    let device = honest.device.to_string();
    let said = shown(author, &[&batch, "--device", &device], &[]);
    assert_eq!(
        (&said["shows"], &said["slot"], &said["batch"]["heartbeats"]),
        (&"heartbeat".into(), &honest.slot.into(), &2.into()),
        "{said}"
    );
    assert_eq!(said["size"], signed.sizes[1], "against the newest checkpoint that the cluster signed itself");
    let other = cloned.device.to_string();
    assert_eq!(shown(author, &[&batch, "--device", &other], &[])["slot"], cloned.slot);

    let ordered = signed.fleet.ordered.to_string();
    let said = shown(author, &[&ordered, "--device", &other], &[]);
    assert_eq!(
        (&said["event"]["event"], &said["index"]),
        (&"OperationOrdered".into(), &signed.fleet.ordered.into())
    );
    assert_eq!(shown(author, &[&ordered], &[])["shows"], "entry");

    let [data, folder, keyring, file] = &author.flags();
    let ran = muster(&["log", "prove", &ordered, "--device", &device, data, folder, keyring, file]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("says nothing about"), "{}", ran.stderr);
}

#[test]
fn growth_is_proven_from_one_checkpoint_of_the_cluster_to_another_and_a_changed_proof_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    let author = &signed.fleet.author;
    let [data, folder, keyring, file] = &author.flags();
    let older = dir.path().join("older.checkpoint");
    // What an auditor kept from the time of the first one.
    let earlier = dir.path().join("earlier/log");
    std::fs::create_dir_all(&earlier).unwrap();
    for number in 1..4 {
        let segment = author.segment(number);
        std::fs::copy(&segment, earlier.join(segment.file_name().unwrap())).unwrap();
    }
    let earlier = path(earlier.parent().unwrap()).to_owned();
    let kept = muster_json(&["log", "checkpoint", "--data", &earlier, keyring, file, "--out", path(&older)]);
    let since = ["--since", path(&older)];
    let said = shown(author, &since, &since);
    assert_eq!(
        (&said["shows"], &said["since"], &said["size"]),
        (&"growth".into(), &kept["size"], &signed.sizes[1].into()),
        "{said}"
    );
    let proof = author.dir.join("a.proof");
    let text = std::fs::read_to_string(&proof).unwrap();
    std::fs::write(&proof, text.replacen("since ", "since 1", 1)).unwrap();
    let public = author.dir.join("public.json");
    let mut check = vec!["log", "check", path(&proof), "--key", path(&public)];
    assert_eq!(muster(&check).code, 5, "it needs the older checkpoint");
    check.extend(since);
    let ran = muster(&check);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("DOES NOT HOLD"), "{}", ran.stderr);
    let signed_here = ["log", "prove", "1", "--sign", data, folder, keyring, file, "--json"];
    let said: Value = serde_json::from_str(&muster(&signed_here).stdout).unwrap();
    assert_eq!(said["size"], author.index() + 1, "--sign signs what the folder holds");
}

#[test]
fn what_is_no_log_no_proof_and_no_checkpoint_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(&dir.path().join("log"));
    let author = &signed.fleet.author;
    let [data, folder, keyring, file] = &author.flags();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for verb in [&["verify"][..], &["prove", "1"], &["checkpoint"]] {
        let ran = muster(&[&["log"], verb, &["--data", path(&empty), keyring, file]].concat());
        assert_eq!(ran.code, 2, "{verb:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("expected a node's data directory"), "{verb:?}: {}", ran.stderr);
    }
    let beyond = (author.index() + 1).to_string();
    let ran = muster(&["log", "prove", &beyond, data, folder, keyring, file]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("not among them"), "{}", ran.stderr);
    let ran = muster(&["log", "prove", "1", "--item", "0", data, folder, keyring, file]);
    assert!(ran.code == 5 && ran.stderr.contains("has no item 0"), "{}", ran.stderr);

    let garbage = dir.path().join("garbage");
    let public = author.dir.join("public.json");
    for text in
        ["", "muster/log-item@v1\n\n", "c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx", "\u{2014} x\n\n\n"]
    {
        std::fs::write(&garbage, text).unwrap();
        let ran = muster(&["log", "check", path(&garbage), "--key", path(&public)]);
        assert_eq!(ran.code, 5, "{text:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("DOES NOT HOLD"), "{text:?}: {}", ran.stderr);
        let ran = muster(&["log", "prove", "--since", path(&garbage), data, folder, keyring, file]);
        assert_eq!(ran.code, 5, "{text:?}: {}", ran.stderr);
    }
    assert_ne!(muster(&["log", "check", path(&garbage), "--key", "abcd"]).code, 0, "half a key");
}
