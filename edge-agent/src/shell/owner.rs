//! Whoever works in the state directory is its owner. A command that root types by hand before the service ran would
//! leave a lock and a state behind that the service's user cannot open.

use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("`{}` belongs to {owner}: run this as {owner} (sudo -u {owner} muster-agent ...)", folder.display())]
pub struct NotOwner {
    folder: PathBuf,
    owner: String,
}

/// Refuses everybody but the owner of a state directory that is there. Touches nothing.
pub fn check(state_dir: &Path) -> Result<(), NotOwner> {
    match state_dir.metadata() {
        Ok(found) if found.uid() != geteuid().as_raw() => {
            Err(NotOwner { folder: state_dir.to_owned(), owner: name_of(found.uid()) })
        }
        // What cannot be looked at, whoever uses it will tell.
        _ => Ok(()),
    }
}

/// The user that the agent runs as: whoever asks, and where root asks, the owner of the state directory.
#[must_use]
pub fn agents_user(state_dir: &Path) -> u32 {
    let asks = geteuid();
    let owner = state_dir.metadata().ok().map(|found| found.uid());
    owner.filter(|_| asks.is_root()).unwrap_or(asks.as_raw())
}

/// As `sudo -u` takes it.
#[must_use]
pub fn name_of(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&users, uid).unwrap_or_else(|| format!("#{uid}"))
}

/// `name:password:uid:…`
fn named(users: &str, uid: u32) -> Option<String> {
    let mut users = users.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_called_by_name_and_one_without_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nmuster:x:990:990::/var/lib/muster:/usr/sbin/nologin\n";
        assert_eq!(named(users, 990).as_deref(), Some("muster"));
        assert_eq!(named(users, 991), None);
    }
}
