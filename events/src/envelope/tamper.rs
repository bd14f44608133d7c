//! A boot check that ended `Restricted`, reported by a terminal that may have no key of its own.
//!
//! ```text
//! up header 40 (device field: lot 4 │ zero 12) │ record 16 │ reason u8 │ mismatched u16 │ random 16 │ mac 32
//! ```
//!
//! The mac is the first 32 bytes of HMAC-SHA384 under the lot's tamper key: symmetric and weak, which is why it
//! raises `tamper` on record, lot and source only (protocol.md rule 25).

use super::EnvelopeError;
use super::header::{Header, MessageKind};
use super::reader::Reader;
use crate::identity::lot::TamperKey;
use crate::ids::{DeviceId, LotId, RecordDigest};
use crate::keyring::hmac_sha384_mac;
use crate::vocabulary::rejection::TamperReason;
use hmac::Mac;

pub const TAMPER_BYTES: usize = Header::BYTES + 16 + 1 + 2 + 16 + 32;
const MAC_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TamperReport {
    pub lot: LotId,
    pub record: RecordDigest,
    pub reason: TamperReason,
    /// Bit `n` set: the component of `ComponentKind` number `n` differs.
    pub mismatched: u16,
    /// Fresh per report; a retry sends the same bytes.
    pub random: [u8; 16],
}

impl TamperReport {
    #[must_use]
    pub fn seal(&self, key: &TamperKey) -> Vec<u8> {
        let mut device = [0; 16];
        device[..4].copy_from_slice(self.lot.as_bytes());
        let header = Header::new(MessageKind::Tamper, DeviceId::from_bytes(device));
        let mut message = Vec::with_capacity(TAMPER_BYTES);
        message.extend_from_slice(&header.encode());
        message.extend_from_slice(self.record.as_bytes());
        message.push(self.reason as u8);
        message.extend_from_slice(&self.mismatched.to_le_bytes());
        message.extend_from_slice(&self.random);
        let mac = mac(key, &message).finalize().into_bytes();
        message.extend_from_slice(&mac[..MAC_BYTES]);
        message
    }

    /// Reads a report without checking it: the lot says which key must.
    pub fn parse(message: &[u8]) -> Result<Self, EnvelopeError> {
        let header = Header::parse(message, MessageKind::Tamper)?;
        let mut reader = Reader::new(message);
        reader.slice(Header::BYTES)?;
        let [a, b, c, d, rest @ ..] = *header.device.as_bytes();
        let report = TamperReport {
            lot: LotId::from_bytes([a, b, c, d]),
            record: RecordDigest::from_bytes(reader.array()?),
            reason: TamperReason::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?,
            mismatched: reader.u16()?,
            random: reader.array()?,
        };
        reader.slice(MAC_BYTES)?;
        reader.end()?;
        if rest != [0; 12] { Err(EnvelopeError::Malformed) } else { Ok(report) }
    }

    /// Parses and checks the mac.
    pub fn verify(message: &[u8], key: &TamperKey) -> Result<Self, EnvelopeError> {
        let report = TamperReport::parse(message)?;
        let (signed, tag) = message.split_at(TAMPER_BYTES - MAC_BYTES);
        mac(key, signed).verify_truncated_left(tag).map_err(|_| EnvelopeError::NotAuthentic)?;
        Ok(report)
    }
}

fn mac(key: &TamperKey, signed: &[u8]) -> hmac::Hmac<sha2::Sha384> {
    hmac_sha384_mac(key.as_bytes(), &[b"muster v1 tamper report", signed])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> TamperKey {
        TamperKey::from_bytes([byte; 32])
    }

    proptest! {
        #[test]
        fn rule_25_a_report_verifies_only_under_its_lots_key(
            lot: [u8; 4], record: [u8; 16], reason in 1u8..=4, mismatched: u16, random: [u8; 16], bit: prop::sample::Index,
        ) {
            let report = TamperReport {
                lot: LotId::from_bytes(lot),
                record: RecordDigest::from_bytes(record),
                reason: TamperReason::from_number(reason).unwrap(),
                mismatched,
                random,
            };
            let message = report.seal(&key(1));
            prop_assert_eq!(message.len(), TAMPER_BYTES);
            prop_assert_eq!(TamperReport::verify(&message, &key(1)), Ok(report));
            prop_assert_eq!(TamperReport::verify(&message, &key(2)), Err(EnvelopeError::NotAuthentic));
            let mut changed = message.clone();
            let bit = bit.index(message.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(TamperReport::verify(&changed, &key(1)).is_err());
        }

        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = TamperReport::verify(&bytes, &key(1));
        }
    }
}
