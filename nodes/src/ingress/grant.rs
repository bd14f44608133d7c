//! What a granted session tells the device, license token included.

use super::desk::Desk;
use events::envelope::GrantBody;
use events::identity::key::PublicKey;
use events::license::token::{Claims, KeyThumbprint, issue_with};
use events::time::Timestamp;
use projector::outcome::{Grant, LicenseGrant};

/// The body of a granted answer. With the device's key it brings a license token, whose signature is P-384 work; a
/// lease number without its token would make the device believe that it has it.
pub(super) fn grant_body(desk: &Desk, stamp: Timestamp, grant: &Grant, key: Option<&PublicKey>) -> GrantBody {
    let lease = grant.license.as_ref().zip(key);
    let token = lease.and_then(|(license, key)| license_token(desk, stamp, grant, license, key));
    GrantBody {
        epoch: grant.epoch,
        server_nonce: grant.server_nonce,
        suite: grant.suite,
        generation: grant.generation,
        stamp,
        interval_millis: grant.interval_millis,
        legitimacy: grant.legitimacy,
        lease: token.as_ref().and(grant.license.as_ref()).map_or(0, |license| license.lease),
        license_token: token,
    }
}

fn license_token(
    desk: &Desk,
    stamp: Timestamp,
    grant: &Grant,
    license: &LicenseGrant,
    key: &PublicKey,
) -> Option<String> {
    let claims = Claims {
        cluster: desk.keyring.cluster,
        device: grant.device,
        license: license.license,
        plan: license.plan.name.clone(),
        entitlements: license.plan.entitlements.clone(),
        issued_at: stamp,
        expires: license.lease_expires,
        confirmation: KeyThumbprint::of(key),
        lease_counter: u64::from(license.lease),
    };
    match issue_with(&*desk.engine, &desk.keyring.license_key, &claims) {
        Ok(token) => Some(token),
        Err(error) => {
            tracing::error!(%error, license = %license.license, "a license token cannot be issued");
            None
        }
    }
}
