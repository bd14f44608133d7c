//! The files that the agent writes for others: their folders are there, and the agent's user may write to them.

use super::finding::{FindingCode::FileUnwritable, Report};
use crate::shell::config::Config;
use crate::shell::owner::{agents_user, name_of};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ROOT: u32 = 0;

pub fn examine(config: &Config, report: &mut Report) {
    let user = agents_user(&config.state_dir);
    for (field, file) in [("traces_file", &config.traces_file), ("standing_file", &config.standing_file)] {
        let Some(file) = file else { continue };
        // Both are replaced by a rename, so what counts is the folder.
        let folder = file.parent().unwrap_or(Path::new("/"));
        if let Some(why) = why_unwritable(folder, user) {
            report.add(FileUnwritable, format!("{field}: `{}` {why}", folder.display()));
        }
    }
}

/// Of the groups that a user is in nothing is known here: a folder that its group may write to passes.
fn why_unwritable(folder: &Path, user: u32) -> Option<String> {
    let found = match folder.metadata() {
        Err(error) => return Some(error.to_string()),
        Ok(found) if !found.is_dir() => return Some("is no folder".to_owned()),
        Ok(found) => found,
    };
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    let may_write = user == ROOT || (owner == user && mode & 0o200 != 0) || mode & 0o022 != 0;
    let who =
        || format!("has mode {mode:04o} and belongs to {}, the agent is {}", name_of(owner), name_of(user));
    (!may_write).then(who)
}
