//! The offer: what the update key signs. One document says all, so that no part of it can be mixed with another's.
//!
//! ```text
//! version u8 = 1 │ rollout 16 │ firmware u32 │ floor u32 │ not after u64 │ size u64 │ SHA-384 of the artifact 48
//! │ scope u8: 1 → count u8, lots of 4 │ 2 → length u8, SKU
//! │ kind: length u8, name │ count u8 of URLs │ for each: length u8, URL
//! │ ECDSA P-384 signature 96 of the update key, over "muster v1 update offer\0" ‖ all before it
//! ```

use super::scope::UpdateScope;
use crate::identity::key::{PublicKey, Signature, SigningKey};
use crate::ids::{LotId, RolloutId};
use crate::limits::{UPDATE_KIND_BYTES_MAX, UPDATE_OFFER_BYTES_MAX, UPDATE_URL_BYTES_MAX, UPDATE_URLS_MAX};
use crate::time::Timestamp;

/// Signs offers and nothing else; better kept offline.
pub type UpdateKey = SigningKey;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"muster v1 update offer\0";
const SCOPE_LOTS: u8 = 1;
const SCOPE_SKU: u8 = 2;

/// One version of the firmware, for some terminals, until some day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub rollout: RolloutId,
    pub scope: UpdateScope,
    /// As heartbeats name it.
    pub firmware: u32,
    /// Once this version ran, no terminal takes one below this any more; at most `firmware`.
    pub floor: u32,
    /// The offer is void after this: who holds it back holds it back so long at most.
    pub not_after: Timestamp,
    /// Of the artifact, in bytes; above zero.
    pub size: u64,
    /// SHA-384 of the artifact.
    pub digest: [u8; 48],
    /// What the artifact is, for the terminal's hook: 1 to 32 characters of a-z, 0-9 and `-`.
    pub kind: String,
    /// 1 to 4 places that have the same artifact, tried in this order; `http://` or `https://`.
    pub urls: Vec<String>,
}

/// An offer with its signature, which nobody checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOffer {
    offer: Offer,
    signature: Signature,
}

/// Why there is no such offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error("an update offer of version {0} is not known to this program")]
    Version(u8),
    #[error("the update offer is malformed")]
    Malformed,
    #[error("an offer is for 1 to 16 lots, or for a SKU of 1 to 64 bytes")]
    Scope,
    #[error("the floor is above the firmware version that is offered")]
    Floor,
    #[error("an artifact has at least one byte")]
    Size,
    #[error("a kind is 1 to {UPDATE_KIND_BYTES_MAX} characters of a-z, 0-9 and `-`")]
    Kind,
    #[error(
        "an offer has 1 to {UPDATE_URLS_MAX} URLs of at most {UPDATE_URL_BYTES_MAX} visible ASCII characters, each \
         with http:// or https:// before it"
    )]
    Urls,
    #[error("the update key's signature on the offer does not hold")]
    Signature,
}

impl Offer {
    /// Signs an offer that is well formed.
    pub fn sign(self, key: &UpdateKey) -> Result<SignedOffer, OfferError> {
        self.check()?;
        let signature = key.sign(&signed_message(&self.body()));
        Ok(SignedOffer { offer: self, signature })
    }

