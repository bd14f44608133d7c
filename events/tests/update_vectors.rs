//! Vectors of software update, which `vectors/update_second_implementation.py` recomputes from `PROTOCOL.md` alone.
//! `MUSTER_WRITE_GOLDEN=1` writes the file if it is missing, and never touches one that is there.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]
#![allow(clippy::disallowed_methods, reason = "a test that keeps its vectors; the library touches no file")]

use data_encoding::HEXLOWER;
use events::identity::key::SigningKey;
use events::ids::{DeviceId, LotId, RecordDigest, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, SignedOffer, UpdateAnswer, UpdateRequest, UpdateScope, cohort};
use serde_json::{Value, json};
use sha2::{Digest, Sha384};
use std::path::Path;

const ARTIFACT: &[u8] = b"a firmware, as far as the wire is concerned";

fn key() -> SigningKey {
    SigningKey::from_bytes(&[0x42; 48]).unwrap()
}

fn offers() -> [Offer; 2] {
    let digest = Sha384::digest(ARTIFACT).into();
    let lots = vec![LotId::from_bytes([9, 8, 7, 6]), LotId::from_bytes([1, 2, 3, 4])];
    let by_lot = Offer {
        rollout: RolloutId::from_bytes(std::array::from_fn(|i| i as u8)),
        scope: UpdateScope::of_lots(lots),
        firmware: 10_300,
        floor: 10_200,
        not_after: Timestamp::from_millis(1_800_000_000_000),
        size: ARTIFACT.len() as u64,
        digest,
        kind: "rauc".into(),
        urls: vec!["https://updates.example/10300.raucb".into(), "http://10.0.0.1:8080/10300".into()],
    };
    let by_sku = Offer {
        rollout: RolloutId::from_bytes([0xaa; 16]),
        scope: UpdateScope::Sku("box-4k".into()),
        urls: vec!["https://updates.example/x".into()],
        kind: "swupdate".into(),
        ..by_lot.clone()
    };
    [by_lot, by_sku]
}

fn described(offer: Offer) -> Value {
    let scope = match &offer.scope {
        UpdateScope::Lots(lots) => {
            json!({ "lots": lots.iter().map(|l| hex(l.as_bytes())).collect::<Vec<_>>() })
        }
        UpdateScope::Sku(sku) => json!({ "sku": sku }),
    };
    json!({
        "rollout": hex(offer.rollout.as_bytes()),
        "scope": scope,
        "firmware": offer.firmware,
        "floor": offer.floor,
        "not_after": offer.not_after.as_millis(),
        "kind": offer.kind,
        "urls": offer.urls,
        "signed": hex(&offer.sign(&key()).unwrap().encode()),
    })
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn vectors() -> Value {
    let (device, lot) = (DeviceId::from_bytes([5; 16]), LotId::from_bytes([1, 2, 3, 4]));
    let record = RecordDigest::from_bytes([6; 16]);
    let answer = UpdateAnswer { ask_after_millis: 60_000, offer: vec![1, 2, 3] };
    let parts = (0..4_u8).map(|n| {
        let (rollout, subject) = ([n; 16], std::array::from_fn(|i| n.wrapping_mul(31).wrapping_add(i as u8)));
        json!({ "rollout": hex(&rollout), "subject": hex(&subject), "part": cohort(&RolloutId::from_bytes(rollout), &subject) })
    });
    json!({
        "update_key": hex(&[0x42; 48]),
        "update_public_key": hex(key().public().as_bytes()),
        "artifact": hex(ARTIFACT),
        "offers": offers().map(described),
        "request_of_device": {
            "device": hex(device.as_bytes()), "lot": hex(lot.as_bytes()), "firmware": 10_200,
            "message": hex(&UpdateRequest::of_device(device, lot, 10_200).encode()),
        },
        "request_of_record": {
            "record": hex(record.as_bytes()), "lot": hex(lot.as_bytes()), "firmware": 10_200,
            "message": hex(&UpdateRequest::of_record(record, lot, 10_200).encode()),
        },
        "answer": { "ask_after": 60_000, "offer": "010203", "message": hex(&answer.encode()) },
        "parts": parts.collect::<Vec<_>>(),
    })
}

#[test]
fn the_vectors_of_software_update_are_what_this_code_computes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/update.json");
    if !path.exists() && std::env::var_os("MUSTER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&vectors()).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(golden, vectors());
}

#[test]
fn the_offers_of_the_vectors_verify_under_their_key() {
    let golden: Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/update.json")).unwrap(),
    )
    .unwrap();
    for (told, offer) in golden["offers"].as_array().unwrap().iter().zip(offers()) {
        let bytes = HEXLOWER.decode(told["signed"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(SignedOffer::parse(&bytes).unwrap().verify(&[key().public()]), Ok(offer));
    }
}
