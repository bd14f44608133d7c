//! The heartbeat: up header 40 │ sealed body 27 │ tag 16.
//!
//! The nonce is the sequence (8 zero bytes ‖ u32 LE), under a key of this device, epoch and direction; the header is
//! the associated data. An agent never seals two different bodies under one sequence (protocol.md rule 8).
//!
//! ```text
//! body  number u32 │ uptime, seconds u32 │ firmware u32 │ condition u8 │ obeyed: generation u32, index u64, ordinal u16
//! ```

use super::EnvelopeError;
use super::cipher::TAG_BYTES;
use super::header::{Header, MessageKind};
use super::reader::Reader;
use super::session::SessionKeys;
use crate::ids::{DeviceId, Epoch, LogIndex, Sequence};
use crate::vocabulary::heartbeat::HeartbeatBody;
use crate::vocabulary::shared::DirectiveId;
use sha2::{Digest, Sha384};

pub const BODY_BYTES: usize = 27;
pub const HEARTBEAT_BYTES: usize = Header::BYTES + BODY_BYTES + TAG_BYTES;

/// SHA-384 of a whole request: what its answer is bound to, and what tells content from content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDigest([u8; 48]);

impl RequestDigest {
    #[must_use]
    pub fn of(request: &[u8]) -> Self {
        RequestDigest(Sha384::digest(request).into())
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// The 4 bytes that the fold keeps per heartbeat.
    #[must_use]
    pub const fn content(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

/// First 4 bytes of SHA-384 of the sealed message, as a little-endian number.
#[must_use]
pub fn content_digest(message: &[u8]) -> u32 {
    RequestDigest::of(message).content()
}

/// What the header of a heartbeat says beside its kind and suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatHead {
    pub device: DeviceId,
    pub epoch: Epoch,
    pub sequence: Sequence,
    pub acked: Sequence,
    pub seen: LogIndex,
}

impl SessionKeys {
    /// Seals one heartbeat. The caller never passes one (epoch, sequence) with two different bodies.
    #[must_use]
    pub fn seal_heartbeat(&self, head: &HeartbeatHead, body: &HeartbeatBody) -> Vec<u8> {
        let header = Header {
            kind: MessageKind::Heartbeat,
            suite: self.suite as u8,
            device: head.device,
            epoch: head.epoch,
            sequence: head.sequence,
            acked: head.acked,
            seen: head.seen,
        };
        let header = header.encode();
        let mut message = Vec::with_capacity(HEARTBEAT_BYTES);
        message.extend_from_slice(&header);
        encode_body(body, &mut message);
        self.up.seal(&nonce(head.sequence), &[&header], &mut message, Header::BYTES);
        message
    }

    /// Opens a heartbeat whose header named this session's device and epoch.
    pub fn open_heartbeat(&self, message: &[u8]) -> Result<(Header, HeartbeatBody), EnvelopeError> {
        let header = Header::parse(message, MessageKind::Heartbeat)?;
        if message.len() != HEARTBEAT_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        if header.suite != self.suite as u8 {
            return Err(EnvelopeError::NotAuthentic);
        }
        let (aad, sealed) = message.split_at(Header::BYTES);
        let body = self.up.open(&nonce(header.sequence), &[aad], sealed)?;
        Ok((header, parse_body(&body)?))
    }
}

fn nonce(sequence: Sequence) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&sequence.to_le_bytes());
    nonce
}

fn encode_body(body: &HeartbeatBody, message: &mut Vec<u8>) {
    message.extend_from_slice(&body.number.to_le_bytes());
    message.extend_from_slice(&body.uptime_seconds.to_le_bytes());
    message.extend_from_slice(&body.firmware.to_le_bytes());
    message.push(body.condition);
    message.extend_from_slice(&body.obeyed.generation.to_le_bytes());
    message.extend_from_slice(&body.obeyed.index.to_le_bytes());
    message.extend_from_slice(&body.obeyed.ordinal.to_le_bytes());
}

fn parse_body(bytes: &[u8]) -> Result<HeartbeatBody, EnvelopeError> {
    let mut reader = Reader::new(bytes);
    let body = HeartbeatBody {
        number: reader.u32()?,
        uptime_seconds: reader.u32()?,
        firmware: reader.u32()?,
        condition: reader.u8()?,
        obeyed: DirectiveId { generation: reader.u32()?, index: reader.u64()?, ordinal: reader.u16()? },
    };
    reader.end()?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::ResumptionSecret;
    use crate::vocabulary::shared::Suite;
    use proptest::prelude::*;

    fn device() -> DeviceId {
        DeviceId::from_bytes([4; 16])
    }

    fn keys(suite: Suite) -> SessionKeys {
        ResumptionSecret::from_bytes([1; 48]).session_keys(device(), 7, suite)
    }

    fn head(sequence: Sequence) -> HeartbeatHead {
        HeartbeatHead { device: device(), epoch: 7, sequence, acked: sequence - 1, seen: 99 }
    }

    #[test]
    fn a_heartbeat_opens_under_both_suites_and_has_one_length() {
        let body = HeartbeatBody { number: 3, uptime_seconds: 60, condition: 1, ..HeartbeatBody::default() };
        for &suite in Suite::ALL {
            let message = keys(suite).seal_heartbeat(&head(3), &body);
            assert_eq!(message.len(), HEARTBEAT_BYTES);
            let (header, opened) = keys(suite).open_heartbeat(&message).unwrap();
            assert_eq!((header.sequence, header.acked, header.seen), (3, 2, 99));
            assert_eq!(opened, body);
        }
    }

    #[test]
    fn every_changed_bit_of_a_heartbeat_is_refused() {
        let message = keys(Suite::Aes256Gcm).seal_heartbeat(&head(3), &HeartbeatBody::default());
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys(Suite::Aes256Gcm).open_heartbeat(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_heartbeat_of_another_epoch_or_direction_does_not_open() {
        let message = keys(Suite::Aes256Gcm).seal_heartbeat(&head(3), &HeartbeatBody::default());
        let other = ResumptionSecret::from_bytes([1; 48]).session_keys(device(), 8, Suite::Aes256Gcm);
        assert_eq!(other.open_heartbeat(&message), Err(EnvelopeError::NotAuthentic));
        let mut swapped = keys(Suite::Aes256Gcm);
        std::mem::swap(&mut swapped.up, &mut swapped.down);
        assert_eq!(swapped.open_heartbeat(&message), Err(EnvelopeError::NotAuthentic));
    }

    proptest! {
        #[test]
        fn every_body_survives_its_seal(
            number: u32, uptime_seconds: u32, firmware: u32, condition: u8, generation: u32, index: u64, ordinal: u16,
        ) {
            let obeyed = DirectiveId { generation, index, ordinal };
            let body = HeartbeatBody { number, uptime_seconds, firmware, condition, obeyed };
            let message = keys(Suite::ChaCha20Poly1305).seal_heartbeat(&head(1), &body);
            prop_assert_eq!(keys(Suite::ChaCha20Poly1305).open_heartbeat(&message).unwrap().1, body);
        }

        #[test]
        fn no_bytes_panic_the_opener(bytes: Vec<u8>) {
            let _ = keys(Suite::Aes256Gcm).open_heartbeat(&bytes);
        }
    }
}
