//! Live changes as server-sent events. Each watcher reads from a ring that the fold writes without waiting: who is too
//! slow is told so and cut, who does not read at all loses its place, and the fold never knows.

use super::ApiState;
use super::access::Caller;
use super::extract::Asked;
use super::limits;
use super::refusal::Refused;
use super::shapes::{LiveEvent, Refusal};
use crate::feed::{ChangeFeed, Changed, Told};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use events::ids::LogIndex;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// A word now and then, so that both ends see a connection that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events that wait to be handed on, and for how long before their watcher loses its place.
const UNREAD_MAX: usize = 8;
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Where `EventSource` says how far it read.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct LiveQuery {
    /// As the head `Last-Event-ID`, for who cannot send it: the log index that was seen last.
    after: Option<LogIndex>,
}

/// What changes from now on, or since the log index in `Last-Event-ID`: legitimacy, flags, operations, licenses,
/// leadership.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(LiveQuery, ("Last-Event-ID" = Option<u64>, Header)),
    responses((status = 200, body = LiveEvent, content_type = "text/event-stream"),
        (status = "default", body = Refusal)))]
pub(super) async fn events(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<LiveQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let after = match headers.get(LAST_EVENT_ID) {
        None => query.after,
        Some(value) => {
            let index = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            let index = index.ok_or_else(|| {
                Refused::malformed("head `Last-Event-ID`: expected a log index, as an event's id said it")
            })?;
            Some(index)
        }
    };
    let place = match state.places.watchers.enter(&caller.name) {
        Ok(place) => place,
        Err(full) => return Ok(limits::refuse(&state, full, "watchers")),
    };
    if let Some(after) = after {
        // Who comes from a node that is a moment ahead is no reason to send it back to the beginning.
        state.caught_up(after).await;
    }
    let stopping = state.stopping.clone();
    let stream = watch(state.deps.projector.feed(), after, place, stopping);
    Ok(Sse::new(stream.map(Ok::<_, Infallible>)).into_response())
}

/// What one watcher is told.
struct Watcher {
    /// What was kept and comes before anything live.
    kept: VecDeque<Arc<Changed>>,
    live: broadcast::Receiver<Arc<Changed>>,
    /// What comes is complete from this index on, and what came before is not.
    reset: Option<LogIndex>,
    /// The index that was told last, or that the watcher said it had seen.
    seen: LogIndex,
    cut: bool,
}

/// The stream of one watcher. A task of its own hands events on, so that who does not read loses its place although nobody
/// asks the stream for anything.
fn watch<P: Send + 'static>(
    feed: &ChangeFeed,
    after: Option<LogIndex>,
    place: P,
    stopping: CancellationToken,
) -> impl Stream<Item = Event> + use<P> {
    let subscribed = feed.subscribe(after);
    let seen = after.unwrap_or(0);
    // An index that this log never reached is of another one: the cluster was restored.
    let of_another_log = (seen > subscribed.applied).then_some(subscribed.applied + 1);
    let reset = subscribed.gap.or(of_another_log);
    let mut watcher = Watcher { kept: subscribed.kept, live: subscribed.live, reset, seen, cut: false };
    let (events, handed_on) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(async move {
        let _place = place;
        let hand_on = async {
            while let Some(event) = watcher.next_or_sign_of_life().await {
                if events.send_timeout(event, READ_WITHIN).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = hand_on => {}
            () = stopping.cancelled() => {}
            // The connection is gone.
            () = events.closed() => {}
        }
    });
    ReceiverStream::new(handed_on)
}

impl Watcher {
    async fn next_or_sign_of_life(&mut self) -> Option<Event> {
        // Nothing is lost if time is up: receiving may be cut off anywhere.
        match tokio::time::timeout(KEEP_ALIVE, self.next()).await {
            Ok(event) => event,
            Err(_) => Some(Event::default().comment("")),
        }
    }

    async fn next(&mut self) -> Option<Event> {
        if self.cut {
            return None;
        }
        if let Some(from) = self.reset.take() {
            return Some(self.begin_again(from));
        }
        let changed = match self.kept.pop_front() {
            Some(kept) => Ok(kept),
            None => self.live.recv().await,
        };
        match changed {
            Ok(changed) => Some(self.tell(&changed)),
            Err(broadcast::error::RecvError::Closed) => None,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.cut = true;
                let what_to_do = "come again with `Last-Event-ID`, and read faster".to_owned();
                Some(said(&LiveEvent::Cut { missed, what_to_do }, None))
            }
        }
    }

    fn tell(&mut self, changed: &Changed) -> Event {
        match &changed.told {
            Told::Changes { stamp, changes } => {
                self.seen = changed.index;
                let event =
                    LiveEvent::Changes { index: changed.index, stamp: *stamp, changes: changes.clone() };
                said(&event, Some(changed.index))
            }
            Told::Leadership { leader, term } => {
                said(&LiveEvent::Leadership { leader: *leader, term: *term }, None)
            }
            Told::Replaced => self.begin_again(changed.index + 1),
        }
    }

    /// With an id, so that who comes again does not ask for what there is not.
    fn begin_again(&mut self, from: LogIndex) -> Event {
        let after = std::mem::replace(&mut self.seen, from - 1);
        said(&LiveEvent::Reset { after, from }, Some(from - 1))
    }
}

