//! Mends a damaged segment of history in its place, beside the node that has the log open: raft does not need it, so
//! nothing waits for it and nothing after it is written anew.
//!
//! ```text
//!   the damaged file ─▶ what is intact of it, and holes ─▶ entries of peers for the holes
//!        └─▶ a file of the same length that ends where the next segment begins ─▶ renamed over it
//! ```
//!
//! The new file has a key of its own, so nothing is sealed twice under one. It is put into place only if it leads to just
//! where the next header says that the log stood. What a hole held beside entries is known committed: 56 bytes each, of
//! which only the last says anything. A vote or a purge floor in a hole, or a header that is gone, is beyond this; then
//! the file is restored from a copy (the archive's has the same bytes), or read from another node's folder.

use super::disk::Disk;
use super::error::StorageError;
use super::repair::keep_damaged;
use super::salvage::{Salvage, Salvaged};
use super::segment_file::{Owner, SegmentFile, segment_path};
use super::view::LogEntry;
use crate::entropy::Entropy;
use bytes::Bytes;
use events::ids::LogIndex;
use events::log::frame::{FRAME_OVERHEAD_BYTES, FramePlace, frame_length};
use events::log::keys::{SALT_BYTES, SegmentKeys};
use events::log::record::{LogPosition, Record};
use events::log::segment::{HEADER_BYTES, SegmentHeader};
use events::log::standing::Standing;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// A record without a body takes so many bytes.
const BARE_BYTES: u64 = FRAME_OVERHEAD_BYTES as u64;

/// A segment that is being mended. Dropping it leaves everything as it was.
pub struct Mend {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keys: SegmentKeys,
    header: SegmentHeader,
    /// Where the log stood at its end, and how long it was: the next segment's header says so.
    end: (Standing, u64),
    pieces: VecDeque<Piece>,
    damaged: Vec<u8>,
}

enum Piece {
    Intact(Record<Bytes>),
    Hole {
        bytes: u64,
        /// The entries that lay there, and those that are here again.
        first: LogIndex,
        count: u64,
        entries: Vec<LogEntry>,
    },
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
        let open = |segment| -> Result<Option<(SegmentFile, SegmentHeader)>, StorageError> {
            let path = segment_path(&dir, segment);
            let Ok(file) = disk.open_read(&path) else { return Ok(None) };
            match SegmentFile::open(path, file, segment, &owner) {
                Ok(opened) => Ok(opened.ok()),
                Err(StorageError::Corrupt(_)) => Ok(None),
                Err(other) => Err(other),
            }
        };
        let (Some((file, header)), Some((_, next))) = (open(segment)?, open(segment + 1)?) else {
            return Ok(None);
        };
        let damaged = file.read_readable()?;
        let end = (next.standing, next.previous_length);
        let Some(pieces) = take_apart(&file, &damaged, header.standing, end) else { return Ok(None) };
        let keys = owner.keys;
        Ok(Some(Mend { disk, dir, keys, header, end, pieces, damaged }))
    }

    /// The first entry that is still missing.
    #[must_use]
    pub fn missing_from(&self) -> Option<LogIndex> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Hole { first, count, entries, .. } if (entries.len() as u64) < *count => {
                Some(first + entries.len() as u64)
            }
            Piece::Hole { .. } | Piece::Intact(_) => None,
        })
    }

    /// Takes committed entries of a peer, from the one on that is missing.
    pub fn take(&mut self, given: Vec<LogEntry>) {
        for entry in given {
            for piece in &mut self.pieces {
                if let Piece::Hole { first, count, entries, .. } = piece
                    && (entries.len() as u64) < *count
                    && entry.at.index == *first + entries.len() as u64
                {
                    entries.push(entry.clone());
                }
            }
        }
    }

    /// Puts the new file into place; false, and nothing was changed, if it would not be what the next segment knows.
    pub fn finish(self, entropy: &dyn Entropy) -> Result<bool, StorageError> {
        let Some(bytes) = self.written_anew(entropy) else { return Ok(false) };
        let (disk, dir) = (&*self.disk, &self.dir);
        let (path, temporary) = (segment_path(dir, self.header.identity.segment), dir.join("mended.tmp"));
        keep_damaged(disk, &path, &self.damaged)?;
        super::json_file::remove_if_there(disk, &temporary)?;
        let file = disk.create_new(&temporary).map_err(StorageError::io("creating", &temporary))?;
        file.write_at(0, &bytes).map_err(StorageError::write(&temporary, 0))?;
        file.sync_data().map_err(StorageError::io("syncing", &temporary))?;
        disk.rename(&temporary, &path).map_err(StorageError::io("renaming to", &path))?;
        disk.sync_dir(dir).map_err(StorageError::io("syncing", dir))?;
        Ok(true)
    }

    fn written_anew(&self, entropy: &dyn Entropy) -> Option<Vec<u8>> {
        let key = self.keys.newest();
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let header = SegmentHeader { key_id: key.id(), salt, ..self.header.clone() };
        let (bytes, cipher) = header.seal(key);
        let (mut all, mut counter, mut standing) = (bytes.to_vec(), 0, header.standing);
        for record in self.records()? {
            standing.follow(&record).ok()?;
            let offset = u32::try_from(all.len()).ok()?;
            cipher.seal(FramePlace { offset, counter, durable: offset }, &record, &mut all).ok()?;
            counter += 1;
        }
        (standing == self.end.0 && all.len() as u64 == self.end.1).then_some(all)
    }

    /// All records, in order; none if what was taken does not fill the holes to a byte.
    fn records(&self) -> Option<Vec<Record<Bytes>>> {
        let says_committed = |piece: &Piece| matches!(piece, Piece::Intact(Record::Committed(_)));
        let mut records = Vec::new();
        for (position, piece) in self.pieces.iter().enumerate() {
            let (bytes, entries) = match piece {
                Piece::Intact(record) => {
                    records.push(record.clone());
                    continue;
                }
                Piece::Hole { bytes, entries, .. } => (*bytes, entries),
            };
            let mut left = bytes;
            for LogEntry { at, body } in entries {
                let record = Record::Entry { at: *at, body: body.clone() };
                left = left.checked_sub(u64::from(frame_length(&record).ok()?.0))?;
                records.push(record);
            }
            if left % BARE_BYTES != 0 {
                return None;
            }
            // Nobody said it again after the last hole: so it must be said here, as the next segment knows it.
            let is_told_later = self
                .pieces
                .iter()
                .skip(position + 1)
                .any(|later| says_committed(later) || matches!(later, Piece::Hole { .. }));
            let committed = self.end.0.committed.filter(|_| !is_told_later);
            for _ in 0..left / BARE_BYTES {
                records.push(committed.map_or(Record::Closed, Record::Committed));
            }
        }
        Some(records)
    }
}

