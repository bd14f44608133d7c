//! One device as ingress and operators see it.

use crate::judgement::epoch_after;
use crate::outcome::{DirectiveView, Grant};
use crate::state::State;
use crate::state::device::Record;
use crate::state::kept::Kept;
use crate::state::license::license_id;
use crate::state::row::{Row, marks};
use crate::state::session::{Link, Origin, Standing};
use crate::view::{DeviceSummary, FlagSubject, FlagView};
use events::ids::{DeviceId, Epoch, Generation, LicenseId, LotId, RecordDigest, Slot, SourceId};
use events::time::Timestamp;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::{Legitimacy, Suite, Wrapped};
use sha2::{Digest, Sha256};

/// One device, borrowed from the state.
#[derive(Clone, Copy)]
pub struct DeviceView<'a> {
    state: &'a State,
    slot: Slot,
    row: &'a Row,
    record: &'a Record,
}

/// One epoch of a device: what a node needs to open what comes under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochView<'a> {
    pub epoch: Epoch,
    pub standing: EpochStanding,
    pub suite: Suite,
    pub generation: Generation,
    pub server_nonce: &'a [u8; 32],
    /// Of a resume; none for an activation.
    pub client_nonce: Option<&'a [u8; 16]>,
    /// The epoch that it succeeds; 0 for the first.
    pub parent: Epoch,
    resumption: &'a Kept,
}

/// Where an epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochStanding {
    Current,
    Pending,
    Superseded,
}

