//! History from the command line: the real program over logs that the real writer wrote.

#![allow(clippy::unwrap_used, reason = "a story that meets an error has failed")]

mod archive;
mod author;
mod bad_input;
mod diff;
mod evidence;
mod explain;
mod export;
mod golden;
mod keys;
mod log_commands;
mod make;
mod moments;
mod progress;
mod story;
mod unknown_kinds;
mod what_if;

use std::path::Path;
use std::process::{Command, Output};

/// What a command did.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// The program, without anything of the caller's environment that it reads.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(arguments).env_remove("MUSTER_CONTEXT").env_remove("MUSTER_NODE_CONFIG");
    command
}

fn muster(arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// It must succeed; returns its JSON.
#[track_caller]
fn muster_json(arguments: &[&str]) -> serde_json::Value {
    let mut with_json = arguments.to_vec();
    with_json.push("--json");
    let ran = muster(&with_json);
    assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", ran.stdout))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
