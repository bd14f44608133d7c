//! The sealed answer to an activation, a re-key or a resume.
//!
//! ```text
//! message  down header 22 │ ciphertext │ tag 16            associated data: down header ‖ SHA-384(request)
//! granted  1 u8 │ epoch u32 │ server nonce 32 │ suite u8 │ generation u32 │ stamp u64 │ interval, ms u32 │
//!          legitimacy u8 │ lease u32 │ token length u16 │ license token
//! refused  2 u8 │ reason u8
//! ```
//!
//! A refusal inside the seal is authentic: `CODE_REFUSED` comes this way (protocol.md rule 16).

use super::EnvelopeError;
use super::activation::ExporterSecret;
use super::cipher::Cipher;
use super::header::{DownHeader, MessageKind};
use super::heartbeat::RequestDigest;
use super::reader::Reader;
use super::resume::{ResumeHead, exchange_cipher};
use super::session::ResumptionSecret;
use crate::ids::{Epoch, Generation, LogIndex};
use crate::limits::LICENSE_TOKEN_BYTES_MAX;
use crate::secret::derive;
use crate::time::Timestamp;
use crate::vocabulary::rejection::RejectionReason;
use crate::vocabulary::shared::{Legitimacy, Suite};
use zeroize::Zeroizing;

/// A new epoch, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantBody {
    pub epoch: Epoch,
    pub server_nonce: [u8; 32],
    pub suite: Suite,
    pub generation: Generation,
    pub stamp: Timestamp,
    pub interval_millis: u32,
    pub legitimacy: Legitimacy,
    /// Counter of the license lease.
    pub lease: u32,
    /// JWT ES384; none if the device holds no license, or nothing changed. One that is longer than any token may be
    /// is left out.
    pub license_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Granted(GrantBody),
    Refused(RejectionReason),
}

#[must_use]
pub fn seal_activation_answer(
    exporter: &ExporterSecret,
    request: &[u8],
    index: LogIndex,
    nonce: [u8; 12],
    answer: &Answer,
) -> Vec<u8> {
    let header = DownHeader { kind: MessageKind::ActivationAnswer, index, nonce };
    seal(&activation_cipher(exporter), header, request, answer)
}

/// Returns the answer and the log index that it speaks of.
pub fn open_activation_answer(
    exporter: &ExporterSecret,
    request: &[u8],
    message: &[u8],
) -> Result<(LogIndex, Answer), EnvelopeError> {
    open(&activation_cipher(exporter), MessageKind::ActivationAnswer, request, message)
}

#[must_use]
pub fn seal_resume_answer(
    secret: &ResumptionSecret,
    head: &ResumeHead,
    request: &[u8],
    index: LogIndex,
    nonce: [u8; 12],
    answer: &Answer,
) -> Vec<u8> {
    let header = DownHeader { kind: MessageKind::ResumeAnswer, index, nonce };
    seal(&exchange_cipher(secret, head, b"muster v1 resume answer"), header, request, answer)
}

/// Returns the answer and the log index that it speaks of.
pub fn open_resume_answer(
    secret: &ResumptionSecret,
    head: &ResumeHead,
    request: &[u8],
    message: &[u8],
) -> Result<(LogIndex, Answer), EnvelopeError> {
    let cipher = exchange_cipher(secret, head, b"muster v1 resume answer");
    open(&cipher, MessageKind::ResumeAnswer, request, message)
}

fn activation_cipher(exporter: &ExporterSecret) -> Cipher {
    let mut key = Zeroizing::new([0; 32]);
    derive(&[], exporter.as_bytes(), &[b"muster v1 activation answer"], &mut key[..]);
    Cipher::new(Suite::Aes256Gcm, &key)
}

fn seal(cipher: &Cipher, header: DownHeader, request: &[u8], answer: &Answer) -> Vec<u8> {
    let encoded = header.encode();
    let mut message = encoded.to_vec();
    encode_answer(answer, &mut message);
    let request = RequestDigest::of(request);
    cipher.seal(&header.nonce, &[&encoded, request.as_bytes()], &mut message, DownHeader::BYTES);
    message
}

fn open(
    cipher: &Cipher,
    kind: MessageKind,
    request: &[u8],
    message: &[u8],
) -> Result<(LogIndex, Answer), EnvelopeError> {
    let header = DownHeader::parse(message, kind)?;
    let (aad, sealed) = message.split_at(DownHeader::BYTES);
    let request = RequestDigest::of(request);
    let body = cipher.open(&header.nonce, &[aad, request.as_bytes()], sealed)?;
    Ok((header.index, parse_answer(&body)?))
}

