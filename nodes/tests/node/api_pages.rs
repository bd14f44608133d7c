//! Pages and conditions.

use crate::support::factory::Factory;
use crate::support::served::{Served, served};
use nodes::api::shapes::{Cursor, DevicePage, ImportReport, LotList, OperationPage, Refusal};
use reqwest::StatusCode;
use serde_json::json;

async fn with_devices(count: u32) -> Served {
    let served = served().await;
    let manifest = Factory::new().manifest(&served.members.keyring().public(), 1..=count);
    let _: ImportReport = served.done("/v1/manifests", &manifest).await;
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_together_hold_every_device_once() {
    let served = with_devices(7).await;
    let (mut slots, mut after) = (Vec::new(), String::new());
    loop {
        let page: DevicePage = served.get(&format!("/v1/devices?limit=3{after}")).await;
        assert!(page.devices.len() <= 3);
        slots.extend(page.devices.iter().map(|device| device.slot));
        match page.next {
            Some(Cursor(next)) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(slots, [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_narrowed_by_all_conditions_at_once() {
    let served = with_devices(3).await;
    let lots: LotList = served.get("/v1/lots").await;
    let lot = lots.lots[0].lot;
    for (query, found) in [
        (format!("lot={lot}"), 3),
        (format!("lot={lot}&legitimacy=provisioned"), 3),
        (format!("lot={lot}&legitimacy=restricted"), 0),
        ("lot=lot_0000000".to_owned(), 0),
        ("flag=clone".to_owned(), 0),
        ("license=active".to_owned(), 0),
        ("source=shop-1".to_owned(), 0),
    ] {
        let page: DevicePage = served.get(&format!("/v1/devices?{query}")).await;
        assert_eq!(page.devices.len(), found, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_query_and_a_forged_one_are_refused() {
    let served = with_devices(3).await;
    let page: DevicePage = served.get("/v1/devices?limit=1").await;
    let Cursor(next) = page.next.unwrap();
    for path in [
        format!("/v1/devices?limit=1&legitimacy=provisioned&after={next}"),
        format!("/v1/flags?after={next}"),
        "/v1/devices?after=AAAA".to_owned(),
        "/v1/devices?limit=1001".to_owned(),
    ] {
        let (status, body) = served.asked(crate::support::served::TOKEN, &path).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(serde_json::from_str::<Refusal>(&body).is_ok(), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_meanwhile_shifts_no_page_of_the_latest() {
    let served = with_devices(3).await;
    let page: DevicePage = served.get("/v1/devices").await;
    let order = async |at: usize| {
        let path = format!("/v1/devices/{}/operations", page.devices[at].device);
        let body = json!({ "kind": "restrict", "by": "kim", "reason": "stolen" });
        let (status, _) = served.post(&path, &body).await;
        assert_eq!(status, StatusCode::OK);
    };
    order(0).await;
    order(1).await;
    let latest: OperationPage = served.get("/v1/operations?limit=1").await;
    assert_eq!(latest.operations[0].device, page.devices[1].device);
    order(2).await;
    let Cursor(next) = latest.next.unwrap();
    let before: OperationPage = served.get(&format!("/v1/operations?limit=1&after={next}")).await;
    assert_eq!(before.operations[0].device, page.devices[0].device);
    assert_eq!(before.next, None);
}
