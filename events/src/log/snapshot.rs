//! A snapshot file: header, then meta ‖ state in sealed parts.
//!
//! ```text
//!   0  magic           8   "MUSTRSNP"
//!   8  version         2   1
//!  10  (zero)          2
//!  12  key id          4   of the key-encryption key
//!  16  salt           32   fresh random for each snapshot
//!  48  cluster        16
//!  64  node            8
//!  72  index           8   the last log index that the state contains
//!  80  meta length     8
//!  88  state length    8
//!  96  tag, checksum  20   (header.rs)
//! 116  parts               each PART_BYTES of meta ‖ state (the last one shorter) ‖ tag 16
//! ```
//!
//! Snapshot key = HKDF-SHA384(salt, key-encryption key, "muster snapshot v1" ‖ cluster ‖ node ‖ index). A part's nonce is
//! its number, its associated data the header's first 96 bytes; so parts cannot be swapped, cut off or mixed.

use super::header::{PROOF_BYTES, is_genuine, is_intact, seal_header};
use super::keys::{KeyEncryptionKey, SALT_BYTES, SegmentKeys};
use super::segment::{HeaderError, HeaderKeyError};
use crate::ids::{ClusterId, LogIndex, NodeId};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};

/// Bytes of a snapshot's header.
pub const SNAPSHOT_HEADER_BYTES: usize = SAID_BYTES + PROOF_BYTES;
/// Bytes of content in a part.
pub const PART_BYTES: usize = 1024 * 1024;
/// Bytes of a part beside its content.
pub const PART_OVERHEAD_BYTES: usize = 16;

const SAID_BYTES: usize = 96;
const MAGIC: &[u8; 8] = b"MUSTRSNP";
const VERSION: u16 = 1;
const KEY_LABEL: &[u8] = b"muster snapshot v1";

/// All that a snapshot's header says. Lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub index: LogIndex,
    pub key_id: u32,
    pub salt: [u8; SALT_BYTES],
    pub meta_length: u64,
    pub state_length: u64,
}

/// A header whose checksum held; whether it is genuine, only the key can tell.
pub struct SealedSnapshotHeader {
    header: SnapshotHeader,
    bytes: [u8; SNAPSHOT_HEADER_BYTES],
}

/// Seals and opens the parts of one snapshot.
pub struct SnapshotCipher {
    aead: Aes256Gcm,
    said: [u8; SAID_BYTES],
}

/// A part that was changed, cut, or belongs elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the snapshot was changed or cut")]
pub struct PartError;

impl SnapshotHeader {
    /// The header's bytes, sealed under `key` (whose id must be the header's), and the cipher for the parts.
    #[must_use]
    pub fn seal(&self, key: &KeyEncryptionKey) -> ([u8; SNAPSHOT_HEADER_BYTES], SnapshotCipher) {
        debug_assert_eq!(key.id(), self.key_id, "a header names the key that seals it");
        let mut bytes = [0; SNAPSHOT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.salt);
        bytes[48..64].copy_from_slice(self.cluster.as_bytes());
        bytes[64..72].copy_from_slice(&self.node.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.index.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.meta_length.to_le_bytes());
        bytes[88..96].copy_from_slice(&self.state_length.to_le_bytes());
        let aead = self.derive(key);
        seal_header(&aead, &mut bytes);
        let cipher = SnapshotCipher { aead, said: said(&bytes) };
        (bytes, cipher)
    }

    fn derive(&self, key: &KeyEncryptionKey) -> Aes256Gcm {
        let (node, index) = (self.node.to_le_bytes(), self.index.to_le_bytes());
        key.derive(&self.salt, &[KEY_LABEL, self.cluster.as_bytes(), &node, &index])
    }

    /// Bytes of the whole file; `None` if there are more than can be.
    #[must_use]
    pub fn file_length(&self) -> Option<u64> {
        let content = self.meta_length.checked_add(self.state_length)?;
        let overhead = content.div_ceil(PART_BYTES as u64).checked_mul(PART_OVERHEAD_BYTES as u64)?;
        content.checked_add(overhead)?.checked_add(SNAPSHOT_HEADER_BYTES as u64)
    }
}

impl SealedSnapshotHeader {
    /// Reads the header at the beginning of a file.
    pub fn parse(file: &[u8]) -> Result<SealedSnapshotHeader, HeaderError> {
        let bytes: [u8; SNAPSHOT_HEADER_BYTES] = *file.first_chunk().ok_or(HeaderError::Short)?;
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
        Ok(SealedSnapshotHeader { header, bytes })
    }

