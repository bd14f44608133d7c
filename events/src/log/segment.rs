//! The header of a segment: whose file this is, which key seals it, and where the log stood when it began.
//!
//! ```text
//!   0  magic             8   "MUSTRLOG"
//!   8  version           2   1
//!  10  (zero)            2
//!  12  key id            4   of the key-encryption key
//!  16  salt             32   fresh random for each segment
//!  48  cluster          16
//!  64  node              8
//!  72  segment           8   counts the files of this log from 1
//!  80  generation        8   counts opens and truncations of this log from 1
//!  88  previous length   8   of the segment before, all of it durable; 0 for the first
//!  96  vote             17   flag (0 none, 1 asked, 2 committed) ‖ term ‖ node
//! 113  last             17   flag ‖ term ‖ index: the last entry before this segment
//! 130  committed        17   the same: the last one known committed
//! 147  floor            17   the same: the purge floor
//! 164  birth            8   names the life of this node id that the log is; 0 in a log that nobody asked for one
//! 172  tag, checksum   20   (header.rs)
//! ```
//!
//! Segment key = HKDF-SHA384(salt, key-encryption key, "muster log segment v1" ‖ cluster ‖ node ‖ segment ‖ generation).
//! A file has one generation, and what a torn tail held is never written again under the same key. The restated
//! vote and positions let an open begin at the first segment that it needs instead of at the first one ever.

use super::header::{is_genuine, is_intact, seal_header};
pub use super::keys::{KeyEncryptionKey, SegmentKeysError};
use super::keys::{SALT_BYTES, SegmentKeys};
use super::record::{LogPosition, VoteRecord};
use super::standing::Standing;
use crate::ids::{ClusterId, NodeId};
use aes_gcm::Aes256Gcm;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 192;

const MAGIC: &[u8; 8] = b"MUSTRLOG";
const VERSION: u16 = 1;
const KEY_LABEL: &[u8] = b"muster log segment v1";

/// Which segment of whose log. Bound into the key, the checksum and the associated data of every frame, so that a
/// misplaced or recycled block cannot pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentIdentity {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub segment: u64,
    pub generation: u64,
}

/// All that a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub identity: SegmentIdentity,
    pub key_id: u32,
    pub salt: [u8; SALT_BYTES],
    pub previous_length: u64,
    pub standing: Standing,
    /// Digest of the birth that this log began with; the same in all of its segments.
    pub birth: u64,
}

/// A header whose checksum held; whether it is genuine, only the key can tell.
pub struct SealedHeader {
    header: SegmentHeader,
    bytes: [u8; HEADER_BYTES],
}

/// Seals and opens the frames of one segment.
pub struct SegmentCipher {
    pub(super) identity: SegmentIdentity,
    pub(super) aead: Aes256Gcm,
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the file ends within its header")]
    Short,
    #[error("the header does not begin as a muster log segment")]
    Magic,
    #[error("the header's checksum does not match")]
    Checksum,
    #[error("segment format {0} is unknown; a newer muster wrote it: use that version")]
    UnknownVersion(u16),
    #[error("the header is malformed")]
    Malformed,
}

/// Why a keyring does not open a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderKeyError {
    #[error("it is sealed under key-encryption key {id}, which this keyring does not hold")]
    UnknownKey { id: u32 },
    #[error("key-encryption key {id} of this keyring is not the one that sealed it")]
    WrongKey { id: u32 },
}

impl SegmentIdentity {
    pub(super) fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(self.cluster.as_bytes());
        bytes[16..24].copy_from_slice(&self.node.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.segment.to_le_bytes());
        bytes[32..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }
}

impl SegmentHeader {
    /// The header's bytes, sealed under `key` (whose id must be the header's), and the cipher for its frames.
    #[must_use]
    pub fn seal(&self, key: &KeyEncryptionKey) -> ([u8; HEADER_BYTES], SegmentCipher) {
        debug_assert_eq!(key.id(), self.key_id, "a header names the key that seals it");
        let mut bytes = self.plain_bytes();
        let aead = self.derive(key);
        seal_header(&aead, &mut bytes);
        (bytes, SegmentCipher { identity: self.identity, aead })
    }

