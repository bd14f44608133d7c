//! A process that is killed with SIGKILL, again and again: every entry and vote that it acknowledged is there.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics has failed")]

mod storage_support;

use nodes::storage::disk::{Disk, OsDisk};
use nodes::storage::log::{DurableLog, LogOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use storage_support::{all, at, entry, open_with, options, vote, wait};

const KILLS: u64 = 12;
const DIR_VARIABLE: &str = "MUSTER_TEST_KILLED_LOG";
const CHILD: &str = "the_process_that_is_killed";

fn open_real(dir: &Path) -> DurableLog {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    open_with(&disk, LogOptions { segment_bytes_target: 64 * 1024, ..options(dir) }).unwrap()
}

/// Not a test by itself: the test below starts it as a process of its own, with a directory.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let log = open_real(&PathBuf::from(dir));
    let term = log.standing().vote.map_or(1, |vote| vote.term + 1);
    log.save_vote(vote(term, 1), say("vote", term)).unwrap();
    let mut next = log.standing().last.map_or(0, |last| last.index + 1);
    loop {
        let count = 1 + next % 5;
        let entries = (next..next + count).map(|index| entry(1, index)).collect();
        next += count;
        log.append(entries, say("entry", next - 1)).unwrap();
        if next.is_multiple_of(7) {
            log.save_committed(at(1, next - 1)).unwrap();
        }
        // What is under way stays bounded, and votes lie between the entries.
        if next.is_multiple_of(11) {
            wait(|done| log.save_vote(vote(term, 1), done)).unwrap();
        }
    }
}

fn say(what: &'static str, number: u64) -> nodes::storage::writer::Done {
    Box::new(move |result| {
        result.unwrap();
        println!("acknowledged {what} {number}");
    })
}

/// What one life of the process acknowledged.
#[derive(Default)]
struct Acknowledged {
    entry: Option<u64>,
    vote: Option<u64>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        if let Some(index) = number(line, "acknowledged entry ") {
            self.entry = Some(index);
        }
        if let Some(term) = number(line, "acknowledged vote ") {
            self.vote = Some(term);
        }
    }
}

fn number(line: &str, prefix: &str) -> Option<u64> {
    line.split_once(prefix)?.1.trim().parse().ok()
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process after it acknowledged `count` times, at whatever it is doing then.
fn live_and_be_killed(dir: &Path, count: u64) -> Acknowledged {
    let mut child = start(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Acknowledged::default();
    for _ in 0..count {
        acknowledged.note(&lines.next().expect("the process lives until it is killed").unwrap());
    }
    child.kill().unwrap();
    for line in lines.map_while(Result::ok) {
        acknowledged.note(&line);
    }
    assert!(!child.wait().unwrap().success());
    acknowledged
}

#[test]
fn a_process_killed_again_and_again_keeps_every_entry_and_vote_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("log");
    let mut random = std::process::id() as u64 | 1;
    let mut longest = None;
    for life in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let acknowledged = live_and_be_killed(&dir, 8 + (random >> 33) % 60);
        longest = longest.max(acknowledged.entry);
        let log = open_real(&dir);
        let entries = all(&log);
        assert!(entries.last().map(|last| last.at.index) >= longest, "life {life}");
        for (index, found) in entries.iter().enumerate() {
            assert_eq!(*found, entry(1, index as u64), "life {life}");
        }
        assert!(log.standing().vote.map(|vote| vote.term) >= acknowledged.vote, "life {life}");
        log.close().unwrap();
    }
    assert!(longest > Some(KILLS));
}
