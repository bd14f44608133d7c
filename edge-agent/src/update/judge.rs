//! Whether an offer is taken: a pure function of its bytes and of what the terminal knows. In the order of PROTOCOL.md
//! section 5.11: nothing of an offer is looked at before its signature held.

use events::identity::key::PublicKey;
use events::ids::LotId;
use events::time::Timestamp;
use events::update::{Offer, OfferError, SignedOffer, UpdateRefusal};

/// What an offer is judged against.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub keys: &'a [PublicKey],
    pub lot: LotId,
    pub sku: &'a str,
    /// The version that runs.
    pub running: u32,
    pub floor: u32,
    /// What the agent knows of the time.
    pub time: Timestamp,
    /// Kinds of artifact that there is a hook for.
    pub kinds: Vec<&'a str>,
}

/// The offer, if this terminal takes it.
pub fn judge(bytes: &[u8], target: &Target<'_>) -> Result<Offer, UpdateRefusal> {
    let signed = SignedOffer::parse(bytes).map_err(refusal)?;
    let offer = signed.verify(target.keys).map_err(refusal)?;
    let rules = [
        (offer.scope.covers(&target.lot, target.sku), UpdateRefusal::OtherLot),
        (offer.firmware > target.running, UpdateRefusal::NotNewer),
        (offer.firmware >= target.floor, UpdateRefusal::BelowFloor),
        (offer.not_after >= target.time, UpdateRefusal::Expired),
        (target.kinds.contains(&offer.kind.as_str()), UpdateRefusal::UnknownKind),
    ];
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, refusal)) => Err(refusal),
        None => Ok(offer),
    }
}

fn refusal(error: OfferError) -> UpdateRefusal {
    match error {
        OfferError::Signature => UpdateRefusal::NotAuthentic,
        OfferError::Version(_)
        | OfferError::Malformed
        | OfferError::Scope
        | OfferError::Floor
        | OfferError::Size
        | OfferError::Kind
        | OfferError::Urls => UpdateRefusal::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::identity::key::SigningKey;
    use events::ids::RolloutId;
    use events::update::UpdateScope;

    const LOT: LotId = LotId::from_bytes([1; 4]);

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_bytes(&[byte; 48]).unwrap()
    }

    fn offer() -> Offer {
        Offer {
            rollout: RolloutId::from_bytes([9; 16]),
            scope: UpdateScope::Lots(vec![LOT]),
            firmware: 8,
            floor: 8,
            not_after: Timestamp::from_millis(5_000),
            size: 1,
            digest: [0; 48],
            kind: "rauc".into(),
            urls: vec!["http://a/b".into()],
        }
    }

    fn judged(bytes: &[u8], change: impl FnOnce(&mut Target<'_>)) -> Result<Offer, UpdateRefusal> {
        let keys = [key(1).public()];
        let time = Timestamp::from_millis(5_000);
        let mut target =
            Target { keys: &keys, lot: LOT, sku: "box", running: 7, floor: 7, time, kinds: vec!["rauc"] };
        change(&mut target);
        judge(bytes, &target)
    }

    fn signed(offer: Offer) -> Vec<u8> {
        offer.sign(&key(1)).unwrap().encode()
    }

    #[test]
    fn a_newer_version_under_a_pinned_key_for_this_lot_is_taken() {
        assert_eq!(judged(&signed(offer()), |_| {}), Ok(offer()));
        let by_sku = Offer { scope: UpdateScope::Sku("box".into()), ..offer() };
        assert_eq!(judged(&signed(by_sku.clone()), |_| {}), Ok(by_sku));
    }

    #[test]
    fn every_reason_to_refuse_has_its_code() {
        let good = signed(offer());
        let other_key = offer().sign(&key(2)).unwrap().encode();
        assert_eq!(judged(&other_key, |_| {}), Err(UpdateRefusal::NotAuthentic));
        assert_eq!(judged(&good, |t| t.keys = &[]), Err(UpdateRefusal::NotAuthentic));
        assert_eq!(judged(&good[..good.len() - 1], |_| {}), Err(UpdateRefusal::Malformed));
        assert_eq!(judged(&[], |_| {}), Err(UpdateRefusal::Malformed));
        let elsewhere = |t: &mut Target<'_>| t.lot = LotId::from_bytes([2; 4]);
        assert_eq!(judged(&good, elsewhere), Err(UpdateRefusal::OtherLot));
        assert_eq!(judged(&good, |t| t.running = 8), Err(UpdateRefusal::NotNewer));
        assert_eq!(judged(&good, |t| t.running = 9), Err(UpdateRefusal::NotNewer));
        // The boot loader fell back to 7, but 9 ran once.
        assert_eq!(judged(&good, |t| t.floor = 9), Err(UpdateRefusal::BelowFloor));
        let late = |t: &mut Target<'_>| t.time = Timestamp::from_millis(5_001);
        assert_eq!(judged(&good, late), Err(UpdateRefusal::Expired));
        let unknown = signed(Offer { kind: "swupdate".into(), ..offer() });
        assert_eq!(judged(&unknown, |_| {}), Err(UpdateRefusal::UnknownKind));
    }

    #[test]
    fn an_altered_offer_is_not_authentic_whatever_else_is_wrong_with_it() {
        let mut altered = signed(offer());
        altered[17] ^= 1;
        assert_eq!(judged(&altered, |t| t.running = 100), Err(UpdateRefusal::NotAuthentic));
    }
}
