//! Lots, stations and imports (protocol.md rules 21 and 22).

use crate::world::{LOT, STATION, World, device, device_id, lot, record_digest, station, wrapped};
use events::ids::{LotId, StationId};
use events::time::Timestamp;
use events::vocabulary::provisioning::{RewrappedDevice, RewrappedLot};
use events::vocabulary::shared::Wrapped;
use events::vocabulary::{
    DeviceProvisioned, Event, LotCreated, SecretsRewrapped, StationCertified, StationRevoked,
};
use projector::{Decline, Outcome};

#[track_caller]
fn declined(world: &mut World, event: impl Into<Event>, decline: Decline) {
    let devices = world.fold.devices().count();
    assert_eq!(world.tell(event), Outcome::Declined(decline));
    assert_eq!(world.fold.devices().count(), devices);
}

#[test]
fn slots_are_dense_and_in_the_order_of_import() {
    let mut world = World::new();
    let slots: Vec<_> = (10..20).map(|unit| world.import(unit)).collect();
    assert_eq!(slots, (0..10).collect::<Vec<_>>());
    assert_eq!(world.fold.slot_of(&device_id(13)), Some(3));
    assert_eq!(world.fold.slot_of_record(&record_digest(13)), Some(3));
    assert_eq!(world.fold.slot_of(&device_id(99)), None);
    assert_eq!(world.fold.counts().burned, 10);
    assert_eq!(world.fold.lots().next().unwrap().devices, 10);
}

#[test]
fn rule_22_an_import_is_idempotent_though_the_key_is_wrapped_anew() {
    let mut world = World::new();
    world.import(1);
    let again = DeviceProvisioned { pre_shared_key: wrapped(99), ..device(1) };
    assert_eq!(world.tell(again), Outcome::Duplicate);
    assert_eq!(world.fold.device(0).unwrap().pre_shared_key(), wrapped(1));
    assert_eq!(world.fold.stations().next().unwrap().used, 1);
}

#[test]
fn rule_22_a_device_id_that_is_not_the_digest_of_its_key_is_declined() {
    let mut world = World::new();
    let forged = DeviceProvisioned { device: device_id(2), ..device(1) };
    declined(&mut world, forged, Decline::DeviceIdMismatch);
    let short = DeviceProvisioned { public_key: vec![4; 96], ..device(1) };
    declined(&mut world, short, Decline::Malformed);
}

#[test]
fn rule_22_nothing_is_imported_twice_under_another_name() {
    let mut world = World::new();
    world.import(1);
    let other_unit = DeviceProvisioned { unit: 7, ..device(1) };
    declined(&mut world, other_unit, Decline::DeviceConflict);
    let same_record = DeviceProvisioned { record: record_digest(1), ..device(2) };
    declined(&mut world, same_record, Decline::RecordConflict);
    let same_unit = DeviceProvisioned { unit: 1, ..device(2) };
    declined(&mut world, same_unit, Decline::UnitConflict);
}

#[test]
fn rule_21_a_station_imports_up_to_its_quota_and_no_more() {
    let mut world = World::new();
    let small = StationId::from_bytes([3; 4]);
    world.accept(station(small, 2));
    let of_small = |unit| DeviceProvisioned { station: small, ..device(unit) };
    for unit in [1, 2] {
        assert!(matches!(world.tell(of_small(unit)), Outcome::Imported { .. }));
    }
    declined(&mut world, of_small(3), Decline::QuotaExhausted);
    assert_eq!(world.tell(of_small(2)), Outcome::Duplicate, "what was imported stays so");
    world.accept(station(small, 3));
    assert!(matches!(world.tell(of_small(3)), Outcome::Imported { .. }));
}