fn encode_answer(answer: &Answer, message: &mut Vec<u8>) {
    let grant = match answer {
        Answer::Refused(reason) => return message.extend_from_slice(&[2, *reason as u8]),
        Answer::Granted(grant) => grant,
    };
    message.push(1);
    message.extend_from_slice(&grant.epoch.to_le_bytes());
    message.extend_from_slice(&grant.server_nonce);
    message.push(grant.suite as u8);
    message.extend_from_slice(&grant.generation.to_le_bytes());
    message.extend_from_slice(&grant.stamp.as_millis().to_le_bytes());
    message.extend_from_slice(&grant.interval_millis.to_le_bytes());
    message.push(grant.legitimacy as u8);
    message.extend_from_slice(&grant.lease.to_le_bytes());
    let token = grant.license_token.as_deref().filter(|token| token.len() <= LICENSE_TOKEN_BYTES_MAX);
    let token = token.unwrap_or_default().as_bytes();
    message.extend_from_slice(&(token.len() as u16).to_le_bytes());
    message.extend_from_slice(token);
}

fn parse_answer(bytes: &[u8]) -> Result<Answer, EnvelopeError> {
    let mut reader = Reader::new(bytes);
    let answer = match reader.u8()? {
        1 => Answer::Granted(parse_grant(&mut reader)?),
        2 => Answer::Refused(RejectionReason::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?),
        _ => return Err(EnvelopeError::Malformed),
    };
    reader.end()?;
    Ok(answer)
}

fn parse_grant(reader: &mut Reader<'_>) -> Result<GrantBody, EnvelopeError> {
    Ok(GrantBody {
        epoch: reader.u32()?,
        server_nonce: reader.array()?,
        suite: Suite::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?,
        generation: reader.u32()?,
        stamp: Timestamp::from_millis(reader.u64()?),
        interval_millis: reader.u32()?,
        legitimacy: Legitimacy::from_number(reader.u8()?).ok_or(EnvelopeError::Malformed)?,
        lease: reader.u32()?,
        license_token: parse_token(reader)?,
    })
}

fn parse_token(reader: &mut Reader<'_>) -> Result<Option<String>, EnvelopeError> {
    let len = usize::from(reader.u16()?);
    if len == 0 {
        return Ok(None);
    }
    if len > LICENSE_TOKEN_BYTES_MAX {
        return Err(EnvelopeError::Malformed);
    }
    let token = std::str::from_utf8(reader.slice(len)?).map_err(|_| EnvelopeError::Malformed)?;
    Ok(Some(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exporter(byte: u8) -> ExporterSecret {
        ExporterSecret::from_bytes([byte; 48])
    }

    #[test]
    fn rule_11_an_answer_belongs_to_one_request_and_one_secret() {
        let answer = Answer::Refused(RejectionReason::CodeRefused);
        let message = seal_activation_answer(&exporter(1), b"request", 9, [3; 12], &answer);
        assert_eq!(open_activation_answer(&exporter(1), b"request", &message), Ok((9, answer)));
        let refused = Err(EnvelopeError::NotAuthentic);
        assert_eq!(open_activation_answer(&exporter(1), b"other", &message), refused);
        assert_eq!(open_activation_answer(&exporter(2), b"request", &message), refused);
    }

    fn grant(license_token: Option<String>) -> Answer {
        Answer::Granted(GrantBody {
            epoch: 1,
            server_nonce: [2; 32],
            suite: Suite::Aes256Gcm,
            generation: 1,
            stamp: Timestamp::from_millis(4),
            interval_millis: 60_000,
            legitimacy: Legitimacy::Legitimate,
            lease: 1,
            license_token,
        })
    }

    #[test]
    fn the_longest_license_token_fits_into_a_message_and_a_longer_one_is_left_out() {
        let sealed = |length: usize| {
            let token = "t".repeat(length);
            let message =
                seal_activation_answer(&exporter(1), b"request", 9, [3; 12], &grant(Some(token.clone())));
            let (_, answer) = open_activation_answer(&exporter(1), b"request", &message).unwrap();
            assert!(message.len() <= crate::limits::MESSAGE_BYTES_MAX);
            (answer, grant(Some(token)))
        };
        let (opened, sent) = sealed(LICENSE_TOKEN_BYTES_MAX);
        assert_eq!(opened, sent);
        assert_eq!(sealed(LICENSE_TOKEN_BYTES_MAX + 1).0, grant(None));
        assert_eq!(sealed(usize::from(u16::MAX) + 2).0, grant(None), "a length must not wrap around");
    }

    proptest! {
        #[test]
        fn every_grant_survives_its_seal(
            epoch: u32, server_nonce: [u8; 32], generation: u32, stamp: u64, interval_millis: u32, lease: u32,
            index: u64, token in proptest::option::of("[a-zA-Z0-9._-]{1,600}"),
        ) {
            let grant = GrantBody {
                epoch,
                server_nonce,
                suite: Suite::ChaCha20Poly1305,
                generation,
                stamp: Timestamp::from_millis(stamp),
                interval_millis,
                legitimacy: Legitimacy::Suspect,
                lease,
                license_token: token,
            };
            let answer = Answer::Granted(grant);
            let message = seal_activation_answer(&exporter(1), b"request", index, [3; 12], &answer);
            prop_assert_eq!(open_activation_answer(&exporter(1), b"request", &message), Ok((index, answer)));
        }

        #[test]
        fn no_bytes_panic_the_opener(bytes: Vec<u8>) {
            let _ = open_activation_answer(&exporter(1), b"request", &bytes);
            let _ = parse_answer(&bytes);
        }
    }
}
