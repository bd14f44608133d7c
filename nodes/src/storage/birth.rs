//! What lets an empty log begin: a birth file, laid down once per node id and consumed by the first start.
//!
//! A node whose data directory was wiped would vote again in terms in which it has voted; nothing in an empty directory
//! tells it from a new node's. So a new node's directory is not empty: it holds its birth. The first segment takes the
//! birth's mark into its header, for good; only once that is durable the file is removed. A log that is empty without a
//! birth file has been wiped, and is refused.
//!
//! ```text
//!   birth file ──▶ first segment durable, with the mark ──▶ file removed
//!                      a crash before: begun anew               a crash before: same mark, removed again
//! ```

use super::disk::Disk;
use super::error::StorageError;
use super::segment_file::read_range;
use crate::entropy::Entropy;
use events::ids::{ClusterId, Generation, NodeId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The birth file's name within the data directory.
pub const BIRTH_FILE: &str = "birth.json";

const LABEL: &[u8] = b"muster node birth v1";

/// One life of one node id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Birth {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// 32 random hexadecimal digits.
    pub birth: String,
    /// Of the cluster: a restored one gives its nodes new births.
    pub generation: Generation,
}

/// What an empty log may begin with.
#[derive(Clone, Debug)]
pub enum Beginning {
    /// With this birth file, which must be there.
    BirthFile(PathBuf),
    /// With nothing: for a log that no cluster counts on. A node that begins so can be wiped and vote again.
    DangerUnasked,
}

impl Birth {
    #[must_use]
    pub fn fresh(cluster: ClusterId, node: NodeId, generation: Generation, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let birth = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Birth { cluster, node, birth, generation }
    }

    /// Puts the birth file into a data directory, which is created if it is missing and must hold nothing else. When this
    /// returns it is durable.
    pub fn lay_down(&self, disk: &dyn Disk, data: &Path) -> Result<(), StorageError> {
        disk.create_dir(data).map_err(StorageError::io("creating", data))?;
        let (path, temporary) = (data.join(BIRTH_FILE), data.join("birth.tmp"));
        let names = disk.list(data).map_err(StorageError::io("listing", data))?;
        if names.iter().any(|name| name == BIRTH_FILE) {
            return Err(StorageError::io("creating", &path)(ErrorKind::AlreadyExists.into()));
        }
        match disk.remove(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(StorageError::io("removing", &temporary)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let malformed = |error: serde_json::Error| StorageError::io("encoding", &path)(error.into());
        let text = serde_json::to_vec_pretty(self).map_err(malformed)?;
        let file = disk.create_new(&temporary).map_err(StorageError::io("creating", &temporary))?;
        file.write_at(0, &text).map_err(StorageError::write(&temporary, 0))?;
        file.sync_data().map_err(StorageError::io("syncing", &temporary))?;
        disk.rename(&temporary, &path).map_err(StorageError::io("renaming to", &path))?;
        disk.sync_dir(data).map_err(StorageError::io("syncing", data))
    }

    /// What the log's segments carry of it: a digest of all that it says, never 0.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let mut all = Sha384::new();
        all.update(LABEL);
        all.update(self.cluster.as_bytes());
        all.update(self.node.to_le_bytes());
        all.update(self.generation.to_le_bytes());
        all.update(self.birth.as_bytes());
        let digest = all.finalize();
        digest.first_chunk().map_or(1, |first| u64::from_le_bytes(*first)).max(1)
    }

    fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Birth>, StorageError> {
        let file = match disk.open_read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("opening", path)(error)),
        };
        let bytes = read_range(&*file, 0, 4096).map_err(StorageError::io("reading", path))?;
        let malformed = |error: serde_json::Error| StorageError::BirthMalformed {
            path: path.to_owned(),
            why: error.to_string(),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }
}

/// A birth that was decided on; its file goes once the log carries the mark.
pub(super) struct Decided {
    pub(super) mark: u64,
    file: Option<PathBuf>,
}

impl Beginning {
    /// Which birth the log of this node has. `known` is the mark that it carries already; none if it is empty.
    pub(super) fn decide(
        &self,
        disk: &dyn Disk,
        (cluster, node): (ClusterId, NodeId),
        known: Option<u64>,
    ) -> Result<Decided, StorageError> {
        let path = match self {
            Beginning::BirthFile(path) => path,
            Beginning::DangerUnasked => return Ok(Decided { mark: known.unwrap_or(0), file: None }),
        };
        let Some(found) = Birth::read(disk, path)? else {
            let wiped = || StorageError::NotBorn { path: path.clone(), node };
            return Ok(Decided { mark: known.ok_or_else(wiped)?, file: None });
        };
        if found.cluster != cluster {
            let (path, found) = (path.clone(), found.cluster);
            return Err(StorageError::OtherCluster { path, found, expected: cluster });
        }
        if found.node != node {
            return Err(StorageError::OtherNode { path: path.clone(), found: found.node, expected: node });
        }
        let mark = found.mark();
        if known.is_some_and(|known| known != mark) {
            return Err(StorageError::BornTwice { path: path.clone() });
        }
        Ok(Decided { mark, file: Some(path.clone()) })
    }
}

impl Decided {
    /// Removes the birth file; the log carries its mark durably.
    pub(super) fn consume(self, disk: &dyn Disk) -> Result<(), StorageError> {
        let Some(path) = self.file else { return Ok(()) };
        disk.remove(&path).map_err(StorageError::io("removing", &path))?;
        match path.parent() {
            Some(dir) => disk.sync_dir(dir).map_err(StorageError::io("syncing", dir)),
            None => Ok(()),
        }
    }
}
