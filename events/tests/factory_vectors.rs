//! Test vectors of what the factory and the license desk make: `vectors/factory.json`, from inputs to bytes.
//!
//! They are what an agent in another language is checked against, and the golden bytes of these formats.
//! `MUSTER_WRITE_VECTORS=1 cargo nextest run -p events factory_vectors` writes the file if it is missing and never
//! touches one that is there: changed bytes mean a new version of the format.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use data_encoding::HEXLOWER;
use events::identity::certificate::StationCertificate;
use events::identity::fingerprint::{Component, ComponentPolicy, Fingerprint};
use events::identity::key::{DeviceSeed, SigningKey};
use events::identity::lot::{LotFirmware, LotSecret};
use events::identity::manifest::{EntryBody, ExportParams, Manifest, seal_entry};
use events::identity::otp::{FuseSecret, OtpProfile, OtpRecord, SealParams};
use events::ids::{ClusterId, LicenseId, LotId};
use events::keyring::{HpkeSecretKey, Keyring};
use events::license::{ActivationCode, Claims, KeyThumbprint, ProofStatement, token};
use events::time::Timestamp;
use events::vocabulary::shared::ComponentKind::{EmmcCid, MacAddress, SocSerial};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const SEED: [u8; 32] = [0x51; 32];
const LOT_SECRET: [u8; 32] = [0x52; 32];
const FUSE_SECRET: [u8; 32] = [0x53; 32];
const SALT: [u8; 16] = [0x54; 16];
const UNIT: u32 = 70_007;
const QUOTA: u32 = 100_000;
const FACTORY: [u8; 48] = [0x11; 48];
const STATION: [u8; 48] = [0x12; 48];
const LICENSE: [u8; 48] = [0x13; 48];
const IMPORT: [u8; 48] = [0x14; 48];
const COMPONENTS: [(&str, &str); 3] =
    [("soc-serial", "SOC-0001"), ("emmc-cid", "15010038"), ("mac-address", "02:00:00:00:00:01")];
const CODE: &[u8; 20] = b"0123456789ABCDEFGHJK";

fn rng() -> impl rand_core::CryptoRng {
    getrandom::rand_core::UnwrapErr(getrandom::SysRng)
}

