use super::*;
use crate::identity::fixtures::{
    board, firmware, high_s_twin, honest_board, key, lot, policy, record, seed, station,
};
use ComponentKind::{MacAddress, PanelSerial};
use hkdf::Hkdf;
use proptest::prelude::*;

fn open(record: &OtpRecord, board: &Fingerprint) -> Result<OpenedRecord, OtpError> {
    firmware().open_record(record, None, board)
}

fn fuses() -> FuseSecret {
    FuseSecret::from_bytes([7; 32])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_sealed_record_opens_on_its_board_and_gives_back_its_seed(
        bytes: [u8; 32], salt: [u8; 16], unit: u32, secret: [u8; 32], in_fuses: bool,
    ) {
        let (lot_secret, policy, fuses) = (LotSecret::from_bytes(secret), policy(), fuses());
        let fuse_secret = in_fuses.then_some(&fuses);
        let profile = if in_fuses { OtpProfile::Seed } else { OtpProfile::Full };
        let params = SealParams { profile, lot: lot(), unit, salt, policy: &policy, lot_secret: &lot_secret, fuse_secret };
        let seed = DeviceSeed::from_bytes(bytes);
        let sealed = OtpRecord::seal(&params, &seed, &honest_board(), &station()).unwrap();
        let read = OtpRecord::parse(sealed.as_bytes()).unwrap();
        prop_assert_eq!((read.profile(), read.lot(), read.unit()), (profile, lot(), unit));
        let verified = read.verify(&station().public()).unwrap();
        let opened = verified.open(&policy, &lot_secret, fuse_secret, &honest_board()).unwrap();
        prop_assert_eq!(opened.seed, seed.clone());
        prop_assert_eq!(opened.comparison, Comparison { mismatched: vec![], passes: true });
        prop_assert_eq!(opened.burned, honest_board().digests(&seed));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed(bit in 0..RECORD_BYTES * 8) {
        let mut bytes = *record(1, None).as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = OtpRecord::parse(&bytes).and_then(|record| record.verify(&station().public()));
        prop_assert!(refused.is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(record) = OtpRecord::parse(&bytes) {
            prop_assert_eq!(&record.as_bytes()[..], &bytes[..RECORD_BYTES]);
        }
    }
}

/// Seals and signs again what was changed, as a station could.
fn signed_again(mut bytes: [u8; RECORD_BYTES]) -> OtpRecord {
    let signature = station().sign(&signed_message(&bytes));
    bytes[SIGNED_BYTES..].copy_from_slice(signature.as_bytes());
    OtpRecord(bytes)
}

#[test]
fn rule_23_the_record_lies_byte_for_byte_as_specified() {
    let record = record(9, None);
    let bytes = record.as_bytes();
    assert_eq!(bytes[..4], [1, 1, 1, 4], "version, profile, k, count");
    assert_eq!(bytes[4..8], *b"lot1");
    assert_eq!(bytes[8..12], *station().public().station_id().as_bytes());
    assert_eq!(bytes[12..16], [9, 0, 0, 0]);
    assert_eq!(bytes[16..32], [9; 16]);

    let mut material = [&[32, 0][..], &[3; 32]].concat();
    material.extend_from_slice(b"\x01\x05\x00soc 1\x02\x06\x00emmc 1");
    let mut key = [0; 32];
    Hkdf::<Sha384>::new(Some(&[9; 16]), &material).expand(b"muster v1 otp record", &mut key).unwrap();
    let payload = Payload { msg: &bytes[32..144], aad: &bytes[..32] };
    let plain = Aes256Gcm::new(&key.into()).decrypt(&[0; 12].into(), payload).unwrap();
    assert_eq!(plain[..32], [9; 32]);
    for (slot, digest) in plain[32..64].chunks(8).zip(honest_board().digests(&seed(9))) {
        assert_eq!(slot, digest.digest);
    }
    assert_eq!(plain[64..], [0; 32], "unused slots");
}

#[test]
fn rule_23_the_fuse_secret_is_part_of_the_key_in_the_seed_profile_only() {
    let sealed = record(1, Some(&fuses()));
    let open = |fuses: Option<&FuseSecret>| firmware().open_record(&sealed, fuses, &honest_board());
    assert!(open(Some(&fuses())).unwrap().comparison.passes);
    assert_eq!(open(Some(&FuseSecret::from_bytes([8; 32]))).unwrap_err(), OtpError::RequiredHardware);
    assert_eq!(open(None).unwrap_err(), OtpError::FuseSecret);
    let full = firmware().open_record(&record(1, None), Some(&fuses()), &honest_board());
    assert_eq!(full.unwrap_err(), OtpError::FuseSecret);
}

#[test]
fn rule_23_the_signature_is_verified_before_anything_is_opened() {
    let mut bytes = *record(1, None).as_bytes();
    bytes[40] ^= 1;
    let forged = OtpRecord::parse(&bytes).unwrap();
    assert_eq!(open(&forged, &honest_board()).unwrap_err(), OtpError::Signature);
    let resealed = signed_again(bytes);
    assert_eq!(open(&resealed, &honest_board()).unwrap_err(), OtpError::RequiredHardware);
}

#[test]
fn rule_17_the_high_s_twin_of_a_records_signature_is_refused() {
    let mut bytes = *record(1, None).as_bytes();
    let twin = high_s_twin(&bytes[SIGNED_BYTES..]);
    bytes[SIGNED_BYTES..].copy_from_slice(&twin);
    let twin = OtpRecord::parse(&bytes).unwrap();
    assert_eq!(twin.verify(&station().public()).unwrap_err(), OtpError::Signature);
}

#[test]
fn rule_21_a_record_of_a_station_that_is_not_certified_is_refused() {
    let (policy, lot_secret) = (policy(), LotSecret::from_bytes([3; 32]));
    let params = SealParams {
        profile: OtpProfile::Full,
        lot: lot(),
        unit: 1,
        salt: [1; 16],
        policy: &policy,
        lot_secret: &lot_secret,
        fuse_secret: None,
    };
    let rogue = key(66);
    let record = OtpRecord::seal(&params, &seed(1), &honest_board(), &rogue).unwrap();
    let unknown = OtpError::UnknownStation(rogue.public().station_id());
    assert_eq!(open(&record, &honest_board()).unwrap_err(), unknown);
    // It may write an honest station's name, but not its signature.
    let mut bytes = *record.as_bytes();
    bytes[8..12].copy_from_slice(station().public().station_id().as_bytes());
    assert_eq!(open(&OtpRecord(bytes), &honest_board()).unwrap_err(), OtpError::Signature);
}

#[test]
fn rule_22_a_burn_that_is_tried_again_with_a_new_salt_shares_no_key() {
    let (first, second) = (record(1, None), record(2, None));
    let mut bytes = *first.as_bytes();
    bytes[16..32].copy_from_slice(&second.as_bytes()[16..32]);
    assert_eq!(open(&signed_again(bytes), &honest_board()).unwrap_err(), OtpError::RequiredHardware);
}

#[test]
fn rule_25_a_record_on_another_board_is_required_hardware() {
    let record = record(1, None);
    for other in [["soc 2", "emmc 1", "mac 1", "panel 1"], ["soc 1", "emmc 2", "mac 1", "panel 1"]] {
        let refused = open(&record, &board(other)).unwrap_err();
        assert_eq!(refused, OtpError::RequiredHardware);
        assert_eq!(refused.tamper_reason(), TamperReason::RequiredHardware);
    }
    let without_emmc = crate::identity::fixtures::fingerprint(&[(ComponentKind::SocSerial, "soc 1")]);
    assert_eq!(open(&record, &without_emmc).unwrap_err(), OtpError::RequiredHardware);
}

#[test]
fn rule_25_optional_components_that_differ_are_named_and_counted() {
    let record = record(1, None);
    let one = open(&record, &board(["soc 1", "emmc 1", "mac 1", "panel 2"])).unwrap().comparison;
    assert_eq!(one, Comparison { mismatched: vec![PanelSerial], passes: true });
    let both = open(&record, &board(["soc 1", "emmc 1", "mac 2", "panel 2"])).unwrap().comparison;
    assert_eq!(both, Comparison { mismatched: vec![MacAddress, PanelSerial], passes: false });
}

#[test]
fn a_slot_of_256_bytes_may_end_in_zeros_or_ones_and_nothing_else() {
    let record = record(1, None);
    let slot = |fill: u8| [&record.as_bytes()[..], &[fill; 16]].concat();
    assert_eq!(OtpRecord::parse(&slot(0)), Ok(record.clone()));
    assert_eq!(OtpRecord::parse(&slot(0xff)), Ok(record.clone()));
    assert_eq!(OtpRecord::parse(&slot(1)), Err(OtpError::Padding));
    assert_eq!(OtpRecord::parse(&[slot(0), vec![0]].concat()), Err(OtpError::Length(257)));
    assert_eq!(OtpRecord::parse(&record.as_bytes()[1..]), Err(OtpError::Length(239)));
}

#[test]
fn memory_that_nobody_burned_is_a_missing_record_not_an_invalid_one() {
    for blank in [vec![0; 256], vec![0xff; 240], vec![0xff; 512]] {
        let refused = OtpRecord::parse(&blank).unwrap_err();
        assert_eq!(refused, OtpError::Blank);
        assert_eq!(refused.tamper_reason(), TamperReason::RecordMissing);
    }
    assert_eq!(OtpRecord::parse(&[]), Err(OtpError::Length(0)));
}

#[test]
fn headers_that_this_version_does_not_know_are_refused_by_name() {
    let with = |at: usize, value: u8| {
        let mut bytes = *record(1, None).as_bytes();
        bytes[at] = value;
        OtpRecord::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), OtpError::Version(2));
    assert_eq!(with(1, 3), OtpError::Header, "profile");
    assert_eq!(with(3, 9), OtpError::Header, "nine components");
    assert_eq!(with(2, 4), OtpError::Header, "a threshold of all four, though one must be required");
}

#[test]
fn the_firmware_of_another_lot_refuses_the_record_by_name() {
    let other = LotId::from_bytes(*b"lot2");
    let foreign = super::super::lot::LotFirmware::create(
        &key(1),
        other,
        "SKU-2",
        policy(),
        LotSecret::from_bytes([4; 32]),
    );
    let refused = foreign.unwrap().open_record(&record(1, None), None, &honest_board()).unwrap_err();
    assert_eq!(refused, OtpError::WrongLot { expected: other, got: lot() });
}

#[test]
fn rule_24_another_lot_secret_or_policy_does_not_open_the_record() {
    let verified = record(1, None).verify(&station().public()).unwrap();
    let secret = LotSecret::from_bytes([3; 32]);
    let other_secret = verified.open(&policy(), &LotSecret::from_bytes([4; 32]), None, &honest_board());
    assert_eq!(other_secret.unwrap_err(), OtpError::RequiredHardware);
    let laxer = ComponentPolicy::new(policy().required().to_vec(), policy().optional().to_vec(), 0).unwrap();
    assert_eq!(verified.open(&laxer, &secret, None, &honest_board()).unwrap_err(), OtpError::Policy);
}

#[test]
fn a_board_that_lacks_a_component_of_the_policy_is_not_sealed() {
    let (policy, lot_secret) = (policy(), LotSecret::from_bytes([3; 32]));
    let mut params = SealParams {
        profile: OtpProfile::Full,
        lot: lot(),
        unit: 1,
        salt: [1; 16],
        policy: &policy,
        lot_secret: &lot_secret,
        fuse_secret: None,
    };
    let bare = crate::identity::fixtures::fingerprint(&[(ComponentKind::SocSerial, "soc 1")]);
    let refused = OtpRecord::seal(&params, &seed(1), &bare, &station()).unwrap_err();
    assert_eq!(refused, SealError::ComponentMissing(ComponentKind::EmmcCid));
    params.profile = OtpProfile::Seed;
    let refused = OtpRecord::seal(&params, &seed(1), &honest_board(), &station()).unwrap_err();
    assert_eq!(refused, SealError::FuseSecret);
}