fn said(event: &LiveEvent, id: Option<LogIndex>) -> Event {
    let name = match event {
        LiveEvent::Changes { .. } => "changes",
        LiveEvent::Leadership { .. } => "leadership",
        LiveEvent::Reset { .. } => "reset",
        LiveEvent::Cut { .. } => "cut",
    };
    // A struct of strings and numbers has a JSON form.
    let data = serde_json::to_string(event).unwrap_or_default();
    let said = Event::default().event(name).data(data);
    match id {
        Some(index) => said.id(index.to_string()),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::time::Timestamp;
    use std::pin::Pin;
    use tokio::sync::oneshot;

    /// A watcher whose place is `place`.
    fn watching<P: Send + 'static>(
        feed: &ChangeFeed,
        after: Option<LogIndex>,
        place: P,
    ) -> Pin<Box<dyn Stream<Item = Event>>> {
        Box::pin(watch(feed, after, place, CancellationToken::new()))
    }

    fn text(event: &Event) -> String {
        format!("{event:?}")
    }

    fn change() -> projector::Change {
        let device = events::ids::DeviceId::from_bytes([1; 16]);
        use events::vocabulary::shared::Legitimacy;
        projector::Change::Legitimacy { device, from: Legitimacy::Provisioned, to: Legitimacy::Legitimate }
    }

    #[tokio::test]
    async fn a_watcher_that_reads_too_slowly_is_cut_with_a_clear_event_and_the_feed_does_not_wait() {
        let feed = ChangeFeed::default();
        let mut watcher = watching(&feed, None, ());
        for index in 1..=3 * crate::feed::LIVE_KEPT as u64 {
            feed.tell(index, Timestamp::ZERO, vec![change()]);
        }
        let events: Vec<_> = watcher.by_ref().collect().await;
        let (last, before) = events.split_last().unwrap();
        assert!(text(last).contains("cut"), "{last:?}");
        assert!(before.len() <= UNREAD_MAX + 1, "nothing follows the cut, and little comes before it");
    }

    /// Says when it is dropped.
    struct Place(#[expect(dead_code, reason = "its end is what is waited for")] oneshot::Sender<()>);

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_never_reads_loses_its_place_with_events_and_without() {
        let feed = ChangeFeed::default();
        for events in [0, 100] {
            let (place, left) = oneshot::channel();
            let _unread = watching(&feed, None, Place(place));
            (0..events).for_each(|index| feed.tell(index + 1, Timestamp::ZERO, vec![change()]));
            let within = READ_WITHIN + KEEP_ALIVE * (UNREAD_MAX as u32 + 2);
            assert!(tokio::time::timeout(within, left).await.is_ok(), "it still holds its place");
        }
    }

    #[tokio::test]
    async fn a_node_that_stops_ends_every_stream_and_who_goes_gives_its_place_back() {
        let (feed, stopping) = (ChangeFeed::default(), CancellationToken::new());
        let mut watcher = Box::pin(watch(&feed, None, (), stopping.clone()));
        stopping.cancel();
        assert!(watcher.next().await.is_none());
        let (place, left) = oneshot::channel();
        drop(watching(&feed, None, Place(place)));
        assert!(left.await.is_err());
    }

    #[tokio::test]
    async fn who_comes_again_with_its_last_index_misses_nothing() {
        let feed = ChangeFeed::default();
        (1..=5).for_each(|index| feed.tell(index, Timestamp::ZERO, vec![change()]));
        let mut watcher = watching(&feed, Some(3), ());
        feed.tell(6, Timestamp::ZERO, vec![change()]);
        for index in 4..=6 {
            let event = watcher.next().await.unwrap();
            assert!(text(&event).contains(&format!("id: {index}")), "{event:?}");
        }
    }

    #[tokio::test]
    async fn who_was_away_too_long_is_told_to_read_anew() {
        let feed = ChangeFeed::default();
        feed.stand_at(100);
        feed.tell(101, Timestamp::ZERO, vec![change()]);
        let mut watcher = watching(&feed, Some(40), ());
        assert!(text(&watcher.next().await.unwrap()).contains("reset"));
        assert!(text(&watcher.next().await.unwrap()).contains("id: 101"));
    }

    #[tokio::test]
    async fn who_watches_while_a_snapshot_takes_the_place_of_the_state_is_told_to_read_anew() {
        let feed = ChangeFeed::default();
        let mut watcher = watching(&feed, None, ());
        feed.tell(7, Timestamp::ZERO, vec![change()]);
        feed.stand_at(100);
        feed.tell(101, Timestamp::ZERO, vec![change()]);
        assert!(text(&watcher.next().await.unwrap()).contains("id: 7"));
        let reset = text(&watcher.next().await.unwrap());
        assert!(reset.contains("reset") && reset.contains("id: 100"), "{reset}");
        assert!(text(&watcher.next().await.unwrap()).contains("id: 101"));
    }

    #[tokio::test]
    async fn who_comes_with_an_index_of_a_log_before_a_restore_is_told_to_read_anew_and_what_follows() {
        let feed = ChangeFeed::default();
        feed.tell(7, Timestamp::ZERO, vec![change()]);
        let mut watcher = watching(&feed, Some(5_000), ());
        feed.tell(8, Timestamp::ZERO, vec![change()]);
        let reset = text(&watcher.next().await.unwrap());
        assert!(reset.contains("reset") && reset.contains("id: 7"), "{reset}");
        assert!(text(&watcher.next().await.unwrap()).contains("id: 8"));
    }
}
