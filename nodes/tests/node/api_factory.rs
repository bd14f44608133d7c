//! What the factory and the sales desk tell over the API: as it should be, again, contradicting, and as nonsense.

use crate::support::factory::Factory;
use crate::support::served::served;
use events::ids::{CodeBatchId, StationId};
use events::license::code::ActivationCode;
use events::license::token::plan_fits;
use events::vocabulary::license::Plan;
use nodes::api::shapes::{
    Base64, Certified, CertifyStation, CreateLot, Done, ImportReport, LotList, Refusal, RefusalCode,
};
use nodes::entropy::{EntropyRng, OsEntropy};
use reqwest::StatusCode;
use serde_json::json;

fn is_malformed((status, refusal): &(StatusCode, Refusal), field: &str) -> bool {
    *status == StatusCode::UNPROCESSABLE_ENTITY
        && refusal.code == RefusalCode::Malformed
        && refusal.message.contains(field)
        && !refusal.what_to_do.is_empty()
}

fn is_declined((status, refusal): &(StatusCode, Refusal)) -> bool {
    *status == StatusCode::CONFLICT && refusal.code == RefusalCode::Declined && !refusal.what_to_do.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lot_is_registered_once_and_not_with_what_the_factory_did_not_sign() {
    let served = served().await;
    let (factory, other) = (Factory::new(), Factory::of("set"));
    let done: Done = served.done("/v1/lots", &factory.lot()).await;
    assert!(!done.duplicate);
    let again: Done = served.done("/v1/lots", &factory.lot()).await;
    assert!(again.duplicate);
    let lots: LotList = served.get("/v1/lots").await;
    assert_eq!(lots.lots.len(), 1);

    // Its number is taken: the other lot is of another product.
    let refused = served.refused("/v1/lots", &other.lot()).await;
    assert!(is_declined(&refused), "{refused:?}");
    let lot = |change: fn(&mut CreateLot, &Factory)| {
        let mut lot = factory.lot();
        change(&mut lot, &other);
        lot
    };
    for (spoilt, field) in [
        (lot(|lot, other| lot.factory_key = other.lot().factory_key), "declaration"),
        (lot(|lot, other| lot.tamper_key = other.lot().tamper_key), "tamper_key"),
        (lot(|lot, _| lot.tamper_key = Base64(vec![1])), "tamper_key"),
        (lot(|lot, _| lot.declaration.0.truncate(9)), "declaration"),
        (lot(|lot, _| lot.factory_key = Base64(vec![4; 97])), "factory_key"),
    ] {
        let refused = served.refused("/v1/lots", &spoilt).await;
        assert!(is_malformed(&refused, field), "{field}: {refused:?}");
    }
    let refused = served.refused("/v1/lots", &json!({ "declaration": "" })).await;
    assert!(is_malformed(&refused, "body"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_station_is_registered_for_a_lot_that_is_known_and_what_it_signs_after_its_end_is_refused() {
    let served = served().await;
    let (factory, other) = (Factory::new(), Factory::new());
    let unknown_lot = served.refused("/v1/stations", &factory.station()).await;
    assert!(is_declined(&unknown_lot) && unknown_lot.1.what_to_do.contains("lot"), "{unknown_lot:?}");
    let _: Done = served.done("/v1/lots", &factory.lot()).await;
    let certified: Certified = served.done("/v1/stations", &factory.station()).await;
    assert!(!certified.duplicate);
    let again: Certified = served.done("/v1/stations", &factory.station()).await;
    assert!(again.duplicate && again.station == certified.station);
    let foreign = CertifyStation { factory_key: other.lot().factory_key, ..factory.station() };
    let refused = served.refused("/v1/stations", &foreign).await;
    assert!(is_malformed(&refused, "certificate"), "{refused:?}");
    let torn = CertifyStation { certificate: Base64(vec![7; 20]), ..factory.station() };
    let refused = served.refused("/v1/stations", &torn).await;
    assert!(is_malformed(&refused, "certificate"), "{refused:?}");

    let revoke = format!("/v1/stations/{}/revoke", certified.station);
    let reason = json!({ "reason": "stolen" });
    for (body, field) in [(json!({}), "body"), (json!({ "reason": " " }), "reason")] {
        let refused = served.refused(&revoke, &body).await;
        assert!(is_malformed(&refused, field), "{refused:?}");
    }
    let nobody = format!("/v1/stations/{}/revoke", StationId::from_bytes([9; 4]));
    assert!(is_declined(&served.refused(&nobody, &reason).await));
    let done: Done = served.done(&revoke, &reason).await;
    assert!(!done.duplicate);
    let done: Done = served.done(&revoke, &reason).await;
    assert!(done.duplicate);
    assert!(is_declined(&served.refused("/v1/stations", &factory.station()).await), "it is gone for good");
    let manifest = factory.manifest(&served.members.keyring().public(), 1..=1);
    assert!(is_declined(&served.refused("/v1/manifests", &manifest).await));
}

/// They take no key: what was there before is seen by what it is.
#[tokio::test(flavor = "multi_thread")]
async fn codes_and_manifests_that_come_again_change_nothing() {
    let served = served().await;
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=2);
    let first: ImportReport = served.done("/v1/manifests", &manifest).await;
    let again: ImportReport = served.done("/v1/manifests", &manifest).await;
    assert_eq!((first.imported, again.imported, again.duplicate), (2, 0, 2));
    let issue = json!({
        "batch": CodeBatchId::from_bytes([9; 8]),
        "plan": { "name": "basic", "entitlements": [], "term_seconds": 0, "lease_seconds": 60 },
        "reseller": "corner shop",
        "codes": [ActivationCode::generate(&mut EntropyRng(&OsEntropy)).to_string()],
    });
    let first: Done = served.done("/v1/codes", &issue).await;
    let again: Done = served.done("/v1/codes", &issue).await;
    assert!(!first.duplicate && again.duplicate);
    let mut other = issue.clone();
    other["reseller"] = json!("somebody else");
    assert!(is_declined(&served.refused("/v1/codes", &other).await), "one batch, one offer");
}

/// The fold takes plans of which no license token can be made; whoever activated with such a code had a license in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_sold_only_if_its_license_token_can_be_made() {
    let served = served().await;
    let plan = |count: usize| Plan {
        name: "all of it".to_owned(),
        entitlements: vec!["e".repeat(64); count],
        term_seconds: 0,
        lease_seconds: 60,
    };
    let most = (0..=32).rev().find(|count| plan_fits(&plan(*count)).is_ok()).unwrap();
    assert!(most < 32, "the fold takes 32");
    let issue = |count: usize| {
        json!({
            "batch": CodeBatchId::from_bytes([9; 8]),
            "plan": plan(count),
            "reseller": "corner shop",
            "codes": [ActivationCode::generate(&mut EntropyRng(&OsEntropy)).to_string()],
        })
    };
    let refused = served.refused("/v1/codes", &issue(most + 1)).await;
    assert!(is_malformed(&refused, "token") && refused.1.what_to_do.contains("entitlements"), "{refused:?}");
    let done: Done = served.done("/v1/codes", &issue(most)).await;
    assert!(!done.duplicate);
}
