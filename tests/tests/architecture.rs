//! The rules of the house, checked: who may import whom, what is pure, where versions stand, how long a file may be.

#![allow(clippy::unwrap_used, reason = "a check that meets an error has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOMS: [&str; 7] = ["events", "projector", "nodes", "edge-agent", "provisioning", "ops", "tests"];
const FILE_LINES_MAX: usize = 500;

/// Which rooms a room may stand on.
fn may_import(room: &str) -> &'static [&'static str] {
    match room {
        "events" => &[],
        "projector" | "edge-agent" | "provisioning" => &["events"],
        "nodes" => &["events", "projector"],
        "ops" => &["events", "projector", "nodes", "edge-agent", "provisioning"],
        "tests" => &["events", "projector", "nodes", "edge-agent", "provisioning", "ops"],
        other => panic!("{other} is no room of this house"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(room: &str) -> toml::Table {
    let path = root().join(room).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap().parse().unwrap()
}

/// (section, dependency, its specification) of every dependency that a manifest names.
fn dependencies(manifest: &toml::Table) -> Vec<(String, String, toml::Value)> {
    let mut found = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = std::iter::once(manifest)
        .chain(targets.into_iter().flat_map(|t| t.values()).filter_map(toml::Value::as_table));
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = table.get(section).and_then(toml::Value::as_table);
            for (name, specification) in entries.into_iter().flatten() {
                found.push((section.to_owned(), name.clone(), specification.clone()));
            }
        }
    }
    found
}

/// Every file of the repository that people write, without what is built, fetched or run.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // `.git` is a file in a worktree.
            if ["target", ".git", ".local", ".dev"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

fn sources_of(room: &str) -> Vec<PathBuf> {
    let dir = root().join(room).join("src");
    files()
        .into_iter()
        .filter(|path| path.starts_with(&dir) && path.extension() == Some("rs".as_ref()))
        .collect()
}

/// Modules that are compiled for tests only.
fn is_for_tests(path: &Path) -> bool {
    path.components()
        .any(|part| ["tests", "tests.rs", "fixtures.rs"].iter().any(|name| part.as_os_str() == *name))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn the_workspace_is_these_rooms_and_no_others() {
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<_> = members.iter().map(|m| m.as_str().unwrap()).collect();
    assert_eq!(members, BTreeSet::from(ROOMS));
}

#[test]
fn rooms_point_one_way() {
    let mut wrong = Vec::new();
    for room in ROOMS {
        for (section, name, _) in dependencies(&manifest(room)) {
            if ROOMS.contains(&name.as_str()) && !may_import(room).contains(&name.as_str()) {
                wrong.push(format!("{room} [{section}] imports {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_version_is_pinned_in_the_workspace_and_nowhere_else() {
    let mut wrong = Vec::new();
    for room in ROOMS {
        for (section, name, specification) in dependencies(&manifest(room)) {
            let inherited = specification.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            if !inherited || specification.get("version").is_some() {
                wrong.push(format!("{room} [{section}] {name} does not say `workspace = true`"));
            }
        }
    }
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    for (name, specification) in workspace["workspace"]["dependencies"].as_table().unwrap() {
        let version =
            specification.as_str().or_else(|| specification.get("version").and_then(toml::Value::as_str));
        match version {
            Some(version) if version.starts_with('=') => {}
            None if ROOMS.contains(&name.as_str()) => {}
            other => wrong.push(format!("{name} is not pinned exactly: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_have_no_runtime_or_network_below_them() {
    const WORLDLY: [&str; 12] = [
        "tokio",
        "async-std",
        "smol",
        "mio",
        "socket2",
        "hyper",
        "reqwest",
        "async-nats",
        "openraft",
        "chrono",
        "tempfile",
        "futures",
    ];
    for room in ["events", "projector"] {
        let arguments = ["tree", "--locked", "--package", room, "--edges", "normal", "--prefix", "none"];
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        let below: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(below.contains("rkyv"), "the tree was read:\n{tree}");
        let found: Vec<_> = WORLDLY.iter().filter(|name| below.contains(*name)).collect();
        assert!(found.is_empty(), "{room} stands on {found:?}");
    }
}

#[test]
fn pure_rooms_name_nothing_that_touches_the_world() {
    const WORLDLY: [&str; 11] = [
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "std::process",
        "SystemTime",
        "Instant::now",
        "HashMap",
        "HashSet",
        "getrandom",
        "OsRng",
    ];
    let mut wrong = Vec::new();
    for path in ["events", "projector"].into_iter().flat_map(sources_of).filter(|path| !is_for_tests(path)) {
        let text = std::fs::read_to_string(&path).unwrap();
        // What stands below `mod tests` may touch the world: golden files, for one.
        let text = text.split("#[cfg(test)]").next().unwrap();
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in code {
            if let Some(what) = WORLDLY.iter().find(|what| line.contains(**what)) {
                wrong.push(format!("{}:{} names {what}", shown(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_five_hundred_lines() {
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|path| path.extension() == Some("rs".as_ref())) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{} has {lines} lines", shown(&path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let machine_paths =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mut wrong = Vec::new();
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if machine_paths.iter().any(|machine| line.contains(machine)) {
                wrong.push(format!("{}:{}: {line}", shown(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|path| path.extension() == Some("rs".as_ref())) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {line}", shown(&path), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The protocol's law has this many rules (events/PROTOCOL.md); each has a test that bears its number.
const PROTOCOL_RULES: u32 = 25;

#[test]
fn every_rule_of_the_protocol_has_a_test_named_after_it() {
    let sources = files().into_iter().filter(|path| path.extension() == Some("rs".as_ref()));
    let all: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let untested: Vec<_> =
        (1..=PROTOCOL_RULES).filter(|rule| !all.contains(&format!("fn rule_{rule}_"))).collect();
    assert!(untested.is_empty(), "rules without a test named rule_<number>_…: {untested:?}");
}

/// Packages that a program of `room` is made of, on this platform.
fn linked_into(room: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--package", room])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_agent_stays_on_pure_rust_arithmetic() {
    let has_aws_lc = |room| linked_into(room).lines().any(|line| line.starts_with("aws-lc"));
    assert!(has_aws_lc("nodes"), "nodes link it, or this check sees nothing");
    for room in ["events", "projector", "edge-agent", "provisioning"] {
        assert!(!has_aws_lc(room), "{room} must not link aws-lc");
    }
}
