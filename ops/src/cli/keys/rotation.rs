//! `muster keys stage|promote|retire|status`: key-encryption keys, rotated without rewriting history.

use crate::cli::Global;
use crate::exit::{NOT_HELD, USAGE, coded};
use crate::files::write_secret;
use crate::offline::read_keyring;
use crate::output::Table;
use anyhow::Result;
use clap::{Args, ValueEnum};
use events::keyring::Keyring;
use events::keyring::rotation::{KeyList, RotationError};
use nodes::api::shapes::KeyUse;
use nodes::entropy::{EntropyRng, OsEntropy};
use serde::Serialize;
use std::path::PathBuf;

/// What a key-encryption key is for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Devices' and lots' secrets in events
    Device,
    /// Sessions' secrets in events
    Session,
    /// Segments and snapshots on disk
    Segment,
}

#[derive(Args)]
pub(crate) struct RotateArguments {
    /// The cluster's keyring; every node has the same one [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// What the key is for; may be given again
    #[arg(long, value_enum, required = true)]
    purpose: Vec<Purpose>,
}

/// Take an old key out of the keyring
///
/// A device key is refused while the cluster keeps secrets under it; the leader wraps them anew by itself. Without an old
/// session key a device that did not resume since re-keys. A segment key stays as long as there is history under it.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RetireArguments {
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: Purpose,
    /// Its number
    #[arg(long, value_name = "NUMBER")]
    key: u32,
    /// Do not ask the cluster what it keeps under a device key; what it keeps is lost
    #[arg(long)]
    danger_unasked: bool,
}

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// The cluster's keyring [default: the one that the context names]
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

#[derive(Serialize)]
struct Rotated {
    purpose: &'static str,
    key: u32,
    keyring: PathBuf,
    next: &'static str,
}

impl From<Purpose> for KeyList {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Device => KeyList::Device,
            Purpose::Session => KeyList::Session,
            Purpose::Segment => KeyList::Segment,
        }
    }
}

pub(super) fn stage(global: &Global, arguments: &RotateArguments) -> Result<()> {
    let next = "Give every node this file and restart one after the other; then: muster keys promote";
    rotate(global, arguments, next, |keyring, list| keyring.stage(list, &mut EntropyRng(&OsEntropy)))
}

pub(super) fn promote(global: &Global, arguments: &RotateArguments) -> Result<()> {
    let next = "Give every node this file and restart one after the other; later: muster keys retire";
    rotate(global, arguments, next, Keyring::promote)
}

/// All purposes, or none if one is refused.
fn rotate(
    global: &Global,
    arguments: &RotateArguments,
    next: &'static str,
    mut change: impl FnMut(&mut Keyring, KeyList) -> Result<u32, RotationError>,
) -> Result<()> {
    let path = crate::cli::keyring_path(global, arguments.keyring.clone())?;
    let mut keyring = read_keyring(&path)?;
    let mut rotated = Vec::new();
    for &purpose in &arguments.purpose {
        let list = KeyList::from(purpose);
        let key = change(&mut keyring, list).map_err(|error| refused(list, error))?;
        rotated.push(Rotated { purpose: list.as_str(), key, keyring: path.clone(), next });
    }
    write_secret(&path, keyring.to_json().as_bytes())?;
    global.format().print(&rotated, |rotated| {
        let keys = rotated.iter().map(|one| format!("{} key {}", one.purpose, one.key));
        format!("{}: {}\n{next}", path.display(), keys.collect::<Vec<_>>().join(", "))
    })
}

fn refused(list: KeyList, error: RotationError) -> anyhow::Error {
    coded(USAGE, format!("{} keys: {error}", list.as_str()))
}

pub(super) async fn retire(global: &Global, arguments: &RetireArguments) -> Result<()> {
    let path = crate::cli::keyring_path(global, arguments.keyring.clone())?;
    let mut keyring = read_keyring(&path)?;
    let (list, key) = (KeyList::from(arguments.purpose), arguments.key);
    keyring.retire(list, key).map_err(|error| refused(list, error))?;
    if list == KeyList::Device && !arguments.danger_unasked {
        let uses: Vec<KeyUse> = global.api()?.get("/v1/keys").await?;
        let kept = uses.iter().filter(|one| one.purpose == list.as_str() && one.key == key);
        let kept: u64 = kept.map(|one| one.secrets).sum();
        if kept > 0 {
            let why = format!(
                "the cluster keeps {kept} secrets under device key {key}; the leader wraps them anew once a newer key is \
                 promoted: look again with `muster keys status`"
            );
            return Err(coded(NOT_HELD, why));
        }
    }
    write_secret(&path, keyring.to_json().as_bytes())?;
    let next =
        "Give every node this file and restart one after the other; then destroy all copies of the old one";
    let said = Rotated { purpose: list.as_str(), key, keyring: path, next };
    global.format().print(&said, |said| {
        format!("{} key {} is not in {} any more\n{next}", said.purpose, said.key, said.keyring.display())
    })
}

#[derive(Serialize)]
struct Held {
    purpose: &'static str,
    key: u32,
    /// `seals`, `opens` or `staged`.
    role: &'static str,
    /// How many secrets the cluster keeps under it; none for segments, or if no node answered.
    secrets: Option<u64>,
}

pub(super) async fn status(global: &Global, arguments: &StatusArguments) -> Result<()> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.keyring.clone())?)?;
    // Without a cluster the file alone is told.
    let uses: Option<Vec<KeyUse>> = match global.api() {
        Ok(api) => api.get("/v1/keys").await.ok(),
        Err(_) => None,
    };
    let mut held = Vec::new();
    for list in KeyList::ALL {
        let (numbers, staged) = keyring.key_numbers(list);
        for (at, key) in numbers.iter().copied().enumerate() {
            let role = match at {
                0 => "seals",
                _ if staged == Some(key) => "staged",
                _ => "opens",
            };
            let of_key = |one: &&KeyUse| one.purpose == list.as_str() && one.key == key;
            let count = |uses: &Vec<KeyUse>| uses.iter().filter(of_key).map(|one| one.secrets).sum();
            let secrets = uses.as_ref().filter(|_| list != KeyList::Segment).map(count);
            held.push(Held { purpose: list.as_str(), key, role, secrets });
        }
    }
    global.format().print(&held, |held| {
        let mut table = Table::with_head(&["purpose", "key", "role", "secrets under it"]);
        for one in held {
            let secrets = one.secrets.map_or_else(|| "-".to_owned(), |count| count.to_string());
            table.row([one.purpose.to_owned(), one.key.to_string(), one.role.to_owned(), secrets]);
        }
        table.to_string()
    })
}
