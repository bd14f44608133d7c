//! Activation codes: they come in plain, inside TLS, and leave as keyed digests. Nothing plain is kept or logged.

use super::ApiState;
use super::extract::Write;
use super::refusal::Refused;
use super::shapes::{Done, IssueCodes, PlainCode, Refusal, RefusalCode, VoidCode};
use super::write::{commit, words};
use axum::Json;
use axum::extract::State;
use events::ids::CodeDigest;
use events::license::code::ActivationCode;
use events::license::token;
use events::limits::CODES_PER_EVENT_MAX;
use events::vocabulary::license::Plan;
use events::vocabulary::{CodeVoided, CodesIssued, Event};
use projector::Outcome;

/// Issues codes, each once. It takes no `Idempotency-Key`: what was issued before is seen by the codes themselves.
#[utoipa::path(post, path = "/v1/codes", tag = "factory", request_body = IssueCodes,
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn issue(
    State(state): State<ApiState>,
    Write { body: issue, large, .. }: Write<IssueCodes>,
) -> Result<Json<Done>, Refused> {
    if issue.codes.is_empty() {
        return Err(Refused::malformed("`codes` is empty, expected at least one"));
    }
    let plan = checked(issue.plan)?;
    let reseller = words("reseller", issue.reseller)?;
    let (codes, digesting) = (issue.codes, state.clone());
    let digests = move || {
        let digests = codes.iter().enumerate().map(|(n, code)| digest(&digesting, code, Some(n)));
        digests.collect::<Result<Vec<_>, _>>()
    };
    let digests = match large {
        Some(place) => place.work(digests).await??,
        None => digests()?,
    };
    let mut done = Done { index: 0, duplicate: true };
    for some in digests.chunks(CODES_PER_EVENT_MAX) {
        let event: Event = CodesIssued {
            batch: issue.batch,
            plan: plan.clone(),
            reseller: reseller.clone(),
            codes: some.to_vec(),
        }
        .into();
        let outcomes = state.deps.proposer.propose_events(std::slice::from_ref(&event)).await?;
        match outcomes.events.first() {
            Some(Outcome::Declined(decline)) => return Err(Refused::declined(*decline)),
            Some(Outcome::Duplicate) => {}
            _ => done.duplicate = false,
        }
        done.index = outcomes.index;
    }
    state.caught_up(done.index).await;
    Ok(Json(done))
}

/// Voids a code that must not be redeemed any more.
#[utoipa::path(post, path = "/v1/codes/void", tag = "factory", request_body = VoidCode,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn void(
    State(state): State<ApiState>,
    Write { body: void, key, .. }: Write<VoidCode>,
) -> Result<Json<Done>, Refused> {
    let code = digest(&state, &void.code, None)?;
    commit(&state, key, CodeVoided { code, reason: words("reason", void.reason)? }.into()).await
}

/// What the log knows a code by. The error names the code's place, never the code.
pub(super) fn digest(
    state: &ApiState,
    code: &PlainCode,
    place: Option<usize>,
) -> Result<CodeDigest, Refused> {
    let code: ActivationCode = code.0.parse().map_err(|e| {
        let place = place.map_or_else(String::new, |n| format!(" number {n}, counted from 0"));
        Refused::malformed(format!("the code{place} is no activation code: {e}"))
    })?;
    Ok(state.deps.keyring.code_digest(&code))
}

/// The fold takes plans of which no license token can be made; what is sold here it can.
fn checked(plan: Plan) -> Result<Plan, Refused> {
    let name = words("plan.name", plan.name)?;
    let entitlements = plan.entitlements.into_iter().map(|text| words("plan.entitlements", text));
    let plan = Plan { name, entitlements: entitlements.collect::<Result<_, _>>()?, ..plan };
    token::plan_fits(&plan).map_err(|error| {
        let why = format!("`plan`: {error}");
        Refused::new(
            RefusalCode::Malformed,
            why,
            "shorten the plan's name or entitlements, or have fewer of them",
        )
    })?;
    Ok(plan)
}
