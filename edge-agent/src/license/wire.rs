//! The lines of the license socket.

use crate::machine::HandedLicense;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use events::identity::key::{PublicKey, Signature};
use events::ids::AppName;
use events::license::proof::NONCE_BYTES;
use events::license::{LicenseRefusal, ProofStatement};
use events::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A question, with its line feed.
pub const QUESTION_BYTES_MAX: usize = 256;
/// An answer or refusal, with its line feed: a token of 1536 bytes and everything beside it.
pub const ANSWER_BYTES_MAX: usize = 4096;

/// What an app asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub app: AppName,
    pub nonce: Nonce,
}

/// 32 fresh bytes of the app's own, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(pub [u8; NONCE_BYTES]);

/// What the agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    Handed(Answer),
    Refused { refused: LicenseRefusal, explained: String },
}

/// The token with its proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub token: String,
    /// The key that the token's `cnf` names.
    pub device_key: PublicKey,
    /// The time by which the agent judged the lease.
    pub at: Timestamp,
    pub expires: Timestamp,
    /// 96 bytes in hexadecimal.
    pub proof: String,
}

impl Answer {
    /// Whether the proof is one for this app and nonce by the key beside it. Whether the token names that key and
    /// holds itself is the next question.
    #[must_use]
    pub fn proves(&self, app: &AppName, nonce: Nonce) -> bool {
        let proof = HEXLOWER_PERMISSIVE.decode(self.proof.as_bytes()).ok();
        let proof = proof.and_then(|bytes| Signature::try_from(&bytes[..]).ok());
        let statement = ProofStatement { app, nonce: nonce.0, at: self.at, token: &self.token };
        proof.is_some_and(|proof| statement.verify(&self.device_key, &proof).is_ok())
    }
}

impl From<HandedLicense> for Answer {
    fn from(handed: HandedLicense) -> Self {
        let HandedLicense { token, device_key, at, expires, proof } = handed;
        Answer { token, device_key, at, expires, proof: HEXLOWER.encode(proof.as_bytes()) }
    }
}

impl From<Result<HandedLicense, LicenseRefusal>> for Reply {
    fn from(judged: Result<HandedLicense, LicenseRefusal>) -> Self {
        match judged {
            Ok(handed) => Reply::Handed(handed.into()),
            Err(refused) => Reply::Refused { refused, explained: explain(refused).to_owned() },
        }
    }
}

/// What the app's developer, or the terminal's, should do.
#[must_use]
pub fn explain(refused: LicenseRefusal) -> &'static str {
    match refused {
        LicenseRefusal::Malformed => {
            "expected one line {\"app\":\"<name>\",\"nonce\":\"<64 hexadecimal digits>\"} of at most 256 bytes"
        }
        LicenseRefusal::NotAllowed => {
            "list this app and its user id under [license.apps] of the agent's config"
        }
        LicenseRefusal::RateExceeded => "keep the answer and ask once per start; try again in a few seconds",
        LicenseRefusal::Restricted => {
            "this terminal is restricted to software update; see `muster-agent status`"
        }
        LicenseRefusal::NoLicense => {
            "no license token is held; activate, or ask again once the terminal was online"
        }
        LicenseRefusal::Expired => "the lease ended while the terminal was out of reach; bring it online",
        LicenseRefusal::NotAuthentic => {
            "the token does not verify under the pinned keys; see `muster-agent doctor`"
        }
        LicenseRefusal::Unavailable => "the agent is busy, starting or stopping; ask again",
    }
}

impl TryFrom<String> for Nonce {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Nonce).ok_or("expected 64 hexadecimal digits")
    }
}

impl std::str::FromStr for Nonce {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        HEXLOWER.encode(&nonce.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_refusal_survives_its_line_and_says_what_to_do() {
        for refused in LicenseRefusal::ALL {
            let line = serde_json::to_string(&Reply::from(Err(*refused))).unwrap();
            assert!(line.len() < ANSWER_BYTES_MAX);
            let Ok(Reply::Refused { refused: read, explained }) = serde_json::from_str(&line) else {
                panic!("{line} was not read as a refusal")
            };
            assert_eq!(read, *refused);
            assert!(!explained.is_empty());
        }
    }

    #[test]
    fn a_question_with_a_field_too_many_or_a_nonce_too_short_is_none() {
        let nonce = "00".repeat(32);
        assert!(serde_json::from_str::<Question>(&format!(r#"{{"app":"a","nonce":"{nonce}"}}"#)).is_ok());
        for wrong in [
            format!(r#"{{"app":"a","nonce":"{nonce}","uid":0}}"#),
            format!(r#"{{"app":"a","nonce":"{}"}}"#, &nonce[2..]),
            format!(r#"{{"app":"A b","nonce":"{nonce}"}}"#),
            format!(r#"{{"nonce":"{nonce}"}}"#),
        ] {
            assert!(serde_json::from_str::<Question>(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics_the_parser(line: String) {
            let _ = serde_json::from_str::<Question>(&line);
        }
    }
}
