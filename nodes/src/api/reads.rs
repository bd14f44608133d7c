//! What there is, as this node's fold knows it. Apply waits while the fold is read: a page looks at a bounded number of
//! items, however few of them it finds.

use super::ApiState;
use super::cursor::PageAsk;
use super::extract::{Asked, Id};
use super::refusal::Refused;
use super::shapes::{
    CodePage, Cursor, DeviceDetail, DevicePage, DeviceQuery, FlagPage, FlagQuery, LicensePage, LicenseQuery,
    LotList, OperationPage, OperationQuery, PageQuery, Refusal, SourcePage, Story,
};
use axum::Json;
use axum::extract::State;
use events::ids::{DeviceId, Slot};
use projector::view::{FlagSubject, FlagView, LicenseView, OperationView};
use projector::{DeviceView, Projector};

/// Items that one page looks at, wanted or not, while the fold waits for it.
const LOOKED_AT_MAX: usize = 4_000;
/// Orders of one device in its detail; the list of operations has them all.
const OPERATIONS_SHOWN: usize = 100;

type Answer<T> = Result<Json<T>, Refused>;

/// Devices, narrowed by any conditions, page by page.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, body = DevicePage), (status = "default", body = Refusal)))]
pub(super) async fn devices(
    State(state): State<ApiState>,
    Asked(query): Asked<DeviceQuery>,
) -> Answer<DevicePage> {
    let DeviceQuery { legitimacy, lot, source, flag, license, .. } = &query;
    let name = format!("devices {legitimacy:?} {lot:?} {source:?} {flag:?} {license:?}");
    let ask = PageAsk::new(name, query.after.as_ref(), query.limit)?;
    let (devices, next) = state.deps.projector.read(|fold| {
        let from = Slot::try_from(ask.from).unwrap_or(Slot::MAX);
        let all = (from..).map_while(|slot| fold.device(slot));
        let all = all.map(|device| wanted(fold, &query, &device).then(|| device.summary()));
        page(&ask, all)
    });
    Ok(Json(DevicePage { devices, next }))
}

fn wanted(fold: &Projector, query: &DeviceQuery, device: &DeviceView<'_>) -> bool {
    let license = || Some(fold.license(&device.license()?)?.state);
    query.legitimacy.is_none_or(|wanted| device.legitimacy() == wanted)
        && query.lot.is_none_or(|wanted| device.lot() == wanted)
        && query
            .source
            .as_ref()
            .is_none_or(|wanted| device.source().is_some_and(|source| source.is_meant_by(wanted)))
        && query
            .flag
            .is_none_or(|wanted| device.flags().any(|flag| flag.kind == wanted && flag.cleared.is_none()))
        && query.license.is_none_or(|wanted| license() == Some(wanted))
}

/// One device as it stands: session, license, flags, its latest orders.
#[utoipa::path(get, path = "/v1/devices/{id}", tag = "devices", params(("id" = DeviceId, Path)),
    responses((status = 200, body = DeviceDetail), (status = "default", body = Refusal)))]
pub(super) async fn device(State(state): State<ApiState>, Id(id): Id<DeviceId>) -> Answer<DeviceDetail> {
    let detail = state.deps.projector.read(|fold| {
        let view = fold.device(fold.slot_of(&id)?)?;
        let latest = fold.operations_of(&id).rev().take(OPERATIONS_SHOWN);
        let mut operations: Vec<OperationView> = latest.cloned().collect();
        operations.reverse();
        Some(DeviceDetail {
            summary: view.summary(),
            license: view.license().and_then(|license| fold.license(&license)),
            flags: view.flags().cloned().collect(),
            operations,
        })
    });
    detail.map(Json).ok_or_else(|| Refused::not_found(id))
}

/// What happened to a device: how it began, and what came last.
#[utoipa::path(get, path = "/v1/devices/{id}/story", tag = "devices", params(("id" = DeviceId, Path)),
    responses((status = 200, body = Story), (status = "default", body = Refusal)))]
pub(super) async fn story(State(state): State<ApiState>, Id(id): Id<DeviceId>) -> Answer<Story> {
    let story = state.deps.projector.read(|fold| {
        let summary = fold.device(fold.slot_of(&id)?)?.summary();
        let mut lines = fold.story(&id);
        fold.give_reasons(&id, &mut lines);
        Some(Story { summary, lines })
    });
    story.map(Json).ok_or_else(|| Refused::not_found(id))
}

/// Flags with their evidence, the latest first.
#[utoipa::path(get, path = "/v1/flags", tag = "flags", params(FlagQuery),
    responses((status = 200, body = FlagPage), (status = "default", body = Refusal)))]
pub(super) async fn flags(State(state): State<ApiState>, Asked(query): Asked<FlagQuery>) -> Answer<FlagPage> {
    let FlagQuery { open, kind, device, source, .. } = &query;
    let ask = PageAsk::new(
        format!("flags {open} {kind:?} {device:?} {source:?}"),
        query.after.as_ref(),
        query.limit,
    )?;
    let is_on = |subject: &FlagSubject| match (subject, device, source) {
        (_, None, None) => true,
        (FlagSubject::Device(on), Some(device), _) => on == device,
        (FlagSubject::Source(on), None, Some(source)) => on.is_meant_by(source),
        _ => false,
    };
    let is_wanted = |flag: &FlagView| {
        (!open || flag.cleared.is_none())
            && kind.is_none_or(|wanted| flag.kind == wanted)
            && is_on(&flag.subject)
    };
    let (flags, next) = state
        .deps
        .projector
        .read(|fold| page_from_end(&ask, fold.flag_count(), |at| fold.flag_numbered(at), is_wanted));
    Ok(Json(FlagPage { flags, next }))
}

