//! The protocol machine is pure: time and randomness come in as values, and nothing is touched.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use std::path::{Path, PathBuf};

/// What only the shell may name.
const FORBIDDEN: [&str; 12] = [
    "std::time",
    "Instant::",
    "SystemTime",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::io",
    "getrandom",
    "tokio",
    "async_nats",
    "HashMap",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The lines of `text` before its tests that name something forbidden.
fn offences(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let touches = |line: &&str| FORBIDDEN.iter().any(|word| line.contains(word));
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .filter(touches)
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_file_of_the_machine_names_a_clock_a_file_a_socket_or_entropy() {
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine"));
    assert!(files.len() > 10);
    for file in files {
        let found = offences(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn the_check_itself_notices_a_clock() {
    assert_eq!(offences("let now = std::time::Instant::now();").len(), 1);
    assert!(offences("// std::time is for the shell").is_empty());
}
