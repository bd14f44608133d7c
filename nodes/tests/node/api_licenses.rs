//! What people do to licenses, over the API.

use crate::support::device::Device;
use crate::support::factory::Factory;
use crate::support::served::{Served, TOKEN, served};
use events::ids::{CodeBatchId, DeviceId, LicenseId};
use events::license::code::ActivationCode;
use events::time::Timestamp;
use nodes::api::shapes::{
    DeviceDetail, DevicePage, Done, ImportReport, LicenseDone, LicensePage, Refusal, RefusalCode, Story,
};
use nodes::entropy::{EntropyRng, OsEntropy};
use projector::view::{LicenseMove, LicenseState, LicenseView};
use reqwest::StatusCode;
use serde_json::{Value, json};

struct Sold {
    served: Served,
    license: LicenseId,
    owner: DeviceId,
    spare: DeviceId,
}

/// A device with a license, and one without.
async fn sold() -> Sold {
    let served = served().await;
    let device = Device::for_a_year();
    let proposer = served.members.core(1).proposer();
    // Up to its first heartbeat: nobody cloned it.
    proposer.propose_events(&device.life_of_a_clone()[..6]).await.unwrap();
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=1);
    let _: ImportReport = served.done("/v1/manifests", &manifest).await;
    let page: LicensePage = served.get("/v1/licenses").await;
    let devices: DevicePage = served.get("/v1/devices").await;
    let spare = devices.devices.iter().find(|found| found.device != device.id()).unwrap().device;
    Sold { license: page.licenses[0].license, owner: device.id(), spare, served }
}

