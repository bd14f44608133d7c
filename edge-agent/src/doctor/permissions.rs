//! Who may read and change what the agent stands on.

use super::finding::{FindingCode::PermissionsTooWide, Report};
use crate::shell::config::Config;
use rustix::process::geteuid;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const OTHERS_WRITE: u32 = 0o022;
const OTHERS_ANY: u32 = 0o077;
/// A secret may be shared with the agent's group: root owns it, the agent reads it.
const WORLD_ANY: u32 = 0o027;

pub fn examine(config_file: &Path, config: &Config, report: &mut Report) {
    look(config_file, if config.nats.password.is_some() { WORLD_ANY } else { OTHERS_WRITE }, report);
    look(&config.cluster_file, OTHERS_WRITE, report);
    look(&config.lot_firmware_file, WORLD_ANY, report);
    look(&config.state_dir, OTHERS_ANY, report);
    for copy in ["state.a", "state.b"] {
        look(&config.state_dir.join(copy), OTHERS_ANY, report);
    }
    let secrets = config.nats.password_file.iter().chain(&config.otp.fuse_secret);
    secrets.for_each(|file| look(file, WORLD_ANY, report));
    config.nats.ca_file.iter().for_each(|file| look(file, OTHERS_WRITE, report));
}

/// A file that is not there is another examination's business.
fn look(file: &Path, forbidden: u32, report: &mut Report) {
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
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        let about = format!(
            "`{}` belongs to user {}, neither root nor the one who asks ({})",
            file.display(),
            metadata.uid(),
            geteuid().as_raw()
        );
        report.add(PermissionsTooWide, about);
    }
}
