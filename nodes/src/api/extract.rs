//! How a request is read: its token first, then its path, query and body, each refused with a code and a reason.

use super::ApiState;
use super::refusal::Refused;
use super::shapes::RefusalCode;
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use subtle::ConstantTimeEq;

/// Lets only requests with the operators' token pass; nothing else of others is looked at.
pub(super) async fn require_token(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or("");
    // Digests have one length, so that the comparison tells nothing of the token's.
    let (given, token) = (Sha256::digest(given.as_bytes()), Sha256::digest(state.token.expose().as_bytes()));
    if bool::from(given.ct_eq(&token)) {
        state.counters.requests.fetch_add(1, Ordering::Relaxed);
        return next.run(request).await;
    }
    state.counters.unauthorized.fetch_add(1, Ordering::Relaxed);
    let what_to_do = "send the operators' token as `Authorization: Bearer …`";
    Refused::new(RefusalCode::Unauthorized, "no token, or a wrong one", what_to_do).into_response()
}

/// A JSON body of one shape.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let bytes: Result<Bytes, BytesRejection> = request.extract().await;
        let bytes = bytes.map_err(|rejection| match rejection.status() {
            axum::http::StatusCode::PAYLOAD_TOO_LARGE => Refused::new(
                RefusalCode::Oversized,
                "the body is larger than this request may be",
                "split it",
            ),
            _ => Refused::malformed("the body cannot be read"),
        })?;
        // serde's message names the field, what was expected, and line and column.
        serde_json::from_slice(&bytes).map(Body).map_err(|e| Refused::malformed(format!("body: {e}")))
    }
}

/// An id in the path.
pub(super) struct Id<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|e| Refused::malformed(format!("path: {e}")))?;
        text.parse().map(Id).map_err(|e: T::Err| Refused::malformed(format!("path: {e}")))
    }
}

/// The query of one shape.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Asked(query))
            .map_err(|e| Refused::malformed(format!("query: {}", e.body_text())))
    }
}