    /// What the header claims; to be believed once [`SealedSnapshotHeader::unlock`] succeeded.
    #[must_use]
    pub fn claims(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Finds the key that sealed this header.
    pub fn unlock(self, keys: &SegmentKeys) -> Result<(SnapshotHeader, SnapshotCipher), HeaderKeyError> {
        let id = self.header.key_id;
        let aead = self.header.derive(keys.find(id).ok_or(HeaderKeyError::UnknownKey { id })?);
        if !is_genuine(&aead, &self.bytes) {
            return Err(HeaderKeyError::WrongKey { id });
        }
        Ok((self.header, SnapshotCipher { aead, said: said(&self.bytes) }))
    }
}

impl SnapshotCipher {
    /// Seals part `number` in place: the tag is appended.
    pub fn seal_part(&self, number: u64, part: &mut Vec<u8>) {
        #[allow(clippy::expect_used, reason = "GCM seals any message below 64 GiB, and a part has 1 MiB")]
        let tag = self
            .aead
            .encrypt_inout_detached(&nonce(number), &self.said, part.as_mut_slice().into())
            .expect("a part is sealed");
        part.extend_from_slice(&tag);
    }

    /// Opens part `number` in place: the tag is taken away.
    pub fn open_part(&self, number: u64, part: &mut Vec<u8>) -> Result<(), PartError> {
        let length = part.len().checked_sub(PART_OVERHEAD_BYTES).ok_or(PartError)?;
        let tag = Tag::<Aes256Gcm>::try_from(&part[length..]).map_err(|_| PartError)?;
        part.truncate(length);
        self.aead
            .decrypt_inout_detached(&nonce(number), &self.said, part.as_mut_slice().into(), &tag)
            .map_err(|_| PartError)
    }
}

fn said(bytes: &[u8; SNAPSHOT_HEADER_BYTES]) -> [u8; SAID_BYTES] {
    let mut said = [0; SAID_BYTES];
    said.copy_from_slice(&bytes[..SAID_BYTES]);
    said
}

fn nonce(number: u64) -> Nonce<Aes256Gcm> {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn parse_plain(bytes: &[u8; SNAPSHOT_HEADER_BYTES]) -> Option<SnapshotHeader> {
    let number = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
    if bytes[10..12] != [0; 2] {
        return None;
    }
    Some(SnapshotHeader {
        cluster: ClusterId::from_bytes(*bytes[48..].first_chunk()?),
        node: number(64)?,
        index: number(72)?,
        key_id: u32::from_le_bytes(*bytes[12..].first_chunk()?),
        salt: *bytes[16..].first_chunk()?,
        meta_length: number(80)?,
        state_length: number(88)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> KeyEncryptionKey {
        KeyEncryptionKey::new(5, [0x11; 32])
    }

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            cluster: ClusterId::from_bytes([0x22; 16]),
            node: 3,
            index: 90,
            key_id: 5,
            salt: [0x33; 32],
            meta_length: 4,
            state_length: 5,
        }
    }

    fn unlock(bytes: &[u8]) -> (SnapshotHeader, SnapshotCipher) {
        let keys = SegmentKeys::new(vec![key()]).unwrap();
        SealedSnapshotHeader::parse(bytes).unwrap().unlock(&keys).unwrap()
    }

    proptest! {
        #[test]
        fn every_header_survives_its_bytes(index: u64, node: u64, meta_length: u64, state_length: u64, salt: [u8; 32]) {
            let header = SnapshotHeader { index, node, meta_length, state_length, salt, ..header() };
            prop_assert_eq!(unlock(&header.seal(&key()).0).0, header);
        }

        #[test]
        fn every_flipped_bit_of_a_header_is_noticed(at in 0..SNAPSHOT_HEADER_BYTES, bit in 0u8..8) {
            let (mut bytes, _) = header().seal(&key());
            bytes[at] ^= 1 << bit;
            prop_assert!(SealedSnapshotHeader::parse(&bytes).is_err());
        }

        #[test]
        fn every_part_survives_its_seal(content: Vec<u8>, number: u64) {
            let (bytes, cipher) = header().seal(&key());
            let mut part = content.clone();
            cipher.seal_part(number, &mut part);
            prop_assert_eq!(part.len(), content.len() + PART_OVERHEAD_BYTES);
            unlock(&bytes).1.open_part(number, &mut part).unwrap();
            prop_assert_eq!(part, content);
        }
    }

    #[test]
    fn a_part_opens_only_in_its_place_and_whole() {
        let (_, cipher) = header().seal(&key());
        let mut part = b"state".to_vec();
        cipher.seal_part(1, &mut part);
        assert_eq!(cipher.open_part(2, &mut part.clone()), Err(PartError));
        assert_eq!(cipher.open_part(1, &mut part[..part.len() - 1].to_vec()), Err(PartError));
        let (_, other) = SnapshotHeader { state_length: 6, ..header() }.seal(&key());
        assert_eq!(other.open_part(1, &mut part), Err(PartError));
    }

    #[test]
    fn the_format_of_a_snapshot_stays_what_it_was() {
        let (header, cipher) = header().seal(&key());
        let mut part = b"metastate".to_vec();
        cipher.seal_part(0, &mut part);
        let file = [header.as_slice(), &part].concat();
        assert_eq!(data_encoding::HEXLOWER.encode(&file), include_str!("golden_snapshot.hex").trim());
        assert_eq!(unlock(&file).0.file_length(), Some(file.len() as u64));
    }
}