fn key(bytes: &[u8; 48]) -> SigningKey {
    SigningKey::from_bytes(bytes).unwrap()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn seed() -> DeviceSeed {
    DeviceSeed::from_bytes(SEED)
}

fn lot() -> LotId {
    LotId::from_bytes([1, 2, 3, 4])
}

fn cluster() -> ClusterId {
    ClusterId::from_bytes([0x21; 16])
}

fn until() -> Timestamp {
    Timestamp::from_millis(1_900_000_000_000)
}

fn fingerprint() -> Fingerprint {
    let kinds = [SocSerial, EmmcCid, MacAddress];
    let component = |(kind, (_, value)): (_, (_, &str))| Component::new(kind, value.as_bytes()).unwrap();
    Fingerprint::new(kinds.into_iter().zip(COMPONENTS).map(component).collect()).unwrap()
}

fn firmware() -> LotFirmware {
    let policy = ComponentPolicy::new(vec![SocSerial, EmmcCid], vec![MacAddress], 1).unwrap();
    let secret = LotSecret::from_bytes(LOT_SECRET);
    let mut firmware = LotFirmware::create(&key(&FACTORY), lot(), "box-4k", policy, secret).unwrap();
    let station = key(&STATION).public();
    firmware.add_station(StationCertificate::issue(&key(&FACTORY), station, lot(), QUOTA, until())).unwrap();
    firmware
}

fn record(fuses: Option<&FuseSecret>) -> OtpRecord {
    let firmware = firmware();
    let params = SealParams {
        profile: if fuses.is_some() { OtpProfile::Seed } else { OtpProfile::Full },
        lot: lot(),
        unit: UNIT,
        salt: SALT,
        policy: &firmware.policy,
        lot_secret: &firmware.lot_secret,
        fuse_secret: fuses,
    };
    OtpRecord::seal(&params, &seed(), &fingerprint(), &key(&STATION)).unwrap()
}

fn entry() -> EntryBody {
    EntryBody::new(&seed(), &fingerprint(), &record(None), Timestamp::from_millis(1_795_374_203_000))
}

fn claims() -> Claims {
    Claims {
        cluster: cluster(),
        device: seed().device_key().public().device_id(),
        license: LicenseId::from_bytes([0x22; 16]),
        plan: "gold".into(),
        entitlements: vec!["uhd".into(), "recorder".into()],
        issued_at: Timestamp::from_millis(1_795_374_203_000),
        expires: Timestamp::from_millis(1_795_633_403_000),
        confirmation: KeyThumbprint::of(&seed().device_key().public()),
        lease_counter: 7,
    }
}

/// Everything that follows from the inputs without randomness.
fn computed() -> Value {
    json!({
        "device": device(),
        "lot": lot_part(),
        "otp_record": otp_records(),
        "activation_code": activation_code(),
        "license_token": license_token(),
        "license_proof": license_proof(),
    })
}

fn device() -> Value {
    let (seed, public) = (seed(), seed().device_key().public());
    let digests = fingerprint().digests(&seed);
    json!({
        "seed": hex(SEED),
        "private_key": hex(&seed.device_key().to_bytes()[..]),
        "public_key": hex(public.as_bytes()),
        "device_id": public.device_id().to_string(),
        "pre_shared_key": hex(seed.pre_shared_key().as_bytes()),
        "component_key": hex(&seed.component_key()[..]),
        "nats_public": hex(seed.nats_public()),
        "nats_seed": seed.nats_seed_text().as_str(),
        "components": COMPONENTS.iter().zip(digests).map(|((kind, value), digest)| {
            json!({ "kind": kind, "value": value, "digest": hex(digest.digest) })
        }).collect::<Vec<_>>(),
    })
}

fn lot_part() -> Value {
    let firmware = firmware();
    json!({
        "lot": lot().to_string(),
        "lot_secret": hex(LOT_SECRET),
        "tamper_key": hex(firmware.lot_secret.tamper_key(lot()).as_bytes()),
        "sku": firmware.sku,
        "policy": firmware.policy,
        "factory_private_key": hex(FACTORY),
        "factory_public_key": firmware.factory,
        "station_private_key": hex(STATION),
        "station_id": key(&STATION).public().station_id().to_string(),
        "quota": QUOTA,
        "until": until(),
        "declaration": hex(firmware.declaration.encode()),
        "station_certificate": hex(firmware.stations[0].certificate().encode()),
    })
}

fn otp_records() -> Value {
    let fuses = FuseSecret::from_bytes(FUSE_SECRET);
    let (full, in_seed_profile) = (record(None), record(Some(&fuses)));
    json!({
        "unit": UNIT,
        "salt": hex(SALT),
        "full": { "record": hex(full.as_bytes()), "digest": full.digest().to_string() },
        "seed": {
            "fuse_secret": hex(FUSE_SECRET),
            "record": hex(in_seed_profile.as_bytes()),
            "digest": in_seed_profile.digest().to_string(),
        },
    })
}

fn activation_code() -> Value {
    let code = ActivationCode::from_bytes(CODE).unwrap();
    json!({ "symbols": std::str::from_utf8(CODE).unwrap(), "text": code.to_string() })
}

fn license_token() -> Value {
    json!({
        "license_private_key": hex(LICENSE),
        "device_key_thumbprint": claims().confirmation.as_str(),
        "token": token::issue(&key(&LICENSE), &claims()).unwrap(),
    })
}

fn license_proof() -> Value {
    let (app, token) = ("player".parse().unwrap(), token::issue(&key(&LICENSE), &claims()).unwrap());
    let at = Timestamp::from_millis(1_795_374_204_567);
    let statement = ProofStatement { app: &app, nonce: [0x55; 32], at, token: &token };
    json!({
        "app": app,
        "nonce": hex(statement.nonce),
        "at": at,
        "proof": hex(statement.sign(&seed().device_key()).as_bytes()),
    })
}

/// Sealed with fresh randomness: kept to be opened, never made again.
fn fresh_manifest() -> Value {
    let import_key = HpkeSecretKey::from_bytes(3, &IMPORT).unwrap();
    let sealed = seal_entry(&mut rng(), cluster(), &import_key.public(), &entry()).unwrap();
    let params = ExportParams {
        cluster: cluster(),
        import_key: &import_key.public(),
        firmware: &firmware(),
        station_key: &key(&STATION),
        entries: vec![sealed],
    };
    json!({
        "cluster": cluster().to_string(),
        "import_key_id": 3,
        "import_private_key": hex(IMPORT),
        "burned_at": entry().burned_at,
        "manifest": hex(Manifest::export(&mut rng(), params).unwrap().encode()),
    })
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/factory.json");
    if !path.exists() && std::env::var_os("MUSTER_WRITE_VECTORS").is_some() {
        let mut all = computed();
        all["manifest"] = fresh_manifest();
        let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
        #[allow(
            clippy::disallowed_types,
            reason = "a test that keeps its vectors; the library touches no file"
        )]
        std::fs::File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

#[test]
fn factory_vectors_follow_from_their_inputs() {
    let (mut kept, computed) = (vectors(), computed());
    assert!(kept.as_object_mut().unwrap().remove("manifest").is_some());
    for (part, expected) in computed.as_object().unwrap() {
        assert_eq!(&kept[part], expected, "{part}");
    }
    assert_eq!(kept, computed, "and nothing else is in the file");
}

#[test]
fn the_manifest_in_the_factory_vectors_opens_to_its_unit() {
    let bytes = HEXLOWER.decode(vectors()["manifest"]["manifest"].as_str().unwrap().as_bytes()).unwrap();
    let mut keyring = Keyring::generate(&mut rng(), cluster());
    keyring.import_keys = vec![HpkeSecretKey::from_bytes(3, &IMPORT).unwrap()];
    let verified = Manifest::parse(&bytes).unwrap().verify(&key(&FACTORY).public()).unwrap();
    let opened = verified.open(&keyring).unwrap();
    assert_eq!(opened.entries, [entry()]);
    assert_eq!(opened.tamper_key, firmware().lot_secret.tamper_key(lot()));
}

#[test]
fn the_token_in_the_factory_vectors_verifies() {
    let vectors = vectors();
    let kept = vectors["license_token"]["token"].as_str().unwrap();
    assert_eq!(token::verify(&key(&LICENSE).public(), kept, claims().issued_at), Ok(claims()));
}
