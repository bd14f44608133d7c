//! What there is, as this node's fold knows it.

use super::ApiState;
use super::extract::{Asked, Id};
use super::refusal::Refused;
use super::shapes::{
    CodeList, DeviceDetail, DevicePage, DeviceQuery, FlagList, FlagQuery, LicensePage, LotList, PageQuery,
    SourceList, Story,
};
use axum::Json;
use axum::extract::State;
use events::ids::DeviceId;
use projector::DeviceView;

/// Items of a page, where the request names no limit and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Flags and sources of one answer.
const LIST_MAX: usize = 10_000;

type Answer<T> = Result<Json<T>, Refused>;

pub(super) async fn devices(
    State(state): State<ApiState>,
    Asked(query): Asked<DeviceQuery>,
) -> Answer<DevicePage> {
    let limit = page_size(query.limit)?;
    let page = state.deps.projector.read(|fold| {
        let after = query.after.map_or(0, |slot| slot.saturating_add(1));
        let wanted =
            |device: &DeviceView<'_>| query.legitimacy.is_none_or(|wanted| device.legitimacy() == wanted);
        let mut found = fold.devices().skip_while(|device| device.slot() < after).filter(wanted);
        let devices: Vec<_> = found.by_ref().take(limit).map(|device| device.summary()).collect();
        let next = devices.last().map(|last| last.slot).filter(|_| found.next().is_some());
        DevicePage { devices, next }
    });
    Ok(Json(page))
}

pub(super) async fn device(State(state): State<ApiState>, Id(id): Id<DeviceId>) -> Answer<DeviceDetail> {
    let detail = state.deps.projector.read(|fold| {
        let view = fold.device(fold.slot_of(&id)?)?;
        Some(DeviceDetail {
            summary: view.summary(),
            license: view.license().and_then(|license| fold.license(&license)),
            flags: view.flags().cloned().collect(),
            operations: fold.operations().filter(|operation| operation.device == id).cloned().collect(),
        })
    });
    detail.map(Json).ok_or_else(|| Refused::not_found(id))
}

pub(super) async fn story(State(state): State<ApiState>, Id(id): Id<DeviceId>) -> Answer<Story> {
    let story = state.deps.projector.read(|fold| {
        let summary = fold.device(fold.slot_of(&id)?)?.summary();
        Some(Story { summary, lines: fold.story(&id) })
    });
    story.map(Json).ok_or_else(|| Refused::not_found(id))
}

pub(super) async fn flags(State(state): State<ApiState>, Asked(query): Asked<FlagQuery>) -> Answer<FlagList> {
    let list = state.deps.projector.read(|fold| {
        let mut latest = fold.flags().rev().filter(|flag| !query.open || flag.cleared.is_none());
        let mut flags: Vec<_> = latest.by_ref().take(LIST_MAX).cloned().collect();
        flags.reverse();
        FlagList { flags, left_out: latest.count() as u64 }
    });
    Ok(Json(list))
}

pub(super) async fn licenses(
    State(state): State<ApiState>,
    Asked(query): Asked<PageQuery>,
) -> Answer<LicensePage> {
    let limit = page_size(query.limit)?;
    let page = state.deps.projector.read(|fold| {
        let skipped = query.after.unwrap_or(0);
        let mut found = fold.licenses().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        let licenses: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().is_some().then_some(skipped + licenses.len() as u64);
        LicensePage { licenses, next }
    });
    Ok(Json(page))
}

pub(super) async fn lots(State(state): State<ApiState>) -> Answer<LotList> {
    let list = state
        .deps
        .projector
        .read(|fold| LotList { lots: fold.lots().collect(), stations: fold.stations().collect() });
    Ok(Json(list))
}

pub(super) async fn sources(State(state): State<ApiState>) -> Answer<SourceList> {
    let sources = state.deps.projector.read(|fold| fold.sources().take(LIST_MAX).collect());
    Ok(Json(SourceList { sources }))
}

pub(super) async fn codes(State(state): State<ApiState>) -> Answer<CodeList> {
    Ok(Json(CodeList { batches: state.deps.projector.read(|fold| fold.code_batches().collect()) }))
}

fn page_size(limit: Option<usize>) -> Result<usize, Refused> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE_MAX => Ok(limit),
        got => Err(Refused::malformed(format!("query: `limit` is {got}, expected 1 to {PAGE_MAX}"))),
    }
}
