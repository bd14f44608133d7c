//! A factory bench for tests: keys, a lot, a station, and terminals whose memory and journal can lose power.

pub mod floor;

use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::{FactoryKey, StationKey};
use events::identity::lot::{LotFirmware, LotSecret};
use events::ids::{ClusterId, LotId};
use events::keyring::Keyring;
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind;
use getrandom::SysRng;
use provisioning::otp::{OtpMemory, OtpMemoryError};
use provisioning::station::{Medium, OpenError, Station, StationParts};
use rand_core::UnwrapErr;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

pub const NOW: Timestamp = Timestamp::from_millis(1_795_374_203_042);
pub const UNTIL: Timestamp = NOW.plus_millis(86_400_000);
pub const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Everything that a station is made of, and the keyring that its manifests are for.
pub struct Bench {
    pub factory: FactoryKey,
    pub key: StationKey,
    pub firmware: LotFirmware,
    pub keyring: Keyring,
}

impl Bench {
    pub fn new(quota: u32) -> Self {
        let factory = FactoryKey::generate(&mut rng());
        let key = StationKey::generate(&mut rng());
        let policy = ComponentPolicy::new(
            vec![ComponentKind::SocSerial, ComponentKind::EmmcCid],
            vec![ComponentKind::MacAddress],
            1,
        );
        let lot = LotId::from_bytes([5; 4]);
        let secret = LotSecret::generate(&mut rng());
        let mut firmware = LotFirmware::create(&factory, lot, "STB-7", policy.unwrap(), secret).unwrap();
        let certificate = events::identity::certificate::StationCertificate::issue(
            &factory,
            key.public(),
            lot,
            quota,
            UNTIL,
        );
        firmware.add_station(certificate).unwrap();
        Bench { factory, key, firmware, keyring: Keyring::generate(&mut rng(), CLUSTER) }
    }

    pub fn parts(&self) -> StationParts {
        StationParts {
            key: self.key.clone(),
            firmware: self.firmware.clone(),
            cluster: self.keyring.public(),
        }
    }

    pub fn station(&self, power: &Power) -> Result<Station, OpenError> {
        Station::assemble(self.parts(), Box::new(power.clone()), NOW)
    }
}

pub fn fingerprint(terminal: usize) -> Fingerprint {
    let component = |kind, value: String| Component::new(kind, value.as_bytes()).unwrap();
    Fingerprint::new(vec![
        component(ComponentKind::SocSerial, format!("soc-{terminal}")),
        component(ComponentKind::EmmcCid, format!("cid-{terminal}")),
        component(ComponentKind::MacAddress, format!("mac-{terminal}")),
    ])
    .unwrap()
}

/// When the power goes, and what of the write in progress is left.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// This many writes still succeed.
    pub after: u32,
    /// This much of the write in progress happens.
    pub percent_done: usize,
    /// This much of the journal bytes that were not fsynced survives.
    pub percent_unsynced: usize,
}

/// The supply that station and terminal hang on, and the journal's disk.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<Supply>>);

#[derive(Default)]
struct Supply {
    cut: Option<Cut>,
    dead: bool,
    /// A planted bug: fsync says that it is done and does nothing.
    lies_about_fsync: bool,
    durable: Vec<u8>,
    unsynced: Vec<u8>,
}

impl Power {
    pub fn cut_at(&self, cut: Cut) {
        self.supply().cut = Some(cut);
    }

    pub fn lie_about_fsync(&self) {
        self.supply().lies_about_fsync = true;
    }

    /// Whether the cut happened.
    pub fn is_dead(&self) -> bool {
        self.supply().dead
    }

    /// The journal as it is on the disk after the cut, and power again.
    pub fn restore(&self) {
        let mut supply = self.supply();
        let kept = supply.cut.map_or(100, |cut| cut.percent_unsynced);
        let survivors = supply.unsynced.len() * kept / 100;
        let tail: Vec<u8> = supply.unsynced[..survivors].to_vec();
        supply.durable.extend(tail);
        supply.unsynced.clear();
        supply.cut = None;
        supply.dead = false;
    }

    fn supply(&self) -> MutexGuard<'_, Supply> {
        self.0.lock().unwrap()
    }

    /// How many of `length` bytes of this write happen: all, at the cut a share, and none after it.
    fn allow(&self, length: usize) -> (usize, io::Result<()>) {
        let mut supply = self.supply();
        let gone = || Err(io::Error::other("power cut"));
        if supply.dead {
            return (0, gone());
        }
        match &mut supply.cut {
            Some(cut) if cut.after == 0 => {
                let done = length * cut.percent_done / 100;
                supply.dead = true;
                (done, gone())
            }
            Some(cut) => {
                cut.after -= 1;
                (length, Ok(()))
            }
            None => (length, Ok(())),
        }
    }
}

impl Medium for Power {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let supply = self.supply();
        Ok([&supply.durable[..], &supply.unsynced].concat())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (done, result) = self.allow(bytes.len());
        self.supply().unsynced.extend_from_slice(&bytes[..done]);
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let length = self.supply().unsynced.len();
        let (done, result) = self.allow(length);
        let mut supply = self.supply();
        if supply.lies_about_fsync {
            return result;
        }
        let synced: Vec<u8> = supply.unsynced.drain(..done).collect();
        supply.durable.extend(synced);
        result
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let (_, result) = self.allow(1);
        result?;
        let mut supply = self.supply();
        supply.durable.truncate(length as usize);
        supply.unsynced.clear();
        Ok(())
    }

    fn path(&self) -> PathBuf {
        "journal".into()
    }
}

/// Fuses of one terminal: bits go from 0 to 1 and never back. They remember every burn that reached them.
pub struct Fuses {
    pub slot: Vec<u8>,
    pub burns: u32,
    power: Power,
}

impl Fuses {
    pub fn new(power: &Power, size: usize) -> Self {
        Fuses { slot: vec![0; size], burns: 0, power: power.clone() }
    }

    fn failed(source: io::Error) -> OtpMemoryError {
        OtpMemoryError::Io { doing: "burn", path: "fuses".into(), source }
    }
}

impl OtpMemory for Fuses {
    fn read(&mut self) -> Result<Vec<u8>, OtpMemoryError> {
        if self.power.is_dead() {
            return Err(Fuses::failed(io::Error::other("power cut")));
        }
        Ok(self.slot.clone())
    }

    fn burn(&mut self, bytes: &[u8]) -> Result<(), OtpMemoryError> {
        let (done, result) = self.power.allow(bytes.len());
        if done > 0 {
            self.burns += 1;
        }
        for (fuse, byte) in self.slot.iter_mut().zip(&bytes[..done]) {
            *fuse |= byte;
        }
        result.map_err(Fuses::failed)
    }

    fn size(&self) -> usize {
        self.slot.len()
    }

    fn blank(&self) -> u8 {
        0
    }

    fn is_permanent(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        "fuses".into()
    }
}
