//! What a segment without a believable header still tells: the heads of its frames lie open, and their checksums are bound
//! to an identity of which only the generation is not known.

use crate::storage::salvage::frames_at_most;
use events::log::frame::{Frame, next_intact};
use events::log::record::Told;
use events::log::segment::{HEADER_BYTES, SegmentIdentity};

/// A piece of such a segment.
pub(super) enum Piece {
    Told(Told),
    /// So many frames lay here, at most; exactly so many if an intact one follows.
    Hole {
        frames: u64,
    },
}

/// The first of `identities` of which frames lie in `bytes`, all of the segment's.
pub(super) fn recognize(
    identities: impl IntoIterator<Item = SegmentIdentity>,
    bytes: &[u8],
) -> Option<SegmentIdentity> {
    identities.into_iter().find(|identity| next_intact(identity, bytes, HEADER_BYTES as u32 - 1).is_some())
}

/// The pieces of a segment, in order.
pub(super) struct Headless<'a> {
    identity: SegmentIdentity,
    bytes: &'a [u8],
    offset: u32,
    counter: u32,
}

impl<'a> Headless<'a> {
    /// `bytes` are all of the segment's.
    pub(super) fn new(identity: SegmentIdentity, bytes: &'a [u8]) -> Self {
        Headless { identity, bytes, offset: HEADER_BYTES as u32, counter: 0 }
    }

    fn go_to(&mut self, frame: &Frame<'_>) {
        (self.offset, self.counter) = (frame.end(), frame.place.counter + 1);
    }
}

impl Iterator for Headless<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let rest = self.bytes.get(self.offset as usize..).filter(|rest| !rest.is_empty())?;
        if let Ok(frame) = Frame::read(&self.identity, self.offset, rest)
            && frame.in_order(self.counter).is_ok()
        {
            self.go_to(&frame);
            return Some(Piece::Told(frame.told()));
        }
        let frames = match next_intact(&self.identity, self.bytes, self.offset) {
            Some(frame) if frame.place.counter >= self.counter => {
                let frames = u64::from(frame.place.counter - self.counter);
                (self.offset, self.counter) = (frame.place.offset, frame.place.counter);
                frames
            }
            Some(_) | None => {
                self.offset = self.bytes.len() as u32;
                frames_at_most(rest.len())
            }
        };
        Some(Piece::Hole { frames })
    }
}
