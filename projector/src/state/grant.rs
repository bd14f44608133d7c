//! The answer to what was granted, now or before: derived from what is kept, so that every node gives the same one.

use super::State;
use super::license::license_id;
use super::session::{Link, Origin};
use crate::outcome::{Grant, LicenseGrant};
use crate::view::LicenseState;
use events::ids::Slot;
use events::time::Timestamp;

impl State {
    /// A lease as it was given at `given`; none once the license does not hold any more.
    pub(crate) fn lease_as_given(&self, slot: Slot, lease: u32, given: Timestamp) -> Option<LicenseGrant> {
        let license = self.licenses.get(self.records.get(slot)?.license?)?;
        let code = self.codes.get(license.code)?;
        let plan = self.code_batches.get(code.batch)?.plan.clone();
        if license.state != LicenseState::Active || lease == 0 {
            return None;
        }
        let whole = given.plus_millis(u64::from(plan.lease_seconds) * 1000);
        let lease_expires =
            if license.expires == Timestamp::ZERO { whole } else { whole.min(license.expires) };
        let (license, expires) = (license_id(&code.digest), license.expires);
        Some(LicenseGrant { license, plan, expires, lease, lease_expires })
    }

    /// The answer to what was granted as `link`, now or before.
    pub(crate) fn grant(&self, slot: Slot, link: &Link) -> Option<Box<Grant>> {
        let (row, record) = (self.rows.get(slot)?, self.records.get(slot)?);
        let (from_epoch, client_nonce) = match link.origin {
            Origin::Resume(nonce) => (link.parent, Some(nonce)),
            Origin::Activation(_) => (0, None),
        };
        Some(Box::new(Grant {
            device: record.birth.device,
            slot,
            epoch: link.epoch,
            from_epoch,
            granted: link.granted,
            client_nonce,
            server_nonce: link.server_nonce,
            resumption: (&link.resumption).into(),
            suite: link.suite,
            generation: link.generation,
            interval_millis: self.heartbeat_millis,
            legitimacy: row.legitimacy,
            license: self.lease_as_given(slot, link.lease, link.granted_at),
        }))
    }
}
