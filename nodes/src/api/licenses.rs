//! Licenses: as they stand, and what people do to them. Every write is absolute (from whom to whom, until when), so
//! that the same one twice changes nothing more.

use super::ApiState;

use super::codes;
use super::extract::{Id, Write};
use super::refusal::Refused;
use super::shapes::{LicenseDone, Refusal, ReissueLicense, RenewLicense, SwitchLicense, TransferLicense};
use super::write::{done, propose_one, signed};
use axum::Json;
use axum::extract::State;
use events::ids::LicenseId;
use events::vocabulary::{
    Event, LicenseReissued, LicenseRenewed, LicenseResumed, LicenseSuspended, LicenseTransferred,
    RequestKeyed,
};
use projector::view::LicenseView;

type Answer = Result<Json<LicenseDone>, Refused>;

/// One license: how it stands, and what people did to it.
#[utoipa::path(get, path = "/v1/licenses/{id}", tag = "licenses", params(("id" = LicenseId, Path)),
    responses((status = 200, body = LicenseView), (status = "default", body = Refusal)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Id(id): Id<LicenseId>,
) -> Result<Json<LicenseView>, Refused> {
    read(&state, &id).map(Json)
}

/// To another device: an exchange of hardware. The box before is left without a license, and is not held to be an
/// attacker if it presents its code again.
#[utoipa::path(post, path = "/v1/licenses/{id}/transfer", tag = "licenses", request_body = TransferLicense,
    params(("id" = LicenseId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LicenseDone), (status = "default", body = Refusal)))]
pub(super) async fn transfer(
    State(state): State<ApiState>,
    Id(license): Id<LicenseId>,
    Write { body, caller, key, .. }: Write<TransferLicense>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    let event = LicenseTransferred { license, from: body.from, to: body.to, by, reason };
    commit(&state, key, license, event.into()).await
}

/// To another end, not before the present one; an ended license holds again.
#[utoipa::path(post, path = "/v1/licenses/{id}/renew", tag = "licenses", request_body = RenewLicense,
    params(("id" = LicenseId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LicenseDone), (status = "default", body = Refusal)))]
pub(super) async fn renew(
    State(state): State<ApiState>,
    Id(license): Id<LicenseId>,
    Write { body, caller, key, .. }: Write<RenewLicense>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, license, LicenseRenewed { license, expires: body.expires, by, reason }.into()).await
}

/// No lease is given until it is resumed; what the device holds counts until its lease ends.
#[utoipa::path(post, path = "/v1/licenses/{id}/suspend", tag = "licenses", request_body = SwitchLicense,
    params(("id" = LicenseId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LicenseDone), (status = "default", body = Refusal)))]
pub(super) async fn suspend(
    State(state): State<ApiState>,
    Id(license): Id<LicenseId>,
    Write { body, caller, key, .. }: Write<SwitchLicense>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, license, LicenseSuspended { license, by, reason }.into()).await
}

/// The end of a suspension, however it came.
#[utoipa::path(post, path = "/v1/licenses/{id}/resume", tag = "licenses", request_body = SwitchLicense,
    params(("id" = LicenseId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LicenseDone), (status = "default", body = Refusal)))]
pub(super) async fn resume(
    State(state): State<ApiState>,
    Id(license): Id<LicenseId>,
    Write { body, caller, key, .. }: Write<SwitchLicense>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    commit(&state, key, license, LicenseResumed { license, by, reason }.into()).await
}

/// Another code for the same license on the same device, after the device lost its state. The code comes in plain
/// inside TLS and leaves as a keyed digest.
#[utoipa::path(post, path = "/v1/licenses/{id}/reissue", tag = "licenses", request_body = ReissueLicense,
    params(("id" = LicenseId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = LicenseDone), (status = "default", body = Refusal)))]
pub(super) async fn reissue(
    State(state): State<ApiState>,
    Id(license): Id<LicenseId>,
    Write { body, caller, key, .. }: Write<ReissueLicense>,
) -> Answer {
    let (by, reason) = signed(&caller, body.by, body.reason)?;
    let code = codes::digest(&state, &body.code, None)?;
    commit(&state, key, license, LicenseReissued { license, code, by, reason }.into()).await
}

async fn commit(state: &ApiState, key: Option<RequestKeyed>, license: LicenseId, event: Event) -> Answer {
    let (outcomes, outcome) = propose_one(state, key, event).await?;
    let done = done(outcomes.index, &outcome)?;
    let license = read(state, &license)?;
    Ok(Json(LicenseDone { index: done.index, duplicate: done.duplicate, license }))
}

fn read(state: &ApiState, id: &LicenseId) -> Result<LicenseView, Refused> {
    state.deps.projector.read(|fold| fold.license(id)).ok_or_else(|| Refused::not_found(id))
}
