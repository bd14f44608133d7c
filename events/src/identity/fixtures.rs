//! A small factory for the tests of this module.

use super::certificate::StationCertificate;
use super::fingerprint::{Component, ComponentPolicy, Fingerprint};
use super::key::{DeviceSeed, SigningKey};
use super::lot::{LotFirmware, LotSecret};
use super::otp::{FuseSecret, OtpProfile, OtpRecord, SealParams};
use crate::ids::LotId;
use crate::time::Timestamp;
use crate::vocabulary::shared::ComponentKind::{self, EmmcCid, MacAddress, PanelSerial, SocSerial};

pub(crate) const UNTIL: Timestamp = Timestamp::from_millis(2_000_000_000_000);
pub(crate) const QUOTA: u32 = 3;

pub(crate) fn rng() -> impl rand_core::CryptoRng {
    getrandom::rand_core::UnwrapErr(getrandom::SysRng)
}

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 48]).unwrap()
}

pub(crate) fn factory() -> SigningKey {
    key(1)
}

pub(crate) fn station() -> SigningKey {
    key(2)
}

pub(crate) fn lot() -> LotId {
    LotId::from_bytes(*b"lot1")
}

/// SoC and eMMC are required; of MAC address and panel one must match.
pub(crate) fn policy() -> ComponentPolicy {
    ComponentPolicy::new(vec![SocSerial, EmmcCid], vec![MacAddress, PanelSerial], 1).unwrap()
}

/// The components of the policy, with these values.
pub(crate) fn board(values: [&str; 4]) -> Fingerprint {
    let kinds = [SocSerial, EmmcCid, MacAddress, PanelSerial];
    fingerprint(&kinds.into_iter().zip(values).collect::<Vec<_>>())
}

pub(crate) fn fingerprint(components: &[(ComponentKind, &str)]) -> Fingerprint {
    let component = |(kind, value): &(_, &str)| Component::new(*kind, value.as_bytes()).unwrap();
    Fingerprint::new(components.iter().map(component).collect()).unwrap()
}

pub(crate) fn honest_board() -> Fingerprint {
    board(["soc 1", "emmc 1", "mac 1", "panel 1"])
}

pub(crate) fn certificate() -> StationCertificate {
    StationCertificate::issue(&factory(), station().public(), lot(), QUOTA, UNTIL)
}

pub(crate) fn firmware() -> LotFirmware {
    let secret = LotSecret::from_bytes([3; 32]);
    let mut firmware = LotFirmware::create(&factory(), lot(), "SKU-1", policy(), secret).unwrap();
    firmware.add_station(certificate()).unwrap();
    firmware
}

pub(crate) fn seed(number: u8) -> DeviceSeed {
    DeviceSeed::from_bytes([number; 32])
}

/// The record of a unit of the lot; its seed and salt follow from the unit.
pub(crate) fn record(unit: u8, fuses: Option<&FuseSecret>) -> OtpRecord {
    let (policy, lot_secret) = (policy(), LotSecret::from_bytes([3; 32]));
    let params = SealParams {
        profile: if fuses.is_some() { OtpProfile::Seed } else { OtpProfile::Full },
        lot: lot(),
        unit: unit.into(),
        salt: [unit; 16],
        policy: &policy,
        lot_secret: &lot_secret,
        fuse_secret: fuses,
    };
    OtpRecord::seal(&params, &seed(unit), &honest_board(), &station()).unwrap()
}

/// The other signature (r, n − s) that plain ECDSA would accept as well.
pub(crate) fn high_s_twin(signature: &[u8]) -> [u8; 96] {
    let (r, s) = p384::ecdsa::Signature::from_slice(signature).unwrap().split_scalars();
    p384::ecdsa::Signature::from_scalars(r, -*s).unwrap().to_bytes().into()
}
