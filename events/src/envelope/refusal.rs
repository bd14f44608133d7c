//! An unsealed refusal: version u8 │ kind u8 │ reason u8 │ retry after, milliseconds u32.
//!
//! Anybody can forge one, so it changes nothing at the agent but its back-off (protocol.md rule 9).

use super::EnvelopeError;
use super::header::{MessageKind, PROTOCOL_VERSION};
use super::reader::Reader;
use crate::vocabulary::rejection::RejectionReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RejectionReason,
    pub retry_after_millis: u32,
}

impl Refusal {
    pub const BYTES: usize = 7;

    #[must_use]
    pub fn encode(&self) -> [u8; Refusal::BYTES] {
        let after = self.retry_after_millis.to_le_bytes();
        let kind = MessageKind::Refusal as u8;
        [PROTOCOL_VERSION, kind, self.reason as u8, after[0], after[1], after[2], after[3]]
    }

    pub fn parse(message: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(message);
        if (reader.u8()?, reader.u8()?) != (PROTOCOL_VERSION, MessageKind::Refusal as u8) {
            return Err(EnvelopeError::Malformed);
        }
        let reason = RejectionReason::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?;
        let retry_after_millis = reader.u32()?;
        reader.end()?;
        Ok(Refusal { reason, retry_after_millis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_reason_survives_its_bytes() {
        for &reason in RejectionReason::ALL {
            let refusal = Refusal { reason, retry_after_millis: 1500 };
            assert_eq!(Refusal::parse(&refusal.encode()), Ok(refusal));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>) {
            let _ = Refusal::parse(&bytes);
        }
    }
}