impl Sold {
    async fn keyed(&self, verb: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("{}/v1/licenses/{}/{verb}", self.served.url, self.license);
        let request = self.served.http.post(url).bearer_auth(TOKEN).header("Idempotency-Key", key).json(body);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn done(&self, verb: &str, body: &Value) -> LicenseDone {
        self.served.done(&format!("/v1/licenses/{}/{verb}", self.license), body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_goes_through_all_that_people_do_to_it_and_the_story_tells_who_and_why() {
    let sold = sold().await;
    let suspended = sold.done("suspend", &json!({ "reason": "chargeback", "by": "kim" })).await;
    assert_eq!((suspended.duplicate, suspended.license.state), (false, LicenseState::Suspended));
    let by = &suspended.license.moves[0].by;
    assert_eq!(by, "admin admin, for kim", "whatever it says, the caller's own name stands first");
    let again = sold.done("suspend", &json!({ "reason": "chargeback", "by": "kim" })).await;
    assert!(again.duplicate);
    let resumed = sold.done("resume", &json!({ "reason": "settled" })).await;
    assert_eq!(resumed.license.state, LicenseState::Active);
    assert_eq!(resumed.license.moves[1].by, "admin admin", "who asks is who did it, if nobody is named");
    let body = json!({ "from": sold.owner, "to": sold.spare, "reason": "broken board" });
    let transferred = sold.done("transfer", &body).await;
    assert_eq!(transferred.license.device, sold.spare);
    let detail: DeviceDetail = sold.served.get(&format!("/v1/devices/{}", sold.owner)).await;
    assert_eq!(detail.license, None);
    let story: Story = sold.served.get(&format!("/v1/devices/{}/story", sold.owner)).await;
    let told = format!("license {} transferred to {} by admin admin: broken board", sold.license, sold.spare);
    assert!(story.lines.iter().any(|line| line.what == told), "{:?}", story.lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_is_so_long_that_it_pushes_the_callers_own_out_and_none_has_several_lines() {
    let sold = sold().await;
    let forged = format!("{:<200}", "admin root");
    let suspended = sold.done("suspend", &json!({ "reason": "chargeback", "by": forged })).await;
    assert!(suspended.license.moves[0].by.starts_with("admin admin, for admin root"), "{suspended:?}");
    for (field, text) in [("by", "kim\nadmin root"), ("reason", "settled\u{1b}[2J")] {
        let mut body = json!({ "reason": "settled", "by": "kim" });
        body[field] = text.into();
        let (status, refused) = sold.keyed("resume", field, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
        assert!(refused.to_string().contains("one line of text"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_its_key_is_done_once_even_if_the_state_moved_on() {
    let sold = sold().await;
    let there = json!({ "from": sold.owner, "to": sold.spare, "reason": "broken board" });
    let back = json!({ "from": sold.spare, "to": sold.owner, "reason": "wrong box" });
    let (status, first) = sold.keyed("transfer", "one", &there).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    sold.done("transfer", &back).await;
    let (status, again) = sold.keyed("transfer", "one", &there).await;
    assert_eq!(status, StatusCode::OK, "{again}");
    assert_eq!((&again["duplicate"], &again["index"]), (&json!(true), &first["index"]));
    assert_eq!(again["license"]["device"], json!(sold.owner), "the way back stands");
    let (status, refused) = sold.keyed("suspend", "one", &json!({ "reason": "chargeback" })).await;
    let refusal: Refusal = serde_json::from_value(refused).unwrap();
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::KeyReused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_contradicts_the_state_is_refused_with_what_to_do() {
    let sold = sold().await;
    let path = |verb: &str| format!("/v1/licenses/{}/{verb}", sold.license);
    for (verb, body, why) in [
        ("transfer", json!({ "from": sold.spare, "to": sold.owner, "reason": "x" }), "another device"),
        ("renew", json!({ "expires": 5, "reason": "x" }), "well formed"),
    ] {
        let (status, refusal) = sold.served.refused(&path(verb), &body).await;
        assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined), "{verb}");
        assert!(refusal.message.contains(why) && !refusal.what_to_do.is_empty(), "{refusal:?}");
    }
    for body in [json!({}), json!({ "reason": "" }), json!({ "reason": "x", "colour": 1 })] {
        let (status, refusal) = sold.served.refused(&path("suspend"), &body).await;
        assert_eq!((status, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
    }
    let nobody = format!("/v1/licenses/{}/suspend", LicenseId::from_bytes([9; 16]));
    let (_, refusal) = sold.served.refused(&nobody, &json!({ "reason": "x" })).await;
    assert_eq!(refusal.code, RefusalCode::Declined);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_is_renewed_to_a_later_end_and_to_no_earlier_one() {
    let sold = sold().await;
    let present: LicenseView = sold.served.get(&format!("/v1/licenses/{}", sold.license)).await;
    let later = present.expires.plus_millis(86_400_000);
    let body = json!({ "expires": later, "reason": "paid" });
    let renewed = sold.done("renew", &body).await;
    assert_eq!((renewed.duplicate, renewed.license.expires), (false, later));
    assert_eq!(renewed.license.moves[0].what, LicenseMove::Renewed { expires: later });
    assert!(sold.done("renew", &body).await.duplicate);
    let earlier = json!({ "expires": present.expires, "reason": "typo" });
    let path = format!("/v1/licenses/{}/renew", sold.license);
    let (status, refusal) = sold.served.refused(&path, &earlier).await;
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined));
    assert!(refusal.what_to_do.contains("not before the present one"), "{refusal:?}");
    let endless = sold.done("renew", &json!({ "expires": 0, "reason": "for ever" })).await;
    assert_eq!(endless.license.expires, Timestamp::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reissued_license_has_another_code_and_neither_a_code_that_is_taken_nor_one_with_a_typo() {
    let sold = sold().await;
    let fresh = || ActivationCode::generate(&mut EntropyRng(&OsEntropy)).to_string();
    let body = json!({ "code": fresh(), "reason": "lost its state" });
    let reissued = sold.done("reissue", &body).await;
    assert!(!reissued.duplicate);
    assert!(matches!(reissued.license.moves[0].what, LicenseMove::Reissued { .. }));
    assert!(sold.done("reissue", &body).await.duplicate);

    let issue = json!({
        "batch": CodeBatchId::from_bytes([9; 8]),
        "plan": { "name": "basic", "entitlements": [], "term_seconds": 0, "lease_seconds": 60 },
        "reseller": "corner shop",
        "codes": [fresh()],
    });
    let _: Done = sold.served.done("/v1/codes", &issue).await;
    let path = format!("/v1/licenses/{}/reissue", sold.license);
    let taken = json!({ "code": issue["codes"][0], "reason": "lost its state" });
    let (status, refusal) = sold.served.refused(&path, &taken).await;
    assert_eq!((status, refusal.code), (StatusCode::CONFLICT, RefusalCode::Declined), "it is sold already");
    let typo = json!({ "code": "MSTR-TYPO", "reason": "lost its state" });
    let (status, refusal) = sold.served.refused(&path, &typo).await;
    assert_eq!((status, refusal.code), (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::Malformed));
    assert!(!refusal.message.contains("TYPO"), "{refusal:?}");
}