/// The pieces of a damaged segment; none if a hole's entries cannot be told.
fn take_apart(
    file: &SegmentFile,
    bytes: &[u8],
    standing: Standing,
    end: (Standing, u64),
) -> Option<VecDeque<Piece>> {
    let mut pieces = VecDeque::new();
    let mut last: Option<LogPosition> = standing.last;
    let mut hole: Option<(u64, u64)> = None;
    let fill = |hole: Option<(u64, u64)>, last: Option<LogPosition>, next: LogIndex| {
        let (from, to) = hole?;
        let first = last.map_or(0, |last| last.index + 1);
        let count = next.checked_sub(first)?;
        Some(Piece::Hole { bytes: to - from, first, count, entries: Vec::new() })
    };
    let mut waiting: Vec<Record<Bytes>> = Vec::new();
    let mut salvage = Salvage::new(file, bytes);
    loop {
        let from = u64::from(salvage.offset);
        match salvage.next() {
            // Two holes without an entry between them: which of the missing lay in which nobody can tell.
            Some(Salvaged::Hole { .. }) if hole.is_some() => return None,
            Some(Salvaged::Hole { .. }) => hole = Some((from, u64::from(salvage.offset))),
            Some(Salvaged::Record(record)) => {
                let record = record.map_body(Bytes::from);
                let at = match &record {
                    Record::Entry { at, .. } => Some(*at),
                    Record::Truncation { keep } if hole.is_none() => {
                        last = *keep;
                        None
                    }
                    _ => None,
                };
                if let Some(at) = at {
                    if hole.is_some() {
                        pieces.push_back(fill(hole.take(), last, at.index)?);
                        pieces.extend(waiting.drain(..).map(Piece::Intact));
                    }
                    last = Some(at);
                }
                match hole {
                    Some(_) => waiting.push(record),
                    None => pieces.push_back(Piece::Intact(record)),
                }
            }
            None => break,
        }
    }
    // A file that was cut lacks its end.
    let lacks = end.1.checked_sub(bytes.len().max(HEADER_BYTES) as u64)?;
    if lacks > 0 {
        match &mut hole {
            Some((_, to)) if waiting.is_empty() => *to += lacks,
            Some(_) => return None,
            None => hole = Some((bytes.len().max(HEADER_BYTES) as u64, end.1)),
        }
    }
    if hole.is_some() {
        let next = end.0.last.map_or(0, |last| last.index + 1);
        pieces.push_back(fill(hole, last, next)?);
        pieces.extend(waiting.drain(..).map(Piece::Intact));
    }
    Some(pieces)
}
