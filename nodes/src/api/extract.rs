//! How a request is read: its path, query and body, each refused with a code and a reason.

use super::access::Caller;
use super::limits::LargePlace;
use super::refusal::Refused;
use super::shapes::RefusalCode;
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use events::vocabulary::RequestKeyed;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt::Display;
use std::str::FromStr;

/// The head of a write that carries a key.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// What is read where it came, in bytes; more would keep a thread that serves others.
const READ_AT_ONCE_MAX: usize = 64 * 1024;
/// A key, in characters.
const KEY_LENGTH_MAX: usize = 128;

/// Something to be written: a JSON body of one shape, who asks, and the key of the request if it has one.
pub(super) struct Write<T> {
    pub(super) body: T,
    pub(super) caller: Caller,
    pub(super) key: Option<RequestKeyed>,
    /// Of a request that may be large.
    pub(super) large: Option<LargePlace>,
}

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for Write<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refused> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| {
            Refused::new(
                RefusalCode::Unauthorized,
                "nobody asks",
                "send a token as `Authorization: Bearer …`",
            )
        })?;
        let key = key_of(&request)?;
        let large = request.extensions().get::<LargePlace>().cloned();
        let target = format!("{} {}", request.method(), request.uri().path());
        let bytes: Result<Bytes, BytesRejection> = request.extract().await;
        let bytes = bytes.map_err(|rejection| match rejection.status() {
            axum::http::StatusCode::PAYLOAD_TOO_LARGE => Refused::new(
                RefusalCode::Oversized,
                "the body is larger than this request may be",
                "split it",
            ),
            _ => Refused::malformed("the body cannot be read"),
        })?;
        let body = match &large {
            Some(place) if bytes.len() > READ_AT_ONCE_MAX => {
                let (place, bytes) = (place.clone(), bytes.clone());
                place.work(move || read(&bytes)).await??
            }
            _ => read(&bytes)?,
        };
        tracing::info!(%caller, %target, "a write");
        let key = key.map(|key| RequestKeyed {
            key: digest(&[b"muster request key v1", caller.to_string().as_bytes(), key.as_bytes()]),
            content: digest(&[b"muster request content v1", target.as_bytes(), &bytes]),
        });
        Ok(Write { body, caller, key, large })
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    // serde's message names the field, what was expected, and line and column.
    serde_json::from_slice(bytes).map_err(|e| Refused::malformed(format!("body: {e}")))
}

fn key_of(request: &Request) -> Result<Option<String>, Refused> {
    let Some(value) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=KEY_LENGTH_MAX).contains(&text.len()));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        Refused::malformed(format!(
            "head `Idempotency-Key`: expected 1 to {KEY_LENGTH_MAX} visible characters"
        ))
    })
}

/// Length-prefixed parts, so that no two lists of parts are one text.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
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
