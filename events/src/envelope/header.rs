//! The 40 bytes that open every message of a device, and the 22 that open every sealed answer.
//!
//! ```text
//! up    version u8 │ kind u8 │ suite u8 │ flags u8 │ device 16 │ epoch u32 │ sequence u32 │ acked u32 │ seen u64
//! down  version u8 │ kind u8 │ log index u64 │ nonce 12
//! ```

use super::EnvelopeError;
use super::reader::Reader;
use crate::ids::{DeviceId, Epoch, LogIndex, Sequence};
use crate::vocabulary::shared::{Suite, plain_enum};

pub const PROTOCOL_VERSION: u8 = 1;

plain_enum! {
    /// What a message is.
    MessageKind {
        Hello = 1 => "hello",
        Ticket = 2 => "ticket",
        Activation = 3 => "activation",
        ActivationAnswer = 4 => "activation-answer",
        Resume = 5 => "resume",
        ResumeAnswer = 6 => "resume-answer",
        Heartbeat = 7 => "heartbeat",
        Verdict = 8 => "verdict",
        Tamper = 9 => "tamper",
        Refusal = 10 => "refusal",
        Update = 11 => "update",
        UpdateAnswer = 12 => "update-answer",
    }
}

/// The suites that a device offers: bit `n` set offers the suite of number `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SuiteSet(u8);

impl SuiteSet {
    pub const ALL: SuiteSet = SuiteSet(1 << Suite::Aes256Gcm as u8 | 1 << Suite::ChaCha20Poly1305 as u8);

    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        SuiteSet(bits)
    }

    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    #[must_use]
    pub fn of(suites: &[Suite]) -> Self {
        SuiteSet(suites.iter().fold(0, |bits, &suite| bits | 1 << suite as u8))
    }

    #[must_use]
    pub const fn contains(self, suite: Suite) -> bool {
        self.0 & (1 << suite as u8) != 0
    }

    /// The server's choice: the first of `allowed`, in its order of preference, that is offered.
    pub fn choose(self, allowed: &[Suite]) -> Result<Suite, EnvelopeError> {
        allowed.iter().copied().find(|&suite| self.contains(suite)).ok_or(EnvelopeError::Downgrade)
    }
}

/// What a device says in the clear, bound to the sealed rest as associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: MessageKind,
    /// Heartbeat: the session's suite. Activation and resume: the suites offered. Else zero.
    pub suite: u8,
    pub device: DeviceId,
    /// Heartbeat: the session's epoch. Resume: the epoch resumed from. Else zero.
    pub epoch: Epoch,
    pub sequence: Sequence,
    /// Every sequence up to this one was answered.
    pub acked: Sequence,
    /// Log index of the last verdict that verified.
    pub seen: LogIndex,
}

impl Header {
    pub const BYTES: usize = 40;

    #[must_use]
    pub const fn new(kind: MessageKind, device: DeviceId) -> Self {
        Header { kind, suite: 0, device, epoch: 0, sequence: 0, acked: 0, seen: 0 }
    }

    #[must_use]
    pub fn encode(&self) -> [u8; Header::BYTES] {
        let mut bytes = [0; Header::BYTES];
        bytes[0] = PROTOCOL_VERSION;
        bytes[1] = self.kind as u8;
        bytes[2] = self.suite;
        bytes[4..20].copy_from_slice(self.device.as_bytes());
        bytes[20..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.acked.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.seen.to_le_bytes());
        bytes
    }

    /// Reads the header of `message`, which must be of `kind`; flags must be zero in this version.
    pub fn parse(message: &[u8], kind: MessageKind) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(message);
        let fixed = (reader.u8()?, reader.u8()?);
        let suite = reader.u8()?;
        if fixed != (PROTOCOL_VERSION, kind as u8) || reader.u8()? != 0 {
            return Err(EnvelopeError::Malformed);
        }
        Ok(Header {
            kind,
            suite,
            device: DeviceId::from_bytes(reader.array()?),
            epoch: reader.u32()?,
            sequence: reader.u32()?,
            acked: reader.u32()?,
            seen: reader.u64()?,
        })
    }
}

/// What opens a sealed answer. The nonce is random: two nodes may answer one request with different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownHeader {
    pub kind: MessageKind,
    /// The log index that the answer speaks of; of two answers the newer index counts.
    pub index: LogIndex,
    pub nonce: [u8; 12],
}

impl DownHeader {
    pub const BYTES: usize = 22;

    #[must_use]
    pub fn encode(&self) -> [u8; DownHeader::BYTES] {
        let mut bytes = [0; DownHeader::BYTES];
        bytes[0] = PROTOCOL_VERSION;
        bytes[1] = self.kind as u8;
        bytes[2..10].copy_from_slice(&self.index.to_le_bytes());
        bytes[10..22].copy_from_slice(&self.nonce);
        bytes
    }

    pub fn parse(message: &[u8], kind: MessageKind) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(message);
        if (reader.u8()?, reader.u8()?) != (PROTOCOL_VERSION, kind as u8) {
            return Err(EnvelopeError::Malformed);
        }
        Ok(DownHeader { kind, index: reader.u64()?, nonce: reader.array()? })
    }
}

/// The kind of any message, up or down, if it is one of this version.
pub fn message_kind(message: &[u8]) -> Result<MessageKind, EnvelopeError> {
    match message {
        [PROTOCOL_VERSION, kind, ..] => MessageKind::from_number(*kind).ok_or(EnvelopeError::Malformed),
        _ => Err(EnvelopeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_header_survives_its_bytes(
            suite: u8, device: [u8; 16], epoch: u32, sequence: u32, acked: u32, seen: u64,
        ) {
            let device = DeviceId::from_bytes(device);
            let header = Header { kind: MessageKind::Heartbeat, suite, device, epoch, sequence, acked, seen };
            prop_assert_eq!(Header::parse(&header.encode(), MessageKind::Heartbeat), Ok(header));
        }

        #[test]
        fn no_bytes_panic_the_parsers(bytes: Vec<u8>) {
            for &kind in MessageKind::ALL {
                let _ = Header::parse(&bytes, kind);
                let _ = DownHeader::parse(&bytes, kind);
            }
            let _ = message_kind(&bytes);
        }
    }

    #[test]
    fn another_version_kind_or_flag_is_malformed() {
        let header = Header::new(MessageKind::Hello, DeviceId::from_bytes([1; 16]));
        for (at, value) in [(0, 2), (1, 7), (3, 1)] {
            let mut bytes = header.encode();
            bytes[at] = value;
            assert_eq!(Header::parse(&bytes, MessageKind::Hello), Err(EnvelopeError::Malformed));
        }
    }

    #[test]
    fn the_server_chooses_the_suite_and_refuses_a_downgrade() {
        let both = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        assert_eq!(SuiteSet::ALL.choose(&both), Ok(Suite::Aes256Gcm));
        let chacha = SuiteSet::of(&[Suite::ChaCha20Poly1305]);
        assert_eq!(chacha.choose(&both), Ok(Suite::ChaCha20Poly1305));
        assert_eq!(chacha.choose(&[Suite::Aes256Gcm]), Err(EnvelopeError::Downgrade));
        assert_eq!(SuiteSet::from_bits(0).choose(&both), Err(EnvelopeError::Downgrade));
    }
}
