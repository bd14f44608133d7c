//! How a file's header proves itself: its last 20 bytes are a tag and a checksum.
//!
//! ```text
//!   …    what the header says
//!   tag       16   AES-256-GCM of nothing under the file's key, nonce 12 × 0xff, associated data = all before it
//!   checksum   4   CRC-32C of all before it
//! ```
//!
//! The checksum tells a damaged header from a wrong key; the tag tells a wrong key before anything else is opened. No
//! other seal under a file's key uses that nonce: their nonces begin with zero bytes.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, Nonce, Tag};

/// Bytes at the end of a header that are tag and checksum.
pub(super) const PROOF_BYTES: usize = 20;

const CHECKSUM_BYTES: usize = 4;
const HEADER_NONCE: [u8; 12] = [0xff; 12];

/// Fills in tag and checksum.
pub(super) fn seal_header(aead: &Aes256Gcm, header: &mut [u8]) {
    let (said, proof) = header.split_at_mut(header.len() - PROOF_BYTES);
    let nonce = Nonce::<Aes256Gcm>::from(HEADER_NONCE);
    #[allow(clippy::expect_used, reason = "GCM seals any message below 64 GiB")]
    let tag = aead
        .encrypt_inout_detached(&nonce, said, [0u8; 0].as_mut_slice().into())
        .expect("an empty message is sealed");
    proof[..PROOF_BYTES - CHECKSUM_BYTES].copy_from_slice(&tag);
    let checksum = checksum(header);
    let at = header.len() - CHECKSUM_BYTES;
    header[at..].copy_from_slice(&checksum);
}

/// Whether the checksum matches.
pub(super) fn is_intact(header: &[u8]) -> bool {
    header[header.len() - CHECKSUM_BYTES..] == checksum(header)
}

/// Whether the tag was made under this key.
pub(super) fn is_genuine(aead: &Aes256Gcm, header: &[u8]) -> bool {
    let (said, proof) = header.split_at(header.len() - PROOF_BYTES);
    let Ok(tag) = Tag::<Aes256Gcm>::try_from(&proof[..PROOF_BYTES - CHECKSUM_BYTES]) else { return false };
    let nonce = Nonce::<Aes256Gcm>::from(HEADER_NONCE);
    aead.decrypt_inout_detached(&nonce, said, [0u8; 0].as_mut_slice().into(), &tag).is_ok()
}

fn checksum(header: &[u8]) -> [u8; CHECKSUM_BYTES] {
    crc32c::crc32c(&header[..header.len() - CHECKSUM_BYTES]).to_le_bytes()
}
