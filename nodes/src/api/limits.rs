//! Requests under way are bounded in number and time: whoever asks slowly, or asks for much, waits or is refused, and
//! what devices send goes on.

use super::ApiState;
use super::access::Caller;
use super::refusal::Refused;
use super::shapes::RefusalCode;
use super::shares::{Full, SharePlace, Shares};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A manifest or an issue of codes may take so many times as long as any other request.
pub(super) const LARGE_TIMES: u32 = 10;
/// Large requests under way at one time.
pub(super) const LARGE_AT_ONCE: usize = 2;
/// Proofs that are made at one time.
const PROOFS_AT_ONCE: usize = 2;

/// A large request's place. Whoever works for it on a thread of its own keeps it until that is done, whether somebody waits
/// for the answer or not.
#[derive(Clone)]
pub(super) struct LargePlace(#[expect(dead_code, reason = "held, not read")] Arc<SharePlace>);

impl LargePlace {
    /// Does `work`, which takes long, away from the threads that serve everybody.
    pub(super) async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work();
            drop(self);
            worked
        });
        worked.await.map_err(|_| {
            Refused::new(
                RefusalCode::Unavailable,
                "the work was given up",
                "post it again, or to another node",
            )
        })
    }
}

/// Places for requests under way. Of each kind nobody has more than a share.
pub(super) struct Places {
    pub(super) requests: Arc<Shares>,
    pub(super) large: Arc<Shares>,
    /// Proofs read the whole log: whoever may read could else keep the factory waiting.
    proofs: Arc<Shares>,
    /// Who watches live changes.
    pub(super) watchers: Arc<Shares>,
}

impl Places {
    pub(super) fn new(limits: &crate::config::ApiLimits) -> Self {
        Places {
            requests: Shares::of(limits.requests),
            large: Shares::of(LARGE_AT_ONCE),
            proofs: Shares::of(PROOFS_AT_ONCE),
            watchers: Shares::of(limits.watchers),
        }
    }
}

/// Bounds every request but health: its number, and its time from its head to its answer's head, body included.
pub(super) async fn bound(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let within = Duration::from_millis(state.deps.config.api.limits.request_ms_max);
    let _place = match state.places.requests.enter(caller_of(&request)) {
        Ok(place) => place,
        Err(full) => return refuse(&state, full, "requests"),
    };
    timed(&state, within, next.run(request)).await
}

/// As [`bound`], for the few large ones.
pub(super) async fn bound_large(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let places = state.places.large.clone();
    bound_by(places, "large requests", state, request, next).await
}

/// As [`bound_large`], for proofs.
pub(super) async fn bound_proofs(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let places = state.places.proofs.clone();
    bound_by(places, "proofs", state, request, next).await
}

async fn bound_by(
    places: Arc<Shares>,
    kind: &'static str,
    state: ApiState,
    mut request: Request,
    next: Next,
) -> Response {
    let within = Duration::from_millis(state.deps.config.api.limits.request_ms_max) * LARGE_TIMES;
    let place = match places.enter(caller_of(&request)) {
        Ok(place) => place,
        Err(full) => return refuse(&state, full, kind),
    };
    let place = LargePlace(Arc::new(place));
    request.extensions_mut().insert(place.clone());
    let response = timed(&state, within, next.run(request)).await;
    drop(place);
    response
}

/// Under whose name a request counts; strangers do not come so far.
fn caller_of(request: &Request) -> &str {
    request.extensions().get::<Caller>().map_or("", |caller| &caller.name)
}

/// There is no place for what `kind` names.
pub(super) fn refuse(state: &ApiState, full: Full, kind: &str) -> Response {
    let refused = match full {
        Full::All => {
            state.counters.busy.fetch_add(1, Ordering::Relaxed);
            let why = format!("as many {kind} are under way as may be");
            Refused::new(RefusalCode::Busy, why, "try again in a second, or ask another node")
        }
        Full::Share(own) => {
            state.counters.share_taken.fetch_add(1, Ordering::Relaxed);
            let why = format!("{own} {kind} of yours are under way, as many as one caller may have");
            let what_to_do = "wait for their answers before you send more; give each program a name and a token of its own";
            Refused::new(RefusalCode::ShareTaken, why, what_to_do)
        }
    };
    refused.into_response()
}

async fn timed(state: &ApiState, within: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(within, answer).await {
        Ok(response) => response,
        Err(_) => {
            state.counters.timed_out.fetch_add(1, Ordering::Relaxed);
            let why = format!("it took longer than {} ms", within.as_millis());
            let what_to_do = "send the whole request at once; a write that was under way may be posted again";
            Refused::new(RefusalCode::TimedOut, why, what_to_do).into_response()
        }
    }
}
