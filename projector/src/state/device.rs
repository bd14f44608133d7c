//! The cold record of a device: what the factory said, its session, what it owns and what was done to it.

use super::incidents::IfAny;
use super::kept::Kept;
use super::seldom::Seldom;
use super::session::Session;
use super::story::Story;
use super::usual::Usual;
use crate::outcome::DirectiveView;
use events::ids::{DeviceId, LogIndex, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::{ComponentDigest, DeviceProvisioned};
use serde::{Deserialize, Serialize};

/// Unsettled directives kept per device; the oldest gives way, and is settled as expired.
pub(crate) const DIRECTIVES_KEPT: usize = 4;
/// Heartbeats that show that the device was told of a directive and did not obey, until it counts as refused.
pub(crate) const UNHEEDED_MAX: u8 = 3;
/// Transcripts of activations that are remembered after their epoch died.
pub(crate) const TRANSCRIPTS_KEPT: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub birth: Birth,
    pub session: Session,
    /// Digests of the last transcripts that were granted, oldest first.
    pub transcripts: Usual<[u8; 32], 1>,
    /// Bodies that were counted.
    pub numbers: super::numbers::Numbers,
    /// Those of them that came from a spool.
    pub spooled: u64,
    /// Index of the license that the device owns.
    pub license: Option<u32>,
    pub held: Held,
    /// Not settled, ascending by id.
    pub directives: Seldom<Directed>,
    pub incidents: IfAny,
    pub story: Story,
}

/// The last lease whose token surely reached the device: it spoke under an epoch that was granted with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Index of the license; none if nothing is surely held.
    pub license: Option<u32>,
    pub lease: u32,
    pub given: Timestamp,
}

/// A directive on its way to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directed {
    pub view: DirectiveView,
    /// The log index since which every verdict names it; 0 while a lower one is named.
    pub named: LogIndex,
    /// Heartbeats of a device that was told and did not obey.
    pub unheeded: u8,
}

/// What the factory said, and never changes but for the key-encryption key of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub device: DeviceId,
    pub lot: LotId,
    pub station: StationId,
    pub unit: u32,
    pub public_key: Usual<u8, 97>,
    pub pre_shared_key: Kept,
    pub nats_key: [u8; 32],
    pub components: Usual<ComponentDigest, 4>,
    pub record: RecordDigest,
    pub burned_at: Timestamp,
    pub imported: LogIndex,
}

impl Birth {
    #[must_use]
    pub(crate) fn new(event: DeviceProvisioned, imported: LogIndex) -> Self {
        Birth {
            device: event.device,
            lot: event.lot,
            station: event.station,
            unit: event.unit,
            public_key: event.public_key.into(),
            pre_shared_key: event.pre_shared_key.into(),
            nats_key: event.nats_key,
            components: event.components.into(),
            record: event.record,
            burned_at: event.burned_at,
            imported,
        }
    }

    /// Whether a manifest entry says the same. The wrapped key is left out: each import wraps it anew.
    #[must_use]
    pub(crate) fn says(&self, event: &DeviceProvisioned) -> bool {
        self.device == event.device
            && self.lot == event.lot
            && self.station == event.station
            && self.unit == event.unit
            && *self.public_key == *event.public_key
            && self.nats_key == event.nats_key
            && *self.components == *event.components
            && self.record == event.record
    }
}

impl Record {
    #[must_use]
    pub(crate) fn new(birth: Birth) -> Self {
        Record {
            birth,
            session: Session::default(),
            transcripts: Usual::default(),
            numbers: super::numbers::Numbers::default(),
            spooled: 0,
            license: None,
            held: Held::default(),
            directives: Seldom::default(),
            incidents: IfAny::default(),
            story: Story::default(),
        }
    }

    /// The lowest directive that is not settled: what was obeyed is then exactly what the device reports, since it
    /// obeys only higher ones afterwards. Expired ones are settled before anything is answered.
    #[must_use]
    pub(crate) fn directive(&self) -> Option<DirectiveView> {
        self.directives.first().map(|directed| directed.view)
    }
}
