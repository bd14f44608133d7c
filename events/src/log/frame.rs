//! One record at one place of one segment.
//!
//! ```text
//!   0  magic      4   f7 6d 66 72
//!   4  length     4   of the whole frame
//!   8  checksum   4   CRC-32C of place ‖ length ‖ bytes 12..length, where place = identity ‖ offset u32
//!  12  kind       1   what the record is (record.rs)
//!  13  schema     1   version of the body's layout
//!  14  form       1   what an entry carries
//!  15  (zero)     1
//!  16  counter    4   the frame's number in its segment, from 0
//!  20  durable    4   the offset up to which this segment was known durable when the frame was written
//!  24  term       8
//!  32  index      8
//!  40  body           AES-256-GCM; nonce = 8 zero bytes ‖ counter, associated data = place ‖ bytes 12..40
//!      tag       16
//! ```
//!
//! Identity is (cluster, node, segment, generation), so a frame passes nowhere but where it was written. A nonce is
//! never a raft index, since truncation rewrites indices.
//!
//! **Torn or corrupt.** Damage below the `durable` of a later intact frame is corruption: those bytes had reached the
//! disk, and somebody may have been told so. Any other damage is a torn tail ([`is_torn_tail`]).

use super::record::{Parts, Record, RecordError, Told};
use super::segment::{SegmentCipher, SegmentIdentity};
use crate::limits::FRAME_BYTES_MAX;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};

/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 40;
/// Bytes of a frame around its body.
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + TAG_BYTES;

/// Where in a frame its body begins.
pub const FRAME_BODY_AT: usize = FRAME_HEADER_BYTES;

const TAG_BYTES: usize = 16;
const MAGIC: [u8; 4] = [0xf7, b'm', b'f', b'r'];

/// Where in its segment a frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    pub offset: u32,
    /// Number of the frame in its segment, from 0; never twice under one key.
    pub counter: u32,
    /// The segment is known durable up to this offset.
    pub durable: u32,
}

/// An intact frame, its body still sealed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    parts: Parts,
    pub place: FramePlace,
}

/// What an intact frame says of itself, without its bytes: they can be opened where they lie.
#[derive(Clone, Copy, Debug)]
pub struct DetachedFrame {
    length: u32,
    parts: Parts,
    place: FramePlace,
}

/// Why the bytes at a place are no intact frame: torn by a crash, or flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameDamage {
    #[error("the file ends within a frame")]
    Short,
    #[error("no frame begins here")]
    Magic,
    #[error("a frame of {0} bytes is impossible")]
    Length(u32),
    #[error("the frame's checksum does not match")]
    Checksum,
}

