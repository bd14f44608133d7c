//! Who may read and change what the agent stands on.

use super::finding::FindingCode::{PermissionsTooWide, StateOtherOwner};
use super::finding::Report;
use crate::shell::config::Config;
use crate::shell::owner::{agents_user, name_of};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const OTHERS_WRITE: u32 = 0o022;
const OTHERS_ANY: u32 = 0o077;
/// A secret may be shared with the agent's group: root owns it, the agent reads it.
const WORLD_ANY: u32 = 0o027;

pub fn examine(config_file: &Path, config: &Config, report: &mut Report) {
    let user = agents_user(&config.state_dir);
    let mut look = |file: &Path, forbidden: u32| look(file, forbidden, user, report);
    look(config_file, if config.nats.password.is_some() { WORLD_ANY } else { OTHERS_WRITE });
    look(&config.cluster_file, OTHERS_WRITE);
    look(&config.lot_firmware_file, WORLD_ANY);
    look(&config.state_dir, OTHERS_ANY);
    for copy in ["state.a", "state.b"] {
        look(&config.state_dir.join(copy), OTHERS_ANY);
    }
    let secrets = config.nats.password_file.iter().chain(&config.otp.fuse_secret);
    secrets.for_each(|file| look(file, WORLD_ANY));
    config.nats.ca_file.iter().chain(&config.update.ca_file).for_each(|file| look(file, OTHERS_WRITE));
    owners(&config.state_dir, user, report);
}

/// What the agent writes must be its own: root's lock or state locks it out.
fn owners(state_dir: &Path, user: u32, report: &mut Report) {
    for name in ["lock", "state.a", "state.b", "home", "update", "update/state.a", "update/state.b"] {
        let file = state_dir.join(name);
        let owner = file.metadata().map_or(user, |found| found.uid());
        if owner != user {
            let (owner, user) = (name_of(owner), name_of(user));
            report.add(
                StateOtherOwner,
                format!("`{}` belongs to {owner}, the agent is {user}", file.display()),
            );
        }
    }
}

/// A file that is not there is another examination's business.
fn look(file: &Path, forbidden: u32, user: u32, report: &mut Report) {
    let Ok(metadata) = file.metadata() else { return };
    // Files of the kernel are what they are.
    if file.starts_with("/sys") || file.starts_with("/proc") || file.starts_with("/dev") {
        return;
    }
    let mode = metadata.mode() & 0o777;
    let excess = mode & forbidden;
    if excess != 0 {
        let about = format!("`{}` has mode {mode:04o}: {excess:04o} is too much", file.display());
        report.add(PermissionsTooWide, about);
    }
    if metadata.uid() != 0 && metadata.uid() != user {
        let (owner, user) = (name_of(metadata.uid()), name_of(user));
        let about = format!("`{}` belongs to {owner}, neither root nor the agent ({user})", file.display());
        report.add(PermissionsTooWide, about);
    }
}
