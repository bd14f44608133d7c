//! What the factory signs about a lot, so that a station can tell the cluster nothing else about it.
//!
//! ```text
//! version u8 = 1 ‖ lot 4 ‖ tamper key digest 16 ‖ threshold u8
//! ‖ count u8 ‖ required kinds, one byte each ‖ count u8 ‖ optional kinds ‖ length u8 ‖ SKU (UTF-8)
//! ‖ ECDSA P-384 signature 96 of the factory key, over "muster v1 lot declaration" ‖ all before it
//! ```

use super::{LotSecret, TamperKey};
use crate::identity::fingerprint::{ComponentPolicy, PolicyError};
use crate::identity::key::{FactoryKey, PublicKey, Signature};
use crate::ids::LotId;
use crate::limits::SKU_BYTES_MAX;
use crate::vocabulary::shared::ComponentKind;
use sha2::{Digest, Sha384};
use subtle::ConstantTimeEq;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"muster v1 lot declaration";

/// What a lot is. The signature is checked by [`LotDeclaration::verify`]; parsing checks the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotDeclaration {
    lot: LotId,
    sku: String,
    policy: ComponentPolicy,
    tamper_key_digest: [u8; 16],
    signature: Signature,
}

/// Why there is no such declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    #[error("a SKU is 1 to {SKU_BYTES_MAX} bytes without control characters")]
    Sku,
    #[error("a lot declaration of version {0} is not known to this program")]
    Version(u8),
    #[error("the lot declaration is malformed")]
    Malformed,
    #[error("the lot declaration: {0}")]
    Policy(#[from] PolicyError),
    #[error("the factory's signature on the lot declaration does not hold")]
    Signature,
}

impl LotDeclaration {
    pub fn issue(
        factory: &FactoryKey,
        lot: LotId,
        sku: &str,
        policy: ComponentPolicy,
        lot_secret: &LotSecret,
    ) -> Result<Self, DeclarationError> {
        let unsigned = LotDeclaration {
            lot,
            sku: checked_sku(sku)?,
            policy,
            tamper_key_digest: digest(&lot_secret.tamper_key(lot)),
            signature: Signature::from_bytes([0; Signature::BYTES]),
        };
        let signature = factory.sign(&unsigned.signed_message());
        Ok(LotDeclaration { signature, ..unsigned })
    }

    pub fn verify(&self, factory: &PublicKey) -> Result<(), DeclarationError> {
        factory.verify(&self.signed_message(), &self.signature).map_err(|_| DeclarationError::Signature)
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        self.lot
    }

    #[must_use]
    pub fn sku(&self) -> &str {
        &self.sku
    }

    #[must_use]
    pub fn policy(&self) -> &ComponentPolicy {
        &self.policy
    }

    /// Whether this is the lot's tamper key, as the factory declared it.
    #[must_use]
    pub fn names_tamper_key(&self, key: &TamperKey) -> bool {
        digest(key).ct_eq(&self.tamper_key_digest).into()
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, DeclarationError> {
        let (body, signature) =
            bytes.split_last_chunk::<{ Signature::BYTES }>().ok_or(DeclarationError::Malformed)?;
        let mut rest = body;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(DeclarationError::Version(version));
        }
        let (lot, tamper_key_digest, [threshold]) =
            (LotId::from_bytes(take(&mut rest)?), take(&mut rest)?, take(&mut rest)?);
        let (required, optional) = (take_kinds(&mut rest)?, take_kinds(&mut rest)?);
        let policy = ComponentPolicy::new(required, optional, threshold)?;
        let sku = take_counted(&mut rest)?;
        let sku = checked_sku(std::str::from_utf8(sku).map_err(|_| DeclarationError::Sku)?)?;
        let signature = Signature::from_bytes(*signature);
        let declaration = LotDeclaration { lot, sku, policy, tamper_key_digest, signature };
        // One spelling only: nothing left over, kinds in canonical order.
        if declaration.body() == body { Ok(declaration) } else { Err(DeclarationError::Malformed) }
    }

    fn body(&self) -> Vec<u8> {
        let mut body = vec![VERSION];
        body.extend_from_slice(self.lot.as_bytes());
        body.extend_from_slice(&self.tamper_key_digest);
        body.push(self.policy.threshold());
        for kinds in [self.policy.required(), self.policy.optional()] {
            // At most eight: the policy holds that.
            body.push(kinds.len() as u8);
            body.extend(kinds.iter().map(|kind| *kind as u8));
        }
        // At most 64: `checked_sku` holds that.
        body.push(self.sku.len() as u8);
        body.extend_from_slice(self.sku.as_bytes());
        body
    }

    fn signed_message(&self) -> Vec<u8> {
        [LABEL, &self.body()].concat()
    }
}

fn checked_sku(sku: &str) -> Result<String, DeclarationError> {
    let fits = (1..=SKU_BYTES_MAX).contains(&sku.len()) && !sku.chars().any(char::is_control);
    if fits { Ok(sku.to_owned()) } else { Err(DeclarationError::Sku) }
}

/// The key is random and has 32 bytes, so that its digest tells nothing about it.
fn digest(key: &TamperKey) -> [u8; 16] {
    let digest = Sha384::new().chain_update(LABEL).chain_update(key.as_bytes()).finalize();
    std::array::from_fn(|i| digest[i])
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DeclarationError> {
    let (taken, left) = rest.split_first_chunk().ok_or(DeclarationError::Malformed)?;
    *rest = left;
    Ok(*taken)
}

fn take_counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DeclarationError> {
    let [count] = take(rest)?;
    let (taken, left) = rest.split_at_checked(usize::from(count)).ok_or(DeclarationError::Malformed)?;
    *rest = left;
    Ok(taken)
}

fn take_kinds(rest: &mut &[u8]) -> Result<Vec<ComponentKind>, DeclarationError> {
    let numbers = take_counted(rest)?;
    numbers
        .iter()
        .map(|number| ComponentKind::from_number(*number).ok_or(DeclarationError::Malformed))
        .collect()
}