/// Orders and how they ended, the latest first.
#[utoipa::path(get, path = "/v1/operations", tag = "operations", params(OperationQuery),
    responses((status = 200, body = OperationPage), (status = "default", body = Refusal)))]
pub(super) async fn operations(
    State(state): State<ApiState>,
    Asked(query): Asked<OperationQuery>,
) -> Answer<OperationPage> {
    let OperationQuery { open, kind, .. } = &query;
    let ask = PageAsk::new(format!("operations {open} {kind:?}"), query.after.as_ref(), query.limit)?;
    let is_wanted = |operation: &OperationView| {
        (!open || operation.settled.is_none()) && kind.is_none_or(|wanted| operation.directive.kind == wanted)
    };
    let (operations, next) = state.deps.projector.read(|fold| {
        page_from_end(&ask, fold.operation_count(), |at| fold.operation_numbered(at), is_wanted)
    });
    Ok(Json(OperationPage { operations, next }))
}

/// Licenses in the order in which they were created.
#[utoipa::path(get, path = "/v1/licenses", tag = "licenses", params(LicenseQuery),
    responses((status = 200, body = LicensePage), (status = "default", body = Refusal)))]
pub(super) async fn licenses(
    State(state): State<ApiState>,
    Asked(query): Asked<LicenseQuery>,
) -> Answer<LicensePage> {
    let LicenseQuery { state: wanted, reseller, .. } = &query;
    let ask = PageAsk::new(format!("licenses {wanted:?} {reseller:?}"), query.after.as_ref(), query.limit)?;
    let is_wanted = |license: &LicenseView| {
        wanted.is_none_or(|wanted| license.state == wanted)
            && reseller.as_ref().is_none_or(|wanted| license.reseller == *wanted)
    };
    let (licenses, next) = state.deps.projector.read(|fold| {
        let from = u32::try_from(ask.from).unwrap_or(u32::MAX);
        let all = (from..).map_while(|at| fold.license_numbered(at));
        page(&ask, all.map(|license| is_wanted(&license).then_some(license)))
    });
    Ok(Json(LicensePage { licenses, next }))
}

/// Lots and their stations.
#[utoipa::path(get, path = "/v1/lots", tag = "factory",
    responses((status = 200, body = LotList), (status = "default", body = Refusal)))]
pub(super) async fn lots(State(state): State<ApiState>) -> Answer<LotList> {
    let list = state
        .deps
        .projector
        .read(|fold| LotList { lots: fold.lots().collect(), stations: fold.stations().collect() });
    Ok(Json(list))
}

/// Sources: what the NATS servers confine connections to.
#[utoipa::path(get, path = "/v1/sources", tag = "sources", params(PageQuery),
    responses((status = 200, body = SourcePage), (status = "default", body = Refusal)))]
pub(super) async fn sources(
    State(state): State<ApiState>,
    Asked(query): Asked<PageQuery>,
) -> Answer<SourcePage> {
    let ask = PageAsk::new("sources".to_owned(), query.after.as_ref(), query.limit)?;
    let (sources, next) = state.deps.projector.read(|fold| {
        let from = u32::try_from(ask.from).unwrap_or(u32::MAX);
        page(&ask, (from..).map_while(|at| fold.source_numbered(at)).map(Some))
    });
    Ok(Json(SourcePage { sources, next }))
}

/// Issues of codes: how many were issued, used, voided.
#[utoipa::path(get, path = "/v1/codes", tag = "factory", params(PageQuery),
    responses((status = 200, body = CodePage), (status = "default", body = Refusal)))]
pub(super) async fn codes(State(state): State<ApiState>, Asked(query): Asked<PageQuery>) -> Answer<CodePage> {
    let ask = PageAsk::new("codes".to_owned(), query.after.as_ref(), query.limit)?;
    let (batches, next) = state.deps.projector.read(|fold| {
        let from = u32::try_from(ask.from).unwrap_or(u32::MAX);
        page(&ask, (from..).map_while(|at| fold.code_batch_numbered(at)).map(Some))
    });
    Ok(Json(CodePage { batches, next }))
}

/// Fills a page from what begins at the position asked for; none stands for what is not wanted.
fn page<T>(ask: &PageAsk, all: impl Iterator<Item = Option<T>>) -> (Vec<T>, Option<Cursor>) {
    fill(ask, all, |looked_at| ask.from + looked_at)
}

/// As [`page`], from the end of a list that only grows. A position counts the items below the page, so that what is
/// added meanwhile shifts nothing; zero, with which every list begins, is the list's end.
fn page_from_end<'a, T: Clone + 'a>(
    ask: &PageAsk,
    count: u32,
    numbered: impl Fn(u32) -> Option<&'a T>,
    is_wanted: impl Fn(&T) -> bool,
) -> (Vec<T>, Option<Cursor>) {
    let below = match u32::try_from(ask.from).unwrap_or(u32::MAX) {
        0 => count,
        below => below.min(count),
    };
    let items = (0..below).rev().map(|at| numbered(at).filter(|item| is_wanted(item)).cloned());
    fill(ask, items, |looked_at| u64::from(below).saturating_sub(looked_at))
}

fn fill<T>(
    ask: &PageAsk,
    all: impl Iterator<Item = Option<T>>,
    position: impl Fn(u64) -> u64,
) -> (Vec<T>, Option<Cursor>) {
    let mut items = Vec::new();
    for (looked_at, item) in all.enumerate() {
        if items.len() == ask.limit || looked_at == LOOKED_AT_MAX {
            return (items, Some(ask.next(position(looked_at as u64))));
        }
        items.extend(item);
    }
    (items, None)
}
