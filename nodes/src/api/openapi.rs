//! The OpenAPI 3.1 document of this API, made from its handlers: `GET /v1/openapi.json`, `muster node openapi`.

use super::ApiState;
use super::routes;
use super::shapes::Refusal;
use axum::Json;
use axum::extract::State;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

#[derive(OpenApi)]
#[openapi(info(
    title = "muster",
    description = "Operators' API of a muster node. Any node answers reads from what it applied and passes writes to the leader. \
        Every refusal has one shape (`Refusal`). A write that lists the head `Idempotency-Key` may carry one: the log \
        remembers the last 1024 keys, so that a request that comes again, to whatever node, is not done again. The others \
        (codes, manifests, checkpoints, a transfer of the leadership, a snapshot) may be repeated as they are, and look at no key: \
        what they would do twice is seen by its content, or does no harm. Lists come in pages; \
        give `next` as `after`, unchanged, with the same conditions."
))]
pub(super) struct Head;

/// The whole document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::document()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "cluster",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
        (status = "default", body = Refusal)))]
pub(super) async fn document(State(_): State<ApiState>) -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}

/// Adds what belongs to all routes.
pub(super) fn finish(document: &mut utoipa::openapi::OpenApi) {
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the node's configuration. A client certificate may take its place."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
}
