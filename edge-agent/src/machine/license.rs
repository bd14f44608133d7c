//! The license token: checked before it is kept, checked again before an app gets it (protocol.md rule 20).

use super::Machine;
use super::core::Core;
use super::effects::{AgentEvent, Standing};
use super::now::Now;
use events::identity::key::{PublicKey, Signature};
use events::ids::AppName;
use events::license::proof::NONCE_BYTES;
use events::license::{Claims, KeyThumbprint, LicenseRefusal, ProofStatement, TokenError, token};
use events::time::Timestamp;

/// The token, and the proof that this terminal holds the key which it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedLicense {
    pub token: String,
    pub device_key: PublicKey,
    /// The time by which the lease was judged.
    pub at: Timestamp,
    pub expires: Timestamp,
    pub proof: Signature,
}

/// Why a token that came in a sealed answer is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenRefused {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the license token is of another cluster, device or key")]
    Foreign,
}

/// Keeps `token` and the lease that it belongs to, or tells why not; the token held before stays then.
pub(super) fn receive(token: &str, lease: u32, stamp: Timestamp, core: &mut Core) {
    match check(token, stamp, core) {
        Ok(_claims) => {
            core.saved.license_token = Some(token.to_owned());
            core.saved.lease = lease;
            core.events.push_back(AgentEvent::LicenseRenewed);
        }
        Err(refused) => {
            core.events.push_back(AgentEvent::LicenseTokenRefused { why: refused.to_string() });
        }
    }
}

/// The claims of `token` if one of the pinned license keys signed them, for this cluster and this very terminal, and
/// the lease lasts at `at`.
fn check(token: &str, at: Timestamp, core: &Core) -> Result<Claims, TokenRefused> {
    let claims = verify_with(core, token, at)?;
    let own_key = core.check.identity.as_ref().map(|identity| KeyThumbprint::of(&identity.key.public()));
    let ours = claims.cluster == core.cluster.cluster
        && claims.device == core.saved.device
        && own_key.as_ref() == Some(&claims.confirmation);
    if ours { Ok(claims) } else { Err(TokenRefused::Foreign) }
}

/// The key of the cluster file first, then those that the config adds while license keys are rotated.
fn verify_with(core: &Core, token: &str, at: Timestamp) -> Result<Claims, TokenError> {
    let mut last = token::verify(&core.cluster.license_key, token, at);
    for key in &core.settings.license_keys {
        if last != Err(TokenError::Signature) {
            break;
        }
        last = token::verify(key, token, at);
    }
    last
}

impl Machine {
    /// What the token held says, if it still counts.
    pub fn license(&self, now: Now) -> Result<Claims, LicenseRefusal> {
        if self.core.standing() == Standing::Restricted {
            return Err(LicenseRefusal::Restricted);
        }
        let token = self.core.saved.license_token.as_deref().ok_or(LicenseRefusal::NoLicense)?;
        check(token, self.core.time.for_leases(now), &self.core).map_err(|refused| match refused {
            TokenRefused::Token(TokenError::Expired(_)) => LicenseRefusal::Expired,
            TokenRefused::Token(_) | TokenRefused::Foreign => LicenseRefusal::NotAuthentic,
        })
    }

    /// The license token for `app`, with a proof over the app's own nonce. Whether the asker is that app, the shell
    /// has found out.
    pub fn hand_out_license(
        &self,
        app: &AppName,
        nonce: [u8; NONCE_BYTES],
        now: Now,
    ) -> Result<HandedLicense, LicenseRefusal> {
        let claims = self.license(now)?;
        let held = self.core.check.identity.as_ref().zip(self.core.saved.license_token.as_ref());
        let (identity, token) = held.ok_or(LicenseRefusal::NoLicense)?;
        let at = self.core.time.for_leases(now);
        let proof = ProofStatement { app, nonce, at, token }.sign(&identity.key);
        let (token, device_key) = (token.clone(), identity.key.public());
        Ok(HandedLicense { token, device_key, at, expires: claims.expires, proof })
    }
}
