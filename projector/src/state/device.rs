//! The cold record of a device: what the factory said, its session, what it owns and what was done to it.

use super::session::Session;
use super::story::Story;
use crate::outcome::DirectiveView;
use events::ids::{DeviceId, LogIndex, LotId, RecordDigest, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::{ComponentDigest, DeviceProvisioned};
use events::vocabulary::shared::Wrapped;
use serde::{Deserialize, Serialize};

/// Unsettled directives kept per device; the oldest gives way, since only the highest is named in verdicts.
pub(crate) const DIRECTIVES_KEPT: usize = 4;
/// Transcripts of activations that are remembered after their epoch died.
pub(crate) const TRANSCRIPTS_KEPT: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub birth: Birth,
    pub session: Session,
    /// Digests of the last transcripts that were granted, oldest first.
    pub transcripts: Vec<[u8; 32]>,
    pub numbers: super::window::Window,
    /// Index of the license that the device owns.
    pub license: Option<u32>,
    /// Not settled, ascending by id.
    pub directives: Vec<DirectiveView>,
    /// Index of the operation that restricted or revoked the device, while it is.
    pub bound_by: Option<u32>,
    /// When suspicion ends if nothing else is heard; zero if there is none.
    pub suspect_until: Timestamp,
    /// Until then automation leaves the device alone: a person reinstated it.
    pub hands_off_until: Timestamp,
    pub story: Story,
}

/// What the factory said, and never changes.
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
            numbers: super::window::Window::default(),
            license: None,
            directives: Vec::new(),
            bound_by: None,
            suspect_until: Timestamp::ZERO,
            hands_off_until: Timestamp::ZERO,
            story: Story::default(),
        }
    }

    /// The highest directive that is not settled: obeying it is enough for all below.
    #[must_use]
    pub(crate) fn directive(&self) -> Option<DirectiveView> {
        self.directives.last().copied()
    }
}
