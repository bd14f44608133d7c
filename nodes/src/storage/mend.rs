//! Mends a damaged segment of history in its place, beside the node that has the log open: raft does not need it, so
//! nothing waits for it and nothing after it is written anew.
//!
//! ```text
//!   the damaged file ─▶ what is intact of it, and holes ─▶ entries of peers for the holes
//!   none, or no header ─▶ all of it is one hole ─▶          │
//!        └─▶ a file of the same length that ends where the next segment begins, beside the log
//!                   └─▶ all history with it in its place is judged (node/mending.rs) ─▶ renamed over the damaged one
//! ```
//!
//! The new file has a key of its own, so nothing is sealed twice under one. It is put into place only if it leads to just
//! where the next header says that the log stood, and has just the length that this header knows. Where a header is gone, the
//! segment before (or what was retired) says how the file began. What a hole held beside entries follows from there
//! (pieces.rs). Two neighbours without headers, or a hole of which that is not known, are beyond this; then the file is
//! restored from a copy (the archive's has the same bytes), or read from another node's folder.

mod instead;
mod pieces;

use super::archive::Archive;
use super::disk::Disk;
use super::error::StorageError;
use super::json_file::remove_if_there;
use super::recover::recover_before;
use super::repair::keep_damaged;
use super::segment_file::{Owner, SegmentFile, segment_path};
use super::unreadable::read_readable;
use super::view::LogEntry;
use crate::entropy::Entropy;
use events::ids::LogIndex;
use events::log::frame::FramePlace;
use events::log::keys::{SALT_BYTES, SegmentKeys};
use events::log::segment::{SegmentHeader, SegmentIdentity};
use events::log::standing::Standing;
use instead::Instead;
use pieces::{Hole, Piece};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A segment that is being mended. Dropping it leaves everything as it was.
pub struct Mend {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keys: SegmentKeys,
    header: SegmentHeader,
    /// Where the log stood at its end, and how long it was: the next segment's header says so.
    end: (Standing, u64),
    pieces: Vec<Piece>,
    /// None of a file that is missing.
    damaged: Option<Vec<u8>>,
}

/// A mended segment that lies beside the log.
pub struct Mended {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    damaged: Option<Vec<u8>>,
}

/// How the file of a segment lies there.
enum Lies {
    Headed(Box<(SegmentFile, SegmentHeader)>),
    Headless(Option<Vec<u8>>),
    /// A newer version wrote it.
    Newer,
}

impl Mend {
    /// `None` if it cannot be mended here. Blocks on the disk, as everything here.
    pub fn begin(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        keys: SegmentKeys,
        segment: u64,
    ) -> Result<Option<Mend>, StorageError> {
        let owner = Owner { cluster: None, node: None, keys };
        let open = |segment| look_at(&*disk, &dir, segment, &owner);
        let Lies::Headed(next) = open(segment + 1)? else { return Ok(None) };
        let next = next.1;
        let end = (next.standing, next.previous_length);
        let begun = match open(segment)? {
            Lies::Headed(headed) => {
                let (file, header) = *headed;
                let damaged = file.read_readable()?;
                let pieces = pieces::take_apart(&file, &damaged, header.standing, end);
                pieces.map(|pieces| (header, pieces, Some(damaged)))
            }
            Lies::Headless(damaged) => {
                let header = match recover_before(&*disk, &dir, &owner, segment) {
                    Ok(before) if before.birth.is_none_or(|birth| birth == next.birth) => {
                        Some(SegmentHeader {
                            identity: SegmentIdentity {
                                segment,
                                generation: before.generation.max(1),
                                ..next.identity
                            },
                            previous_length: before.previous_length,
                            standing: before.standing,
                            ..next
                        })
                    }
                    Ok(_) | Err(StorageError::Corrupt(_)) => None,
                    Err(other) => return Err(other),
                };
                let pieces = header.as_ref().and_then(|header| pieces::all_missing(header.standing, end));
                header.zip(pieces).map(|(header, pieces)| (header, pieces, damaged))
            }
            Lies::Newer => None,
        };
        let Some((header, pieces, damaged)) = begun else { return Ok(None) };
        let keys = owner.keys;
        Ok(Some(Mend { disk, dir, keys, header, end, pieces, damaged }))
    }

    /// The first entry that is still missing.
    #[must_use]
    pub fn missing_from(&self) -> Option<LogIndex> {
        self.holes().find_map(Hole::missing_from)
    }

