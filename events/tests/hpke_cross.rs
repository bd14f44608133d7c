//! Our HPKE suite against a second implementation: no published vector covers exactly this suite in PSK mode.
//! `vectors/hpke_second_implementation.py` made the vectors, and opens what the last test here seals.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]
#![allow(clippy::disallowed_methods, reason = "a test that hands its bytes to another program")]

use data_encoding::HEXLOWER;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha384;
use hpke::kem::DhP384HkdfSha384 as P384;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable, setup_receiver, setup_sender_with_rng,
};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../vectors/hpke_second_implementation.json");

fn cases() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let cases = vectors["cases"].as_array().unwrap().clone();
    assert!(cases.len() >= 4);
    cases
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    HEXLOWER.decode(case[name].as_str().unwrap().as_bytes()).unwrap()
}

fn secret(case: &Value) -> <P384 as Kem>::PrivateKey {
    <P384 as Kem>::PrivateKey::from_bytes(&bytes(case, "receiver_secret")).unwrap()
}

#[test]
fn hpke_opens_what_the_second_implementation_sealed() {
    for case in cases() {
        let (psk, psk_id) = (bytes(&case, "psk"), bytes(&case, "psk_id"));
        let mode = OpModeR::<P384>::Psk(PskBundle::new(&psk, &psk_id).unwrap());
        let enc = <P384 as Kem>::EncappedKey::from_bytes(&bytes(&case, "enc")).unwrap();
        let mut context =
            setup_receiver::<AesGcm256, HkdfSha384, P384>(&mode, &secret(&case), &enc, &bytes(&case, "info"))
                .unwrap();
        let opened = context.open(&bytes(&case, "sealed"), &bytes(&case, "aad")).unwrap();
        assert_eq!(opened, bytes(&case, "plain"));
        let mut exported = [0; 48];
        context.export(&bytes(&case, "exporter_context"), &mut exported).unwrap();
        assert_eq!(exported[..], bytes(&case, "exported"));
    }
}

#[test]
fn hpke_derives_the_same_key_pair_from_a_seed() {
    for case in cases() {
        let (derived, public) = P384::derive_keypair(&bytes(&case, "receiver_seed"));
        assert_eq!(derived.to_bytes()[..], bytes(&case, "receiver_secret"));
        assert_eq!(public.to_bytes()[..], bytes(&case, "receiver_public"));
    }
}

/// Writes what we seal to `$MUSTER_HPKE_SEALED`, if set, for the second implementation to open.
#[test]
fn hpke_seals_what_the_second_implementation_opens() {
    let mut sealed_cases = Vec::new();
    for case in cases() {
        let (psk, psk_id) = (bytes(&case, "psk"), bytes(&case, "psk_id"));
        let (info, aad, plain) = (bytes(&case, "info"), bytes(&case, "aad"), bytes(&case, "plain"));
        let mode = OpModeS::<P384>::Psk(PskBundle::new(&psk, &psk_id).unwrap());
        let public = <P384 as Kem>::PublicKey::from_bytes(&bytes(&case, "receiver_public")).unwrap();
        let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
        let (enc, mut context) =
            setup_sender_with_rng::<AesGcm256, HkdfSha384, P384>(&mode, &public, &info, &mut rng).unwrap();
        let sealed = context.seal(&plain, &aad).unwrap();
        let mut exported = [0; 48];
        context.export(b"exporter", &mut exported).unwrap();

        let mode = OpModeR::<P384>::Psk(PskBundle::new(&psk, &psk_id).unwrap());
        let mut receiver =
            setup_receiver::<AesGcm256, HkdfSha384, P384>(&mode, &secret(&case), &enc, &info).unwrap();
        assert_eq!(receiver.open(&sealed, &aad).unwrap(), plain);

        let mut written = case.clone();
        written["enc"] = json!(HEXLOWER.encode(&enc.to_bytes()));
        written["sealed"] = json!(HEXLOWER.encode(&sealed));
        written["exported"] = json!(HEXLOWER.encode(&exported));
        sealed_cases.push(written);
    }
    if let Ok(file) = std::env::var("MUSTER_HPKE_SEALED") {
        std::fs::write(file, json!({ "cases": sealed_cases }).to_string()).unwrap();
    }
}
