//! The ticket that a hello is answered with: proof of freshness without state (protocol.md rule 1).
//!
//! ```text
//! hello   up header (kind hello)
//! ticket  version u8 │ kind u8 │ ticket 52
//! 52 =    generation u32 │ random 16 │ applied u64 │ stamp u64 │ mac 16
//! ```
//!
//! The mac is the first 16 bytes of HMAC-SHA384 by the nodes' ticket key. A ticket is equal for everybody: what it
//! proves is that its holder heard the cluster after the log index `applied`.

use super::EnvelopeError;
use super::header::{Header, MessageKind, PROTOCOL_VERSION};
use super::reader::Reader;
use crate::ids::{DeviceId, Generation, LogIndex};
use crate::keyring::{TicketKey, hmac_sha384_mac};
use crate::limits::TICKET_MILLIS_MAX;
use crate::time::Timestamp;
use hmac::Mac;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub generation: Generation,
    pub random: [u8; 16],
    /// The applied index of the node that issued it.
    pub applied: LogIndex,
    /// The log's stamp at that index.
    pub stamp: Timestamp,
    mac: [u8; 16],
}

/// Why a ticket does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketRefused {
    #[error("the ticket was not issued by this cluster")]
    Forged,
    #[error("the ticket is older than 60 s of log time; say hello again")]
    Expired,
    #[error("the ticket is of another generation; say hello again")]
    Generation,
}

impl Ticket {
    pub const BYTES: usize = 52;

    #[must_use]
    pub fn issue(
        key: &TicketKey,
        generation: Generation,
        random: [u8; 16],
        applied: LogIndex,
        stamp: Timestamp,
    ) -> Self {
        let mut ticket = Ticket { generation, random, applied, stamp, mac: [0; 16] };
        let mac = ticket.mac(key).finalize().into_bytes();
        ticket.mac.copy_from_slice(&mac[..16]);
        ticket
    }

    /// `now` is the log's time at the node that checks; a node that lags sees a younger ticket, never an older one.
    pub fn verify(
        &self,
        key: &TicketKey,
        generation: Generation,
        now: Timestamp,
    ) -> Result<(), TicketRefused> {
        self.mac(key).verify_truncated_left(&self.mac).map_err(|_| TicketRefused::Forged)?;
        if self.generation != generation {
            return Err(TicketRefused::Generation);
        }
        if now.millis_since(self.stamp) > TICKET_MILLIS_MAX {
            return Err(TicketRefused::Expired);
        }
        Ok(())
    }

    #[must_use]
    pub fn encode(&self) -> [u8; Ticket::BYTES] {
        let mut bytes = [0; Ticket::BYTES];
        bytes[..36].copy_from_slice(&self.signed());
        bytes[36..].copy_from_slice(&self.mac);
        bytes
    }

    pub fn parse(bytes: &[u8; Ticket::BYTES]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes);
        Ok(Ticket {
            generation: reader.u32()?,
            random: reader.array()?,
            applied: reader.u64()?,
            stamp: Timestamp::from_millis(reader.u64()?),
            mac: reader.array()?,
        })
    }

    /// The whole answer to a hello.
    #[must_use]
    pub fn encode_answer(&self) -> Vec<u8> {
        [&[PROTOCOL_VERSION, MessageKind::Ticket as u8][..], &self.encode()].concat()
    }

    /// What an agent reads; it cannot check the mac, a false ticket only costs it a try.
    pub fn parse_answer(message: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(message);
        if (reader.u8()?, reader.u8()?) != (PROTOCOL_VERSION, MessageKind::Ticket as u8) {
            return Err(EnvelopeError::Malformed);
        }
        let ticket = Ticket::parse(&reader.array()?)?;
        reader.end()?;
        Ok(ticket)
    }

    fn signed(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&self.generation.to_le_bytes());
        bytes[4..20].copy_from_slice(&self.random);
        bytes[20..28].copy_from_slice(&self.applied.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.stamp.as_millis().to_le_bytes());
        bytes
    }

    fn mac(&self, key: &TicketKey) -> hmac::Hmac<sha2::Sha384> {
        hmac_sha384_mac(key.as_bytes(), &[b"muster v1 ticket", &self.signed()])
    }
}

/// What a device says first.
#[must_use]
pub fn encode_hello(device: DeviceId) -> Vec<u8> {
    Header::new(MessageKind::Hello, device).encode().to_vec()
}

pub fn parse_hello(message: &[u8]) -> Result<Header, EnvelopeError> {
    if message.len() != Header::BYTES {
        return Err(EnvelopeError::Malformed);
    }
    Header::parse(message, MessageKind::Hello)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> TicketKey {
        TicketKey::from_bytes([3; 32])
    }

    fn ticket() -> Ticket {
        Ticket::issue(&key(), 2, [7; 16], 41, Timestamp::from_millis(1_000_000))
    }

    #[test]
    fn rule_1_a_ticket_is_valid_for_sixty_seconds_of_log_time_in_its_generation() {
        let at = |millis: u64| Timestamp::from_millis(1_000_000 + millis);
        assert_eq!(ticket().verify(&key(), 2, at(0)), Ok(()));
        assert_eq!(ticket().verify(&key(), 2, at(60_000)), Ok(()));
        assert_eq!(ticket().verify(&key(), 2, at(60_001)), Err(TicketRefused::Expired));
        assert_eq!(ticket().verify(&key(), 3, at(0)), Err(TicketRefused::Generation));
        assert_eq!(ticket().verify(&key(), 2, Timestamp::ZERO), Ok(()), "a lagging node");
    }

    #[test]
    fn rule_1_a_ticket_with_any_bit_changed_is_forged() {
        let bytes = ticket().encode();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            let parsed = Ticket::parse(&changed).unwrap();
            assert_eq!(parsed.verify(&key(), 2, parsed.stamp), Err(TicketRefused::Forged), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn every_ticket_survives_its_bytes(generation: u32, random: [u8; 16], applied: u64, stamp: u64) {
            let ticket = Ticket::issue(&key(), generation, random, applied, Timestamp::from_millis(stamp));
            prop_assert_eq!(Ticket::parse_answer(&ticket.encode_answer()), Ok(ticket));
        }

        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = Ticket::parse_answer(&bytes);
            let _ = parse_hello(&bytes);
        }
    }
}
