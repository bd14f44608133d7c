use super::*;
use crate::identity::fixtures::{
    QUOTA, UNTIL, board, factory, fingerprint, firmware, high_s_twin, honest_board, key, lot, record, rng,
    seed, station,
};
use crate::identity::key::{DeviceSeed, SigningKey};
use crate::identity::otp::{OtpProfile, OtpRecord, SealParams};
use crate::keyring::{HpkeSecretKey, Keyring};
use crate::vocabulary::shared::ComponentKind;
use proptest::prelude::*;
use std::sync::LazyLock;

fn cluster() -> ClusterId {
    ClusterId::from_bytes([5; 16])
}

fn keyring() -> &'static Keyring {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| Keyring::generate(&mut rng(), cluster()));
    &KEYRING
}

fn body(unit: u8) -> EntryBody {
    EntryBody::new(&seed(unit), &honest_board(), &record(unit, None), Timestamp::from_millis(1_000))
}

fn sealed(body: &EntryBody) -> Vec<u8> {
    seal_entry(&mut rng(), cluster(), &keyring().public().import_key, body).unwrap()
}

fn export_with(firmware: &LotFirmware, station_key: &SigningKey, entries: Vec<Vec<u8>>) -> Manifest {
    let import_key = &keyring().public().import_key;
    let params = ExportParams { cluster: cluster(), import_key, firmware, station_key, entries };
    Manifest::export(&mut rng(), params).unwrap()
}

fn export(entries: Vec<Vec<u8>>) -> Manifest {
    export_with(&firmware(), &station(), entries)
}

fn import(bytes: &[u8]) -> Result<OpenedManifest, ManifestError> {
    Manifest::parse(bytes)?.verify(&factory().public())?.open(keyring())
}

/// What a station could sign that does not keep to the rules.
fn signed_again(mut manifest: Manifest) -> Vec<u8> {
    manifest.signature = station().sign(&manifest.signed_message());
    manifest.encode()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_entry_opens_to_what_was_sealed(seed_bytes: [u8; 32], unit: u32, burned_at: u64, values in prop::array::uniform4("[a-z]{1,20}")) {
        let (seed, firmware) = (DeviceSeed::from_bytes(seed_bytes), firmware());
        let fingerprint = board(values.each_ref().map(String::as_str));
        let params = SealParams {
            profile: OtpProfile::Full, lot: lot(), unit, salt: [1; 16], policy: &firmware.policy,
            lot_secret: &firmware.lot_secret, fuse_secret: None,
        };
        let record = OtpRecord::seal(&params, &seed, &fingerprint, &station()).unwrap();
        let body = EntryBody::new(&seed, &fingerprint, &record, Timestamp::from_millis(burned_at));
        let opened = entry::open_entry(keyring(), lot(), station().public().station_id(), &sealed(&body));
        prop_assert_eq!(opened, Ok(body));
    }

    #[test]
    fn rule_22_no_flipped_bit_of_a_manifest_goes_unnoticed(bit: prop::sample::Index) {
        static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| export(vec![sealed(&body(1))]).encode());
        let mut bytes = BYTES.clone();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(import(&bytes).is_err());
    }

    #[test]
    fn every_truncated_manifest_is_refused(length: prop::sample::Index) {
        static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| export(vec![sealed(&body(1))]).encode());
        prop_assert!(import(&BYTES[..length.index(BYTES.len())]).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(mut bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        prop_assert!(Manifest::parse(&bytes).is_err());
    }
}

#[test]
fn rule_22_an_import_learns_the_lot_the_station_and_every_unit() {
    let bodies: Vec<_> = (1..=3).map(body).collect();
    let manifest = export(bodies.iter().map(sealed).collect());
    let bytes = manifest.encode();
    assert_eq!(Manifest::parse(&bytes), Ok(manifest));
    let opened = import(&bytes).unwrap();
    assert_eq!(opened.entries, bodies);
    assert_eq!(opened.declaration, firmware().declaration);
    assert_eq!(opened.station.station(), station().public().station_id());
    assert_eq!(opened.tamper_key, firmware().lot_secret.tamper_key(lot()));
}

#[test]
fn rule_22_importing_the_same_units_again_says_the_same() {
    let entries = vec![sealed(&body(1)), sealed(&body(2))];
    let (first, second) = (export(entries.clone()).encode(), export(entries).encode());
    assert_ne!(first, second, "the tamper key is sealed anew");
    assert_eq!(import(&first).unwrap().entries, import(&second).unwrap().entries);
}

#[test]
fn rule_22_the_device_id_is_the_digest_of_the_key_and_nothing_that_a_station_says() {
    let opened = import(&export(vec![sealed(&body(1))]).encode()).unwrap();
    assert_eq!(opened.entries[0].device(), seed(1).device_key().public().device_id());
}

#[test]
fn rule_22_more_units_than_the_quota_are_refused() {
    let bytes = export((1..=4).map(|unit| sealed(&body(unit))).collect()).encode();
    let quota = ManifestError::Quota { station: station().public().station_id(), quota: QUOTA, got: 4 };
    assert_eq!(import(&bytes).unwrap_err(), quota);
}

#[test]
fn rule_22_a_unit_or_a_device_that_comes_twice_is_refused() {
    let twice = export(vec![sealed(&body(1)), sealed(&body(1))]).encode();
    assert_eq!(import(&twice).unwrap_err(), ManifestError::UnitTwice(1));
    let renumbered = EntryBody { unit: 2, ..body(1) };
    let twice = export(vec![sealed(&body(1)), sealed(&renumbered)]).encode();
    assert_eq!(import(&twice).unwrap_err(), ManifestError::DeviceTwice(body(1).device()));
}

