//! A terminal asks for the offer of its lot; any node answers. Neither is sealed: a terminal without a key asks too,
//! and the offer is signed and public.
//!
//! ```text
//! request  up header 40 (device field: the device, or lot 4 │ zero 12) │ lot 4 │ subject 16 │ firmware u32
//! answer   version u8 │ kind u8 │ ask again after, milliseconds u32 │ the offer, or nothing
//! ```

use crate::envelope::header::PROTOCOL_VERSION;
use crate::envelope::{EnvelopeError, Header, MessageKind};
use crate::ids::{DeviceId, LotId, RecordDigest};
use crate::limits::UPDATE_OFFER_BYTES_MAX;

pub const REQUEST_BYTES: usize = Header::BYTES + 4 + 16 + 4;
pub const ANSWER_BYTES_MAX: usize = ANSWER_HEAD + UPDATE_OFFER_BYTES_MAX;
const ANSWER_HEAD: usize = 6;

/// What a terminal says of itself. Nothing of it is proven, and nothing hangs on it but when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// None if its record does not open.
    pub device: Option<DeviceId>,
    pub lot: LotId,
    /// What its cohort is found by: the device id, or the record digest of a terminal without a key.
    pub subject: [u8; 16],
    /// The version that it runs.
    pub firmware: u32,
}

impl UpdateRequest {
    #[must_use]
    pub fn of_device(device: DeviceId, lot: LotId, firmware: u32) -> Self {
        UpdateRequest { device: Some(device), lot, subject: *device.as_bytes(), firmware }
    }

    #[must_use]
    pub fn of_record(record: RecordDigest, lot: LotId, firmware: u32) -> Self {
        UpdateRequest { device: None, lot, subject: *record.as_bytes(), firmware }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(REQUEST_BYTES);
        let speaker = self.device.unwrap_or_else(|| lot_as_speaker(self.lot));
        bytes.extend_from_slice(&Header::new(MessageKind::Update, speaker).encode());
        bytes.extend_from_slice(self.lot.as_bytes());
        bytes.extend_from_slice(&self.subject);
        bytes.extend_from_slice(&self.firmware.to_le_bytes());
        bytes
    }

    pub fn parse(message: &[u8]) -> Result<Self, EnvelopeError> {
        let header = Header::parse(message, MessageKind::Update)?;
        let (_, rest) = message.split_at_checked(Header::BYTES).ok_or(EnvelopeError::Malformed)?;
        let rest: &[u8; REQUEST_BYTES - Header::BYTES] =
            rest.try_into().map_err(|_| EnvelopeError::Malformed)?;
        let field = |from: usize| std::array::from_fn(|i| rest[from + i]);
        let lot = LotId::from_bytes(std::array::from_fn(|i| rest[i]));
        let subject = field(4);
        let device = (header.device != lot_as_speaker(lot)).then_some(header.device);
        let request = UpdateRequest {
            device,
            lot,
            subject,
            firmware: u32::from_le_bytes(std::array::from_fn(|i| rest[20 + i])),
        };
        // One spelling: nothing else in the header, and a device speaks for itself.
        let own = device.is_none_or(|device| *device.as_bytes() == subject);
        if own && request.encode() == message { Ok(request) } else { Err(EnvelopeError::Malformed) }
    }
}

fn lot_as_speaker(lot: LotId) -> DeviceId {
    let mut device = [0; 16];
    device[..4].copy_from_slice(lot.as_bytes());
    DeviceId::from_bytes(device)
}

/// What a node answers. Anybody can forge it: the offer counts only as far as its signature goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateAnswer {
    pub ask_after_millis: u32,
    /// A signed offer, unread; empty if there is none for this terminal now.
    pub offer: Vec<u8>,
}

impl UpdateAnswer {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![PROTOCOL_VERSION, MessageKind::UpdateAnswer as u8];
        bytes.extend_from_slice(&self.ask_after_millis.to_le_bytes());
        bytes.extend_from_slice(&self.offer);
        bytes
    }

    pub fn parse(message: &[u8]) -> Result<Self, EnvelopeError> {
        let (head, offer) = message.split_first_chunk::<ANSWER_HEAD>().ok_or(EnvelopeError::Malformed)?;
        let [version, kind, a, b, c, d] = *head;
        let known = (version, kind) == (PROTOCOL_VERSION, MessageKind::UpdateAnswer as u8);
        if !known || message.len() > ANSWER_BYTES_MAX {
            return Err(EnvelopeError::Malformed);
        }
        Ok(UpdateAnswer { ask_after_millis: u32::from_le_bytes([a, b, c, d]), offer: offer.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOT: LotId = LotId::from_bytes([1, 2, 3, 4]);

    #[test]
    fn a_device_asks_for_itself_and_a_terminal_without_a_key_for_its_lot() {
        let device = DeviceId::from_bytes([5; 16]);
        let asked = UpdateRequest::of_device(device, LOT, 7);
        assert_eq!((UpdateRequest::parse(&asked.encode()), asked.encode().len()), (Ok(asked), REQUEST_BYTES));
        let asked = UpdateRequest::of_record(RecordDigest::from_bytes([6; 16]), LOT, 7);
        assert_eq!(UpdateRequest::parse(&asked.encode()), Ok(asked));
    }

    #[test]
    fn a_device_that_asks_for_another_is_malformed() {
        let asked = UpdateRequest::of_device(DeviceId::from_bytes([5; 16]), LOT, 7);
        let other = UpdateRequest { subject: [6; 16], ..asked };
        assert_eq!(UpdateRequest::parse(&other.encode()), Err(EnvelopeError::Malformed));
    }

    proptest! {
        #[test]
        fn every_answer_reads_back(ask_after_millis: u32, offer in prop::collection::vec(any::<u8>(), 0..1400)) {
            let answer = UpdateAnswer { ask_after_millis, offer };
            prop_assert_eq!(UpdateAnswer::parse(&answer.encode()), Ok(answer));
        }

        #[test]
        fn no_bytes_panic_the_parsers(bytes: Vec<u8>) {
            let _ = UpdateAnswer::parse(&bytes);
            let _ = UpdateRequest::parse(&[&[1, 11], &bytes[..]].concat());
        }
    }
}
