//! How far a long command is: told on stderr where somebody asked or looks, never in the answer.

use crate::evidence::{Signed, signed};
use crate::muster;
use serde_json::Value;

/// Commands that read whole logs, with what they need beside the log.
const LONG: [&[&str]; 10] = [
    &["log", "verify"],
    &["log", "stat"],
    &["log", "cat"],
    &["log", "tail"],
    &["log", "checkpoint"],
    &["log", "prove", "3"],
    &["device", "explain", "DEVICE"],
    &["replay"],
    &["replay", "at", "5"],
    &["replay", "diff", "5", "9"],
];

fn run(signed: &Signed, command: &[&str], more: &[&str]) -> crate::Ran {
    let device = signed.fleet.honest.device.to_string();
    let flags = signed.fleet.author.flags();
    let words = command.iter().map(|&word| if word == "DEVICE" { &*device } else { word });
    let arguments: Vec<&str> =
        words.chain(flags.iter().map(String::as_str)).chain(more.iter().copied()).collect();
    let ran = muster(&arguments);
    assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
    ran
}

/// The percentages told, in their order.
fn percents(stderr: &str) -> Vec<u64> {
    stderr.lines().map(|line| line.split_once(" % read, log index ").unwrap().0.parse().unwrap()).collect()
}

#[test]
fn a_long_command_says_how_far_it_is_when_asked_and_keeps_it_out_of_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    for command in LONG {
        let asked = run(&signed, command, &["--json", "--progress"]);
        let told = percents(&asked.stderr);
        assert!(!told.is_empty() && told.is_sorted(), "{command:?}: {told:?}");
        assert!(*told.last().unwrap() <= 100, "{command:?}: {told:?}");
        for line in asked.stdout.lines() {
            serde_json::from_str::<Value>(line)
                .unwrap_or_else(|error| panic!("{command:?}: {error}: {line}"));
        }
        for quiet in [&["--json"][..], &[]] {
            let ran = run(&signed, command, quiet);
            assert_eq!(ran.stderr, "", "{command:?}: nobody asked, and no terminal is there");
        }
    }
}

/// As many folders as there are make up the whole, and each pass over them its part.
#[test]
fn what_is_read_to_its_end_ends_near_a_hundred_percent_with_several_folders_too() {
    let dir = tempfile::tempdir().unwrap();
    let signed = signed(dir.path());
    let data = signed.fleet.author.data();
    let copy = dir.path().join("copy");
    std::fs::create_dir_all(copy.join("log")).unwrap();
    for file in std::fs::read_dir(data.join("log")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join("log").join(file.file_name())).unwrap();
    }
    let second = ["--data", copy.to_str().unwrap(), "--progress"];
    for command in [&["replay"][..], &["log", "verify"]] {
        let told = percents(&run(&signed, command, &second).stderr);
        assert!(told.is_sorted() && *told.last().unwrap() >= 80, "{command:?}: {told:?}");
    }
}
