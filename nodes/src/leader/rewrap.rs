//! Wraps devices' and lots' secrets anew once the keyring has a newer key-encryption key, so that the older one can be
//! destroyed (protocol.md rule 19).
//!
//! Sessions need none of it: each resume wraps its secret under the newest key.

use crate::entropy::{Entropy, EntropyRng};
use crate::proposer::{ProposeError, Proposer};
use crate::shared_projector::SharedProjector;
use events::ids::{DeviceId, LotId, Slot};
use events::keyring::{Keyring, Purpose};
use events::vocabulary::SecretsRewrapped;
use events::vocabulary::provisioning::{RewrappedDevice, RewrappedLot};
use events::vocabulary::shared::Wrapped;
use std::sync::Arc;
use std::time::Duration;

/// Devices looked at in one step, while apply waits.
const LOOKED_AT: Slot = 4096;
/// Devices rewrapped by one event.
const REWRAPPED_AT_ONCE: usize = 512;
/// Between two steps: devices come first.
pub const REST: Duration = Duration::from_millis(100);
/// After a step that could not be done.
pub const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// After all were looked at: a member that still had the older keyring may have wrapped one more.
pub const FROM_THE_FIRST_AFTER: Duration = Duration::from_secs(600);

pub struct Rewrapper {
    pub keyring: Arc<Keyring>,
    pub entropy: Arc<dyn Entropy>,
    pub projector: SharedProjector,
    pub proposer: Proposer,
}

/// What is to be wrapped anew, and the slot to go on with; none if there is no further one.
struct Found {
    devices: Vec<(DeviceId, Wrapped)>,
    lots: Vec<(LotId, Wrapped)>,
    next: Option<Slot>,
}

impl Rewrapper {
    /// One step from `slot` on; where the next one begins.
    pub async fn step(&self, slot: Slot) -> Result<Option<Slot>, ProposeError> {
        let Found { devices, lots, next } = self.find(slot);
        let event = SecretsRewrapped {
            devices: devices.into_iter().filter_map(|(device, old)| self.device(device, &old)).collect(),
            lots: lots.into_iter().filter_map(|(lot, old)| self.lot(lot, &old)).collect(),
        };
        if event != SecretsRewrapped::default() {
            let (devices, lots) = (event.devices.len(), event.lots.len());
            self.proposer.propose_events(&[event.into()]).await?;
            tracing::info!(devices, lots, "wrapped secrets anew under the newest device key");
        }
        Ok(next)
    }

    fn find(&self, slot: Slot) -> Found {
        let Some(newest) = self.keyring.device_keys.first().map(|key| key.id) else {
            return Found { devices: Vec::new(), lots: Vec::new(), next: None };
        };
        self.projector.read(|fold| {
            let mut devices = Vec::new();
            let mut next = slot;
            while devices.len() < REWRAPPED_AT_ONCE && next < slot.saturating_add(LOOKED_AT) {
                let Some(device) = fold.device(next) else { break };
                next += 1;
                let pre_shared_key = device.pre_shared_key();
                if pre_shared_key.key != newest {
                    devices.push((device.id(), pre_shared_key));
                }
            }
            let of_first_step = fold
                .lots()
                .filter(|_| slot == 0)
                .filter_map(|view| fold.lot(&view.lot).map(|lot| (view.lot, lot)));
            let stale = of_first_step.filter(|(_, lot)| lot.tamper_key.key != newest);
            let lots = stale.map(|(id, lot)| (id, lot.tamper_key.clone())).collect();
            Found { devices, lots, next: fold.device(next).map(|_| next) }
        })
    }

    fn device(&self, device: DeviceId, old: &Wrapped) -> Option<RewrappedDevice> {
        let pre_shared_key = self.rewrap(Purpose::PreSharedKey, device.as_bytes(), old)?;
        Some(RewrappedDevice { device, pre_shared_key })
    }

    fn lot(&self, lot: LotId, old: &Wrapped) -> Option<RewrappedLot> {
        Some(RewrappedLot { lot, tamper_key: self.rewrap(Purpose::TamperKey, lot.as_bytes(), old)? })
    }

    /// None if it does not open: nothing gets better by writing it again.
    fn rewrap(&self, purpose: Purpose, subject: &[u8], old: &Wrapped) -> Option<Wrapped> {
        match self.keyring.unwrap(purpose, subject, 0, old) {
            Ok(secret) => {
                Some(self.keyring.wrap(&mut EntropyRng(&*self.entropy), purpose, subject, 0, &secret))
            }
            Err(error) => {
                tracing::error!(key = old.key, %error, "a wrapped secret does not open");
                None
            }
        }
    }
}
