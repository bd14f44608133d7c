//! The vendor's programs: there, executable, and nobody else's to change.

use super::finding::{FindingCode::HookUnusable, Report};
use crate::shell::config::Config;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub fn examine(config: &Config, report: &mut Report) {
    let hooks = &config.hooks;
    let named = [
        ("full", &hooks.full),
        ("restricted", &hooks.restricted),
        ("update", &hooks.update),
        ("notify", &hooks.notify),
    ];
    for (name, hook) in named {
        let Some(program) = hook.as_ref().map(|hook| hook.program()) else { continue };
        if let Some(why) = why_unusable(program) {
            report.add(HookUnusable, format!("{name}: `{}` {why}", program.display()));
        }
    }
}

/// Why a program cannot be a hook, if so.
pub(super) fn why_unusable(program: &Path) -> Option<String> {
    match program.metadata() {
        Err(error) => Some(error.to_string()),
        Ok(found) if !found.is_file() || found.mode() & 0o111 == 0 => Some("is not executable".to_owned()),
        Ok(found) if found.mode() & 0o022 != 0 => Some(format!("has mode {:04o}", found.mode() & 0o777)),
        Ok(_) => None,
    }
}
