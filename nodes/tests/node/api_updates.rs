//! Software update over the API: who may start a rollout with what, and how it is paused, resumed and aborted.

use crate::support::device::Device;
use crate::support::served::{Served, served, served_under};
use events::identity::key::SigningKey;
use events::ids::{LotId, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateScope};
use nodes::api::shapes::{Base64, RefusalCode, UpdateDone, UpdateList};
use projector::view::{RolloutEnding, RolloutStanding, RolloutView};
use reqwest::StatusCode;
use serde_json::{Value, json};

async fn with_a_lot() -> (Served, LotId) {
    told_a_lot(served().await).await
}

async fn told_a_lot(served: Served) -> (Served, LotId) {
    served.members.core(1).proposer().propose_events(&Device::new().life_of_a_clone()[..6]).await.unwrap();
    let lots: Value = served.get("/v1/lots").await;
    let lot = lots["lots"][0]["lot"].as_str().unwrap().parse().unwrap();
    (served, lot)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[3; 48]).unwrap()
}

/// A request that starts the rollout of this version.
fn create(lot: LotId, firmware: u32) -> Value {
    let offer = Offer {
        rollout: RolloutId::from_bytes([firmware as u8; 16]),
        scope: UpdateScope::Lots(vec![lot]),
        firmware,
        floor: 1,
        not_after: Timestamp::from_millis(u64::MAX),
        size: 5,
        digest: [1; 48],
        kind: "rauc".into(),
        urls: vec!["https://updates.example/2".into()],
    };
    let base64 = |bytes: Vec<u8>| serde_json::to_value(Base64(bytes)).unwrap();
    json!({
        "offer": base64(offer.sign(&key()).unwrap().encode()),
        "update_key": base64(key().public().as_bytes().to_vec()),
        "rules": {
            "phases": [{ "permille": 10, "seconds": 60 }, { "permille": 1000, "seconds": 0 }],
            "success_permille": 800, "failure_permille": 50, "sample_min": 20, "per_minute_max": 100,
        },
        "by": "kim", "reason": "fix",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_started_paused_resumed_and_aborted_and_each_is_done_once() {
    let (served, lot) = with_a_lot().await;
    let started: UpdateDone = served.done("/v1/updates", &create(lot, 2)).await;
    assert!(!started.duplicate);
    let again: UpdateDone = served.done("/v1/updates", &create(lot, 2)).await;
    assert!(again.duplicate);
    let path = format!("/v1/updates/{}", started.rollout);
    let why = json!({ "reason": "look" });
    let paused: UpdateDone = served.done(&format!("{path}/pause"), &why).await;
    let paused = paused.update.unwrap();
    assert_eq!((paused.standing, paused.by.as_str()), (RolloutStanding::Paused, "admin admin"));
    let resumed: UpdateDone = served.done(&format!("{path}/resume"), &why).await;
    assert_eq!(resumed.update.unwrap().standing, RolloutStanding::Running);
    let aborted: UpdateDone = served.done(&format!("{path}/abort"), &why).await;
    assert!(!aborted.duplicate);
    let view: RolloutView = served.get(&path).await;
    assert_eq!(view.standing, RolloutStanding::Ended(RolloutEnding::Aborted));
    assert_eq!((view.firmware, view.rules.phases.len(), view.offered), (2, 2, 0));
    let (status, refusal) = served.refused(&format!("{path}/resume"), &why).await;
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined));
    let list: UpdateList = served.get("/v1/updates").await;
    assert_eq!(list.updates, [view]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsigned_under_another_key_for_no_lot_or_out_of_range_starts_nothing() {
    let (served, lot) = with_a_lot().await;
    let mut other_key = create(lot, 2);
    let stranger = SigningKey::from_bytes(&[4; 48]).unwrap().public().as_bytes().to_vec();
    other_key["update_key"] = serde_json::to_value(Base64(stranger)).unwrap();
    let mut garbage = create(lot, 2);
    garbage["offer"] = "AAAA".into();
    let mut unknown_field = create(lot, 2);
    unknown_field["colour"] = 1.into();
    for body in [other_key, garbage, unknown_field] {
        let (status, refusal) = served.refused("/v1/updates", &body).await;
        assert_eq!((status, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
    }
    let mut no_phase = create(lot, 2);
    no_phase["rules"]["phases"] = json!([]);
    for body in [no_phase, create(LotId::from_bytes([0xee; 4]), 2)] {
        let (status, refusal) = served.refused("/v1/updates", &body).await;
        assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined));
    }
    let list: UpdateList = served.get("/v1/updates").await;
    assert_eq!(list.updates, []);
    let nobody = RolloutId::from_bytes([9; 16]);
    let (status, refusal) =
        served.refused(&format!("/v1/updates/{nobody}/pause"), &json!({ "reason": "look" })).await;
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_under_a_key_that_no_terminal_pins_is_refused_where_the_node_was_told_which_they_pin() {
    let pinned = |seed: u8| SigningKey::from_bytes(&[seed; 48]).unwrap().public();
    let (served, lot) =
        told_a_lot(served_under(1, |config| config.update_keys = vec![pinned(5)]).await).await;
    let (status, refusal) = served.refused("/v1/updates", &create(lot, 2)).await;
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined));
    assert!(refusal.what_to_do.contains("`update_keys`"), "{refusal:?}");
    let keys = vec![pinned(5), key().public()];
    let (served, lot) = told_a_lot(served_under(1, |config| config.update_keys = keys).await).await;
    let started: UpdateDone = served.done("/v1/updates", &create(lot, 2)).await;
    assert_eq!(started.warning, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_key_is_configured_the_answer_warns_that_nobody_checked() {
    let (served, lot) = with_a_lot().await;
    let started: UpdateDone = served.done("/v1/updates", &create(lot, 2)).await;
    assert!(started.warning.unwrap().contains("`update_keys`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_than_the_one_under_way_is_declined_with_what_to_do() {
    let (served, lot) = with_a_lot().await;
    let _started: UpdateDone = served.done("/v1/updates", &create(lot, 3)).await;
    let (_, refusal) = served.refused("/v1/updates", &create(lot, 2)).await;
    assert!(refusal.message.contains("abort it first"), "{refusal:?}");
}
