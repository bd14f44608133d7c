//! What no session is needed for: refusals, tamper report; and what only nodes compute: code digest, wrapping.

use crate::by_hand::{self, hkdf};
use crate::hex;
use crate::world::{self, Constant};
use events::envelope::{Refusal, TamperReport};
use events::keyring::Purpose;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::Suite;
use serde_json::{Value, json};

pub fn refusals() -> Value {
    let refusal = |&reason| Refusal { reason, retry_after_millis: 1_000 * reason as u32 + 500 };
    RejectionReason::ALL
        .iter()
        .map(refusal)
        .map(|refusal| {
            json!({
                "reason": refusal.reason,
                "retry_after_millis": refusal.retry_after_millis,
                "message": hex(refusal.encode()),
            })
        })
        .collect()
}

pub fn tamper() -> Value {
    let report = TamperReport {
        lot: world::lot(),
        record: world::record(),
        reason: TamperReason::ComponentMismatch,
        mismatched: 1 << 2 | 1 << 8,
        random: [0x68; 16],
    };
    let message = report.seal(&world::tamper_key());
    assert_eq!(TamperReport::verify(&message, &world::tamper_key()), Ok(report));
    let (covered, mac) = message.split_at(message.len() - 32);
    let labelled = [b"muster v1 tamper report", covered].concat();
    assert_eq!(by_hand::hmac(world::tamper_key().as_bytes(), &labelled)[..32], *mac);
    json!({
        "lot": report.lot,
        "lot_secret": hex(world::LOT_SECRET),
        "tamper_key": hex(world::tamper_key().as_bytes()),
        "record": report.record,
        "reason": report.reason,
        "mismatched": report.mismatched,
        "random": hex(report.random),
        "message": hex(&message),
    })
}

pub fn code() -> Value {
    let (keyring, code) = (world::keyring(), world::code());
    json!({
        "code_key": hex(world::CODE_KEY),
        "code": code.to_string(),
        "digest": keyring.code_digest(&code),
    })
}

pub fn wrapped() -> Value {
    let device = world::device();
    let secret = [0x69; 48];
    [
        (1, Purpose::PreSharedKey, device.as_bytes().as_slice(), 0, world::DEVICE_WRAPPING_KEY),
        (2, Purpose::TamperKey, world::lot().as_bytes(), 0, world::DEVICE_WRAPPING_KEY),
        (3, Purpose::Resumption, device.as_bytes(), 7, world::SESSION_WRAPPING_KEY),
    ]
    .into_iter()
    .map(|(number, purpose, subject, epoch, key)| {
        let keyring = world::keyring();
        let wrapped = keyring.wrap(&mut Constant(0x70 + number), purpose, subject, epoch, &secret);
        let wrapping_key = hkdf(&wrapped.salt, &key, &[b"muster v1 wrap"], 32);
        let cluster = keyring.cluster;
        let aad = [&cluster.as_bytes()[..], &[number], &epoch.to_le_bytes(), subject].concat();
        let opened = by_hand::open(Suite::Aes256Gcm, &wrapping_key, &[0; 12], &aad, &wrapped.sealed);
        assert_eq!(opened, secret);
        json!({
            "purpose": number,
            "subject": hex(subject),
            "epoch": epoch,
            "secret": hex(secret),
            "key_encryption_key": hex(key),
            "key_id": wrapped.key,
            "salt": hex(wrapped.salt),
            "sealed": hex(&wrapped.sealed),
        })
    })
    .collect()
}
