//! Lots and the stations that burn them.

use events::ids::LotId;
use events::time::Timestamp;
use events::vocabulary::provisioning::{LotCreated, StationCertified};
use events::vocabulary::shared::{ComponentKind, Wrapped};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    pub sku: String,
    pub required: Vec<ComponentKind>,
    pub optional: Vec<ComponentKind>,
    pub threshold: u8,
    pub tamper_key: Wrapped,
    /// Devices imported.
    pub devices: u32,
}

impl Lot {
    #[must_use]
    pub(crate) fn new(event: LotCreated) -> Self {
        Lot {
            sku: event.sku,
            required: event.required,
            optional: event.optional,
            threshold: event.threshold,
            tamper_key: event.tamper_key,
            devices: 0,
        }
    }

    /// Whether an event says the same. The wrapped key is left out: each proposal wraps it anew.
    #[must_use]
    pub(crate) fn says(&self, event: &LotCreated) -> bool {
        self.sku == event.sku
            && self.required == event.required
            && self.optional == event.optional
            && self.threshold == event.threshold
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    pub lot: LotId,
    pub public_key: Vec<u8>,
    pub quota: u32,
    /// Devices imported.
    pub used: u32,
    pub until: Timestamp,
    pub certificate: Vec<u8>,
    pub revoked: bool,
}

impl Station {
    #[must_use]
    pub(crate) fn new(event: StationCertified) -> Self {
        Station {
            lot: event.lot,
            public_key: event.public_key,
            quota: event.quota,
            used: 0,
            until: event.until,
            certificate: event.certificate,
            revoked: false,
        }
    }
}
