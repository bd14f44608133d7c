//! Small files that say one thing and are replaced as a whole, and prove that nothing of it was changed.
//!
//! ```text
//!   what it says, in JSON
//!   {"sealed":{"cluster":…,"node":…,"key":…,"tag":"…"}}   HMAC of file name, cluster, node and what it says
//!   {"sha256":"…"}                                        where no key is at hand: tells what flipped, not what was forged
//! ```

use super::disk::Disk;
use super::error::{CorruptionKind, StorageError};
use super::segment_file::Owner;
use super::unreadable::read_whole;
use events::ids::{ClusterId, NodeId};
use events::log::keys::{KeyEncryptionKey, SegmentKeys};
use events::log::segment::HeaderKeyError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;

/// None of these files comes near: a longer one is not ours.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Proof {
    Sealed(Sealed),
    Sha256(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    cluster: ClusterId,
    node: NodeId,
    /// Id of the key-encryption key.
    key: u32,
    tag: String,
}

/// Writes beside the file, syncs, renames: when this returns the new text is durable, and at no moment is there half of one.
pub(crate) fn persist<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> Result<(), StorageError> {
    let text = encoded(path, value)?;
    let proof = Proof::Sha256(hex(&Sha256::digest(&text)));
    replace(disk, path, text, &proof)
}

/// As [`persist`], sealed as `owner`'s, who is a node of a cluster.
pub(super) fn persist_sealed<T: Serialize>(
    disk: &dyn Disk,
    path: &Path,
    value: &T,
    owner: &Owner,
) -> Result<(), StorageError> {
    let text = encoded(path, value)?;
    let (Some(cluster), Some(node)) = (owner.cluster, owner.node) else {
        return Err(StorageError::io("sealing", path)(ErrorKind::InvalidInput.into()));
    };
    let key = owner.keys.newest();
    let tag = tag(key, path, (cluster, node), &text);
    replace(disk, path, text, &Proof::Sealed(Sealed { cluster, node, key: key.id(), tag }))
}

/// What the file says; `None` without a file.
pub(crate) fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, StorageError> {
    let Some((text, proof)) = take_apart(disk, path)? else { return Ok(None) };
    match proof {
        Proof::Sha256(digest) if digest == hex(&Sha256::digest(&text)) => decoded(path, &text).map(Some),
        Proof::Sha256(_) | Proof::Sealed(_) => Err(changed(path)),
    }
}

/// What the file says, sealed by `owner`; another's is refused by name.
pub(super) fn read_sealed<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
    owner: &Owner,
) -> Result<Option<T>, StorageError> {
    let Some((text, proof)) = take_apart(disk, path)? else { return Ok(None) };
    let Proof::Sealed(sealed) = proof else { return Err(changed(path)) };
    let Some(key) = owner.keys.find(sealed.key) else {
        let source = HeaderKeyError::UnknownKey { id: sealed.key };
        return Err(StorageError::Key { path: path.to_owned(), source });
    };
    if sealed.tag != tag(key, path, (sealed.cluster, sealed.node), &text) {
        return Err(changed(path));
    }
    owner.check(path, sealed.cluster, sealed.node)?;
    decoded(path, &text).map(Some)
}

/// Whether what the file says is what was written, whoever wrote it and whatever it says.
pub(super) fn examine(disk: &dyn Disk, path: &Path, keys: &SegmentKeys) -> Result<(), StorageError> {
    let Some((text, proof)) = take_apart(disk, path)? else { return Ok(()) };
    let holds = match proof {
        Proof::Sha256(digest) => digest == hex(&Sha256::digest(&text)),
        // The number of its key is a part of it.
        Proof::Sealed(sealed) => keys
            .find(sealed.key)
            .is_some_and(|key| sealed.tag == tag(key, path, (sealed.cluster, sealed.node), &text)),
    };
    if holds { Ok(()) } else { Err(changed(path)) }
}

/// Whether a file cannot be believed, rather than not be read.
pub(super) fn is_malformed(error: &StorageError) -> bool {
    match error {
        StorageError::Corrupt(_) => true,
        StorageError::Io { source, .. } => source.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

fn encoded<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec_pretty(value).map_err(|e| StorageError::io("encoding", path)(e.into()))
}

fn decoded<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, StorageError> {
    serde_json::from_slice(text).map_err(|e| StorageError::io("reading", path)(e.into()))
}

fn replace(disk: &dyn Disk, path: &Path, mut text: Vec<u8>, proof: &Proof) -> Result<(), StorageError> {
    let temporary = path.with_extension("tmp");
    remove_if_there(disk, &temporary)?;
    text.push(b'\n');
    text.extend(serde_json::to_vec(proof).map_err(|e| StorageError::io("encoding", path)(e.into()))?);
    text.push(b'\n');
    let file = disk.create_new(&temporary).map_err(StorageError::io("creating", &temporary))?;
    file.write_at(0, &text).map_err(StorageError::write(&temporary, 0))?;
    file.sync_data().map_err(StorageError::io("syncing", &temporary))?;
    disk.rename(&temporary, path).map_err(StorageError::io("renaming to", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
}

/// What the file says, and its last line.
fn take_apart(disk: &dyn Disk, path: &Path) -> Result<Option<(Vec<u8>, Proof)>, StorageError> {
    let file = match disk.open_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("opening", path)(error)),
    };
    let length = file.length().map_err(StorageError::io("reading the length of", path))?;
    if length > BYTES_MAX {
        return Err(changed(path));
    }
    let bytes = read_whole(&*file, path, 0, length as usize)?;
    let lines = bytes.strip_suffix(b"\n").ok_or_else(|| changed(path))?;
    let split = lines.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| changed(path))?;
    let proof = serde_json::from_slice(&lines[split + 1..]).map_err(|_| changed(path))?;
    Ok(Some((lines[..split].to_vec(), proof)))
}

fn changed(path: &Path) -> StorageError {
    StorageError::corrupt(path, 0, CorruptionKind::Note)
}

/// Binds the text to the file's name, so that none passes for another.
fn tag(key: &KeyEncryptionKey, path: &Path, whose: (ClusterId, NodeId), text: &[u8]) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hex(&key.authenticate(&[name, whose.0.as_bytes(), &whose.1.to_le_bytes(), text]))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives a file that nobody can believe another name, so that it is out of the way and still there.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let aside = path.with_extension("json.malformed");
    disk.rename(path, &aside).map_err(StorageError::io("renaming to", &aside))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
}