#[test]
fn rule_22_a_sealed_entry_cannot_change_its_unit_station_lot_or_cluster() {
    let mut moved = sealed(&body(1));
    moved[0] = 2;
    assert_eq!(import(&export(vec![moved]).encode()).unwrap_err(), ManifestError::Entry { unit: 2 });
    for body in [
        EntryBody { lot: LotId::from_bytes(*b"lot2"), ..body(1) },
        EntryBody { station: StationId::from_bytes([9; 4]), ..body(1) },
    ] {
        let refused = import(&export(vec![sealed(&body)]).encode()).unwrap_err();
        assert_eq!(refused, ManifestError::Entry { unit: 1 });
    }
    let other = ClusterId::from_bytes([6; 16]);
    let elsewhere = seal_entry(&mut rng(), other, &keyring().public().import_key, &body(1)).unwrap();
    assert_eq!(import(&export(vec![elsewhere]).encode()).unwrap_err(), ManifestError::Entry { unit: 1 });
}

#[test]
fn a_manifest_for_another_cluster_is_refused_by_name() {
    let mut manifest = export(vec![]);
    manifest.cluster = ClusterId::from_bytes([6; 16]);
    let refused = import(&signed_again(manifest)).unwrap_err();
    let named = ManifestError::OtherCluster { expected: cluster(), got: ClusterId::from_bytes([6; 16]) };
    assert_eq!(refused, named);
}

#[test]
fn entries_that_were_sealed_before_the_import_key_was_rotated_still_open() {
    let (old, fresh) = (sealed(&body(1)), HpkeSecretKey::generate(9, &mut rng()));
    let mut rotated = keyring().clone();
    rotated.import_keys.insert(0, fresh.clone());
    let new = seal_entry(&mut rng(), cluster(), &fresh.public(), &body(2)).unwrap();
    let manifest = export(vec![old, new]).verify(&factory().public()).unwrap();
    assert_eq!(manifest.open(&rotated).unwrap().entries, [body(1), body(2)]);
    assert_eq!(manifest.open(keyring()).unwrap_err(), ManifestError::ImportKey(9));
}

#[test]
fn rule_21_a_manifest_needs_a_certificate_of_the_factory_for_its_lot() {
    let uncertified = ExportParams {
        cluster: cluster(),
        import_key: &keyring().public().import_key,
        firmware: &firmware(),
        station_key: &key(7),
        entries: vec![],
    };
    let refused = Manifest::export(&mut rng(), uncertified).unwrap_err();
    assert_eq!(refused, ManifestError::NotCertified(key(7).public().station_id()));

    let mut manifest = export(vec![]);
    manifest.certificate = StationCertificate::issue(&key(9), station().public(), lot(), QUOTA, UNTIL);
    let refused = import(&signed_again(manifest)).unwrap_err();
    assert_eq!(refused, ManifestError::Certificate(CertificateError::Signature));

    let mut manifest = export(vec![]);
    let other = LotId::from_bytes(*b"lot2");
    manifest.certificate = StationCertificate::issue(&factory(), station().public(), other, QUOTA, UNTIL);
    let refused = import(&signed_again(manifest)).unwrap_err();
    assert_eq!(refused, ManifestError::OtherLot { certified: other, declared: lot() });
}

#[test]
fn rule_21_another_stations_signature_on_a_manifest_is_refused() {
    let mut manifest = export(vec![]);
    manifest.signature = key(7).sign(&manifest.signed_message());
    assert_eq!(import(&manifest.encode()).unwrap_err(), ManifestError::Signature);
}

#[test]
fn rule_17_the_high_s_twin_of_a_manifests_signature_is_refused() {
    let mut manifest = export(vec![]);
    manifest.signature = Signature::from_bytes(high_s_twin(manifest.signature.as_bytes()));
    assert_eq!(import(&manifest.encode()).unwrap_err(), ManifestError::Signature);
}

#[test]
fn rule_21_a_unit_burned_after_the_stations_term_is_refused() {
    let late = EntryBody { burned_at: UNTIL.plus_millis(1), ..body(1) };
    let refused = import(&export(vec![sealed(&late)]).encode()).unwrap_err();
    let named = ManifestError::Late { unit: 1, burned_at: UNTIL.plus_millis(1), until: UNTIL };
    assert_eq!(refused, named);
    let last_moment = EntryBody { burned_at: UNTIL, ..body(1) };
    assert!(import(&export(vec![sealed(&last_moment)]).encode()).is_ok());
}

#[test]
fn a_unit_without_the_components_that_its_lot_names_is_refused() {
    let bare = fingerprint(&[(ComponentKind::SocSerial, "soc 1")]);
    let body = EntryBody { components: bare.digests(&seed(1)), ..body(1) };
    let refused = import(&export(vec![sealed(&body)]).encode()).unwrap_err();
    assert_eq!(refused, ManifestError::Components { unit: 1 });
}

#[test]
fn rule_25_a_station_cannot_give_the_cluster_another_tamper_key() {
    let mut firmware = firmware();
    firmware.lot_secret = crate::identity::lot::LotSecret::from_bytes([4; 32]);
    let manifest = export_with(&firmware, &station(), vec![]);
    assert_eq!(import(&manifest.encode()).unwrap_err(), ManifestError::TamperKey);
}

#[test]
fn rule_22_nothing_of_a_unit_can_be_read_from_a_manifest() {
    let bytes = export(vec![sealed(&body(1))]).encode();
    let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(!holds(body(1).pre_shared_key.as_bytes()));
    assert!(!holds(body(1).public_key.as_bytes()));
    assert!(!holds(&body(1).components[0].digest));
    assert!(!holds(firmware().lot_secret.tamper_key(lot()).as_bytes()));
    assert!(holds(station().public().as_bytes()), "while what is public is there to be seen");
}
