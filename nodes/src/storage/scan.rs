//! Reads a segment's frames one after the other.

use super::error::StorageError;
use super::segment_file::SegmentFile;
use events::log::frame::{Frame, FrameDamage, is_torn_tail};
use events::log::record::Record;
use events::log::segment::HEADER_BYTES;

/// The frames of one segment, in order. Stops at the first that is not intact.
pub(super) struct Scan<'a> {
    segment: &'a SegmentFile,
    bytes: &'a [u8],
    /// Where the next frame begins.
    pub(super) offset: u32,
    /// How many frames were read.
    pub(super) counter: u32,
    /// The highest offset that a frame read so far knew durable.
    pub(super) durable: u32,
}

/// A record and the place of its frame.
pub(super) struct Scanned {
    pub(super) record: Record,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// How a scan went on.
pub(super) enum Step {
    Record(Scanned),
    /// The segment ends here, at a frame's end.
    End,
    /// Nothing intact is at the scan's offset, and nothing after it says that it ever reached the disk.
    TornTail(FrameDamage),
}

impl<'a> Scan<'a> {
    /// `bytes` are all of the segment's.
    pub(super) fn new(segment: &'a SegmentFile, bytes: &'a [u8]) -> Self {
        Scan { segment, bytes, offset: HEADER_BYTES as u32, counter: 0, durable: 0 }
    }

    pub(super) fn step(&mut self) -> Result<Step, StorageError> {
        let rest = self.bytes.get(self.offset as usize..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(Step::End);
        }
        let identity = self.segment.cipher.identity();
        let frame = match Frame::read(identity, self.offset, rest) {
            Ok(frame) => frame,
            Err(damage) if is_torn_tail(identity, self.bytes, self.offset) => {
                return Ok(Step::TornTail(damage));
            }
            Err(damage) => return Err(self.segment.corrupt(self.offset, damage)),
        };
        let refused = |refusal| self.segment.corrupt(self.offset, refusal);
        frame.in_order(self.counter).map_err(refused)?;
        let record = self.segment.cipher.open(&frame).map_err(refused)?;
        let scanned = Scanned { record, offset: self.offset, length: frame.length() };
        self.durable = self.durable.max(frame.place.durable);
        self.offset = frame.end();
        self.counter += 1;
        Ok(Step::Record(scanned))
    }
}
