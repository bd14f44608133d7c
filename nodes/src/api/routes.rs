//! The table of routes: what each needs, and its place in the OpenAPI document.

use super::limits::{bound, bound_large, bound_proofs};
use super::refusal::Refused;
use super::shapes::RefusalCode;
use super::{
    ApiState, access, cluster, codes, evidence, factory, hall, health, import, licenses, live, metrics,
    openapi, people, reads, status, updates,
};
use crate::config::Right;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A body, in bytes, where nothing else is said.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A manifest's or an issue of codes' body, in bytes.
const LARGE_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Everything that is served.
pub(super) fn router(state: ApiState) -> Router {
    let (routed, _) = table(&state).split_for_parts();
    routed
        .fallback(|| async { Refused::not_found("this path") })
        .method_not_allowed_fallback(|| async {
            let why = "this path is not for this method";
            Refused::new(RefusalCode::MethodNotAllowed, why, "look at /v1/openapi.json")
        })
        .with_state(state)
        .layer(from_fn(hall::visit))
}

/// The same table as a document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let open = OpenApiRouter::with_openapi(openapi::Head::openapi());
    let mut document = open
        .merge(open_to_all())
        .merge(small_reads())
        .merge(looks())
        .merge(watching())
        .merge(operating())
        .merge(provisioning())
        .merge(large())
        .merge(proving())
        .merge(administering())
        .into_openapi();
    openapi::finish(&mut document);
    document
}

fn table(state: &ApiState) -> OpenApiRouter<ApiState> {
    let small = small_reads()
        .route_layer(from_fn_with_state((state.clone(), Right::Read), access::allow))
        .merge(looks().route_layer(from_fn_with_state((state.clone(), Right::Look), access::allow)))
        .merge(operating().route_layer(from_fn_with_state((state.clone(), Right::Operate), access::allow)))
        .merge(
            provisioning().route_layer(from_fn_with_state((state.clone(), Right::Provision), access::allow)),
        )
        .merge(
            administering()
                .route_layer(from_fn_with_state((state.clone(), Right::Administer), access::allow)),
        )
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), bound));
    let large = large()
        .route_layer(from_fn_with_state((state.clone(), Right::Provision), access::allow))
        .layer(DefaultBodyLimit::max(LARGE_BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), bound_large));
    let proving = proving()
        .route_layer(from_fn_with_state((state.clone(), Right::Read), access::allow))
        .layer(from_fn_with_state(state.clone(), bound_proofs));
    // A watcher has a place of its own kind, and no end.
    let watching = watching().route_layer(from_fn_with_state((state.clone(), Right::Read), access::allow));
    small
        .merge(large)
        .merge(proving)
        .merge(watching)
        .layer(from_fn_with_state(state.clone(), access::identify))
        .merge(open_to_all())
}

fn open_to_all() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::api))
        .routes(routes!(health::ready))
}

fn looks() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(status::status))
        .routes(routes!(openapi::document))
        .routes(routes!(metrics::metrics))
        .routes(routes!(reads::lots))
        .routes(routes!(reads::codes))
}

fn small_reads() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(reads::devices))
        .routes(routes!(reads::device))
        .routes(routes!(reads::story))
        .routes(routes!(reads::flags))
        .routes(routes!(reads::operations))
        .routes(routes!(reads::licenses))
        .routes(routes!(licenses::show))
        .routes(routes!(reads::sources))
        .routes(routes!(updates::list))
        .routes(routes!(updates::show))
        .routes(routes!(evidence::checkpoints))
}

/// What reads the whole log.
fn proving() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(evidence::prove))
}

fn watching() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(live::events))
}

fn operating() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(people::order))
        .routes(routes!(people::clear_flag))
        .routes(routes!(people::reset_breaker))
        .routes(routes!(licenses::transfer))
        .routes(routes!(licenses::renew))
        .routes(routes!(licenses::suspend))
        .routes(routes!(licenses::resume))
        .routes(routes!(licenses::reissue))
        .routes(routes!(updates::create))
        .routes(routes!(updates::pause))
        .routes(routes!(updates::resume))
        .routes(routes!(updates::abort))
        .routes(routes!(evidence::sign))
}

fn provisioning() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(factory::create_lot))
        .routes(routes!(factory::certify_station))
        .routes(routes!(factory::revoke_station))
        .routes(routes!(codes::void))
}

fn large() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(import::manifest)).routes(routes!(codes::issue))
}

fn administering() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(cluster::transfer_leader))
        .routes(routes!(cluster::snapshot))
        .routes(routes!(cluster::keys))
}
