//! Requests under way are bounded in number and time: whoever asks slowly, or asks for much, waits or is refused, and
//! what devices send goes on.

use super::ApiState;
use super::refusal::Refused;
use super::shapes::RefusalCode;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A manifest or an issue of codes may take so many times as long as any other request.
pub(super) const LARGE_TIMES: u32 = 10;
/// Large requests under way at one time.
pub(super) const LARGE_AT_ONCE: usize = 2;
/// Proofs that are made at one time.
const PROOFS_AT_ONCE: usize = 1;

/// A large request's place. Whoever works for it on a thread of its own keeps it until that is done, whether somebody waits
/// for the answer or not.
#[derive(Clone)]
pub(super) struct LargePlace(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

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

/// Places for requests under way.
pub(super) struct Places {
    pub(super) requests: Arc<Semaphore>,
    pub(super) large: Arc<Semaphore>,
    /// Proofs read the whole log: whoever may read could else keep the factory waiting.
    proofs: Arc<Semaphore>,
    watchers: Arc<Watchers>,
}

/// Who watches live changes.
struct Watchers {
    max: usize,
    /// How many each caller has.
    of: Mutex<HashMap<String, usize>>,
}

/// A watcher's place; dropping it gives it back.
pub(super) struct WatcherPlace {
    watchers: Arc<Watchers>,
    caller: String,
}

impl Places {
    pub(super) fn new(limits: &crate::config::ApiLimits) -> Self {
        Places {
            requests: Arc::new(Semaphore::new(limits.requests)),
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            proofs: Arc::new(Semaphore::new(PROOFS_AT_ONCE)),
            watchers: Arc::new(Watchers { max: limits.watchers, of: Mutex::default() }),
        }
    }

    /// How many watch.
    pub(super) fn watching(&self) -> usize {
        self.watchers.of.lock().values().sum()
    }

    /// A place for one more watcher, of which nobody has more than a quarter.
    pub(super) fn watcher(&self, caller: &str) -> Option<WatcherPlace> {
        let mut of = self.watchers.of.lock();
        let own = of.get(caller).copied().unwrap_or(0);
        let all: usize = of.values().sum();
        if all >= self.watchers.max || own >= self.watchers.max.div_ceil(4) {
            return None;
        }
        of.insert(caller.to_owned(), own + 1);
        Some(WatcherPlace { watchers: self.watchers.clone(), caller: caller.to_owned() })
    }
}

impl Drop for WatcherPlace {
    fn drop(&mut self) {
        let mut of = self.watchers.of.lock();
        if let Some(own) = of.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                of.remove(&self.caller);
            }
        }
    }
}

/// Bounds every request but health: its number, and its time from its head to its answer's head, body included.
pub(super) async fn bound(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let within = Duration::from_millis(state.deps.config.api.limits.request_ms_max);
    let Ok(_place) = state.places.requests.clone().try_acquire_owned() else { return full(&state) };
    timed(&state, within, next.run(request)).await
}

/// As [`bound`], for the few large ones.
pub(super) async fn bound_large(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let places = state.places.large.clone();
    bound_by(places, state, request, next).await
}

/// As [`bound_large`], for proofs.
pub(super) async fn bound_proofs(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let places = state.places.proofs.clone();
    bound_by(places, state, request, next).await
}

async fn bound_by(places: Arc<Semaphore>, state: ApiState, mut request: Request, next: Next) -> Response {
    let within = Duration::from_millis(state.deps.config.api.limits.request_ms_max) * LARGE_TIMES;
    let Ok(place) = places.try_acquire_owned() else { return full(&state) };
    let place = LargePlace(Arc::new(place));
    request.extensions_mut().insert(place.clone());
    let response = timed(&state, within, next.run(request)).await;
    drop(place);
    response
}

fn full(state: &ApiState) -> Response {
    state.counters.busy.fetch_add(1, Ordering::Relaxed);
    busy("as many requests are under way as may be")
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

pub(super) fn busy(why: &str) -> Response {
    Refused::new(RefusalCode::Busy, why, "try again in a second, or ask another node").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_all_watchers() {
        let places = Places::new(&crate::config::ApiLimits { watchers: 8, ..Default::default() });
        let greedy: Vec<_> = (0..8).filter_map(|_| places.watcher("greedy")).collect();
        assert_eq!(greedy.len(), 2);
        let others: Vec<_> = (0..9).filter_map(|n| places.watcher(&format!("other-{n}"))).collect();
        assert_eq!(others.len(), 6);
        drop(greedy);
        assert!(places.watcher("greedy").is_some());
    }
}