#[test]
fn rule_21_a_revoked_station_imports_nothing_and_is_never_certified_again() {
    let mut world = World::new();
    world.import(1);
    let revoked = StationRevoked { station: STATION, reason: "stolen".into() };
    world.accept(revoked.clone());
    assert_eq!(world.tell(revoked), Outcome::Duplicate);
    declined(&mut world, device(2), Decline::StationRevoked);
    declined(&mut world, station(STATION, 99_999), Decline::StationRevoked);
    assert_eq!(world.tell(device(1)), Outcome::Duplicate, "what was imported before stays");
}

#[test]
fn rule_21_what_was_burned_after_the_certificate_ended_is_declined() {
    let mut world = World::new();
    let late = DeviceProvisioned { burned_at: Timestamp::from_millis(2_000_000_000_001), ..device(1) };
    declined(&mut world, late, Decline::CertificateEnded);
}

#[test]
fn rule_21_a_station_is_certified_for_one_lot_and_one_key() {
    let mut world = World::new();
    let other = LotId::from_bytes([9; 4]);
    declined(&mut world, StationCertified { lot: other, ..station(STATION, 5) }, Decline::UnknownLot);
    world.accept(LotCreated { sku: "box-2".into(), ..lot(other) });
    declined(&mut world, StationCertified { lot: other, ..station(STATION, 5) }, Decline::StationConflict);
    let other_key = StationCertified { public_key: vec![5; 97], ..station(STATION, 5) };
    declined(&mut world, other_key, Decline::StationConflict);
    declined(&mut world, DeviceProvisioned { lot: other, ..device(1) }, Decline::StationConflict);
    assert_eq!(world.tell(station(STATION, 10_000)), Outcome::Duplicate);
}

#[test]
fn what_nobody_created_is_declined_by_name() {
    let mut world = World::new();
    let (lot, station) = (LotId::from_bytes([8; 4]), StationId::from_bytes([8; 4]));
    declined(&mut world, DeviceProvisioned { lot, ..device(1) }, Decline::UnknownLot);
    declined(&mut world, DeviceProvisioned { station, ..device(1) }, Decline::UnknownStation);
    declined(&mut world, StationRevoked { station, reason: String::new() }, Decline::UnknownStation);
}

#[test]
fn a_lot_is_created_once() {
    let mut world = World::new();
    assert_eq!(world.tell(LotCreated { tamper_key: wrapped(5), ..lot(LOT) }), Outcome::Duplicate);
    declined(&mut world, LotCreated { threshold: 2, ..lot(LOT) }, Decline::LotConflict);
    let other = LotId::from_bytes([8; 4]);
    declined(&mut world, LotCreated { threshold: 3, ..lot(other) }, Decline::Malformed);
}

#[test]
fn before_the_cluster_was_created_there_is_nothing_to_apply_to() {
    let mut world = World::empty();
    declined(&mut world, lot(LOT), Decline::NoCluster);
    assert_eq!(world.fold.cluster(), None);
}

#[test]
fn rule_19_secrets_wrapped_anew_take_the_place_of_the_old_and_nothing_else_changes() {
    let mut world = World::new();
    let slot = world.import(1);
    let before = world.fold.device(slot).unwrap().summary();
    let id = before.device;
    let anew = |n| Wrapped { key: 2, ..wrapped(n) };
    world.accept(SecretsRewrapped {
        devices: vec![
            RewrappedDevice { device: device_id(77), pre_shared_key: anew(8) },
            RewrappedDevice { device: id, pre_shared_key: anew(9) },
        ],
        lots: vec![RewrappedLot { lot: LOT, tamper_key: anew(10) }],
    });
    let device_now = world.fold.device(slot).unwrap();
    assert_eq!((device_now.pre_shared_key(), device_now.summary()), (anew(9), before));
    assert_eq!(world.fold.lot(&LOT).unwrap().tamper_key, anew(10));
    let under = world.fold.freeze().wrapped_under();
    assert_eq!(under.device, [(2, 2)].into());
    // The factory's word comes again, wrapped under the key that it was wrapped under then.
    assert_eq!(world.tell(device(1)), Outcome::Duplicate);
    assert_eq!(world.fold.device(slot).unwrap().pre_shared_key(), anew(9));
}