    /// Takes committed entries of a peer, from the one on that is missing.
    pub fn take(&mut self, given: Vec<LogEntry>) {
        for entry in given {
            for piece in &mut self.pieces {
                if let Piece::Hole(hole) = piece
                    && hole.missing_from() == Some(entry.at.index)
                {
                    hole.entries.push(entry.clone());
                }
            }
        }
    }

    /// The first and the last entry that peers gave.
    #[must_use]
    pub fn given(&self) -> Option<(LogIndex, LogIndex)> {
        let mut given = self.holes().flat_map(|hole| &hole.entries).map(|entry| entry.at.index);
        let first = given.next()?;
        Some((first, given.last().unwrap_or(first)))
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(hole) => Some(hole),
            Piece::Intact(_) => None,
        })
    }

    /// Writes the new file beside the log; none, and nothing was changed, if it would not be what the next segment knows.
    pub fn write(self, entropy: &dyn Entropy) -> Result<Option<Mended>, StorageError> {
        let Some(bytes) = self.written_anew(entropy) else { return Ok(None) };
        let path = segment_path(&self.dir, self.header.identity.segment);
        let mended =
            Mended { path, temporary: self.dir.join("mended.tmp"), disk: self.disk, damaged: self.damaged };
        match mended.write(&bytes) {
            Ok(()) => Ok(Some(mended)),
            Err(error) => {
                mended.discard();
                Err(error)
            }
        }
    }

    fn written_anew(&self, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        let key = self.keys.newest();
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let header = SegmentHeader { key_id: key.id(), salt, ..self.header.clone() };
        let (bytes, cipher) = header.seal(key);
        let (mut all, mut counter, mut standing) = (bytes.to_vec(), 0, header.standing);
        for record in pieces::records(&self.pieces, header.standing, self.end.0)? {
            standing.follow(&record).ok()?;
            let offset = u32::try_from(all.len()).ok()?;
            cipher.seal(FramePlace { offset, counter, durable: offset }, &record, &mut all).ok()?;
            counter += 1;
        }
        (standing == self.end.0 && all.len() as u64 == self.end.1).then_some(all)
    }
}

impl Mended {
    fn write(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let temporary = &self.temporary;
        remove_if_there(&*self.disk, temporary)?;
        let file = self.disk.create_new(temporary).map_err(StorageError::io("creating", temporary))?;
        file.write_at(0, bytes).map_err(StorageError::write(temporary, 0))?;
        file.sync_data().map_err(StorageError::io("syncing", temporary))
    }

    /// The same history with this segment in its place.
    #[must_use]
    pub fn history(&self, history: &Archive) -> Archive {
        let (path, with) = (self.path.clone(), self.temporary.clone());
        history.on(Arc::new(Instead { disk: Arc::clone(&self.disk), path, with }))
    }

    /// Puts it into its place.
    pub fn install(self) -> Result<(), StorageError> {
        let installed = self.replace();
        if installed.is_err() {
            self.discard();
        }
        installed
    }

    fn replace(&self) -> Result<(), StorageError> {
        let (disk, path) = (&*self.disk, &self.path);
        if let Some(damaged) = &self.damaged {
            keep_damaged(disk, path, damaged)?;
        }
        disk.rename(&self.temporary, path).map_err(StorageError::io("renaming to", path))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))
    }

    /// Removes it: it is not to be believed, or a disk that is full would stay so.
    pub fn discard(&self) {
        if let Err(error) = remove_if_there(&*self.disk, &self.temporary) {
            tracing::warn!(%error, "what was written to mend a segment is left");
        }
    }
}

fn look_at(disk: &dyn Disk, dir: &Path, segment: u64, owner: &Owner) -> Result<Lies, StorageError> {
    let path = segment_path(dir, segment);
    let file = match disk.open_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lies::Headless(None)),
        Err(error) => return Err(StorageError::io("opening", &path)(error)),
    };
    match SegmentFile::open(path.clone(), Arc::clone(&file), segment, owner) {
        Ok(Ok(headed)) => return Ok(Lies::Headed(Box::new(headed))),
        Err(StorageError::Corrupt(damage)) if !damage.is_repairable() => return Ok(Lies::Newer),
        Ok(Err(_)) | Err(StorageError::Corrupt(_)) => {}
        Err(other) => return Err(other),
    }
    let reading = || StorageError::io("reading", &path);
    let length = file.length().map_err(reading())? as usize;
    Ok(Lies::Headless(Some(read_readable(&*file, 0, length).map_err(reading())?.bytes)))
}
