//! Resume: symmetric only, microseconds, so that a region can come back at once. Both sides.
//!
//! ```text
//! message  up header 40 (epoch: resumed from; suite: offered) │ client nonce 16 │ ticket 52 │ ciphertext 24 │ tag 16
//!          └────────────────────── associated data ────────────────────────────┘
//! body     boot 16 │ boot count u32 │ firmware u32
//! ```
//!
//! The key is fresh per client nonce, so the GCM nonce is zero. An agent draws a new client nonce for every attempt
//! that differs in a single byte, and sends the very same bytes again otherwise.

use super::EnvelopeError;
use super::cipher::{Cipher, TAG_BYTES};
use super::header::{Header, MessageKind, SuiteSet};
use super::reader::Reader;
use super::session::ResumptionSecret;
use super::ticket::Ticket;
use crate::ids::{BootId, DeviceId, Epoch, Generation};
use crate::keyring::TicketKey;
use crate::secret::derive;
use crate::time::Timestamp;
use crate::vocabulary::shared::Suite;
use zeroize::Zeroizing;

const NONCE_AT: usize = Header::BYTES;
const TICKET_AT: usize = NONCE_AT + 16;
const CIPHERTEXT_AT: usize = TICKET_AT + Ticket::BYTES;
const BODY_BYTES: usize = 24;
pub const RESUME_BYTES: usize = CIPHERTEXT_AT + BODY_BYTES + TAG_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeBody {
    pub boot: BootId,
    pub boot_count: u32,
    pub firmware: u32,
}

/// What a resume says in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeHead {
    pub device: DeviceId,
    pub from_epoch: Epoch,
    pub client_nonce: [u8; 16],
    pub offered: SuiteSet,
    pub ticket: Ticket,
}

/// Seals a resume under the resumption secret of `head.from_epoch`.
#[must_use]
pub fn seal_resume(secret: &ResumptionSecret, head: &ResumeHead, body: &ResumeBody) -> Vec<u8> {
    let mut header = Header::new(MessageKind::Resume, head.device);
    header.suite = head.offered.bits();
    header.epoch = head.from_epoch;
    let mut message = Vec::with_capacity(RESUME_BYTES);
    message.extend_from_slice(&header.encode());
    message.extend_from_slice(&head.client_nonce);
    message.extend_from_slice(&head.ticket.encode());
    let aad = message.clone();
    message.extend_from_slice(body.boot.as_bytes());
    message.extend_from_slice(&body.boot_count.to_le_bytes());
    message.extend_from_slice(&body.firmware.to_le_bytes());
    exchange_cipher(secret, head, b"muster v1 resume").seal(&[0; 12], &[&aad], &mut message, CIPHERTEXT_AT);
    message
}

/// The cipher of one exchange and direction; answers use another label.
pub(super) fn exchange_cipher(secret: &ResumptionSecret, head: &ResumeHead, label: &[u8]) -> Cipher {
    let mut key = Zeroizing::new([0; 32]);
    let info = [label, head.device.as_bytes(), &head.from_epoch.to_le_bytes()];
    derive(&head.client_nonce, secret.as_bytes(), &info, &mut key[..]);
    Cipher::new(Suite::Aes256Gcm, &key)
}

/// Well formed, nothing checked.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedResume<'a> {
    message: &'a [u8],
    head: ResumeHead,
}

/// Its ticket is of this cluster, this generation and fresh.
#[derive(Clone, Copy, Debug)]
pub struct TicketedResume<'a>(ReceivedResume<'a>);

/// Its sender holds the resumption secret of the epoch named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedResume {
    pub head: ResumeHead,
    pub body: ResumeBody,
}

impl<'a> ReceivedResume<'a> {
    pub fn parse(message: &'a [u8]) -> Result<Self, EnvelopeError> {
        let header = Header::parse(message, MessageKind::Resume)?;
        if message.len() != RESUME_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        let mut reader = Reader::new(&message[NONCE_AT..]);
        let head = ResumeHead {
            device: header.device,
            from_epoch: header.epoch,
            client_nonce: reader.array()?,
            offered: SuiteSet::from_bits(header.suite),
            ticket: Ticket::parse(&reader.array()?)?,
        };
        Ok(ReceivedResume { message, head })
    }

    #[must_use]
    pub const fn head(&self) -> &ResumeHead {
        &self.head
    }

    pub fn check_ticket(
        self,
        key: &TicketKey,
        generation: Generation,
        now: Timestamp,
    ) -> Result<TicketedResume<'a>, EnvelopeError> {
        self.head.ticket.verify(key, generation, now)?;
        Ok(TicketedResume(self))
    }
}

impl TicketedResume<'_> {
    #[must_use]
    pub const fn head(&self) -> &ResumeHead {
        &self.0.head
    }

    /// For an unknown device or epoch pass any secret: the cost and the answer are the same (protocol.md rule 16).
    pub fn open(&self, secret: &ResumptionSecret) -> Result<VerifiedResume, EnvelopeError> {
        let ReceivedResume { message, head } = self.0;
        let (aad, sealed) = message.split_at(CIPHERTEXT_AT);
        let body = exchange_cipher(secret, &head, b"muster v1 resume").open(&[0; 12], &[aad], sealed)?;
        let mut reader = Reader::new(&body);
        let body = ResumeBody {
            boot: BootId::from_bytes(reader.array()?),
            boot_count: reader.u32()?,
            firmware: reader.u32()?,
        };
        reader.end()?;
        Ok(VerifiedResume { head, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(byte: u8) -> ResumptionSecret {
        ResumptionSecret::from_bytes([byte; 48])
    }

    fn ticket_key() -> TicketKey {
        TicketKey::from_bytes([5; 32])
    }

    fn head() -> ResumeHead {
        ResumeHead {
            device: DeviceId::from_bytes([1; 16]),
            from_epoch: 3,
            client_nonce: [2; 16],
            offered: SuiteSet::ALL,
            ticket: Ticket::issue(&ticket_key(), 1, [0; 16], 10, Timestamp::from_millis(1000)),
        }
    }

    fn body() -> ResumeBody {
        ResumeBody { boot: BootId::from_bytes([8; 16]), boot_count: 4, firmware: 10_200 }
    }

    fn open(message: &[u8], secret: &ResumptionSecret) -> Result<VerifiedResume, EnvelopeError> {
        let received = ReceivedResume::parse(message)?;
        received.check_ticket(&ticket_key(), 1, Timestamp::from_millis(2000))?.open(secret)
    }

    #[test]
    fn a_resume_opens_with_the_secret_of_its_epoch_only() {
        let message = seal_resume(&secret(1), &head(), &body());
        assert_eq!(message.len(), RESUME_BYTES);
        assert_eq!(open(&message, &secret(1)), Ok(VerifiedResume { head: head(), body: body() }));
        assert_eq!(open(&message, &secret(2)), Err(EnvelopeError::NotAuthentic));
    }

    #[test]
    fn every_changed_bit_of_a_resume_is_refused() {
        let message = seal_resume(&secret(1), &head(), &body());
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed, &secret(1)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = open(&bytes, &secret(1));
        }
    }
}
