//! The state directory: what lies in it, whose it is, and on what it lies (protocol.md rule 8: images and A/B slots
//! must not carry agent state).

use super::finding::FindingCode::{
    ActivationPending, AgentNotRunning, AgentRunning, NotActivated, RestrictedByCluster, StateCopied,
    StateDamaged, StateInImage, StateInSlot, StateLost, StateNone, StateOtherDevice, StateRead,
    StateUnreadable, StateVolatile,
};
use super::finding::Report;
use super::mounts::{Mount, is_slot_name};
use crate::machine::StateSummary;
use crate::shell::config::Config;
use crate::shell::control;
use crate::shell::flash::FolderFlash;
use crate::shell::home::{self, Home};
use crate::shell::state_file;
use events::ids::DeviceId;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

pub fn examine(config: &Config, device: Option<DeviceId>, report: &mut Report) -> Option<StateSummary> {
    let folder = &config.state_dir;
    match control::is_listening(folder) {
        true => report.add(AgentRunning, format!("on `{}`", folder.display())),
        false => report.add(AgentNotRunning, format!("on `{}`", folder.display())),
    }
    place(folder, report);
    let state = read(folder, report)?;
    if let Some(device) = device.filter(|device| *device != state.device) {
        report.add(StateOtherDevice, format!("the state is of {}, this terminal is {device}", state.device));
    } else {
        tell(&state, report);
    }
    Some(state)
}

fn read(folder: &Path, report: &mut Report) -> Option<StateSummary> {
    let found = match FolderFlash::existing(folder).map(|flash| state_file::read_only(&flash)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.add(StateNone, format!("`{}` is not there: this terminal never ran", folder.display()));
            return None;
        }
        Err(error) => {
            report.add(StateUnreadable, format!("`{}`: {error}", folder.display()));
            return None;
        }
        Ok(Err(error)) => {
            report.add(StateUnreadable, error);
            return None;
        }
        Ok(Ok(found)) => found,
    };
    let damaged = found.damaged.join(", ");
    match &found.payload {
        Some(_) if damaged.is_empty() => {}
        Some(_) => report.add(StateDamaged, damaged),
        None if damaged.is_empty() => report.add(StateNone, "no boot was counted yet"),
        None => report.add(StateLost, damaged),
    }
    match StateSummary::parse(found.payload.as_ref()?) {
        Ok(state) => Some(state),
        Err(error) => {
            report.add(StateLost, error);
            None
        }
    }
}

fn tell(state: &StateSummary, report: &mut Report) {
    let epoch = state.epoch.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
    report.add(StateRead, format!("{}, {} boots, {epoch}", state.device, state.boot_count));
    if state.activation_pending {
        report.add(ActivationPending, "sealed, on flash");
    } else if state.epoch.is_none() {
        report.add(NotActivated, "there is no session");
    }
    if state.restricted {
        report.add(RestrictedByCluster, format!("legitimacy {}", state.legitimacy));
    }
}

/// What the folder lies on, and whether its files were born there.
fn place(folder: &Path, report: &mut Report) {
    let Ok(folder) = fs::canonicalize(folder) else { return };
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = Mount::of(&folder, &mountinfo);
    if let Some(mount) = &mount {
        let about = format!(
            "`{}` lies on {} ({}), mounted at `{}`",
            folder.display(),
            mount.source,
            mount.kind,
            mount.point.display()
        );
        if mount.is_volatile() {
            report.add(StateVolatile, &about);
        } else if let Some(label) =
            partition_label(Path::new(&mount.source)).filter(|label| is_slot_name(label))
        {
            report.add(StateInSlot, format!("{about}, partition `{label}`"));
        } else if mount.is_image() {
            report.add(StateInImage, &about);
        }
    }
    let lasting = mount.is_none_or(|mount| mount.has_lasting_inodes());
    if let Home::Moved { born, here } = home::look(&folder)
        && lasting
    {
        report.add(StateCopied, format!("`home` was written as inode {born} and is inode {here} now"));
    }
}

/// The name that the partition table gives to a block device.
fn partition_label(source: &Path) -> Option<String> {
    let device = fs::canonicalize(source).ok()?;
    let labels = fs::read_dir("/dev/disk/by-partlabel").ok()?;
    let label =
        labels.flatten().find(|label| fs::canonicalize(label.path()).is_ok_and(|path| path == device))?;
    Some(label.file_name().to_string_lossy().into_owned())
}