/// Why an intact frame is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    #[error("the frame was forged or sealed under another key")]
    Seal,
    #[error("frame {got} stands where frame {expected} belongs")]
    Counter { expected: u32, got: u32 },
    #[error("the frame claims more durable bytes than there are before it")]
    Durable,
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A record larger than [`FRAME_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of {got} bytes is larger than the {max} that fit into a frame")]
pub struct RecordTooLarge {
    pub got: usize,
    pub max: usize,
}

impl SegmentCipher {
    /// Appends the frame of `record` to `out`; returns its length in bytes.
    pub fn seal<B: AsRef<[u8]>>(
        &self,
        place: FramePlace,
        record: &Record<B>,
        out: &mut Vec<u8>,
    ) -> Result<u32, RecordTooLarge> {
        let (length, _) = frame_length(record)?;
        let start = out.len();
        out.extend_from_slice(&frame_header(place, length, record.parts()));
        record.write_body(out);
        let (header, body) = out[start..].split_at_mut(FRAME_HEADER_BYTES);
        #[allow(
            clippy::expect_used,
            reason = "GCM seals any message below 64 GiB, and a frame has at most 8 MiB"
        )]
        let tag = self
            .aead
            .encrypt_inout_detached(
                &nonce(place.counter),
                &self.associated(place.offset, header),
                body.into(),
            )
            .expect("a body within the limit is sealed");
        out.extend_from_slice(&tag);
        let checksum = checksum(&self.identity, place.offset, &out[start..]);
        out[start + 8..start + 12].copy_from_slice(&checksum.to_le_bytes());
        Ok(length)
    }

    /// Opens an intact frame's record.
    pub fn open(&self, frame: &Frame<'_>) -> Result<Record, FrameRefusal> {
        let mut bytes = frame.bytes.to_vec();
        Ok(self.open_in_place(&frame.detach(), &mut bytes)?.map_body(<[u8]>::to_vec))
    }

    /// Opens the record of the frame that `bytes` are, where they lie: the body is plain at [`FRAME_BODY_AT`] afterwards.
    pub fn open_in_place<'b>(
        &self,
        frame: &DetachedFrame,
        bytes: &'b mut [u8],
    ) -> Result<Record<&'b [u8]>, FrameRefusal> {
        let (header, sealed) = bytes.split_at_mut_checked(FRAME_HEADER_BYTES).ok_or(FrameRefusal::Seal)?;
        let (body, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(FrameRefusal::Seal)?;
        let tag: Tag<Aes256Gcm> = (*tag).into();
        let associated = self.associated(frame.place.offset, header);
        self.aead
            .decrypt_inout_detached(&nonce(frame.place.counter), &associated, (&mut *body).into(), &tag)
            .map_err(|_| FrameRefusal::Seal)?;
        Ok(Record::assemble(frame.parts, &*body)?)
    }

    fn associated(&self, offset: u32, header: &[u8]) -> [u8; 72] {
        let mut bytes = [0; 72];
        bytes[..40].copy_from_slice(&self.identity.bytes());
        bytes[40..44].copy_from_slice(&offset.to_le_bytes());
        bytes[44..].copy_from_slice(&header[12..FRAME_HEADER_BYTES]);
        bytes
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at `offset` of a segment. `bytes` are the file's from there on, and may go on after the frame.
    pub fn read(identity: &SegmentIdentity, offset: u32, bytes: &'a [u8]) -> Result<Frame<'a>, FrameDamage> {
        let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk().ok_or(FrameDamage::Short)?;
        if header[..4] != MAGIC {
            return Err(FrameDamage::Magic);
        }
        let length = u32_at(header, 4);
        if !(FRAME_OVERHEAD_BYTES..=FRAME_BYTES_MAX).contains(&(length as usize)) {
            return Err(FrameDamage::Length(length));
        }
        let bytes = bytes.get(..length as usize).ok_or(FrameDamage::Short)?;
        if checksum(identity, offset, bytes) != u32_at(header, 8) {
            return Err(FrameDamage::Checksum);
        }
        let place = FramePlace { offset, counter: u32_at(header, 16), durable: u32_at(header, 20) };
        Ok(Frame { bytes, parts: parts(header), place })
    }

    /// How many bytes a frame here says that it has, for who reads only so many; what is not possible is none.
    #[must_use]
    pub fn claimed_length(bytes: &[u8]) -> usize {
        let claimed = bytes.first_chunk().map_or(0, |header| u32_at(header, 4) as usize);
        if claimed <= FRAME_BYTES_MAX { claimed } else { 0 }
    }

    #[must_use]
    pub fn detach(&self) -> DetachedFrame {
        DetachedFrame { length: self.length(), parts: self.parts, place: self.place }
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// The offset after this frame.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.place.offset + self.length()
    }

    /// Checks that the frame is the `expected`th of its segment.
    pub fn in_order(&self, expected: u32) -> Result<(), FrameRefusal> {
        self.detach().in_order(expected)
    }

    /// What it tells without a key: its checksum held, whether it is genuine nobody knows.
    #[must_use]
    pub fn told(&self) -> Told {
        self.parts.told()
    }
}

impl DetachedFrame {
    /// Bytes of the whole frame.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The offset after this frame.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.place.offset + self.length
    }

    /// Checks that the frame is the `expected`th of its segment.
    pub fn in_order(&self, expected: u32) -> Result<(), FrameRefusal> {
        if self.place.counter != expected {
            return Err(FrameRefusal::Counter { expected, got: self.place.counter });
        }
        if self.place.durable > self.place.offset {
            return Err(FrameRefusal::Durable);
        }
        Ok(())
    }
}

/// Length of the frame and of the body of `record`, in bytes.
pub fn frame_length<B: AsRef<[u8]>>(record: &Record<B>) -> Result<(u32, usize), RecordTooLarge> {
    let body = record.body_length();
    let length = FRAME_OVERHEAD_BYTES + body;
    if length > FRAME_BYTES_MAX {
        return Err(RecordTooLarge { got: body, max: FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES });
    }
    Ok((length as u32, body))
}

/// Whether damage at `offset` of `segment` (the whole file) may be cut: no intact frame after it knew it durable.
#[must_use]
pub fn is_torn_tail(identity: &SegmentIdentity, segment: &[u8], offset: u32) -> bool {
    let mut from = offset as usize + 1;
    while let Some(found) = find_magic(segment.get(from..).unwrap_or_default()) {
        let at = from + found;
        if let Ok(frame) = Frame::read(identity, at as u32, &segment[at..])
            && frame.place.durable > offset
        {
            return false;
        }
        from = at + 1;
    }
    true
}

/// The first intact frame of `segment` (the whole file) after the one at `offset`, which is damaged.
#[must_use]
pub fn next_intact<'a>(identity: &SegmentIdentity, segment: &'a [u8], offset: u32) -> Option<Frame<'a>> {
    let mut from = offset as usize + 1;
    loop {
        let at = from + find_magic(segment.get(from..)?)?;
        if let Ok(frame) = Frame::read(identity, at as u32, &segment[at..]) {
            return Some(frame);
        }
        from = at + 1;
    }
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}

fn frame_header(place: FramePlace, length: u32, parts: Parts) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&[parts.kind, parts.schema, parts.form, 0]);
    header[16..20].copy_from_slice(&place.counter.to_le_bytes());
    header[20..24].copy_from_slice(&place.durable.to_le_bytes());
    header[24..32].copy_from_slice(&parts.term.to_le_bytes());
    header[32..].copy_from_slice(&parts.index.to_le_bytes());
    header
}

fn parts(header: &[u8; FRAME_HEADER_BYTES]) -> Parts {
    Parts {
        kind: header[12],
        schema: header[13],
        form: header[14],
        term: u64::from(u32_at(header, 24)) | u64::from(u32_at(header, 28)) << 32,
        index: u64::from(u32_at(header, 32)) | u64::from(u32_at(header, 36)) << 32,
    }
}

fn u32_at(header: &[u8; FRAME_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn checksum(identity: &SegmentIdentity, offset: u32, frame: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&identity.bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, &frame[4..8]), &frame[12..])
}

fn nonce(counter: u32) -> Nonce<Aes256Gcm> {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&counter.to_le_bytes());
    bytes.into()
}

#[cfg(test)]
mod tests;
