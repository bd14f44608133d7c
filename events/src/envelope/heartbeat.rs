//! The heartbeat: up header 40 │ sealed body, 27 bytes or more │ tag 16.
//!
//! The nonce is the sequence (8 zero bytes ‖ u32 LE), under a key of this device, epoch and direction; the header is
//! the associated data. An agent never seals two different bodies under one sequence (protocol.md rule 8).
//!
//! ```text
//! body 1  number u32 │ uptime, seconds u32 │ firmware u32 │ condition u8 │ obeyed: generation u32, index u64, ordinal u16
//! body 2  body 1 │ 2 │ n u8, 1 to 32 │ n × (boot count u32 │ number u32 │ uptime u32 │ firmware u32 │ made u64 │ condition u8)
//! ```
//!
//! Body 2 is what a heartbeat brings along from a spool. Without a spool there is one form only: body 1.

use super::EnvelopeError;
use super::cipher::TAG_BYTES;
use super::header::{Header, MessageKind};
use super::reader::Reader;
use super::session::SessionKeys;
use crate::ids::{DeviceId, Epoch, LogIndex, Sequence};
use crate::limits::SPOOLED_BODIES_MAX;
use crate::time::Timestamp;
use crate::vocabulary::heartbeat::{HeartbeatBody, SpooledBody};
use crate::vocabulary::shared::DirectiveId;
use sha2::{Digest, Sha384};

pub const BODY_BYTES: usize = 27;
/// A heartbeat that brings nothing from a spool.
pub const HEARTBEAT_BYTES: usize = Header::BYTES + BODY_BYTES + TAG_BYTES;
/// One body of a spool within a heartbeat.
pub const SPOOLED_BODY_BYTES: usize = 25;

/// What the longest heartbeat says, opened.
const PLAIN_BYTES_MAX: usize = heartbeat_bytes(SPOOLED_BODIES_MAX) - Header::BYTES - TAG_BYTES;

/// The body that brings others along.
const BODY_WITH_SPOOL: u8 = 2;

/// A heartbeat that brings `spooled` bodies along.
#[must_use]
pub const fn heartbeat_bytes(spooled: usize) -> usize {
    if spooled == 0 { HEARTBEAT_BYTES } else { HEARTBEAT_BYTES + 2 + spooled * SPOOLED_BODY_BYTES }
}

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
        self.seal_heartbeat_with_spool(head, body, &[])
    }

    /// Seals a heartbeat that brings bodies from the spool along: the first [`SPOOLED_BODIES_MAX`] of `spooled`.
    #[must_use]
    pub fn seal_heartbeat_with_spool(
        &self,
        head: &HeartbeatHead,
        body: &HeartbeatBody,
        spooled: &[SpooledBody],
    ) -> Vec<u8> {
        let spooled = spooled.get(..SPOOLED_BODIES_MAX).unwrap_or(spooled);
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
        let mut message = Vec::with_capacity(heartbeat_bytes(spooled.len()));
        message.extend_from_slice(&header);
        encode_body(body, &mut message);
        encode_spooled(spooled, &mut message);
        self.up.seal(&nonce(head.sequence), &[&header], &mut message, Header::BYTES);
        message
    }

    /// Opens a heartbeat whose header named this session's device and epoch; and what it brings from a spool.
    pub fn open_heartbeat(
        &self,
        message: &[u8],
    ) -> Result<(Header, HeartbeatBody, Vec<SpooledBody>), EnvelopeError> {
        let header = Header::parse(message, MessageKind::Heartbeat)?;
        if !is_length_of_heartbeat(message.len()) {
            return Err(EnvelopeError::Malformed);
        }
        if header.suite != self.suite as u8 {
            return Err(EnvelopeError::NotAuthentic);
        }
        let (aad, sealed) = message.split_at(Header::BYTES);
        // On the stack: a node opens each heartbeat of the fleet, and forged ones too.
        let mut room = [0; PLAIN_BYTES_MAX];
        let body = self.up.open_into(&nonce(header.sequence), &[aad], sealed, &mut room)?;
        let (body, rest) = body.split_at_checked(BODY_BYTES).ok_or(EnvelopeError::Malformed)?;
        Ok((header, parse_body(body)?, parse_spooled(rest)?))
    }
}

