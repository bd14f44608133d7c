//! The files for systemd say what the agent needs, and systemd understands them where it is installed.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// Section and key → value, the last one of several; every other line is a comment or blank.
fn parsed(unit: &str) -> BTreeMap<(String, String), String> {
    let (mut section, mut settings) = (String::new(), BTreeMap::new());
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else {
            let (key, value) =
                line.split_once('=').unwrap_or_else(|| panic!("neither key nor section: {line}"));
            assert!(!section.is_empty() && key.chars().all(char::is_alphanumeric), "{line}");
            settings.insert((section.clone(), key.to_owned()), value.to_owned());
        }
    }
    settings
}

#[test]
fn the_unit_watches_the_agent_and_shuts_it_in() {
    let settings = parsed(&text("muster-agent.service"));
    let service = |key: &str| settings.get(&("Service".to_owned(), key.to_owned())).map(String::as_str);
    for (key, value) in [
        ("Type", "notify"),
        ("WatchdogSec", "60"),
        ("Restart", "always"),
        ("User", "muster"),
        ("StateDirectoryMode", "0700"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("LimitCORE", "0"),
    ] {
        assert_eq!(service(key), Some(value), "{key}");
    }
    assert!(service("ExecStart").unwrap().ends_with(" run"));
}

#[test]
fn user_and_folders_are_those_of_the_unit() {
    assert!(text("muster-agent.sysusers.conf").contains("\nu muster - "));
    let tmpfiles = text("muster-agent.tmpfiles.conf");
    for line in ["d /var/lib/muster 0700 muster muster -", "d /run/muster 0755 muster muster -"] {
        assert!(tmpfiles.lines().any(|found| found == line), "{line}");
    }
    for line in tmpfiles.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(line.split(' ').count(), 6, "type, path, mode, user, group, age: {line}");
    }
}

#[test]
fn systemd_itself_finds_no_fault_with_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: systemd-analyze is not installed; the unit was parsed only");
        return;
    }
    // The program lies elsewhere here than on a terminal.
    let unit =
        text("muster-agent.service").replace("/usr/bin/muster-agent", env!("CARGO_BIN_EXE_muster-agent"));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("muster-agent.service");
    std::fs::write(&copy, unit).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(copy).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_us: Vec<_> = said.lines().filter(|line| line.contains("muster-agent")).collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
    assert!(verified.status.success(), "{said}");
}
