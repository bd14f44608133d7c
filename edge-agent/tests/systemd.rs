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
        // The standing file tells how the terminal stood while the agent is away.
        ("RuntimeDirectoryPreserve", "yes"),
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
fn what_asks_for_a_restart_and_what_restarts_name_one_file() {
    let path = parsed(&text("muster-restart.path"));
    let wanted = &path[&("Path".to_owned(), "PathExists".to_owned())];
    assert_eq!(path[&("Path".to_owned(), "Unit".to_owned())], "muster-restart.service");
    assert!(text("muster-restart.service").contains(&format!("rm -f {wanted}\n")));
    for hook in HOOKS {
        assert!(
            std::fs::read_to_string(example(hook)).unwrap().contains(&format!("touch {wanted} ||")),
            "{hook}"
        );
    }
}

const HOOKS: [&str; 2] = ["rauc.sh", "swupdate.sh"];

fn example(hook: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/update").join(hook)
}

/// Runs a hook with nothing in its environment but what the agent tells it, and its installer in the place of the real one.
fn run(hook: &str, installer: &str) -> std::process::ExitStatus {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let stub = |name: &str, script: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    stub("findmnt", "echo /dev/mmcblk0p2");
    stub("touch", "exit 1");
    stub("rauc", installer);
    stub("swupdate-client", installer);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let artifact = folder.path().join("artifact");
    std::fs::write(&artifact, "an image").unwrap();
    std::fs::set_permissions(&artifact, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("/bin/sh");
    command.arg(example(hook)).env_clear().env("PATH", path).env("MUSTER_UPDATE_FILE", artifact);
    command.status().unwrap()
}

#[test]
fn the_shell_finds_no_fault_with_the_example_hooks() {
    for hook in HOOKS {
        assert!(Command::new("sh").arg("-n").arg(example(hook)).status().unwrap().success(), "{hook}");
    }
}

#[test]
fn an_example_hook_fails_with_its_installer_and_not_because_a_restart_cannot_be_asked_for() {
    for hook in HOOKS {
        assert!(run(hook, "exit 0").success(), "{hook}: installed is installed");
        assert!(!run(hook, "exit 1").success(), "{hook}");
    }
}

/// RAUC makes the bundle root's and keeps what the group may.
#[test]
fn the_agent_can_read_a_bundle_that_rauc_took_once_more() {
    assert!(run("rauc.sh", r#"[ "$1" = install ] && [ "$(stat -L -c %a "$2")" = 640 ]"#).success());
}

#[test]
fn swupdate_is_asked_for_the_copy_that_does_not_run_where_the_agents_own_tmp_hides_nothing() {
    assert!(run("swupdate.sh", r#"[ "$*" = "-v -e stable,copy-b $MUSTER_UPDATE_FILE" ]"#).success());
    assert!(run("swupdate.sh", r#"[ "$TMPDIR" = /run/swupdate ]"#).success());
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
    let units = [copy, file("muster-restart.path"), file("muster-restart.service")];
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_us: Vec<_> = said.lines().filter(|line| line.contains("muster-")).collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
    assert!(verified.status.success(), "{said}");
}