    fn derive(&self, key: &KeyEncryptionKey) -> Aes256Gcm {
        key.derive(&self.salt, &[KEY_LABEL, &self.identity.bytes()])
    }

    fn plain_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.salt);
        bytes[48..88].copy_from_slice(&self.identity.bytes());
        bytes[88..96].copy_from_slice(&self.previous_length.to_le_bytes());
        let Standing { vote, last, committed, floor } = self.standing;
        let vote = vote.map(|v| (1 + u8::from(v.committed), v.term, v.node));
        let position = |at: Option<LogPosition>| at.map(|at| (1, at.term, at.index));
        bytes[96..113].copy_from_slice(&flagged(vote));
        bytes[113..130].copy_from_slice(&flagged(position(last)));
        bytes[130..147].copy_from_slice(&flagged(position(committed)));
        bytes[147..164].copy_from_slice(&flagged(position(floor)));
        bytes[164..172].copy_from_slice(&self.birth.to_le_bytes());
        bytes
    }
}

impl SealedHeader {
    /// Reads the header at the beginning of a file.
    pub fn parse(file: &[u8]) -> Result<SealedHeader, HeaderError> {
        let bytes: [u8; HEADER_BYTES] = *file.first_chunk().ok_or(HeaderError::Short)?;
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if !is_intact(&bytes) {
            return Err(HeaderError::Checksum);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        let header = parse_plain(&bytes).ok_or(HeaderError::Malformed)?;
        Ok(SealedHeader { header, bytes })
    }

    /// What the header claims; to be believed once [`SealedHeader::unlock`] succeeded.
    #[must_use]
    pub fn claims(&self) -> &SegmentHeader {
        &self.header
    }

    /// Finds the key that sealed this header.
    pub fn unlock(self, keys: &SegmentKeys) -> Result<(SegmentHeader, SegmentCipher), HeaderKeyError> {
        let id = self.header.key_id;
        let key = keys.find(id).ok_or(HeaderKeyError::UnknownKey { id })?;
        let aead = self.header.derive(key);
        if !is_genuine(&aead, &self.bytes) {
            return Err(HeaderKeyError::WrongKey { id });
        }
        let cipher = SegmentCipher { identity: self.header.identity, aead };
        Ok((self.header, cipher))
    }
}

impl SegmentCipher {
    #[must_use]
    pub fn identity(&self) -> &SegmentIdentity {
        &self.identity
    }
}

impl std::fmt::Debug for SegmentCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentCipher({:?})", self.identity)
    }
}

