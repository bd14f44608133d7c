//! Who asks, and whether they may: a bearer token, or the certificate of the connection.
//!
//! ```text
//!   request ─▶ identify ─▶ Caller ─▶ allow(right) ─▶ handler
//!                 └── nobody known: UNAUTHORIZED         └── FORBIDDEN
//! ```
//!
//! A certificate of the clients' authority names its role, `<role>.<who>.<cluster>.muster`, or stands in the
//! configuration. A token comes first where both are shown.

use super::ApiState;
use super::refusal::Refused;
use super::shapes::RefusalCode;
use crate::config::{AccessRole, ApiConfig, Right, TokenDigest};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use events::ids::ClusterId;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who shows more than this as a token shows none: a stranger must not choose how much is hashed for him.
const TOKEN_BYTES_MAX: usize = 512;

/// Somebody that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) role: AccessRole,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

/// The verified certificate of a connection, as an extension of its requests.
#[derive(Clone, Debug)]
pub(super) struct Shown(pub(super) Option<Arc<CertificateDer<'static>>>);

/// Finds out who asks; nothing else of a stranger's request is looked at.
pub(super) async fn identify(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let config = &state.deps.config;
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = match given.and_then(token_of) {
        Some(token) => of_token(&config.api, token),
        None => {
            let shown = request.extensions().get::<Shown>().and_then(|shown| shown.0.clone());
            shown.and_then(|certificate| of_certificate(&config.api, config.cluster, &certificate))
        }
    };
    let Some(caller) = caller else {
        state.counters.unauthorized.fetch_add(1, Ordering::Relaxed);
        let what_to_do =
            "send a token as `Authorization: Bearer …`, or come with a certificate of the clients' authority";
        let why = "no token or certificate that is known here";
        return Refused::new(RefusalCode::Unauthorized, why, what_to_do).into_response();
    };
    state.counters.requests.fetch_add(1, Ordering::Relaxed);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Lets pass whose role has the right.
pub(super) async fn allow(
    State((state, right)): State<(ApiState, Right)>,
    request: Request,
    next: Next,
) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role.may(right) => next.run(request).await,
        Some(caller) => {
            state.counters.forbidden.fetch_add(1, Ordering::Relaxed);
            let able: Vec<_> =
                AccessRole::ALL.iter().filter(|role| role.may(right)).map(|role| role.as_str()).collect();
            let why = format!("{} has the role {}, which may not do this", caller.name, caller.role);
            let what_to_do = format!("ask somebody with the role {}", able.join(" or "));
            Refused::new(RefusalCode::Forbidden, why, what_to_do).into_response()
        }
        None => Refused::new(RefusalCode::Unauthorized, "nobody asks", "send a token").into_response(),
    }
}

/// The token of an `Authorization` head; the scheme's name is told by letters of any case (RFC 9110, 11.1).
fn token_of(given: &str) -> Option<&str> {
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}

/// Compares with every token, so that the time tells nothing of which one it was.
fn of_token(config: &ApiConfig, token: &str) -> Option<Caller> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (shown, mut found) = (TokenDigest::of(token), None);
    for known in &config.tokens {
        if known.digest.equals(&shown) && found.is_none() {
            found = Some(Caller { name: known.name.clone(), role: known.role });
        }
    }
    found
}

/// The chain was verified in the handshake; here only the names count.
fn of_certificate(
    config: &ApiConfig,
    cluster: ClusterId,
    certificate: &CertificateDer<'_>,
) -> Option<Caller> {
    let leaf = webpki::EndEntityCert::try_from(certificate).ok()?;
    let names: Vec<&str> = leaf.valid_dns_names().collect();
    let mapped = config.clients.iter().find(|client| names.contains(&client.name.as_str()));
    if let Some(client) = mapped {
        return Some(Caller { name: client.name.clone(), role: client.role });
    }
    let suffix = format!(".{cluster}.muster");
    names.iter().find_map(|name| {
        let (role, who) = name.strip_suffix(&suffix)?.split_once('.')?;
        let role = AccessRole::ALL.into_iter().find(|known| known.as_str() == role)?;
        (!who.is_empty()).then(|| Caller { name: who.to_owned(), role })
    })
}
