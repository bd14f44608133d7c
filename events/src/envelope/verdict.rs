//! The verdict: down header 22 │ sealed body 41 │ tag 16.
//!
//! Associated data is the down header and the digest of the request that it answers; of two verdicts the newer log
//! index counts (protocol.md rule 11).
//!
//! ```text
//! body  status u8 │ legitimacy u8 │ stamp u64 │ interval, ms u32 │ lease u32 │
//!       directive: generation u32, index u64, ordinal u16 │ operation u8 (0: none) │ expires u64
//! ```

use super::EnvelopeError;
use super::cipher::TAG_BYTES;
use super::header::{DownHeader, MessageKind};
use super::heartbeat::RequestDigest;
use super::reader::Reader;
use super::session::SessionKeys;
use crate::ids::LogIndex;
use crate::time::Timestamp;
use crate::vocabulary::shared::{DirectiveId, Legitimacy, OperationKind, plain_enum};

pub const BODY_BYTES: usize = 41;
pub const VERDICT_BYTES: usize = DownHeader::BYTES + BODY_BYTES + TAG_BYTES;

plain_enum! {
    /// What became of the heartbeat.
    HeartbeatStatus {
        /// On the disks of a majority.
        Committed = 1 => "committed",
        /// Was so already: these bytes were answered before.
        Retried = 2 => "retried",
        /// Opened, but its epoch was superseded: resume.
        EpochStale = 3 => "epoch-stale",
    }
}

/// What a device must do. Obeyed only if its id is higher than every one obeyed before (protocol.md rule 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Directive {
    pub id: DirectiveId,
    pub kind: OperationKind,
    /// Void after this; zero is without end.
    pub expires: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictBody {
    /// In the down header: the log index at which the heartbeat was committed.
    pub index: LogIndex,
    pub stamp: Timestamp,
    pub status: HeartbeatStatus,
    pub legitimacy: Legitimacy,
    pub interval_millis: u32,
    /// Counter of the license lease; a new value says that a new license token waits.
    pub lease: u32,
    /// The highest unsettled one.
    pub directive: Option<Directive>,
}

impl SessionKeys {
    /// `nonce` is random: nothing else may keep two nodes' answers apart.
    #[must_use]
    pub fn seal_verdict(
        &self,
        request: &RequestDigest,
        nonce: [u8; 12],
        body: &VerdictBody,
    ) -> [u8; VERDICT_BYTES] {
        let header = DownHeader { kind: MessageKind::Verdict, index: body.index, nonce }.encode();
        let mut message = [0; VERDICT_BYTES];
        let (head, rest) = message.split_at_mut(DownHeader::BYTES);
        let (sealed, tag) = rest.split_at_mut(BODY_BYTES);
        head.copy_from_slice(&header);
        sealed.copy_from_slice(&encode_body(body));
        tag.copy_from_slice(&self.down.seal_in_place(&nonce, &[&header, request.as_bytes()], sealed));
        message
    }

    pub fn open_verdict(
        &self,
        request: &RequestDigest,
        message: &[u8],
    ) -> Result<VerdictBody, EnvelopeError> {
        let header = DownHeader::parse(message, MessageKind::Verdict)?;
        if message.len() != VERDICT_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        let (aad, sealed) = message.split_at(DownHeader::BYTES);
        let body = self.down.open(&header.nonce, &[aad, request.as_bytes()], sealed)?;
        parse_body(header.index, &body)
    }
}

fn encode_body(body: &VerdictBody) -> [u8; BODY_BYTES] {
    let (id, kind, expires) = match body.directive {
        Some(directive) => (directive.id, directive.kind as u8, directive.expires),
        None => (DirectiveId::default(), 0, Timestamp::ZERO),
    };
    let fields: [&[u8]; 9] = [
        &[body.status as u8, body.legitimacy as u8],
        &body.stamp.as_millis().to_le_bytes(),
        &body.interval_millis.to_le_bytes(),
        &body.lease.to_le_bytes(),
        &id.generation.to_le_bytes(),
        &id.index.to_le_bytes(),
        &id.ordinal.to_le_bytes(),
        &[kind],
        &expires.as_millis().to_le_bytes(),
    ];
    let (mut bytes, mut at) = ([0; BODY_BYTES], 0);
    for field in fields {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    bytes
}

fn parse_body(index: LogIndex, bytes: &[u8]) -> Result<VerdictBody, EnvelopeError> {
    let mut reader = Reader::new(bytes);
    let status = HeartbeatStatus::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?;
    let legitimacy = Legitimacy::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?;
    let stamp = Timestamp::from_millis(reader.u64()?);
    let interval_millis = reader.u32()?;
    let lease = reader.u32()?;
    let id = DirectiveId { generation: reader.u32()?, index: reader.u64()?, ordinal: reader.u16()? };
    let kind = reader.u8()?;
    let expires = Timestamp::from_millis(reader.u64()?);
    reader.end()?;
    let directive = match kind {
        0 => None,
        number => {
            let kind = OperationKind::from_number(number).ok_or(EnvelopeError::Malformed)?;
            Some(Directive { id, kind, expires })
        }
    };
    Ok(VerdictBody { index, stamp, status, legitimacy, interval_millis, lease, directive })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::ResumptionSecret;
    use crate::ids::DeviceId;
    use crate::vocabulary::shared::Suite;
    use proptest::prelude::*;

    fn keys() -> SessionKeys {
        ResumptionSecret::from_bytes([1; 48]).session_keys(DeviceId::from_bytes([4; 16]), 7, Suite::Aes256Gcm)
    }

    fn body() -> VerdictBody {
        VerdictBody {
            index: 55,
            stamp: Timestamp::from_millis(1234),
            status: HeartbeatStatus::Committed,
            legitimacy: Legitimacy::Legitimate,
            interval_millis: 60_000,
            lease: 2,
            directive: None,
        }
    }

    #[test]
    fn rule_11_a_verdict_answers_one_request_only() {
        let request = RequestDigest::of(b"request");
        let message = keys().seal_verdict(&request, [8; 12], &body());
        assert_eq!(message.len(), VERDICT_BYTES);
        assert_eq!(keys().open_verdict(&request, &message), Ok(body()));
        let other = RequestDigest::of(b"other request");
        assert_eq!(keys().open_verdict(&other, &message), Err(EnvelopeError::NotAuthentic));
    }

    #[test]
    fn rule_11_the_log_index_of_a_verdict_cannot_be_changed() {
        let request = RequestDigest::of(b"request");
        let message = keys().seal_verdict(&request, [8; 12], &body());
        for bit in 0..message.len() * 8 {
            let mut changed = message;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keys().open_verdict(&request, &changed).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn every_directive_survives_its_seal(
            generation: u32, index: u64, ordinal: u16, kind in 1u8..=10, expires: u64, at: u64,
        ) {
            let id = DirectiveId { generation, index, ordinal };
            let kind = OperationKind::from_number(kind).unwrap();
            let directive = Some(Directive { id, kind, expires: Timestamp::from_millis(expires) });
            let body = VerdictBody { directive, index: at, ..body() };
            let request = RequestDigest::of(b"r");
            let message = keys().seal_verdict(&request, [1; 12], &body);
            prop_assert_eq!(keys().open_verdict(&request, &message), Ok(body));
        }

        #[test]
        fn no_bytes_panic_the_opener(bytes: Vec<u8>) {
            let _ = keys().open_verdict(&RequestDigest::of(b""), &bytes);
        }
    }
}