/// Checked before anything is opened, so that no other length costs more than this.
fn is_length_of_heartbeat(bytes: usize) -> bool {
    (0..=SPOOLED_BODIES_MAX).any(|spooled| heartbeat_bytes(spooled) == bytes)
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

fn encode_spooled(spooled: &[SpooledBody], message: &mut Vec<u8>) {
    if spooled.is_empty() {
        return;
    }
    message.push(BODY_WITH_SPOOL);
    message.push(u8::try_from(spooled.len()).unwrap_or(u8::MAX));
    for body in spooled {
        message.extend_from_slice(&body.boot_count.to_le_bytes());
        message.extend_from_slice(&body.number.to_le_bytes());
        message.extend_from_slice(&body.uptime_seconds.to_le_bytes());
        message.extend_from_slice(&body.firmware.to_le_bytes());
        message.extend_from_slice(&body.made.as_millis().to_le_bytes());
        message.push(body.condition);
    }
}

fn parse_spooled(bytes: &[u8]) -> Result<Vec<SpooledBody>, EnvelopeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let (version, count) = (reader.u8()?, usize::from(reader.u8()?));
    if version != BODY_WITH_SPOOL || !(1..=SPOOLED_BODIES_MAX).contains(&count) {
        return Err(EnvelopeError::Malformed);
    }
    let mut spooled = Vec::with_capacity(count);
    for _ in 0..count {
        spooled.push(SpooledBody {
            boot_count: reader.u32()?,
            number: reader.u32()?,
            uptime_seconds: reader.u32()?,
            firmware: reader.u32()?,
            made: Timestamp::from_millis(reader.u64()?),
            condition: reader.u8()?,
        });
    }
    reader.end()?;
    Ok(spooled)
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
            let (header, opened, spooled) = keys(suite).open_heartbeat(&message).unwrap();
            assert_eq!((header.sequence, header.acked, header.seen), (3, 2, 99));
            assert_eq!((opened, spooled), (body, vec![]));
        }
    }

    fn spooled(number: u32) -> SpooledBody {
        SpooledBody {
            boot_count: 5,
            number,
            uptime_seconds: 60 * number,
            firmware: 9,
            made: Timestamp::from_millis(1_790_000_000_000),
            condition: 2,
        }
    }

    /// Seals any plain text as the body of a heartbeat.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let keys = keys(Suite::Aes256Gcm);
        let mut message = keys.seal_heartbeat(&head(3), &HeartbeatBody::default())[..Header::BYTES].to_vec();
        let header = message.clone();
        message.extend_from_slice(body);
        keys.up.seal(&nonce(3), &[&header], &mut message, Header::BYTES);
        message
    }

    #[test]
    fn a_heartbeat_brings_as_many_spooled_bodies_as_fit_and_no_more() {
        let bodies: Vec<SpooledBody> = (1..=40).map(spooled).collect();
        for count in [1, 2, SPOOLED_BODIES_MAX] {
            let message = keys(Suite::Aes256Gcm).seal_heartbeat_with_spool(
                &head(3),
                &HeartbeatBody::default(),
                &bodies[..count],
            );
            assert_eq!(message.len(), heartbeat_bytes(count));
            assert_eq!(keys(Suite::Aes256Gcm).open_heartbeat(&message).unwrap().2, bodies[..count]);
        }
        let all =
            keys(Suite::Aes256Gcm).seal_heartbeat_with_spool(&head(3), &HeartbeatBody::default(), &bodies);
        assert_eq!(all.len(), 885);
    }

    #[test]
    fn a_body_that_brings_a_spool_has_one_form() {
        let mut plain = Vec::new();
        encode_body(&HeartbeatBody::default(), &mut plain);
        let with = |version: u8, count: u8, bodies: usize| {
            let mut body = plain.clone();
            body.extend_from_slice(&[version, count]);
            body.resize(body.len() + bodies * SPOOLED_BODY_BYTES, 0);
            keys(Suite::Aes256Gcm).open_heartbeat(&sealed(&body)).map(|opened| opened.2.len())
        };
        assert_eq!(with(2, 1, 1), Ok(1));
        assert_eq!(with(2, 32, 32), Ok(32));
        for (version, count, bodies) in
            [(2, 0, 0), (2, 0, 1), (2, 2, 1), (2, 1, 2), (1, 1, 1), (3, 1, 1), (2, 33, 33)]
        {
            let refused = with(version, count, bodies);
            assert_eq!(refused, Err(EnvelopeError::Malformed), "{version} {count} {bodies}");
        }
    }

    #[test]
    fn every_changed_bit_of_a_heartbeat_is_refused() {
        let message = keys(Suite::Aes256Gcm).seal_heartbeat_with_spool(
            &head(3),
            &HeartbeatBody::default(),
            &[spooled(1), spooled(2)],
        );
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
        fn every_spool_survives_its_seal(
            raw in proptest::collection::vec(any::<(u32, u32, u32, u32, u64, u8)>(), 0..=SPOOLED_BODIES_MAX),
        ) {
            let bodies: Vec<SpooledBody> = raw
                .into_iter()
                .map(|(boot_count, number, uptime_seconds, firmware, made, condition)| SpooledBody {
                    boot_count,
                    number,
                    uptime_seconds,
                    firmware,
                    made: Timestamp::from_millis(made),
                    condition,
                })
                .collect();
            let body = HeartbeatBody::default();
            let message = keys(Suite::Aes256Gcm).seal_heartbeat_with_spool(&head(1), &body, &bodies);
            prop_assert_eq!(keys(Suite::Aes256Gcm).open_heartbeat(&message).unwrap().2, bodies);
        }

        #[test]
        fn no_sealed_bytes_panic_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..900)) {
            let _ = keys(Suite::Aes256Gcm).open_heartbeat(&sealed(&bytes));
            let _ = parse_spooled(&bytes);
        }

        #[test]
        fn no_bytes_panic_the_opener(bytes: Vec<u8>) {
            let _ = keys(Suite::Aes256Gcm).open_heartbeat(&bytes);
        }
    }
}
