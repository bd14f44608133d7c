//! The cold record of a device: what the factory said, its session, what it owns and what was done to it.

use super::session::Session;
use super::story::Story;
use crate::outcome::DirectiveView;
use events::ids::{DeviceId, Generation, LogIndex, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::{ComponentDigest, DeviceProvisioned};
use events::vocabulary::shared::Wrapped;
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
    pub transcripts: Vec<[u8; 32]>,
    /// Bodies that were counted.
    pub numbers: super::numbers::Numbers,
    /// Those of them that came from a spool.
    pub spooled: u64,
    /// Index of the license that the device owns.
    pub license: Option<u32>,
    pub held: Held,
    /// Not settled, ascending by id.
    pub directives: Vec<Directed>,
    /// When the last re-key was granted, and in which generation; zero if there was none.
    pub rekeyed_at: Timestamp,
    pub rekeyed_in: Generation,
    /// Until then a re-key still counts as demanded by a directive that was obeyed.
    pub rekey_demanded_until: Timestamp,
    /// Index of the operation that restricted or revoked the device, while it is.
    pub bound_by: Option<u32>,
    /// When suspicion ends if nothing else is heard; zero if there is none.
    pub suspect_until: Timestamp,
    /// Until then automation leaves the device alone: a person reinstated it.
    pub hands_off_until: Timestamp,
    /// The last rollout of software update that the device was told of.
    pub tried: Option<super::update::Tried>,
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
    pub public_key: Vec<u8>,
    pub pre_shared_key: Wrapped,
    pub nats_key: [u8; 32],
    pub components: Vec<ComponentDigest>,
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
            public_key: event.public_key,
            pre_shared_key: event.pre_shared_key,
            nats_key: event.nats_key,
            components: event.components,
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
            && self.public_key == event.public_key
            && self.nats_key == event.nats_key
            && self.components == event.components
            && self.record == event.record
    }
}

impl Record {
    #[must_use]
    pub(crate) fn new(birth: Birth) -> Self {
        Record {
            birth,
            session: Session::default(),
            transcripts: Vec::new(),
            numbers: super::numbers::Numbers::default(),
            spooled: 0,
            license: None,
            held: Held::default(),
            directives: Vec::new(),
            rekeyed_at: Timestamp::ZERO,
            rekeyed_in: 0,
            rekey_demanded_until: Timestamp::ZERO,
            bound_by: None,
            suspect_until: Timestamp::ZERO,
            hands_off_until: Timestamp::ZERO,
            tried: None,
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
