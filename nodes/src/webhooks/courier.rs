//! Carries what changed to one receiver, one event after the other, until it is taken.

use super::counters::{WebhookCounters, count};
use super::cursors::Cursors;
use super::event::{CloudEvent, EventKind};
use super::receiver::{Answer, Receiver};
use crate::clock::Clock;
use crate::config::WebhookConfig;
use crate::entropy::Entropy;
use crate::feed::{ChangeFeed, Changed, Told};
use crate::shared_projector::SharedProjector;
use events::ids::{ClusterId, Generation, LogIndex};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// The first pause after a failed attempt; it doubles up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub(super) struct Courier {
    pub cluster: ClusterId,
    pub hook: Arc<WebhookConfig>,
    pub receiver: Arc<Receiver>,
    pub projector: SharedProjector,
    pub cursors: Arc<Cursors>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub counters: Arc<WebhookCounters>,
}

impl Courier {
    /// Carries for as long as this node leads: whoever holds the task ends it then.
    pub(super) async fn run(self) {
        let applied = self.projector.read(|fold| fold.applied());
        let mut cursor = self.cursors.begin(&self.hook.name, applied);
        while let Some(came_to) = self.carry(self.projector.feed(), cursor).await {
            cursor = came_to;
        }
    }

    /// Carries what is kept after `cursor` and then what comes, until too much came meanwhile; returns how far it is then.
    async fn carry(&self, feed: &ChangeFeed, mut cursor: LogIndex) -> Option<LogIndex> {
        let subscribed = feed.subscribe(Some(cursor));
        if let Some(from) = subscribed.gap {
            tracing::warn!(
                webhook = self.hook.name,
                after = cursor,
                from,
                "what changed in between is not kept: it is not delivered"
            );
            count(&self.counters.gaps);
            let now = self.clock.now();
            self.deliver(&CloudEvent::gap(self.cluster, self.generation(), (cursor, from), now)).await;
            cursor = self.came_to(from - 1);
        }
        for changed in subscribed.kept {
            cursor = self.tell(&changed).await;
        }
        let mut live = subscribed.live;
        loop {
            match live.recv().await {
                // The gap is told as any other.
                Ok(changed) if changed.told == Told::Replaced => return Some(cursor),
                Ok(changed) if changed.index > cursor => cursor = self.tell(&changed).await,
                // Leadership is not kept, and so cannot be told in order.
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(cursor),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Delivers what one entry changed; returns its index.
    async fn tell(&self, changed: &Changed) -> LogIndex {
        if let Told::Changes { stamp, changes } = &changed.told {
            for (ordinal, change) in changes.iter().enumerate() {
                let kind = EventKind::of(change);
                if self.hook.wants(kind) {
                    let event = CloudEvent::of(
                        self.cluster,
                        (self.generation(), changed.index, ordinal),
                        *stamp,
                        change,
                    );
                    self.deliver(&event).await;
                }
            }
            return self.came_to(changed.index);
        }
        changed.index
    }

    fn generation(&self) -> Generation {
        self.projector.read(|fold| fold.generation())
    }

    fn came_to(&self, index: LogIndex) -> LogIndex {
        self.cursors.delivered(&self.hook.name, index);
        index
    }

    /// Tries until the event is taken or refused for good.
    async fn deliver(&self, event: &CloudEvent) {
        let body = event.body();
        let mut pause = RETRY_FIRST;
        loop {
            let seconds = self.clock.now().as_millis() / 1000;
            match self.receiver.post(&event.id, seconds, &body).await {
                Answer::Taken => {
                    count(&self.counters.delivered);
                    return;
                }
                Answer::Refused(status) => {
                    count(&self.counters.refused);
                    tracing::warn!(
                        webhook = self.hook.name,
                        event = event.id,
                        status,
                        "the receiver refused an event: it is passed over"
                    );
                    return;
                }
                Answer::Failed { why, retry_after } => {
                    count(&self.counters.failed);
                    let wait = self.jittered(pause).max(retry_after.unwrap_or_default().min(RETRY_MAX));
                    let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        webhook = self.hook.name,
                        event = event.id,
                        why,
                        retry_ms,
                        "not delivered: tried again"
                    );
                    tokio::time::sleep(wait).await;
                    pause = (2 * pause).min(RETRY_MAX);
                }
            }
        }
    }

    /// Between half and all of it, so that receivers are not hit in step.
    fn jittered(&self, pause: Duration) -> Duration {
        let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + self.entropy.number() % (half + 1))
    }
}