fn flagged(value: Option<(u8, u64, u64)>) -> [u8; 17] {
    let mut bytes = [0; 17];
    if let Some((flag, first, second)) = value {
        bytes[0] = flag;
        bytes[1..9].copy_from_slice(&first.to_le_bytes());
        bytes[9..].copy_from_slice(&second.to_le_bytes());
    }
    bytes
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

fn parse_plain(bytes: &[u8; HEADER_BYTES]) -> Option<SegmentHeader> {
    if bytes[10..12] != [0; 2] {
        return None;
    }
    let identity = SegmentIdentity {
        cluster: ClusterId::from_bytes(*bytes[48..].first_chunk()?),
        node: u64_at(bytes, 64)?,
        segment: u64_at(bytes, 72)?,
        generation: u64_at(bytes, 80)?,
    };
    let vote = match bytes[96] {
        0 => None,
        flag @ (1 | 2) => {
            Some(VoteRecord { term: u64_at(bytes, 97)?, node: u64_at(bytes, 105)?, committed: flag == 2 })
        }
        _ => return None,
    };
    let position = |at: usize| match bytes[at] {
        0 => Some(None),
        1 => Some(Some(LogPosition { term: u64_at(bytes, at + 1)?, index: u64_at(bytes, at + 9)? })),
        _ => None,
    };
    let standing = Standing { vote, last: position(113)?, committed: position(130)?, floor: position(147)? };
    Some(SegmentHeader {
        identity,
        key_id: u32::from_le_bytes(*bytes[12..].first_chunk()?),
        salt: *bytes[16..].first_chunk()?,
        previous_length: u64_at(bytes, 88)?,
        standing,
        birth: u64_at(bytes, 164)?,
    })
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;

    pub(crate) fn key() -> KeyEncryptionKey {
        KeyEncryptionKey::new(5, [0x11; 32])
    }

    pub(crate) fn header() -> SegmentHeader {
        SegmentHeader {
            identity: SegmentIdentity {
                cluster: ClusterId::from_bytes([0x22; 16]),
                node: 3,
                segment: 2,
                generation: 4,
            },
            key_id: 5,
            salt: [0x33; 32],
            previous_length: 777,
            standing: Standing {
                vote: Some(VoteRecord { term: 6, node: 3, committed: true }),
                last: Some(LogPosition { term: 6, index: 90 }),
                committed: Some(LogPosition { term: 5, index: 80 }),
                floor: None,
            },
            birth: 0x4242,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::strategies::position;
    use proptest::prelude::*;

    fn keys() -> SegmentKeys {
        SegmentKeys::new(vec![KeyEncryptionKey::new(8, [0x44; 32]), fixtures::key()]).unwrap()
    }

    fn opened(bytes: &[u8]) -> SegmentHeader {
        SealedHeader::parse(bytes).unwrap().unlock(&keys()).unwrap().0
    }

    proptest! {
        #[test]
        fn every_header_survives_its_bytes(
            segment: u64, generation: u64, previous_length: u64, salt: [u8; 32], birth: u64,
            vote in prop::option::of((any::<u64>(), any::<u64>(), any::<bool>())),
            last in prop::option::of(position()), committed in prop::option::of(position()),
            floor in prop::option::of(position()),
        ) {
            let mut header = fixtures::header();
            header.identity.segment = segment;
            header.identity.generation = generation;
            header.previous_length = previous_length;
            header.salt = salt;
            header.birth = birth;
            let vote = vote.map(|(term, node, committed)| VoteRecord { term, node, committed });
            header.standing = Standing { vote, last, committed, floor };
            let (bytes, _) = header.seal(&fixtures::key());
            prop_assert_eq!(opened(&bytes), header);
        }

        #[test]
        fn every_flipped_bit_is_noticed(position in 0..HEADER_BYTES, bit in 0u8..8) {
            let (mut bytes, _) = fixtures::header().seal(&fixtures::key());
            bytes[position] ^= 1 << bit;
            prop_assert!(SealedHeader::parse(&bytes).is_err());
        }
    }

    #[test]
    fn a_forged_header_with_a_right_checksum_does_not_unlock() {
        let (mut bytes, _) = fixtures::header().seal(&fixtures::key());
        bytes[88] ^= 1;
        let checksum = crc32c::crc32c(&bytes[..188]);
        bytes[188..].copy_from_slice(&checksum.to_le_bytes());
        let refused = SealedHeader::parse(&bytes).unwrap().unlock(&keys()).unwrap_err();
        assert_eq!(refused, HeaderKeyError::WrongKey { id: 5 });
    }

    #[test]
    fn a_keyring_without_the_key_or_with_another_one_is_told_apart() {
        let (bytes, _) = fixtures::header().seal(&fixtures::key());
        let unlock = |id| {
            let keys = SegmentKeys::new(vec![KeyEncryptionKey::new(id, [0x55; 32])]).unwrap();
            SealedHeader::parse(&bytes).unwrap().unlock(&keys).unwrap_err()
        };
        assert_eq!(unlock(6), HeaderKeyError::UnknownKey { id: 5 });
        assert_eq!(unlock(5), HeaderKeyError::WrongKey { id: 5 });
    }

    #[test]
    fn a_short_file_and_a_newer_version_are_told_apart() {
        let (mut bytes, _) = fixtures::header().seal(&fixtures::key());
        assert_eq!(SealedHeader::parse(&bytes[..191]).err(), Some(HeaderError::Short));
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..188]);
        bytes[188..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SealedHeader::parse(&bytes).err(), Some(HeaderError::UnknownVersion(2)));
    }
}