impl<'a> DeviceView<'a> {
    pub(crate) fn of(state: &'a State, slot: Slot) -> Option<Self> {
        Some(DeviceView { state, slot, row: state.rows.get(slot)?, record: state.records.get(slot)? })
    }

    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.record.birth.device
    }

    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    #[must_use]
    pub fn lot(&self) -> LotId {
        self.record.birth.lot
    }

    /// Uncompressed SEC1 point, 97 bytes.
    #[must_use]
    pub fn public_key(&self) -> &'a [u8] {
        &self.record.birth.public_key
    }

    #[must_use]
    pub fn pre_shared_key(&self) -> Wrapped {
        (&self.record.birth.pre_shared_key).into()
    }

    #[must_use]
    pub fn nats_key(&self) -> &'a [u8; 32] {
        &self.record.birth.nats_key
    }

    #[must_use]
    pub fn components(&self) -> &'a [ComponentDigest] {
        &self.record.birth.components
    }

    #[must_use]
    pub fn record(&self) -> RecordDigest {
        self.record.birth.record
    }

    #[must_use]
    pub fn legitimacy(&self) -> Legitimacy {
        self.row.legitimacy
    }

    /// The confirmed epoch; 0 if there was none yet.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.row.epoch
    }

    /// The number that the next resume gets.
    #[must_use]
    pub fn next_epoch(&self) -> Epoch {
        self.row.next_epoch
    }

    /// The number that an activation gets whose device claims to know of `claimed`.
    #[must_use]
    pub fn epoch_for_activation(&self, claimed: Epoch) -> Epoch {
        epoch_after(self.row.next_epoch, claimed)
    }

    /// The epochs that are kept: current, pending, then superseded from the latest on.
    pub fn epochs(&self) -> impl Iterator<Item = EpochView<'a>> + use<'a> {
        self.record.session.all().map(EpochView::of)
    }

    #[must_use]
    pub fn epoch_view(&self, epoch: Epoch) -> Option<EpochView<'a>> {
        self.record.session.find(epoch).map(EpochView::of)
    }

    /// What was granted for this very resume before, as it is answered; none if it is new.
    #[must_use]
    pub fn resumed_before(&self, from_epoch: Epoch, client_nonce: &[u8; 16]) -> Option<Box<Grant>> {
        let link = self.record.session.resumed_before(from_epoch, client_nonce)?;
        self.state.grant(self.slot, link)
    }

    /// What was granted for the activation of this transcript before, as it is answered; none if it is new, or if what
    /// was granted is dead.
    #[must_use]
    pub fn activated_before(&self, transcript: &[u8]) -> Option<Box<Grant>> {
        let link = self.record.session.activated_before(&Sha256::digest(transcript).into())?;
        self.state.grant(self.slot, link)
    }

    /// The source that spoke last under the current epoch.
    #[must_use]
    pub fn source(&self) -> Option<&'a SourceId> {
        self.state.sources.get(self.row.source).map(|source| &source.name)
    }

    #[must_use]
    pub fn firmware(&self) -> u32 {
        self.row.firmware
    }

    #[must_use]
    pub fn condition(&self) -> u8 {
        self.row.condition
    }

    #[must_use]
    pub fn license(&self) -> Option<LicenseId> {
        let license = self.state.licenses.get(self.record.license?)?;
        self.state.codes.get(license.code).map(|code| license_id(&code.digest))
    }

    /// The lowest directive that is not settled.
    /// Whether it is served now: its license counts, and nothing was decided against it.
    #[must_use]
    pub fn is_licensed(&self) -> bool {
        let is_served = matches!(self.legitimacy(), Legitimacy::Legitimate | Legitimacy::Suspect);
        is_served && self.row.has(marks::LICENSED)
    }

    #[must_use]
    pub fn directive(&self) -> Option<DirectiveView> {
        self.record.directive()
    }

    /// The interval that the device is granted now, in milliseconds.
    #[must_use]
    pub fn interval_millis(&self) -> u32 {
        self.state.heartbeat_millis
    }

    #[must_use]
    pub fn last_heard(&self) -> Timestamp {
        self.row.last_heard
    }

    #[must_use]
    pub fn heartbeats(&self) -> u64 {
        self.row.heartbeats
    }

    /// Flags of this device, cleared ones included.
    pub fn flags(&self) -> impl Iterator<Item = &'a FlagView> + use<'a> {
        self.state.flags_of(&FlagSubject::Device(self.id()))
    }

    #[must_use]
    pub fn summary(&self) -> DeviceSummary {
        let (birth, session) = (&self.record.birth, &self.record.session);
        DeviceSummary {
            device: birth.device,
            slot: self.slot,
            lot: birth.lot,
            station: birth.station,
            unit: birth.unit,
            record: birth.record,
            burned_at: birth.burned_at,
            imported: birth.imported,
            legitimacy: self.row.legitimacy,
            epoch: self.row.epoch,
            pending: session.pending.iter().map(|link| link.epoch).collect(),
            superseded: session.superseded.iter().map(|old| old.link.epoch).collect(),
            suite: session.current.as_ref().map(|link| link.suite),
            source: self.source().cloned(),
            license: self.license(),
            firmware: self.row.firmware,
            boot_count: self.row.boot_count,
            condition: self.row.condition,
            heartbeats: self.row.heartbeats,
            spooled: self.record.spooled,
            last_heard: self.row.last_heard,
            directive: self.directive(),
            flags: self.flags().filter(|flag| flag.cleared.is_none()).map(|flag| flag.id).collect(),
        }
    }
}

impl<'a> EpochView<'a> {
    /// The wrapped resumption secret.
    #[must_use]
    pub fn resumption(&self) -> Wrapped {
        self.resumption.into()
    }

    fn of(standing: Standing<'a>) -> Self {
        let link: &'a Link = standing.link();
        EpochView {
            epoch: link.epoch,
            standing: match standing {
                Standing::Current(_) => EpochStanding::Current,
                Standing::Pending(_) => EpochStanding::Pending,
                Standing::Superseded(_) => EpochStanding::Superseded,
            },
            suite: link.suite,
            generation: link.generation,
            server_nonce: &link.server_nonce,
            client_nonce: match &link.origin {
                Origin::Resume(nonce) => Some(nonce),
                Origin::Activation(_) => None,
            },
            parent: link.parent,
            resumption: &link.resumption,
        }
    }
}
