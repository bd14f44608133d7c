use super::*;
use crate::identity::certificate::StationCertificate;
use crate::identity::fingerprint::ComponentPolicy;
use crate::identity::fixtures::{
    UNTIL, certificate, factory, firmware, honest_board, key, lot, policy, record, station,
};
use crate::identity::otp::OtpError;
use crate::time::Timestamp;
use crate::vocabulary::shared::ComponentKind;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

fn any_policy() -> impl Strategy<Value = ComponentPolicy> {
    (prop::sample::subsequence(ComponentKind::ALL, 1..=8).prop_shuffle(), any::<u8>(), any::<u8>()).prop_map(
        |(mut required, split, threshold)| {
            let optional = required.split_off(1 + usize::from(split) % required.len());
            let threshold = threshold % (optional.len() as u8 + 1);
            ComponentPolicy::new(required, optional, threshold).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_declaration_survives_its_bytes(lot: [u8; 4], sku in "[A-Za-z0-9 äß]{1,32}", policy in any_policy(), secret: [u8; 32]) {
        let (lot, secret) = (LotId::from_bytes(lot), LotSecret::from_bytes(secret));
        let issued = LotDeclaration::issue(&factory(), lot, &sku, policy, &secret).unwrap();
        let read = LotDeclaration::parse(&issued.encode()).unwrap();
        prop_assert_eq!(&read, &issued);
        prop_assert_eq!(read.verify(&factory().public()), Ok(()));
        prop_assert!(read.names_tamper_key(&secret.tamper_key(lot)));
    }

    #[test]
    fn no_flipped_bit_of_a_declaration_goes_unnoticed(bit: prop::sample::Index) {
        let mut bytes = firmware().declaration.encode();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = LotDeclaration::parse(&bytes).and_then(|read| read.verify(&factory().public()));
        prop_assert!(refused.is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parsers(bytes: Vec<u8>, text: String) {
        let _ = LotDeclaration::parse(&bytes);
        prop_assert!(LotFirmware::from_json(&text).is_err());
    }
}

#[test]
fn a_declaration_has_one_spelling_only() {
    // Kinds of the fixture at 22.. (count, SoC, eMMC): the same two in the other order are refused.
    let mut bytes = firmware().declaration.encode();
    assert_eq!(bytes[22..25], [2, 1, 2]);
    bytes.swap(23, 24);
    assert_eq!(LotDeclaration::parse(&bytes).unwrap_err(), DeclarationError::Malformed);
}

#[test]
fn a_sku_is_short_and_printable() {
    let issue = |sku: &str| {
        LotDeclaration::issue(&factory(), lot(), sku, policy(), &LotSecret::from_bytes([3; 32])).is_ok()
    };
    assert!(issue("STB 4K rev.B"));
    assert!(!issue(""));
    assert!(!issue("line\nbreak"));
    assert!(!issue(&"x".repeat(65)));
}

#[test]
fn rule_25_the_tamper_key_differs_by_lot_and_is_not_the_secret() {
    let secret = LotSecret::from_bytes([3; 32]);
    assert_ne!(secret.tamper_key(lot()).as_bytes(), secret.as_bytes());
    assert_ne!(secret.tamper_key(lot()), secret.tamper_key(LotId::from_bytes(*b"lot2")));
    assert_ne!(secret.tamper_key(lot()), LotSecret::from_bytes([4; 32]).tamper_key(lot()));
}

#[test]
fn a_firmware_file_survives_its_text() {
    let read = LotFirmware::from_json(&firmware().to_json()).unwrap();
    assert_eq!(read.declaration, firmware().declaration);
    assert_eq!(read.lot_secret, firmware().lot_secret);
    assert_eq!(read.stations, firmware().stations);
    assert!(read.open_record(&record(1, None), None, &honest_board()).unwrap().comparison.passes);
}

#[test]
fn a_firmware_file_with_an_unknown_field_or_of_another_kind_is_refused() {
    let json = firmware().to_json();
    let unknown = LotFirmware::from_json(&json.replace("\"lot\"", "\"lott\"")).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `lott`") && unknown.contains("line"), "{unknown}");
    let other = json.replace("muster lot firmware v1", "muster lot firmware v2");
    assert!(matches!(LotFirmware::from_json(&other), Err(FirmwareError::Format(_))));
    let foreign = json.replace(&lot().to_string(), &LotId::from_bytes(*b"lot2").to_string());
    assert!(matches!(LotFirmware::from_json(&foreign), Err(FirmwareError::OtherDeclaration { .. })));
}

#[test]
fn a_lot_secret_other_than_the_declared_one_is_refused() {
    let json = firmware().to_json().replace(&HEXLOWER.encode(&[3; 32]), &HEXLOWER.encode(&[5; 32]));
    assert!(matches!(LotFirmware::from_json(&json), Err(FirmwareError::LotSecret(named)) if named == lot()));
}

#[test]
fn a_firmware_file_of_another_factory_is_refused() {
    let public = |key: crate::identity::key::SigningKey| HEXLOWER.encode(key.public().as_bytes());
    let json = firmware().to_json().replace(&public(factory()), &public(key(9)));
    let refused = LotFirmware::from_json(&json).unwrap_err();
    assert!(matches!(refused, FirmwareError::Declaration(DeclarationError::Signature)));
}

#[test]
fn rule_21_a_station_of_another_lot_or_factory_is_refused() {
    let mut firmware = firmware();
    let other_lot =
        StationCertificate::issue(&factory(), key(7).public(), LotId::from_bytes(*b"lot2"), 1, UNTIL);
    assert!(matches!(firmware.add_station(other_lot), Err(FirmwareError::OtherLot { .. })));
    let other_factory = StationCertificate::issue(&key(9), key(7).public(), lot(), 1, UNTIL);
    assert!(matches!(firmware.add_station(other_factory), Err(FirmwareError::Certificate { .. })));
    assert_eq!(firmware.stations.len(), 1);
}

#[test]
fn a_newer_certificate_replaces_the_stations_older_one() {
    let mut firmware = firmware();
    let later = Timestamp::from_millis(UNTIL.as_millis() + 1);
    firmware
        .add_station(StationCertificate::issue(&factory(), station().public(), lot(), 50, later))
        .unwrap();
    assert_eq!(firmware.stations.len(), 1);
    assert_eq!(firmware.station(certificate().station()).map(|known| known.quota()), Some(50));
}

#[test]
fn a_lot_without_stations_opens_no_record() {
    let bare =
        LotFirmware::create(&factory(), lot(), "SKU-1", policy(), LotSecret::from_bytes([3; 32])).unwrap();
    let refused = bare.open_record(&record(1, None), None, &honest_board()).unwrap_err();
    assert_eq!(refused, OtpError::UnknownStation(certificate().station()));
}

#[test]
fn a_firmware_never_prints_its_lot_secret() {
    let printed = format!("{:?}", firmware());
    assert!(printed.contains("LotSecret(…)"));
    assert!(!printed.contains("3, 3, 3"));
}
