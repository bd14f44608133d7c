//! What the factory tells the cluster: lots, and the stations that may burn them. Signatures are checked here; the
//! fold judges whatever depends on state.

use super::ApiState;
use super::extract::{Id, Write};
use super::refusal::Refused;
use super::shapes::{Base64, Certified, CertifyStation, CreateLot, Done, Reason, Refusal};
use super::write::{believed, commit, done, propose_one, words};
use crate::entropy::EntropyRng;
use axum::Json;
use axum::extract::State;
use events::identity::certificate::{CertifiedStation, StationCertificate};
use events::identity::key::PublicKey;
use events::identity::lot::{LotDeclaration, TamperKey};
use events::ids::StationId;
use events::keyring::Purpose;
use events::vocabulary::{LotCreated, StationCertified, StationRevoked};

/// A lot that the factory signed.
#[utoipa::path(post, path = "/v1/lots", tag = "factory", request_body = CreateLot,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn create_lot(
    State(state): State<ApiState>,
    Write { body: create, key, .. }: Write<CreateLot>,
) -> Result<Json<Done>, Refused> {
    let factory = factory_key(&state, &create.factory_key)?;
    let malformed = |field: &str, e: &dyn std::fmt::Display| Refused::malformed(format!("`{field}`: {e}"));
    let declaration =
        LotDeclaration::parse(&create.declaration.0).map_err(|e| malformed("declaration", &e))?;
    declaration.verify(&factory).map_err(|e| malformed("declaration", &e))?;
    let tamper_key = TamperKey::try_from(&create.tamper_key.0[..])
        .map_err(|_| malformed("tamper_key", &"expected 32 bytes as base64"))?;
    if !declaration.names_tamper_key(&tamper_key) {
        return Err(malformed("tamper_key", &"it is not the one that the factory declared"));
    }
    commit(&state, key, lot_created(&state, &declaration, &tamper_key).into()).await
}

/// A station that the factory certified.
#[utoipa::path(post, path = "/v1/stations", tag = "factory", request_body = CertifyStation,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Certified), (status = "default", body = Refusal)))]
pub(super) async fn certify_station(
    State(state): State<ApiState>,
    Write { body: certify, key, .. }: Write<CertifyStation>,
) -> Result<Json<Certified>, Refused> {
    let factory = factory_key(&state, &certify.factory_key)?;
    let malformed = |e: &dyn std::fmt::Display| Refused::malformed(format!("`certificate`: {e}"));
    let certificate = StationCertificate::parse(&certify.certificate.0).map_err(|e| malformed(&e))?;
    let station = certificate.verify(&factory).map_err(|e| malformed(&e))?;
    let (outcomes, outcome) = propose_one(&state, key, station_certified(&station).into()).await?;
    let Done { index, duplicate } = done(outcomes.index, &outcome)?;
    Ok(Json(Certified { station: station.station(), lot: station.lot(), index, duplicate }))
}

/// What a station signs from now on is refused.
#[utoipa::path(post, path = "/v1/stations/{id}/revoke", tag = "factory", request_body = Reason,
    params(("id" = StationId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Done), (status = "default", body = Refusal)))]
pub(super) async fn revoke_station(
    State(state): State<ApiState>,
    Id(station): Id<StationId>,
    Write { body: Reason { reason }, key, .. }: Write<Reason>,
) -> Result<Json<Done>, Refused> {
    commit(&state, key, StationRevoked { station, reason: words("reason", reason)? }.into()).await
}

/// The factory key that a request names, if this node believes it.
pub(super) fn factory_key(state: &ApiState, given: &Base64) -> Result<PublicKey, Refused> {
    believed("factory_key", given, &state.deps.config.factory_keys, || {
        (
            "the factory key is none of those that this node's configuration names",
            "check which factory signed it; add its key to `factory_keys` if it is yours",
        )
    })
}

/// The event of a lot that the factory declared; its tamper key is wrapped anew each time.
pub(super) fn lot_created(state: &ApiState, declared: &LotDeclaration, tamper_key: &TamperKey) -> LotCreated {
    let rng = &mut EntropyRng(state.deps.entropy.as_ref());
    let (lot, policy) = (declared.lot(), declared.policy());
    let keyring = &state.deps.keyring;
    LotCreated {
        lot,
        sku: declared.sku().to_owned(),
        required: policy.required().to_vec(),
        optional: policy.optional().to_vec(),
        threshold: policy.threshold(),
        tamper_key: keyring.wrap(rng, Purpose::TamperKey, lot.as_bytes(), 0, tamper_key.as_bytes()),
    }
}

/// The event of a station that the factory certified.
pub(super) fn station_certified(station: &CertifiedStation) -> StationCertified {
    StationCertified {
        station: station.station(),
        lot: station.lot(),
        public_key: station.public_key().as_bytes().to_vec(),
        quota: station.quota(),
        until: station.until(),
        certificate: station.certificate().encode().to_vec(),
    }
}
