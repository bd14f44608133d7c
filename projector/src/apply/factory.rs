//! What the factory tells: lots, stations and their end, devices.

use super::step::Step;
use crate::outcome::{Decline, Outcome};
use crate::state::device::{Birth, Record};
use crate::state::factory::{Lot, Station};
use crate::state::index::Index;
use crate::state::row::Row;
use crate::state::story::Happening;
use events::ids::{DeviceId, Slot};
use events::limits::COMPONENTS_MAX;
use events::vocabulary::provisioning::{RewrappedDevice, RewrappedLot};
use events::vocabulary::shared::Legitimacy;
use events::vocabulary::{DeviceProvisioned, LotCreated, SecretsRewrapped, StationCertified, StationRevoked};
use sha2::{Digest, Sha384};

/// An uncompressed SEC1 point of P-384.
const PUBLIC_KEY_BYTES: usize = 97;
const SKU_BYTES_MAX: usize = 64;
/// Certificates and wrapped keys are far smaller.
const BLOB_BYTES_MAX: usize = 4096;

impl Step<'_> {
    pub(crate) fn lot_created(&mut self, event: LotCreated) -> Outcome {
        let components = event.required.len() + event.optional.len();
        let threshold_can_be_met = usize::from(event.threshold) <= event.optional.len();
        if event.sku.len() > SKU_BYTES_MAX || components > COMPONENTS_MAX || !threshold_can_be_met {
            return Outcome::Declined(Decline::Malformed);
        }
        match self.state.lots.get(&event.lot) {
            Some(lot) if lot.says(&event) => Outcome::Duplicate,
            Some(_) => Outcome::Declined(Decline::LotConflict),
            None => {
                self.state.lots.insert(event.lot, Lot::new(event));
                Outcome::Accepted
            }
        }
    }

    /// The same secrets under another key-encryption key. Who is unknown is passed over: others must not wait for it.
    pub(crate) fn secrets_rewrapped(&mut self, event: SecretsRewrapped) -> Outcome {
        let mut sealed = event
            .devices
            .iter()
            .map(|device| &device.pre_shared_key)
            .chain(event.lots.iter().map(|lot| &lot.tamper_key));
        if sealed.any(|wrapped| wrapped.sealed.len() > BLOB_BYTES_MAX) {
            return Outcome::Declined(Decline::Malformed);
        }
        for RewrappedDevice { device, pre_shared_key } in event.devices {
            let Some(slot) = self.state.slot_of(&device) else { continue };
            if let Some(record) = self.state.records.get_mut(slot) {
                record.birth.pre_shared_key = pre_shared_key.into();
            }
        }
        for RewrappedLot { lot, tamper_key } in event.lots {
            if let Some(lot) = self.state.lots.get_mut(&lot) {
                lot.tamper_key = tamper_key;
            }
        }
        Outcome::Accepted
    }

    /// A second certificate of the same station replaces the first: a longer term, a larger quota.
    pub(crate) fn station_certified(&mut self, event: StationCertified) -> Outcome {
        if event.public_key.len() != PUBLIC_KEY_BYTES || event.certificate.len() > BLOB_BYTES_MAX {
            return Outcome::Declined(Decline::Malformed);
        }
        if !self.state.lots.contains_key(&event.lot) {
            return Outcome::Declined(Decline::UnknownLot);
        }
        let id = event.station;
        let mut station = Station::new(event);
        if let Some(known) = self.state.stations.get(&id) {
            if known.revoked {
                return Outcome::Declined(Decline::StationRevoked);
            }
            if known.lot != station.lot || known.public_key != station.public_key {
                return Outcome::Declined(Decline::StationConflict);
            }
            station.used = known.used;
            if *known == station {
                return Outcome::Duplicate;
            }
        }
        self.state.stations.insert(id, station);
        Outcome::Accepted
    }

    pub(crate) fn station_revoked(&mut self, event: &StationRevoked) -> Outcome {
        match self.state.stations.get_mut(&event.station) {
            None => Outcome::Declined(Decline::UnknownStation),
            Some(station) if station.revoked => Outcome::Duplicate,
            Some(station) => {
                station.revoked = true;
                Outcome::Accepted
            }
        }
    }

    /// Imports one entry of a manifest (protocol.md rule 22). The importing node attests seal and signatures.
    pub(crate) fn device_provisioned(&mut self, event: DeviceProvisioned) -> Outcome {
        let known = self.state.slot_of(&event.device);
        if let Some(record) = known.and_then(|slot| self.state.records.get(slot)) {
            return match record.birth.says(&event) {
                true => Outcome::Duplicate,
                false => Outcome::Declined(Decline::DeviceConflict),
            };
        }
        match self.check_import(&event) {
            Err(decline) => Outcome::Declined(decline),
            Ok(()) => Outcome::Imported { slot: self.import(event) },
        }
    }

    fn check_import(&self, event: &DeviceProvisioned) -> Result<(), Decline> {
        let well_formed = event.public_key.len() == PUBLIC_KEY_BYTES
            && event.components.len() <= COMPONENTS_MAX
            && event.pre_shared_key.sealed.len() <= BLOB_BYTES_MAX;
        if !well_formed {
            return Err(Decline::Malformed);
        }
        if device_id(&event.public_key) != event.device {
            return Err(Decline::DeviceIdMismatch);
        }
        if !self.state.lots.contains_key(&event.lot) {
            return Err(Decline::UnknownLot);
        }
        let station = self.state.stations.get(&event.station).ok_or(Decline::UnknownStation)?;
        if station.lot != event.lot {
            return Err(Decline::StationConflict);
        }
        if station.revoked {
            return Err(Decline::StationRevoked);
        }
        if event.burned_at > station.until {
            return Err(Decline::CertificateEnded);
        }
        if station.used >= station.quota {
            return Err(Decline::QuotaExhausted);
        }
        if self.state.slot_of_record(&event.record).is_some() {
            return Err(Decline::RecordConflict);
        }
        if self.state.slot_of_unit(event.station, event.unit).is_some() {
            return Err(Decline::UnitConflict);
        }
        Ok(())
    }

    fn import(&mut self, event: DeviceProvisioned) -> Slot {
        if let Some(station) = self.state.stations.get_mut(&event.station) {
            station.used += 1;
        }
        if let Some(lot) = self.state.lots.get_mut(&event.lot) {
            lot.devices += 1;
        }
        let birth = Birth::new(event, self.index);
        let burned = Happening::Burned { at: birth.burned_at, station: birth.station, unit: birth.unit };
        let slot = self.state.rows.push(Row::new(self.state.generation));
        self.state.records.push(Record::new(birth));
        self.state.index.add_device(&self.state.records, slot);
        Index::recount(&mut self.state.index.legitimacy, None, Legitimacy::Provisioned);
        self.tell(slot, burned);
        self.tell(slot, Happening::Imported);
        slot
    }
}

/// A device's id is the digest of its key, so that nobody can claim another's.
fn device_id(public_key: &[u8]) -> DeviceId {
    let digest: [u8; 48] = Sha384::digest(public_key).into();
    let mut id = [0; DeviceId::BYTES];
    id.copy_from_slice(&digest[..DeviceId::BYTES]);
    DeviceId::from_bytes(id)
}
