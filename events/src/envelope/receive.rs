//! Activation and re-key, the cluster's side: three states, each cheaper to refuse in than the next.
//!
//! ```text
//! ReceivedActivation ──ticket──▶ TicketedActivation ──mac──▶ GatedActivation ──HPKE, signature──▶ VerifiedActivation
//!      (a MAC)                       (a MAC)                      (P-384)
//! ```
//!
//! Between the mac and P-384 stands the caller's bucket per device (protocol.md rule 15).

use super::EnvelopeError;
use super::activation::{
    ACTIVATION_BYTES_MIN, ActivationBody, CIPHERTEXT_AT, ENCAPSULATED_AT, EXPORTER_LABEL, ExporterSecret,
    KEY_ID_AT, MAC_BYTES, RENEWABLE_BYTES, gate, hpke_info, parse_body, signed,
};
use super::header::{Header, MessageKind, SuiteSet};
use super::reader::Reader;
use super::ticket::Ticket;
use crate::identity::key::{PreSharedKey, PublicKey, Signature};
use crate::ids::{DeviceId, Generation};
use crate::keyring::engine::{P384Engine, PureEngine};
use crate::keyring::hpke::{HpkeError, PskMessage, hpke_open_psk};
use crate::keyring::{Keyring, TicketKey};
use crate::time::Timestamp;
use hmac::Mac;
use std::sync::Arc;

/// Well formed, nothing checked.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedActivation<'a> {
    message: &'a [u8],
    header: Header,
    cluster_key: u32,
    ticket: Ticket,
}

/// Its ticket is of this cluster, this generation and fresh.
#[derive(Clone, Copy, Debug)]
pub struct TicketedActivation<'a>(ReceivedActivation<'a>);

/// Its sender holds the device's pre-shared key.
#[derive(Clone, Debug)]
pub struct GatedActivation<'a> {
    received: ReceivedActivation<'a>,
    pre_shared: PreSharedKey,
}

/// Opened, and signed by the device.
#[derive(Clone, Debug)]
pub struct VerifiedActivation {
    pub device: DeviceId,
    pub offered: SuiteSet,
    pub ticket: Ticket,
    pub body: ActivationBody,
    pub exporter: ExporterSecret,
    /// header ‖ key id ‖ encapsulated key ‖ ciphertext: the same however often its ticket was renewed; what [`signed`] prefixes is what was signed.
    pub transcript: Vec<u8>,
    pub signature: Signature,
}

impl<'a> ReceivedActivation<'a> {
    pub fn parse(message: &'a [u8]) -> Result<Self, EnvelopeError> {
        let header = Header::parse(message, MessageKind::Activation)?;
        if message.len() < ACTIVATION_BYTES_MIN {
            return Err(EnvelopeError::Malformed);
        }
        let cluster_key = Reader::new(&message[KEY_ID_AT..]).u32()?;
        let ticket = Ticket::parse(&Reader::new(&message[message.len() - RENEWABLE_BYTES..]).array()?)?;
        Ok(ReceivedActivation { message, header, cluster_key, ticket })
    }

    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    #[must_use]
    pub const fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// What an activation is known by (protocol.md rule 17): neither signature nor ticket nor mac belong to it.
    #[must_use]
    pub fn transcript(&self) -> &'a [u8] {
        &self.message[..self.message.len() - RENEWABLE_BYTES - Signature::BYTES]
    }

    /// `now` is the log's time at this node.
    pub fn check_ticket(
        self,
        key: &TicketKey,
        generation: Generation,
        now: Timestamp,
    ) -> Result<TicketedActivation<'a>, EnvelopeError> {
        self.ticket.verify(key, generation, now)?;
        Ok(TicketedActivation(self))
    }
}

impl<'a> TicketedActivation<'a> {
    /// For an unknown device pass any key: the cost and the answer are the same (protocol.md rule 16).
    pub fn check_mac(self, pre_shared: &PreSharedKey) -> Result<GatedActivation<'a>, EnvelopeError> {
        let received = self.0;
        let (covered, tag) = received.message.split_at(received.message.len() - MAC_BYTES);
        gate(pre_shared, received.header.device, covered)
            .verify_truncated_left(tag)
            .map_err(|_| EnvelopeError::NotAuthentic)?;
        Ok(GatedActivation { received, pre_shared: pre_shared.clone() })
    }
}

impl GatedActivation<'_> {
    #[must_use]
    pub const fn device(&self) -> DeviceId {
        self.received.header.device
    }

    /// The expensive step: one ECDSA verification and one decapsulation on P-384.
    pub fn open(&self, keyring: &Keyring, device: &PublicKey) -> Result<VerifiedActivation, EnvelopeError> {
        let pure: Arc<dyn P384Engine> = Arc::new(PureEngine);
        self.open_with(&pure, keyring, device)
    }

    /// The same with another engine's arithmetic.
    pub fn open_with(
        &self,
        engine: &Arc<dyn P384Engine>,
        keyring: &Keyring,
        device: &PublicKey,
    ) -> Result<VerifiedActivation, EnvelopeError> {
        let ReceivedActivation { message, header, cluster_key, ticket } = self.received;
        if device.device_id() != header.device {
            return Err(EnvelopeError::NotAuthentic);
        }
        let signature_at = message.len() - RENEWABLE_BYTES - Signature::BYTES;
        let transcript = &message[..signature_at];
        let signature = Signature::try_from(&message[signature_at..signature_at + Signature::BYTES])
            .map_err(|_| EnvelopeError::Malformed)?;
        engine.verify(device, &signed(transcript), &signature).map_err(|_| EnvelopeError::NotAuthentic)?;

        let key = keyring.cluster_key(cluster_key).ok_or(EnvelopeError::NotAuthentic)?;
        let sealed = PskMessage {
            psk: self.pre_shared.as_bytes(),
            psk_id: header.device.as_bytes(),
            info: &hpke_info(keyring.cluster),
            aad: &message[..ENCAPSULATED_AT],
            encapsulated: &message[ENCAPSULATED_AT..CIPHERTEXT_AT],
            ciphertext: &message[CIPHERTEXT_AT..signature_at],
        };
        let opened = hpke_open_psk(engine, key, &sealed, EXPORTER_LABEL)
            .map_err(|HpkeError| EnvelopeError::NotAuthentic)?;
        Ok(VerifiedActivation {
            device: header.device,
            offered: SuiteSet::from_bits(header.suite),
            ticket,
            body: parse_body(&opened.plain)?,
            exporter: ExporterSecret::from_bytes(*opened.exported),
            transcript: transcript.to_vec(),
            signature,
        })
    }
}
