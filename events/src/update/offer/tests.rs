use super::*;
use crate::identity::key::DeviceSeed;
use proptest::prelude::*;

fn key(byte: u8) -> UpdateKey {
    DeviceSeed::from_bytes([byte; 32]).device_key()
}

fn offer() -> Offer {
    Offer {
        rollout: RolloutId::from_bytes([9; 16]),
        scope: UpdateScope::of_lots(vec![LotId::from_bytes([2; 4]), LotId::from_bytes([1; 4])]),
        firmware: 8,
        floor: 7,
        not_after: Timestamp::from_millis(1_800_000_000_000),
        size: 5,
        digest: [3; 48],
        kind: "rauc".into(),
        urls: vec!["https://updates.example/8.raucb".into(), "http://10.0.0.1/8".into()],
    }
}

#[test]
fn an_offer_is_believed_under_any_pinned_key_and_under_no_other() {
    let bytes = offer().sign(&key(1)).unwrap().encode();
    let verify = |keys: &[PublicKey]| SignedOffer::parse(&bytes).unwrap().verify(keys);
    assert_eq!(verify(&[key(2).public(), key(1).public()]), Ok(offer()));
    assert_eq!(verify(&[key(2).public()]), Err(OfferError::Signature));
    assert_eq!(verify(&[]), Err(OfferError::Signature));
}

#[test]
fn every_changed_bit_of_an_offer_is_refused() {
    let bytes = offer().sign(&key(1)).unwrap().encode();
    let keys = [key(1).public()];
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let believed = SignedOffer::parse(&changed).and_then(|offer| offer.verify(&keys));
        assert!(believed.is_err(), "bit {bit}");
    }
}

#[test]
fn a_signature_under_the_same_key_for_another_purpose_is_no_offer() {
    let body = offer().body();
    let other = key(1).sign(&[b"muster v1 lot declaration", &body[..]].concat());
    let bytes = [&body[..], other.as_bytes()].concat();
    assert_eq!(SignedOffer::parse(&bytes).unwrap().verify(&[key(1).public()]), Err(OfferError::Signature));
}

#[test]
fn what_is_not_well_formed_is_neither_signed_nor_read() {
    let wrong = [
        (Offer { floor: 9, ..offer() }, OfferError::Floor),
        (Offer { size: 0, ..offer() }, OfferError::Size),
        (Offer { kind: "RAUC".into(), ..offer() }, OfferError::Kind),
        (Offer { kind: String::new(), ..offer() }, OfferError::Kind),
        (Offer { urls: Vec::new(), ..offer() }, OfferError::Urls),
        (Offer { urls: vec!["ftp://a/b".into()], ..offer() }, OfferError::Urls),
        (Offer { urls: vec!["http://a/ b".into()], ..offer() }, OfferError::Urls),
        (Offer { urls: vec!["http:///b".into()], ..offer() }, OfferError::Urls),
        (Offer { scope: UpdateScope::Lots(Vec::new()), ..offer() }, OfferError::Scope),
        (Offer { scope: UpdateScope::Sku("a\nb".into()), ..offer() }, OfferError::Scope),
        (
            Offer { scope: UpdateScope::Lots(vec![LotId::from_bytes([1; 4]); 2]), ..offer() },
            OfferError::Scope,
        ),
    ];
    for (offer, error) in wrong {
        let bytes = [&offer.body()[..], &[0; 96]].concat();
        assert_eq!(SignedOffer::parse(&bytes), Err(error), "{offer:?}");
        assert_eq!(offer.sign(&key(1)), Err(error));
    }
}

#[test]
fn the_largest_offer_fits_its_limit() {
    let url = format!("https://{}", "u".repeat(UPDATE_URL_BYTES_MAX - 8));
    let lots: Vec<_> = (0..16).map(|n| LotId::from_bytes([n; 4])).collect();
    let largest = Offer {
        scope: UpdateScope::of_lots(lots),
        kind: "k".repeat(UPDATE_KIND_BYTES_MAX),
        urls: vec![url; UPDATE_URLS_MAX],
        ..offer()
    };
    let bytes = largest.sign(&key(1)).unwrap().encode();
    assert!(bytes.len() <= UPDATE_OFFER_BYTES_MAX, "{}", bytes.len());
    assert!(SignedOffer::parse(&bytes).is_ok());
}

fn any_scope() -> impl Strategy<Value = UpdateScope> {
    prop_oneof![
        prop::collection::vec(any::<[u8; 4]>(), 1..16)
            .prop_map(|lots| UpdateScope::of_lots(lots.into_iter().map(LotId::from_bytes).collect())),
        "[a-z0-9 ]{1,64}".prop_map(UpdateScope::Sku),
    ]
}

proptest! {
    #[test]
    fn every_offer_reads_back_as_it_was_written(
        rollout: [u8; 16], scope in any_scope(), floor: u32, above: u16, not_after: u64, size in 1u64..,
        digest in prop::collection::vec(any::<u8>(), 48), kind in "[a-z0-9-]{1,32}",
        urls in prop::collection::vec("https?://[a-z]{1,8}/[!-~]{0,200}", 1..=4),
    ) {
        let written = Offer {
            rollout: RolloutId::from_bytes(rollout),
            scope,
            firmware: floor.saturating_add(u32::from(above)),
            floor,
            not_after: Timestamp::from_millis(not_after),
            size,
            digest: digest.try_into().unwrap(),
            kind,
            urls,
        };
        // Signing costs milliseconds; what is tested here is the form.
        let bytes = [&written.body()[..], &[5; 96]].concat();
        let read = SignedOffer::parse(&bytes).unwrap();
        prop_assert_eq!(read.unverified(), &written);
        prop_assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn no_bytes_panic_the_parser_and_what_it_reads_has_one_spelling(bytes: Vec<u8>) {
        let bytes = [&[VERSION], &bytes[..]].concat();
        if let Ok(offer) = SignedOffer::parse(&bytes) {
            prop_assert_eq!(offer.encode(), bytes);
        }
    }
}