    fn check(&self) -> Result<(), OfferError> {
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let kind = (1..=UPDATE_KIND_BYTES_MAX).contains(&self.kind.len()) && self.kind.bytes().all(name);
        let urls =
            (1..=UPDATE_URLS_MAX).contains(&self.urls.len()) && self.urls.iter().all(|url| is_url(url));
        let rules = [
            (self.scope.is_well_formed(), OfferError::Scope),
            (self.floor <= self.firmware, OfferError::Floor),
            (self.size > 0, OfferError::Size),
            (kind, OfferError::Kind),
            (urls, OfferError::Urls),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }

    /// All before the signature. Of an offer that passed `check`, so that every length fits its byte.
    fn body(&self) -> Vec<u8> {
        let mut body = vec![VERSION];
        body.extend_from_slice(self.rollout.as_bytes());
        body.extend_from_slice(&self.firmware.to_le_bytes());
        body.extend_from_slice(&self.floor.to_le_bytes());
        body.extend_from_slice(&self.not_after.as_millis().to_le_bytes());
        body.extend_from_slice(&self.size.to_le_bytes());
        body.extend_from_slice(&self.digest);
        match &self.scope {
            UpdateScope::Lots(lots) => {
                body.extend_from_slice(&[SCOPE_LOTS, lots.len() as u8]);
                lots.iter().for_each(|lot| body.extend_from_slice(lot.as_bytes()));
            }
            UpdateScope::Sku(sku) => {
                body.push(SCOPE_SKU);
                put_text(&mut body, sku);
            }
        }
        put_text(&mut body, &self.kind);
        body.push(self.urls.len() as u8);
        self.urls.iter().for_each(|url| put_text(&mut body, url));
        body
    }
}

impl SignedOffer {
    /// Reads an offer without checking its signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, OfferError> {
        let (body, signature) =
            bytes.split_last_chunk::<{ Signature::BYTES }>().ok_or(OfferError::Malformed)?;
        if bytes.len() > UPDATE_OFFER_BYTES_MAX {
            return Err(OfferError::Malformed);
        }
        let offer = parse_body(body)?;
        offer.check()?;
        Ok(SignedOffer { offer, signature: Signature::from_bytes(*signature) })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.offer.body();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// The offer, if one of these keys signed it.
    pub fn verify(self, keys: &[PublicKey]) -> Result<Offer, OfferError> {
        let message = signed_message(&self.offer.body());
        let signed = keys.iter().any(|key| key.verify(&message, &self.signature).is_ok());
        if signed { Ok(self.offer) } else { Err(OfferError::Signature) }
    }

    /// What it says, signed or not: for whoever shows or keeps it.
    #[must_use]
    pub fn unverified(&self) -> &Offer {
        &self.offer
    }
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [LABEL, body].concat()
}

fn is_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let named = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    named && url.len() <= UPDATE_URL_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic())
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.push(text.len() as u8);
    body.extend_from_slice(text.as_bytes());
}

fn parse_body(body: &[u8]) -> Result<Offer, OfferError> {
    let mut rest = body;
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return Err(OfferError::Version(version));
    }
    let offer = Offer {
        rollout: RolloutId::from_bytes(take(&mut rest)?),
        firmware: u32::from_le_bytes(take(&mut rest)?),
        floor: u32::from_le_bytes(take(&mut rest)?),
        not_after: Timestamp::from_millis(u64::from_le_bytes(take(&mut rest)?)),
        size: u64::from_le_bytes(take(&mut rest)?),
        digest: take(&mut rest)?,
        scope: take_scope(&mut rest)?,
        kind: take_text(&mut rest)?,
        urls: take_urls(&mut rest)?,
    };
    if rest.is_empty() { Ok(offer) } else { Err(OfferError::Malformed) }
}

fn take_scope(rest: &mut &[u8]) -> Result<UpdateScope, OfferError> {
    match take(rest)? {
        [SCOPE_LOTS] => {
            let [count] = take(rest)?;
            let lots = (0..count).map(|_| take(rest).map(LotId::from_bytes));
            Ok(UpdateScope::Lots(lots.collect::<Result<_, _>>()?))
        }
        [SCOPE_SKU] => take_text(rest).map(UpdateScope::Sku),
        [_] => Err(OfferError::Malformed),
    }
}

fn take_urls(rest: &mut &[u8]) -> Result<Vec<String>, OfferError> {
    let [count] = take(rest)?;
    (0..count).map(|_| take_text(rest)).collect()
}

fn take_text(rest: &mut &[u8]) -> Result<String, OfferError> {
    let [length] = take(rest)?;
    let (text, left) = rest.split_at_checked(usize::from(length)).ok_or(OfferError::Malformed)?;
    *rest = left;
    String::from_utf8(text.to_vec()).map_err(|_| OfferError::Malformed)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], OfferError> {
    let (taken, left) = rest.split_first_chunk().ok_or(OfferError::Malformed)?;
    *rest = left;
    Ok(*taken)
}

#[cfg(test)]
mod tests;
