//! Running `muster` as a person does.

use std::path::Path;
use std::process::{Command, Output};

/// What a command did.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `muster` with these arguments in `dir`, without anything of the caller's environment that it reads.
pub fn muster(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(tests::muster());
    command.args(arguments).current_dir(dir).env_remove("MUSTER_CONTEXT").env_remove("MUSTER_NODE_CONFIG");
    ran(command.output().unwrap())
}

/// As [`muster`], and it must succeed; returns its JSON.
pub fn muster_json(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let mut with_json = arguments.to_vec();
    with_json.push("--json");
    let ran = muster(dir, &with_json);
    assert_eq!(ran.code, 0, "{arguments:?}\n{}\n{}", ran.stdout, ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}", ran.stdout))
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
