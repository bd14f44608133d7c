//! Reads what is intact of a segment that is damaged: records, and between them holes.

use super::disk::DiskFile;
use super::segment_file::{SegmentFile, read_range};
use events::log::frame::{FRAME_OVERHEAD_BYTES, Frame, next_intact};
use events::log::record::Record;
use events::log::segment::HEADER_BYTES;
use std::io;

/// What a kernel says of sectors that a disk does not give back.
const EIO: i32 = 5;
/// So much is read alone where a longer read fails.
const SECTOR_BYTES: usize = 4096;

/// A piece of a damaged segment.
pub(super) enum Salvaged {
    Record(Record),
    /// Nothing here is intact.
    Hole {
        /// So many frames lay here, at most; exactly so many if an intact one follows.
        frames: u64,
    },
}

/// The pieces of one segment, in order.
pub(super) struct Salvage<'a> {
    segment: &'a SegmentFile,
    bytes: &'a [u8],
    pub(super) offset: u32,
    pub(super) counter: u32,
}

impl<'a> Salvage<'a> {
    /// `bytes` are all of the segment's.
    pub(super) fn new(segment: &'a SegmentFile, bytes: &'a [u8]) -> Self {
        Salvage { segment, bytes, offset: HEADER_BYTES as u32, counter: 0 }
    }

    /// Goes on where another reader stopped.
    pub(super) fn resume(segment: &'a SegmentFile, bytes: &'a [u8], offset: u32, counter: u32) -> Self {
        Salvage { segment, bytes, offset, counter }
    }

    /// Steps to the next intact frame after the one at the offset, which is not; the number of frames passed over.
    pub(super) fn hole(&mut self) -> u64 {
        let (from, before) = (self.offset as usize, self.counter);
        match next_intact(self.segment.cipher.identity(), self.bytes, self.offset) {
            Some(frame) if frame.place.counter >= before => {
                (self.offset, self.counter) = (frame.place.offset, frame.place.counter);
                u64::from(frame.place.counter - before)
            }
            Some(_) | None => {
                self.offset = self.bytes.len() as u32;
                frames_at_most(self.bytes.len().saturating_sub(from))
            }
        }
    }
}

/// All bytes of a file; what the disk does not give back is zeros, and so a hole.
pub(super) fn read_what_can_be_read(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = file.length()? as usize;
    let is_unreadable = |error: &io::Error| error.raw_os_error() == Some(EIO);
    match read_range(file, 0, length) {
        Err(error) if is_unreadable(&error) => {}
        read => return read,
    }
    let mut bytes = vec![0; length];
    for (sector, piece) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
        match file.read_at((sector * SECTOR_BYTES) as u64, piece) {
            Err(error) if is_unreadable(&error) => piece.fill(0),
            read => {
                read?;
            }
        }
    }
    Ok(bytes)
}

/// How many frames may have lain in so many bytes.
pub(super) fn frames_at_most(bytes: usize) -> u64 {
    bytes.div_ceil(FRAME_OVERHEAD_BYTES) as u64
}

impl Iterator for Salvage<'_> {
    type Item = Salvaged;

    fn next(&mut self) -> Option<Salvaged> {
        let rest = self.bytes.get(self.offset as usize..).filter(|rest| !rest.is_empty())?;
        let cipher = &self.segment.cipher;
        let record = Frame::read(cipher.identity(), self.offset, rest).ok().and_then(|frame| {
            frame.in_order(self.counter).ok()?;
            Some((cipher.open(&frame).ok()?, frame.end()))
        });
        match record {
            Some((record, end)) => {
                (self.offset, self.counter) = (end, self.counter + 1);
                Some(Salvaged::Record(record))
            }
            None => Some(Salvaged::Hole { frames: self.hole() }),
        }
    }
}
