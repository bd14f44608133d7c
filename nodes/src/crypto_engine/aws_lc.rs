//! P-384 by aws-lc. What it is given was checked for spelling before: it would accept compressed points and high-S.

use aws_lc_rs::agreement::{self, ECDH_P384, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use events::identity::key::{PublicKey, Signature, SignatureRefused, SigningKey};
use events::keyring::engine::P384Engine;
use events::keyring::{HpkeError, HpkeSecretKey};
use parking_lot::RwLock;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Keys that stay prepared: a keyring has a handful. Preparing one costs as much as using it.
const PREPARED_MAX: usize = 16;

/// aws-lc's arithmetic. Signatures are randomized, not deterministic.
#[derive(Default)]
pub struct AwsLcEngine {
    agreement: Prepared<PrivateKey>,
    signing: Prepared<EcdsaKeyPair>,
}

impl P384Engine for AwsLcEngine {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    fn agree(&self, secret: &HpkeSecretKey, point: &[u8; 97]) -> Result<Zeroizing<[u8; 48]>, HpkeError> {
        if point[0] != 4 {
            return Err(HpkeError);
        }
        let key = self.agreement.get_or_prepare(&secret.public().key, || {
            PrivateKey::from_private_key(&ECDH_P384, &secret.to_bytes()[..]).map_err(|_| HpkeError)
        })?;
        let point = agreement::UnparsedPublicKey::new(&ECDH_P384, point);
        agreement::agree(&key, point, HpkeError, |shared| {
            shared.try_into().map(Zeroizing::new).map_err(|_| HpkeError)
        })
    }

    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureRefused> {
        signature.check_low_s()?;
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.as_bytes());
        key.verify(message, signature.as_bytes()).map_err(|_| SignatureRefused)
    }

    fn sign(&self, key: &SigningKey, message: &[u8]) -> Signature {
        match self.try_sign(key, message) {
            Ok(signature) => signature,
            Err(SignatureRefused) => {
                // Neither a valid key nor the system's entropy can fail here; if they do, the other engine signs.
                tracing::error!("aws-lc did not sign; signing in pure Rust");
                key.sign(message)
            }
        }
    }
}

impl AwsLcEngine {
    /// The first random byte costs the library tens of milliseconds of gathering entropy: not the first terminal's.
    pub fn warm_up(&self) {
        if aws_lc_rs::rand::fill(&mut [0; 1]).is_err() {
            tracing::error!("aws-lc has no entropy yet");
        }
    }

    fn try_sign(&self, key: &SigningKey, message: &[u8]) -> Result<Signature, SignatureRefused> {
        let public = key.public();
        let pair = self.signing.get_or_prepare(&public, || {
            let (algorithm, private) = (&ECDSA_P384_SHA384_FIXED_SIGNING, key.to_bytes());
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private[..], public.as_bytes())
                .map_err(|_| SignatureRefused)
        })?;
        let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| SignatureRefused)?;
        Signature::low_s(signature.as_ref().try_into().map_err(|_| SignatureRefused)?)
    }
}

/// Keys as the library wants them, by their public part. The newest push out the oldest.
struct Prepared<K>(RwLock<Vec<(PublicKey, Arc<K>)>>);

impl<K> Default for Prepared<K> {
    fn default() -> Self {
        Prepared(RwLock::default())
    }
}

impl<K> Prepared<K> {
    fn get_or_prepare<E>(
        &self,
        public: &PublicKey,
        prepare: impl FnOnce() -> Result<K, E>,
    ) -> Result<Arc<K>, E> {
        let found = |keys: &[(PublicKey, Arc<K>)]| {
            keys.iter().find(|(known, _)| known == public).map(|(_, key)| Arc::clone(key))
        };
        if let Some(key) = found(&self.0.read()) {
            return Ok(key);
        }
        let prepared = Arc::new(prepare()?);
        let mut keys = self.0.write();
        if keys.len() >= PREPARED_MAX {
            keys.remove(0);
        }
        keys.push((*public, Arc::clone(&prepared)));
        Ok(prepared)
    }
}
