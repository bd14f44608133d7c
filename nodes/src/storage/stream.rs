//! Reads a segment from its beginning to its end for somebody who only reads: a window at a time, each frame opened where
//! it lies. What is given shares the window's memory; nothing is copied.

use super::error::StorageError;
use super::salvage::Salvage;
use super::segment_file::SegmentFile;
use bytes::{Bytes, BytesMut};
use events::log::frame::{FRAME_BODY_AT, FRAME_HEADER_BYTES, Frame, FrameDamage, is_torn_tail};
use events::log::record::Record;
use events::log::segment::HEADER_BYTES;
use std::path::Path;
use std::sync::Arc;

/// Read at once: little enough that checksum, key and reader find it in the cache.
const WINDOW_BYTES: usize = 256 * 1024;

/// The segment that is being read.
pub(super) struct SegmentStream {
    pub(super) file: SegmentFile,
    pub(super) path: Arc<Path>,
    /// Bytes of the file when it was looked at last: whoever writes it may be ahead.
    length: u64,
    /// The file's bytes from `offset` on, as far as they were read.
    window: BytesMut,
    /// Where the next frame begins.
    pub(super) offset: u32,
    /// How many frames were read.
    counter: u32,
}

/// How a stream went on.
pub(super) enum Streamed {
    /// A record, and the offset of its frame.
    Record(Record<Bytes>, u32),
    /// The segment ends here, at a frame's end.
    End,
    /// Nothing intact is at the stream's offset, and nothing after it says that it ever reached the disk.
    TornTail(FrameDamage),
}

impl SegmentStream {
    pub(super) fn open(file: SegmentFile) -> Result<Self, StorageError> {
        let (length, path) = (file.length()?, file.path.as_path().into());
        let (offset, counter) = (HEADER_BYTES as u32, 0);
        Ok(SegmentStream { file, path, length, window: BytesMut::new(), offset, counter })
    }

    /// Looks again how long the file is, and reads anew what was no whole frame.
    pub(super) fn refresh(&mut self) -> Result<(), StorageError> {
        self.length = self.file.length()?;
        self.window.clear();
        Ok(())
    }

    pub(super) fn step(&mut self) -> Result<Streamed, StorageError> {
        self.fill(FRAME_HEADER_BYTES)?;
        if self.window.is_empty() {
            return Ok(Streamed::End);
        }
        self.fill(Frame::claimed_length(&self.window))?;
        let frame = match Frame::read(self.file.cipher.identity(), self.offset, &self.window) {
            Ok(frame) => frame.detach(),
            Err(damage) => return self.judge(damage),
        };
        let refused = |refusal| self.file.corrupt(self.offset, refusal);
        frame.in_order(self.counter).map_err(refused)?;
        let mut sealed = self.window.split_to(frame.length() as usize);
        let record = self.file.cipher.open_in_place(&frame, &mut sealed).map_err(refused)?;
        let record = record.map_body(<[u8]>::len);
        let opened = sealed.freeze();
        let record = record.map_body(|length| opened.slice(FRAME_BODY_AT..FRAME_BODY_AT + length));
        self.counter += 1;
        Ok(Streamed::Record(record, std::mem::replace(&mut self.offset, frame.end())))
    }

    /// Steps to the next intact frame after damage; false if there is none.
    pub(super) fn pass_hole(&mut self) -> Result<bool, StorageError> {
        let bytes = self.all_bytes()?;
        let mut salvage = Salvage::resume(&self.file, &bytes, self.offset, self.counter);
        salvage.hole();
        (self.offset, self.counter) = (salvage.offset, salvage.counter);
        self.window.clear();
        Ok((self.offset as usize) < bytes.len())
    }

    /// Bytes that were not read as frames.
    pub(super) fn bytes_left(&self) -> u64 {
        self.length.saturating_sub(u64::from(self.offset))
    }

    /// What lies after the damage tells what it is, so everything is looked at.
    fn judge(&self, damage: FrameDamage) -> Result<Streamed, StorageError> {
        let bytes = self.all_bytes()?;
        match is_torn_tail(self.file.cipher.identity(), &bytes, self.offset) {
            true => Ok(Streamed::TornTail(damage)),
            false => Err(self.file.corrupt(self.offset, damage)),
        }
    }

    fn all_bytes(&self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = self.file.read_all()?;
        bytes.truncate(self.length as usize);
        Ok(bytes)
    }

    /// Reads on until the window holds so many bytes, or the file ends.
    fn fill(&mut self, wanted: usize) -> Result<(), StorageError> {
        let held = self.window.len();
        let begin = u64::from(self.offset) + held as u64;
        let left = self.length.saturating_sub(begin) as usize;
        if held >= wanted || left == 0 {
            return Ok(());
        }
        let more = (wanted - held).max(WINDOW_BYTES).min(left);
        self.window.resize(held + more, 0);
        let read = self.file.read_at(begin, &mut self.window[held..])?;
        self.window.truncate(held + read);
        Ok(())
    }
}
